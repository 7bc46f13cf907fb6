"""The phase-timing seam: wraps the parts of a loaded pipeline so that each sample's time falls into phases.

What is wrapped, and why so:

- Modules (text encoders, image encoder, denoisers, audio parts) outside everything that compile and offload put on them:
  round `module._compiled_call_impl or module._call_impl`, which `Module.__call__` looks up on each call. Weights that a hook
  moves to the device and back are therefore part of the module's phase, and `torch.compile` never sees the timing code.
- `encode` and `decode` of VAEs, which are methods and pass by `Module.__call__`; `vae.encode` is IMAGE_ENCODE.
- `video_processor.postprocess_video`.
- The scheduler not at all: pipelines inspect the signature of `step` and copy schedulers deeply. Its time is the stretch
  between two denoiser calls (see `boundaries`).

The seam is set after compile and offload and stays for the life of the pipeline; offload that reinstalls its hooks after
every video works underneath it. Outside a sample the wrappers only pass the call on.

Knows pipelines by the names of their components only, and no clock.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vidbench_api.verdict import Phase
from vidbench_runner.backends.boundaries import PhaseRecorder
from vidbench_runner.ports import Progress

PHASE_OF_MODULE_PREFIX = (
    ("text_encoder", Phase.TEXT_ENCODE),
    ("prompt_enhancer", Phase.TEXT_ENCODE),
    ("connectors", Phase.TEXT_ENCODE),
    ("image_encoder", Phase.IMAGE_ENCODE),
    ("transformer", Phase.DENOISE),
    ("unet", Phase.DENOISE),
    ("diffusion_decoder", Phase.VAE_DECODE),
    ("vocoder", Phase.AUDIO),
)
PHASES_OF_METHODS = {
    "vae": {"encode": Phase.IMAGE_ENCODE, "decode": Phase.VAE_DECODE},
    "audio_vae": {"encode": Phase.AUDIO, "decode": Phase.AUDIO},
    "sound_tokenizer": {"encode": Phase.AUDIO, "decode": Phase.AUDIO},
}
_ABSENT = object()


@dataclass(frozen=True)
class _Patch:
    """One attribute that was set on an object, and what its own dictionary held before."""

    owner: Any
    attribute: str
    previous: Any
    wrapper: Callable[..., Any]

    def undo(self) -> None:
        """Put the attribute back; what someone else has set since is left alone."""
        if self.owner.__dict__.get(self.attribute) is not self.wrapper:
            return
        if self.previous is _ABSENT:
            delattr(self.owner, self.attribute)
        else:
            setattr(self.owner, self.attribute, self.previous)


class PhaseSeam:
    """Wraps a pipeline's parts so that `recorder` sees their calls; `remove` leaves the pipeline as it was."""

    def __init__(self, recorder: PhaseRecorder, progress: Progress) -> None:
        self._recorder = recorder
        self._progress = progress
        self._patches: list[_Patch] = []
        self._decoded: list[Any] = []

    def install(self, pipeline: Any) -> None:
        """Wrap the pipeline's parts. Call it once, when compile and offload are already set.

        Raises:
            ValueError: The seam is installed already.
        """
        if self._patches:
            raise ValueError("the phase seam is installed already; remove it first")
        for module, phase in timed_modules(pipeline):
            inner = module._compiled_call_impl or module._call_impl  # noqa: SLF001 - what Module.__call__ looks up
            self._patch(module, "_compiled_call_impl", inner, phase)
        for owner, method, phase in timed_methods(pipeline):
            self._patch(owner, method, getattr(owner, method), phase, keep=phase is Phase.VAE_DECODE)

    def remove(self) -> None:
        """Take every wrapper off again."""
        for patch in reversed(self._patches):
            patch.undo()
        self._patches = []

    def take_decoded(self) -> tuple[Any, ...]:
        """Return what the VAE was given to decode since the last time, in order, and let go of it.

        References are kept within a sample, and no copies: what that costs the clock is one append a call.
        """
        decoded, self._decoded[:] = tuple(self._decoded), ()
        return decoded

    def _patch(
        self, owner: Any, attribute: str, inner: Callable[..., Any], phase: Phase, *, keep: bool = False
    ) -> None:
        previous = owner.__dict__.get(attribute, _ABSENT)
        wrapper = self._timed(inner, phase, self._decoded if keep else None)
        setattr(owner, attribute, wrapper)
        self._patches.append(_Patch(owner, attribute, previous, wrapper))

    def _timed(self, inner: Callable[..., Any], phase: Phase, kept: list[Any] | None) -> Callable[..., Any]:
        recorder, progress, word = self._recorder, self._progress, phase.value

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if not recorder.active:
                return inner(*args, **kwargs)
            if kept is not None:
                kept.extend(args[:1] or tuple(kwargs.values())[:1])
            progress(f"{word} {recorder.denoiser_calls + 1}" if phase is Phase.DENOISE else word)
            with recorder.call(phase):
                result = inner(*args, **kwargs)
            progress(f"{word} done")
            return result

        return timed


def timed_modules(pipeline: Any) -> Iterator[tuple[Any, Phase]]:
    """The modules of a pipeline whose calls are timed, each once, with their phase."""
    seen: set[int] = set()
    for name, component in pipeline.components.items():
        phase = phase_of_module(name)
        if phase is None or not hasattr(component, "_call_impl") or id(component) in seen:
            continue
        seen.add(id(component))
        yield component, phase


def timed_methods(pipeline: Any) -> Iterator[tuple[Any, str, Phase]]:
    """The methods of a pipeline's parts whose calls are timed, with their phase."""
    for name, methods in PHASES_OF_METHODS.items():
        component = pipeline.components.get(name)
        for method, phase in methods.items():
            if component is not None and hasattr(component, method):
                yield component, method, phase
    processor = getattr(pipeline, "video_processor", None)
    if processor is not None and hasattr(processor, "postprocess_video"):
        yield processor, "postprocess_video", Phase.POSTPROCESS


def phase_of_module(component: str) -> Phase | None:
    """The phase of a component's forward calls by its name in the pipeline; None where they are not timed."""
    return next((phase for prefix, phase in PHASE_OF_MODULE_PREFIX if component.startswith(prefix)), None)

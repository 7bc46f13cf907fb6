"""Calls a loaded pipeline of diffusers and measures it; the same code for real and for tiny models.

Puts the pipeline where it runs (device, offload, tiling), sets the phase seam last, and turns one call into a
`GeneratedClip`. Everything after the call (rounding to bytes, looking for NaN) happens when the clock has stopped.
How a pipeline comes into being is its subclass's matter.
"""

from __future__ import annotations

import gc
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from vidbench_api.names import Reason
from vidbench_api.verdict import LoadPhase, Phase
from vidbench_runner.backends.acceleration import Compilations, CompilationWatch, accelerate
from vidbench_runner.backends.boundaries import (
    Boundaries,
    MonotonicClock,
    PhaseRecorder,
    SampleTimes,
    StreamBoundaries,
    WallBoundaries,
)
from vidbench_runner.backends.calibration import timed_call_nanoseconds
from vidbench_runner.backends.call_arguments import call_arguments, check_clip, frame_grid, inputs_of, is_guided
from vidbench_runner.backends.call_counts import expected_calls, mismatches
from vidbench_runner.backends.failures import generation_failure, load_failure
from vidbench_runner.backends.library_logs import logged_warnings, route_logs, set_environment
from vidbench_runner.backends.placement import (
    accelerator_memory,
    choose_algorithms,
    device_in_use,
    place,
    reset_accelerator_memory,
)
from vidbench_runner.backends.seam import PhaseSeam
from vidbench_runner.ports import ClipRequest, Clock, GeneratedClip, LoadedModel, ModelFailure, ModelRequest, Progress

_logger = logging.getLogger(__name__)


def silent(_word: str) -> None:
    """A `Progress` that tells nobody."""


@dataclass(frozen=True)
class Fetched:
    """Weights that are here now: the request that loads them from this machine, and the bytes that were downloaded."""

    request: ModelRequest
    bytes: int


class PipelineModel(ABC):
    """A `VideoModel` over a pipeline of diffusers."""

    weights: ClassVar[Literal["Pretrained", "Random"]] = "Pretrained"
    synthetic_tokenizer: ClassVar[bool] = False
    loads_weights: ClassVar[bool] = True
    """Whether `build` takes the time that loading the model takes."""

    def __init__(self, progress: Progress = silent, clock: Clock | None = None) -> None:
        self._progress = progress
        self._clock = clock or MonotonicClock()
        self._pipeline: Any = None
        self._seam: PhaseSeam | None = None
        self._recorder: PhaseRecorder | None = None
        self._device = "cpu"
        self._watch: CompilationWatch | None = None

    def fetch(self, request: ModelRequest) -> Fetched | None:
        """Bring the weights to this machine, where that is a step of its own; None where there is none.

        Raises:
            ModelFailure: With the reason, where it is known; any other exception becomes ModelLoadFailed.
        """
        del request
        return None

    @abstractmethod
    def build(self, request: ModelRequest) -> Any:
        """Return the pipeline in the request's dtypes, on the CPU unless it can be made where it runs.

        Raises:
            ModelFailure: With the reason, where it is known; any other exception becomes ModelLoadFailed.
        """

    def load(self, request: ModelRequest) -> LoadedModel:
        """Build the pipeline, put it where it runs, set the seam.

        Raises:
            ModelFailure: ModelNotFound, ModelAccessDenied, ModelLoadFailed, UnsupportedOption, OutOfMemory...
        """
        set_environment()
        started = self._clock.nanoseconds()
        phase = LoadPhase.FETCH
        try:
            import torch

            route_logs()
            choose_algorithms(deterministic=request.deterministic)
            self._progress(phase.value)
            with logged_warnings("load"):
                fetched = self.fetch(request)
                here = self._clock.nanoseconds() if fetched is not None else started
                phase = LoadPhase.READ
                self._progress(phase.value)
                pipeline = self.build(fetched.request if fetched is not None else request)
                built = self._clock.nanoseconds()
                phase = LoadPhase.TO_DEVICE
                self._progress(phase.value)
                pipeline.set_progress_bar_config(disable=True)
                for component in _modules(pipeline).values():
                    component.eval()
                self._device = place(pipeline, request)
                accelerate(pipeline, request)
        except ModelFailure:
            raise
        except Exception as error:
            raise load_failure(error, request.source, phase, accelerator_memory(device_in_use())) from error
        placed = self._clock.nanoseconds()
        self._pipeline = pipeline
        self._watch = CompilationWatch(self._clock) if request.compile != "None" else None
        timed_call = timed_call_nanoseconds(self._boundaries(torch), self._progress)
        self._recorder = PhaseRecorder(self._boundaries(torch))
        self._seam = PhaseSeam(self._recorder, self._progress)
        self._seam.install(pipeline)
        modules = _modules(pipeline)
        on_cpu, loads = self._device == "cpu", self.loads_weights
        return LoadedModel(
            pipeline_class=type(pipeline).__name__,
            fetch_nanoseconds=here - started if fetched is not None else None,
            fetch_bytes=fetched.bytes if fetched is not None else None,
            load_nanoseconds=(placed if on_cpu else built) - here if loads else None,
            to_device_nanoseconds=None if on_cpu or not loads else placed - built,
            device=self._device,
            component_dtypes={name: _dtypes(module) for name, module in modules.items()},
            component_parameters={
                name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()
            },
            timed_call_nanoseconds=timed_call,
            frame_grid=frame_grid(pipeline),
            weights=self.weights,
            synthetic_tokenizer=self.synthetic_tokenizer,
            inputs=inputs_of(pipeline),
        )

    def check(self, clip: ClipRequest) -> None:
        """Refuse a clip that the pipeline's signature or size rules do not allow.

        Raises:
            ModelFailure: InvalidArguments.
        """
        check_clip(self._loaded(), clip)

    def generate(self, clip: ClipRequest) -> GeneratedClip:
        """Generate one clip.

        Raises:
            ModelFailure: OutOfMemoryCuda, OutOfMemoryHost, DeviceFault or GenerationFailed, with the phase it was in.
        """
        import torch

        pipeline, recorder, seam = self._loaded(), self._recorder, self._seam
        if recorder is None or seam is None:
            raise ModelFailure(Reason.INTERNAL_ERROR, "the model has no phase recorder; load it first")
        generator = torch.Generator("cpu").manual_seed(clip.seed)
        arguments = call_arguments(pipeline, clip, generator)
        reset_accelerator_memory(self._device)
        with logged_warnings("generate"):
            try:
                recorder.begin()
                output = pipeline(**arguments)
                times = recorder.finish()
            except Exception as error:
                memory = accelerator_memory(self._device)
                seam.take_decoded()
                if error.__context__ is None and recorder.failure is not error:
                    # Sana-Video catches that its decode ran out of memory, and then lacks the video (diffusers 0.42.1).
                    error.__context__ = recorder.failure
                raise generation_failure(error, recorder.abandon(), memory) from error
        compiled = self._watch.take() if self._watch is not None else None
        latents = tuple(bytes_of(tensor) for tensor in seam.take_decoded())
        return replace(self._clip(clip, output, times, compiled), latents=latents)

    def free(self) -> None:
        """Take the seam off, drop the pipeline and give the accelerator's memory back."""
        if self._seam is not None:
            self._seam.remove()
        if self._watch is not None:
            self._watch.close()
        self._pipeline = self._seam = self._recorder = self._watch = None
        gc.collect()
        if self._device != "cpu":
            import torch

            torch.cuda.empty_cache()

    def _loaded(self) -> Any:
        if self._pipeline is None:
            raise ModelFailure(Reason.INTERNAL_ERROR, "no model is loaded; call load first")
        return self._pipeline

    def _boundaries(self, torch: Any) -> Boundaries:
        if self._device == "cpu":
            return WallBoundaries(self._clock)
        return StreamBoundaries(self._clock, lambda: torch.cuda.Event(enable_timing=True), torch.cuda.synchronize)

    def _clip(self, clip: ClipRequest, output: Any, times: SampleTimes, compiled: Compilations | None) -> GeneratedClip:
        pipeline = self._loaded()
        expected = expected_calls(
            type(pipeline).__name__,
            clip,
            guided=is_guided(pipeline, clip),
            scheduler_order=getattr(pipeline.scheduler, "order", 1),
        )
        wrong = mismatches(expected, times.calls)
        for mismatch in wrong:
            _logger.warning("%s: %d calls expected, %d seen", mismatch.phase, mismatch.expected, mismatch.seen)
        frames, finite = rounded_frames(output)
        memory = accelerator_memory(self._device)
        return GeneratedClip(
            latency_nanoseconds=times.latency,
            phase_nanoseconds=times.phases,
            phase_calls=times.calls,
            denoiser_forward_calls=times.calls[Phase.DENOISE],
            step_nanoseconds=times.steps(expected.denoiser_per_step if expected else None, clip.steps),
            delivered_frames=frames.shape[0],
            delivered_height=frames.shape[1],
            delivered_width=frames.shape[2],
            frames=frames,
            finite=finite,
            memory_allocated_bytes=memory.allocated,
            memory_reserved_bytes=memory.reserved,
            memory_reason=memory.reason,
            memory_reserved_after_bytes=memory.reserved_now,
            call_mismatches=wrong,
            phase_stretches=times.stretches,
            expected_calls=expected.calls if expected else {},
            compilations=compiled.count if compiled is not None else None,
            compile_nanoseconds=compiled.nanoseconds if compiled is not None else None,
        )


def bytes_of(tensor: Any) -> Any:
    """The bytes of a tensor of any type, on the host, as a uint8 array of one dimension."""
    import torch

    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()


def rounded_frames(output: Any) -> tuple[Any, bool]:
    """The first clip of a pipeline's output as uint8 RGB (frames, height, width, 3), and whether all of it was finite.

    Rounded, not truncated: truncation differs in half of the values. Values that are not finite become 0.

    Raises:
        ModelFailure: GenerationFailed, for an output that is no video.
    """
    import numpy as np

    batch = output.frames if hasattr(output, "frames") else output[0]
    video = np.asarray(batch[0])
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ModelFailure(
            Reason.GENERATION_FAILED,
            f"the pipeline returned an array of shape {video.shape}; expected (frames, height, width, 3)",
        )
    if video.dtype == np.uint8:
        return video, True
    finite = bool(np.isfinite(video).all())
    if not finite:
        video = np.nan_to_num(video, nan=0.0, posinf=0.0, neginf=0.0)
    return np.rint(np.clip(video, 0.0, 1.0) * 255.0).astype(np.uint8), finite


def _modules(pipeline: Any) -> dict[str, Any]:
    import torch

    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def _dtypes(module: Any) -> str:
    """The dtypes of a module's parameters, the most common first, joined by `+`."""
    numbers: dict[str, int] = {}
    for parameter in module.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        numbers[name] = numbers.get(name, 0) + parameter.numel()
    return "+".join(sorted(numbers, key=lambda name: -numbers[name])) or "none"

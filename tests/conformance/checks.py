"""The checks of the conformance suite: each takes a subject and returns what it saw, or raises.

`AssertionError`: the class does not conform. `Lacking`: the class does not support an option, and is refused it in words.
`Skipped`: this machine cannot show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vidbench_api.names import Reason
from vidbench_api.verdict import Phase
from vidbench_runner.backends.acceleration import c_compiler, denoisers
from vidbench_runner.backends.diffusers import DiffusersModel
from vidbench_runner.ports import GeneratedClip, ModelFailure

from .subject import Subject, digest, offloaded, without_seam

Check = Callable[[Subject, Any], str]
LEAST_BLOCKS = 3
TILES_ONLY = "required"
ONE_TYPE = "in one type only"
LEAST_SPREAD = 1.0
"""Standard deviation of the pixels, of 255: below it a picture is blank."""


class Lacking(Exception):  # noqa: N818 - an answer, not an error
    """The class does not support an option. Not a defect: the option is refused."""


class Skipped(Exception):  # noqa: N818 - an answer, not an error
    """This machine cannot show it; the message says why."""


def loads(subject: Subject, _scratch: Any) -> str:
    assert type(subject.pipeline).__name__ == subject.preset.pipeline_class
    modules = [part for part in subject.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert not any(module.training for module in modules), "a component is in training mode"
    blocks = subject.denoiser_blocks()
    assert blocks >= LEAST_BLOCKS, f"only {blocks} denoiser blocks"
    return f"{blocks} blocks, {sum(p.numel() for m in modules for p in m.parameters()):,} parameters"


def generates(subject: Subject, _scratch: Any) -> str:
    clip, wanted = subject.clips[0], subject.clip()
    assert clip.finite, "values that are not finite"
    assert (clip.delivered_height, clip.delivered_width) == (wanted.height, wanted.width)
    spread = float(clip.frames.astype(float).std())
    assert spread > LEAST_SPREAD, f"the frames are blank (standard deviation {spread:.2f} of 255)"
    assert clip.delivered_frames == delivered_frames(subject), f"{clip.delivered_frames} frames"
    return f"{clip.delivered_frames} frames"


def delivered_frames(subject: Subject) -> int:
    """What a class delivers: the frames asked for, but for the classes that make whole sections."""
    frames, arguments = subject.preset.clip.frames, subject.preset.clip.arguments
    if subject.preset.pipeline_class == "HunyuanVideoFramepackPipeline":
        window = arguments["latent_window_size"]
        sections = max(1, math.ceil(frames / ((window - 1) * 4 + 1)))
        return (sections * window) * 4 + 1
    return frames


def phases_and_calls(subject: Subject, _scratch: Any) -> str:
    first, _, third = subject.clips
    for number, clip in ((1, first), (3, third)):
        _assert_phases(clip, f"video {number}")
        assert clip.expected_calls, "no call counts are known of this class"
    assert first.phase_calls == third.phase_calls, f"{first.phase_calls} != {third.phase_calls}"
    calls = {phase.value: first.phase_calls[phase] for phase in first.expected_calls}
    return ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))


def _assert_phases(clip: GeneratedClip, where: str) -> None:
    parts = [part for part in clip.phase_nanoseconds.values() if part is not None]
    assert sum(parts) == clip.latency_nanoseconds, f"{where}: phases do not sum to the latency"
    assert clip.call_mismatches == (), f"{where}: {clip.call_mismatches}, all calls: {clip.phase_calls}"


def counts_without_guidance(subject: Subject, _scratch: Any) -> str:
    if not subject.takes("guidance_scale"):
        raise Skipped("the class has no guidance_scale")
    arguments = {**subject.clip().arguments, "guidance_scale": 1.0}
    clip = subject.model.generate(subject.clip(arguments=arguments, negative_prompt=None))
    _assert_phases(clip, "unguided")
    return f"{clip.denoiser_forward_calls} denoiser calls"


def reruns_to_the_bit(subject: Subject, _scratch: Any) -> str:
    first, second, third = subject.clips
    assert digest(first) == digest(second) == digest(third), "the same seed gave other bits"
    other = subject.model.generate(subject.clip(seed=8))
    assert digest(other) != digest(first), "another seed gave the same bits"
    return "equal"


def is_untouched_by_the_seam(subject: Subject, _scratch: Any) -> str:
    from vidbench_runner.backends.call_arguments import call_arguments
    from vidbench_runner.backends.generation import rounded_frames
    from vidbench_runner.backends.library_logs import logged_warnings

    with without_seam(subject.model) as pipeline, logged_warnings("without the seam"):
        output = pipeline(**call_arguments(pipeline, subject.clip(), torch.Generator("cpu").manual_seed(7)))
    assert np.array_equal(rounded_frames(output)[0], subject.clips[0].frames)
    return "equal"


def loads_from_a_folder(subject: Subject, scratch: Any) -> str:
    """By the libraries' own from_pretrained: the same bits in float32, and a finite video in bfloat16."""
    with without_seam(subject.model) as pipeline:
        pipeline.save_pretrained(scratch)
    request = subject.request(backend="diffusers", source=str(scratch))
    model = DiffusersModel()
    try:
        model.load(request)
        assert digest(model.generate(subject.clip())) == digest(subject.clips[0]), "other bits than in memory"
        mixed = replace(request, dtype="bfloat16", component_dtypes={"vae": "float32"})
        facts = model.load(mixed)
        assert facts.component_dtypes["vae"].startswith("float32")
        assert any(dtype.startswith("bfloat16") for dtype in facts.component_dtypes.values())
        try:
            clip, seen = model.generate(subject.clip()), "with a float32 VAE"
        except ModelFailure as failure:
            # Some classes hand the latents over in the denoiser's type, whatever the VAE's is: then all is in one type.
            if failure.phase not in (Phase.VAE_DECODE, Phase.IMAGE_ENCODE):
                raise
            model.load(replace(mixed, component_dtypes={}))
            clip, seen = model.generate(subject.clip()), ONE_TYPE
        assert clip.finite
        _assert_phases(clip, "bfloat16")
    finally:
        model.free()
    return f"float32 to the bit, bfloat16 {seen}"


def _offload(kind: str, videos: int) -> Check:
    """Model offload takes its hooks off and puts them on again after every video; those of the others stay."""

    def check(subject: Subject, _scratch: Any) -> str:
        with offloaded(subject, kind) as model:
            clips = [model.generate(subject.clip()) for _ in range(videos)]
        for number, clip in {1: clips[0], videos: clips[-1]}.items():
            _assert_phases(clip, f"video {number} with {kind} offload")
            assert digest(clip) == digest(subject.clips[0]), f"video {number} has other bits"
        return "hooks: bits and calls equal"

    return check


def tiles(subject: Subject, _scratch: Any) -> str:
    if subject.preset.clip.vae_tiling:
        _assert_refused(lambda: subject.fresh(vae_tiling=False), Reason.UNSUPPORTED_OPTION)
        return f"{TILES_ONLY}; without it refused"
    try:
        model = subject.fresh(vae_tiling=True)
    except ModelFailure as failure:
        raise _lacking(failure) from failure
    try:
        clip = model.generate(subject.clip())
        _assert_phases(clip, "tiled")
        assert clip.frames.shape == subject.clips[0].frames.shape
    finally:
        model.free()
    return "calls equal"


def chooses_attention(subject: Subject, _scratch: Any) -> str:
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    try:
        model = subject.fresh(attention="NativeMath")
    except ModelFailure as failure:
        raise _lacking(failure) from failure
    try:
        chosen = [
            module.processor._attention_backend
            for denoiser in denoisers(model._pipeline)
            for module in denoiser.modules()
            if hasattr(getattr(module, "processor", None), "_attention_backend")
        ]
        assert chosen
        assert set(chosen) == {AttentionBackendName._NATIVE_MATH}
        clip = model.generate(subject.clip())
        difference = np.abs(clip.frames.astype(int) - subject.clips[0].frames.astype(int)).max()
        assert difference <= 2, f"pixels differ by {difference} of 255"
    finally:
        model.free()
        _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)
    return f"{len(chosen)} attentions"


def compiles(subject: Subject, _scratch: Any) -> str:
    if c_compiler() is None:
        raise Skipped("this machine has no C compiler")
    torch._dynamo.reset()
    model = subject.fresh(compile="Default")
    try:
        cold, warm, hot = (model.generate(subject.clip()) for _ in range(3))
        assert cold.compilations, "nothing was compiled"
        assert cold.compile_nanoseconds is not None
        assert 0 < cold.compile_nanoseconds < cold.latency_nanoseconds
        assert hot.compilations == 0, f"the third video compiled {hot.compilations} graphs again"
        for number, clip in ((1, cold), (3, hot)):
            _assert_phases(clip, f"video {number}, compiled")
        difference = np.abs(hot.frames.astype(int) - subject.clips[0].frames.astype(int)).mean()
        assert difference < 2, f"pixels differ by {difference:.1f} of 255 on average"
    finally:
        model.free()
        torch._dynamo.reset()
    cold_seconds, hot_seconds = cold.latency_nanoseconds / 1e9, hot.latency_nanoseconds / 1e9
    return (
        f"cold {cold_seconds:.1f} s ({cold.compilations} graphs), second {warm.compilations}, hot {hot_seconds:.2f} s"
    )


def fails_in_words(subject: Subject, _scratch: Any) -> str:
    """A NaN weight, a denoiser that raises, memory that runs out in the decode, and arguments that the class does not have."""
    denoiser = next(denoisers(subject.pipeline))
    weight = next(p for p in denoiser.parameters() if p.dim() > 1)
    kept = weight.data.clone()
    try:
        weight.data.fill_(float("nan"))
        poisoned = subject.model.generate(subject.clip())
    finally:
        weight.data.copy_(kept)
    assert not poisoned.finite, "a NaN weight was not noticed"
    _fail_in(subject, denoiser, "forward", RuntimeError("broken"), Reason.GENERATION_FAILED, Phase.DENOISE)
    memory = torch.OutOfMemoryError("CUDA out of memory")
    _fail_in(subject, subject.pipeline.vae.decoder, "forward", memory, Reason.OUT_OF_MEMORY_CUDA, Phase.VAE_DECODE)
    _assert_refused(lambda: subject.model.check(subject.clip(arguments={"no_such": 1})), Reason.INVALID_ARGUMENTS)
    _assert_refused(lambda: subject.model.check(subject.clip(steps=0)), Reason.INVALID_ARGUMENTS)
    subject.model.check(subject.clip())
    assert digest(subject.model.generate(subject.clip())) == digest(subject.clips[0]), "not whole again afterwards"
    return "NaN, denoiser, decoder, argument"


def _fail_in(subject: Subject, owner: Any, method: str, error: Exception, reason: Reason, phase: Phase) -> None:
    original = getattr(owner, method)

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    setattr(owner, method, fail)
    try:
        failure = _assert_refused(lambda: subject.model.generate(subject.clip()), reason)
    finally:
        setattr(owner, method, original)
    assert failure.phase == phase, f"failed in {failure.phase}, not in {phase}"


def _assert_refused(action: Callable[[], Any], reason: Reason) -> ModelFailure:
    try:
        action()
    except ModelFailure as failure:
        if failure.reason != reason:
            raise AssertionError(f"{failure.reason} in place of {reason}: {failure}") from failure
        return failure
    raise AssertionError(f"no {reason}")


def _lacking(failure: ModelFailure) -> Exception:
    """An option that is refused in words is lacking; any other failure is one."""
    return Lacking(str(failure)) if failure.reason == Reason.UNSUPPORTED_OPTION else failure


MUST: dict[str, Check] = {
    "load": loads,
    "generate": generates,
    "phases": phases_and_calls,
    "unguided": counts_without_guidance,
    "rerun": reruns_to_the_bit,
    "seam": is_untouched_by_the_seam,
    "folder": loads_from_a_folder,
    "failures": fails_in_words,
}
"""What every supported class passes."""

MAY: dict[str, Check] = {
    "model": _offload("Model", videos=3),
    "sequential": _offload("Sequential", videos=1),
    "group": _offload("Group", videos=1),
    "tiling": tiles,
    "attention": chooses_attention,
    "compile": compiles,
}
"""Options, which a class supports or not; the table of supported classes says which."""

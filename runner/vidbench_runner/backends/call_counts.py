"""How many calls a pipeline class makes per phase, and whether a sample made them.

A sample whose counts differ has work that the seam did not see, or did other work than its name says; its phases are not
to be believed. Counts stand here only for classes that were counted (diffusers 0.42.1; the conformance suite counts them
again): of the others nothing is claimed, nor of a call with an argument that changes them.
Knows no pipeline object: the facts it needs are passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vidbench_api.verdict import Phase
from vidbench_runner.ports import CallMismatch, ClipRequest

Parts = Callable[[ClipRequest], int]
"""How many parts a clip is made or decoded in."""


def _one(_clip: ClipRequest) -> int:
    return 1


def _decode_chunks(default: int | None) -> Parts:
    """Frames are decoded so many at a time; by default (None) all at once."""

    def parts(clip: ClipRequest) -> int:
        chunk = clip.arguments.get("decode_chunk_size") or default or clip.frames
        return math.ceil(clip.frames / chunk)

    return parts


def _windows(argument: str, latent_frames: int, temporal_ratio: int = 4) -> Parts:
    """Windows of so many latent frames follow each other; each is denoised and decoded by itself."""

    def parts(clip: ClipRequest) -> int:
        window = (int(clip.arguments.get(argument, latent_frames)) - 1) * temporal_ratio + 1
        return max(1, math.ceil(clip.frames / window))

    return parts


@dataclass(frozen=True)
class _ClassFacts:
    """Calls of a class, without and with classifier-free guidance. What is None was not counted, or depends on the prompt."""

    denoiser_per_step: tuple[int, int]
    text_encodes: tuple[int | None, int] | None = (1, 2)
    others: Mapping[Phase, int] = field(default_factory=lambda: MappingProxyType({Phase.POSTPROCESS: 1}))
    decodes: Parts = _one
    loops: Parts = _one
    """How many times all the steps are gone through."""

    unless: frozenset[str] = frozenset()
    """Call arguments that change the counts."""


_PICTURE_ENCODED = MappingProxyType({Phase.POSTPROCESS: 1, Phase.IMAGE_ENCODE: 1})
_PICTURE_SEEN_AND_ENCODED = MappingProxyType({Phase.POSTPROCESS: 1, Phase.IMAGE_ENCODE: 2})
_CONTROL_ENCODED_TWICE = MappingProxyType({Phase.POSTPROCESS: 1, Phase.IMAGE_ENCODE: 2})
"""What is to stay and what may change of the video that VACE goes by, grey without one."""

_FORCING = frozenset({"ar_step", "overlap_history", "base_num_frames", "causal_block_size"})
_LTX2_GUIDANCE = frozenset(
    {
        "stg_scale",
        "modality_scale",
        "audio_guidance_scale",
        "audio_stg_scale",
        "audio_modality_scale",
        "spatio_temporal_guidance_blocks",
        "enable_prompt_enhancement",
    }
)
_WAN = _ClassFacts((1, 2))
_COGVIDEOX = _ClassFacts((1, 1))
_HUNYUAN = _ClassFacts((1, 1), (2, 2), unless=frozenset({"true_cfg_scale"}))
_HUNYUAN_LED = replace(_HUNYUAN, others=_PICTURE_ENCODED)
"""Its text encoder sees the picture as well, in the same call."""

_HELIOS_WINDOW = _windows("num_latent_frames_per_chunk", 9)
_FRAMEPACK_WINDOW = _windows("latent_window_size", 9)

_CLASSES: Mapping[str, _ClassFacts] = MappingProxyType(
    {
        "WanPipeline": _WAN,
        "WanImageToVideoPipeline": _ClassFacts((1, 2), others=_PICTURE_SEEN_AND_ENCODED),
        "WanVACEPipeline": _ClassFacts((1, 2), others=_CONTROL_ENCODED_TWICE),
        "SkyReelsV2Pipeline": _WAN,
        "SkyReelsV2DiffusionForcingPipeline": _ClassFacts((1, 2), unless=_FORCING),
        "SkyReelsV2ImageToVideoPipeline": _ClassFacts((1, 2), others=_PICTURE_SEEN_AND_ENCODED),
        "HeliosPipeline": _ClassFacts((1, 2), decodes=_HELIOS_WINDOW, loops=_HELIOS_WINDOW),
        # Its guider decides about guidance; a negative prompt is encoded even where it asks for none.
        "MotifVideoPipeline": _ClassFacts((1, 2), (None, 2)),
        "SanaVideoPipeline": _COGVIDEOX,
        "LTXPipeline": _COGVIDEOX,
        "LTXImageToVideoPipeline": _ClassFacts((1, 1), others=_PICTURE_ENCODED),
        "LTXConditionPipeline": _COGVIDEOX,
        "LTX2Pipeline": _ClassFacts((3, 3), (3, 3), unless=_LTX2_GUIDANCE),
        "CogVideoXPipeline": _COGVIDEOX,
        "CogVideoXImageToVideoPipeline": _ClassFacts((1, 1), others=_PICTURE_ENCODED),
        "ConsisIDPipeline": _ClassFacts((1, 1), others=_PICTURE_ENCODED),
        "MochiPipeline": _COGVIDEOX,
        "AllegroPipeline": _COGVIDEOX,
        "LattePipeline": _ClassFacts((1, 1), decodes=_decode_chunks(14)),
        "AnimateDiffPipeline": _ClassFacts((1, 1), decodes=_decode_chunks(16)),
        "StableVideoDiffusionPipeline": _ClassFacts(
            (1, 1), (0, 0), _PICTURE_SEEN_AND_ENCODED, decodes=_decode_chunks(None)
        ),
        "TextToVideoSDPipeline": _COGVIDEOX,
        "EasyAnimatePipeline": _COGVIDEOX,
        "HunyuanVideoPipeline": _HUNYUAN,
        "HunyuanVideoImageToVideoPipeline": _HUNYUAN_LED,
        "HunyuanVideo15Pipeline": _ClassFacts((1, 2), None),
        "HunyuanVideoFramepackPipeline": _ClassFacts(
            (1, 1),
            (2, 2),
            _PICTURE_SEEN_AND_ENCODED,
            decodes=_FRAMEPACK_WINDOW,
            loops=_FRAMEPACK_WINDOW,
            unless=frozenset({"true_cfg_scale", "last_image"}),
        ),
        "Kandinsky5T2VPipeline": _ClassFacts((1, 2), (2, 4)),
    }
)


@dataclass(frozen=True)
class ExpectedCalls:
    """What one sample of a class must show. Phases that are not in `calls` are not checked."""

    denoiser_per_step: int | None
    """None where the steps are gone through more than once: what lies between two of them is then no step."""

    calls: Mapping[Phase, int]


def expected_calls(
    pipeline_class: str, clip: ClipRequest, *, guided: bool, scheduler_order: int
) -> ExpectedCalls | None:
    """The calls of one sample; None where they are not known.

    That is so of a class that was not counted, of a scheduler that calls the denoiser at its own rate, and of a call with an
    argument that changes the counts.
    """
    facts = _CLASSES.get(pipeline_class)
    if facts is None or scheduler_order != 1 or facts.unless & set(clip.arguments):
        return None
    per_step, loops = facts.denoiser_per_step[guided], facts.loops(clip)
    calls: dict[Phase, int] = {
        Phase.DENOISE: per_step * clip.steps * loops,
        Phase.VAE_DECODE: facts.decodes(clip),
        **facts.others,
    }
    if facts.text_encodes is not None and (encodes := facts.text_encodes[guided]) is not None:
        calls[Phase.TEXT_ENCODE] = encodes
    return ExpectedCalls(per_step if loops == 1 else None, MappingProxyType(calls))


def mismatches(expected: ExpectedCalls | None, seen: Mapping[Phase, int]) -> tuple[CallMismatch, ...]:
    """The phases whose calls are not as many as expected; empty where nothing is expected."""
    if expected is None:
        return ()
    return tuple(
        CallMismatch(phase, count, seen.get(phase, 0))
        for phase, count in expected.calls.items()
        if seen.get(phase, 0) != count
    )

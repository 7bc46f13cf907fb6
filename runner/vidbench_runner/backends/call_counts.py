"""How many calls a pipeline class makes per phase, and whether a sample made them.

A sample whose counts differ has work that the seam did not see, or did other work than its name says; its phases are not
to be believed. Counts stand here only for classes that were counted (diffusers 0.42.1): of the others nothing is claimed.
Knows no pipeline object: the facts it needs are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vidbench_api.verdict import Phase
from vidbench_runner.ports import CallMismatch


@dataclass(frozen=True)
class _ClassFacts:
    """Calls of a class, without and with classifier-free guidance. `others` are None where they were not counted."""

    denoiser_per_step: tuple[int, int]
    text_encodes: tuple[int, int] | None = None
    others: Mapping[Phase, int] = field(default_factory=lambda: MappingProxyType({}))


_ONE_CLIP = MappingProxyType({Phase.VAE_DECODE: 1, Phase.POSTPROCESS: 1})
_CLASSES: Mapping[str, _ClassFacts] = MappingProxyType(
    {
        "WanPipeline": _ClassFacts((1, 2), (1, 2), _ONE_CLIP),
        "SkyReelsV2Pipeline": _ClassFacts((1, 2)),
        "LTXPipeline": _ClassFacts((1, 1), (1, 2), _ONE_CLIP),
        "CogVideoXPipeline": _ClassFacts((1, 1)),
        "MochiPipeline": _ClassFacts((1, 1)),
        "AllegroPipeline": _ClassFacts((1, 1)),
        "AnimateDiffPipeline": _ClassFacts((1, 1)),
        "SanaVideoPipeline": _ClassFacts((1, 1)),
        "LattePipeline": _ClassFacts((1, 1)),
        "StableVideoDiffusionPipeline": _ClassFacts((1, 1)),
    }
)


@dataclass(frozen=True)
class ExpectedCalls:
    """What one sample of a class must show. Phases that are not in `calls` are not checked."""

    denoiser_per_step: int
    calls: Mapping[Phase, int]


def expected_calls(pipeline_class: str, *, steps: int, guided: bool, scheduler_order: int) -> ExpectedCalls | None:
    """The calls of one sample; None where the class is not known or its scheduler calls the denoiser at its own rate."""
    facts = _CLASSES.get(pipeline_class)
    if facts is None or scheduler_order != 1:
        return None
    per_step = facts.denoiser_per_step[guided]
    calls = {Phase.DENOISE: per_step * steps, **facts.others}
    if facts.text_encodes is not None:
        calls[Phase.TEXT_ENCODE] = facts.text_encodes[guided]
    return ExpectedCalls(per_step, MappingProxyType(calls))


def mismatches(expected: ExpectedCalls | None, seen: Mapping[Phase, int]) -> tuple[CallMismatch, ...]:
    """The phases whose calls are not as many as expected; empty where nothing is expected."""
    if expected is None:
        return ()
    return tuple(
        CallMismatch(phase, count, seen.get(phase, 0))
        for phase, count in expected.calls.items()
        if seen.get(phase, 0) != count
    )

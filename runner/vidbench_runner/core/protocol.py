"""What a shard says of its plan: how far it got, how well the figure is known, or whether reruns were equal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vidbench_api.measured import Protocol, Reproducibility, Series, StopReason
from vidbench_api.verdict import Phase
from vidbench_runner.core.columns import Columns, columns_of
from vidbench_runner.core.plan import TrialPlan
from vidbench_runner.core.precision import PARTS_PER_MILLION
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.stopping import reached_ppm

NOT_TIMED_CALLS = frozenset({Phase.PREPARE, Phase.OTHER})
"""Phases whose stretches lie between calls."""

NEVER_TIMED = "plan Repro uses deterministic algorithms: its times and peaks are not those of the model"


def plan_columns(plan: TrialPlan, samples: Sequence[MeasuredSample], idle_milliwatts: int | None = None) -> Columns:
    """Return the columns of the samples; none with plan Repro, which is never timed."""
    return Columns((), {"series": NEVER_TIMED}) if plan.reruns else columns_of(samples, idle_milliwatts)


def protocol_of(
    plan: TrialPlan,
    series: Sequence[Series],
    stopped_by: StopReason | None = None,
    *,
    warm: bool | None = None,
    instrument: int | None = None,
) -> Protocol:
    """Return by which plan the samples were taken, where it ended, and what the instrument cost."""
    target = plan.quota.target
    return Protocol(
        plan=plan.plan,
        stopped_by=stopped_by,
        warm=warm,
        instrument_ppm=instrument,
        metric=target.metric if target is not None else None,
        half_width_ppm=reached_ppm(target, series),
    )


def instrument_ppm(samples: Sequence[MeasuredSample], timed_call_nanoseconds: int | None) -> int | None:
    """Return what the timed calls cost, in millionths of the samples' time, rounded up; None where none are timed."""
    latency = sum(sample.clip.latency_nanoseconds for sample in samples)
    if timed_call_nanoseconds is None or latency <= 0:
        return None
    calls = sum(
        count for sample in samples for phase, count in sample.clip.phase_calls.items() if phase not in NOT_TIMED_CALLS
    )
    return -(-calls * timed_call_nanoseconds * PARTS_PER_MILLION // latency)


def reproducibility_of(plan: TrialPlan, samples: Sequence[MeasuredSample]) -> Reproducibility | None:
    """Return how many reruns had the digest of the first run; None for a plan without reruns."""
    if not plan.reruns:
        return None
    pairs = list(zip(samples, samples[plan.clips :], strict=False))
    differing = [first for first, again in pairs if not _same_bits(first, again)]
    return Reproducibility(
        reruns=len(pairs),
        equal=len(pairs) - len(differing),
        first_difference=f"prompt {differing[0].prompt}, seed {differing[0].seed}" if differing else None,
    )


def _same_bits(first: MeasuredSample, again: MeasuredSample) -> bool:
    return (first.digest, first.latents_digest) == (again.digest, again.latents_digest)

"""Whether a shard's figures may be believed: Valid, Invalid with reasons, or Partial; and what a reader should know of them.

A table: each reason that a runner can see has one rule, a function of the evidence. What a reason does, and from when on,
stands in `vidbench_api.validity` and in docs/validity.md. A thing apart from the outcome: a shard may succeed and be
Invalid. An output that is not finite is no matter of validity: such a sample is a failure and never gets here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vidbench_api.health import HealthFinding
from vidbench_api.measured import Steadiness, ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ROW_OF_REASON, Effect, ValidityReason
from vidbench_runner.core.device_watch import (
    CLOCK_SHARE,
    TEMPERATURE_CELSIUS,
    THROTTLE_SHARE,
    WatchedSample,
    clock_spread,
    temperature_spread,
    throttled_share,
)
from vidbench_runner.core.energy import DISAGREEMENT, disagreement
from vidbench_runner.core.plan import TrialPlan
from vidbench_runner.core.quality import shows_the_model
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.steadiness import is_autocorrelated, is_cold, is_drifting, steadiness_of
from vidbench_runner.ports import HostReading

CPU_THROTTLE_SHARE = 0.01
_MAX_REASONS = 16


@dataclass(frozen=True)
class CpuThrottling:
    """Enforcement periods of the container's CPU limit while the samples were generated."""

    periods: int
    throttled: int


def throttling_between(before: HostReading, after: HostReading) -> CpuThrottling | None:
    """Return what happened between two looks at the container; None where it does not tell."""
    if before.cpu_throttled_periods is None or after.cpu_throttled_periods is None:
        return None
    periods = (after.cpu_periods or 0) - (before.cpu_periods or 0)
    return CpuThrottling(periods, after.cpu_throttled_periods - before.cpu_throttled_periods)


@dataclass(frozen=True)
class Evidence:
    """Everything that speaks for or against the figures of a shard."""

    plan: TrialPlan
    samples: Sequence[MeasuredSample]
    lacks_accelerator: bool = False
    health_reasons: Sequence[str] = ()
    """What the host showed after the last sample, by the words of `HealthFinding`."""

    cpu: CpuThrottling | None = None

    @cached_property
    def latencies(self) -> tuple[int, ...]:
        """Latencies in nanoseconds, in the order of the samples; none of a plan that is never timed."""
        return () if self.plan.reruns else tuple(sample.clip.latency_nanoseconds for sample in self.samples)

    @cached_property
    def steadiness(self) -> Steadiness | None:
        """None for too few samples."""
        return steadiness_of(self.latencies)

    @cached_property
    def watched(self) -> tuple[WatchedSample, ...]:
        """The device while each sample was generated."""
        return tuple(sample.watch for sample in self.samples)


Rule = Callable[[Evidence], bool]


def _calls_differ(evidence: Evidence) -> bool:
    return any(sample.clip.call_mismatches for sample in evidence.samples)


def _frames_differ(evidence: Evidence) -> bool:
    return len({sample.clip.delivered_frames for sample in evidence.samples}) > 1


def _frames_are_off_the_grid(evidence: Evidence) -> bool:
    wanted = evidence.plan.samples[0].clip.frames
    return bool(evidence.samples) and {sample.clip.delivered_frames for sample in evidence.samples}.isdisjoint({wanted})


def _size_differs(evidence: Evidence) -> bool:
    wanted = evidence.plan.samples[0].clip
    sizes = {(sample.clip.delivered_height, sample.clip.delivered_width) for sample in evidence.samples}
    return bool(sizes - {(wanted.height, wanted.width)})


def _shows_nothing(evidence: Evidence) -> bool:
    # What random weights show says nothing of whether they were timed rightly.
    return shows_the_model(evidence.plan.model) and any(sample.quality.blank for sample in evidence.samples)


def _stands_still(evidence: Evidence) -> bool:
    return shows_the_model(evidence.plan.model) and any(sample.quality.static for sample in evidence.samples)


def _others_were_there(evidence: Evidence) -> bool:
    return evidence.plan.exclusive_gpu and any(sample.device.other_processes for sample in evidence.samples)


def _throttled(name: str) -> Rule:
    return lambda evidence: throttled_share(evidence.watched, name) > THROTTLE_SHARE


def _energy_disagrees(evidence: Evidence) -> bool:
    differs = disagreement([sample.energy for sample in evidence.samples])
    return differs is not None and abs(differs) > DISAGREEMENT


def _cpu_throttled(evidence: Evidence) -> bool:
    cpu = evidence.cpu
    return cpu is not None and cpu.periods > 0 and cpu.throttled / cpu.periods > CPU_THROTTLE_SHARE


def _drifts(evidence: Evidence) -> bool:
    return evidence.steadiness is not None and is_drifting(evidence.steadiness)


def _depends_on_the_one_before(evidence: Evidence) -> bool:
    return evidence.steadiness is not None and is_autocorrelated(evidence.steadiness, len(evidence.samples))


def _has_outliers(evidence: Evidence) -> bool:
    return evidence.steadiness is not None and evidence.steadiness.outliers > 0


def _seen_on_the_host(finding: HealthFinding) -> Rule:
    return lambda evidence: finding.value in evidence.health_reasons


RULES: Mapping[ValidityReason, Rule] = {
    ValidityReason.CALL_COUNT_MISMATCH: _calls_differ,
    ValidityReason.FRAMES_DIFFER: _frames_differ,
    ValidityReason.OFF_GRID_FRAMES: _frames_are_off_the_grid,
    ValidityReason.SIZE_DIFFERS: _size_differs,
    ValidityReason.BLANK_OUTPUT: _shows_nothing,
    ValidityReason.STATIC_OUTPUT: _stands_still,
    ValidityReason.COMPILED_IN_SAMPLE: lambda evidence: any(sample.clip.compilations for sample in evidence.samples),
    ValidityReason.NO_ACCELERATOR: lambda evidence: evidence.lacks_accelerator,
    ValidityReason.OTHER_PROCESSES: _others_were_there,
    ValidityReason.HARDWARE_THERMAL: _throttled("hwThermal"),
    ValidityReason.SOFTWARE_THERMAL: _throttled("swThermal"),
    ValidityReason.POWER_BRAKE: _throttled("hwPowerBrake"),
    ValidityReason.HARDWARE_SLOWDOWN: _throttled("hwSlowdown"),
    ValidityReason.CLOCK_DRIFT: lambda evidence: clock_spread(evidence.watched) > CLOCK_SHARE,
    **{ValidityReason(finding.value): _seen_on_the_host(finding) for finding in HealthFinding},
    ValidityReason.CPU_THROTTLED: _cpu_throttled,
    ValidityReason.COLD_SHAPE: lambda evidence: is_cold(evidence.latencies),
    ValidityReason.NOT_STEADY: _drifts,
    ValidityReason.FEWER_SAMPLES: lambda evidence: len(evidence.samples) < evidence.plan.quota.required,
    ValidityReason.POWER_CAP: _throttled("swPowerCap"),
    ValidityReason.TEMPERATURE_DRIFT: lambda evidence: temperature_spread(evidence.watched) > TEMPERATURE_CELSIUS,
    ValidityReason.ENERGY_DISAGREES: _energy_disagrees,
    ValidityReason.AUTOCORRELATED: _depends_on_the_one_before,
    ValidityReason.OUTLIERS: _has_outliers,
}
"""One rule for each reason that a runner can see, in the order in which they are named."""


def judge(evidence: Evidence) -> ValidityVerdict:
    """Return whether the measured samples may be believed as the plan's result."""
    found: dict[Effect, list[str]] = {effect: [] for effect in Effect}
    for reason, rule in RULES.items():
        if rule(evidence):
            found[ROW_OF_REASON[reason].effect].append(reason.value)
    against, missing = found[Effect.INVALID], found[Effect.PARTIAL]
    state = Validity.INVALID if against else Validity.PARTIAL if missing else Validity.VALID
    return ValidityVerdict(
        state=state, reasons=tuple([*against, *missing][:_MAX_REASONS]), notes=tuple(found[Effect.NOTE][:_MAX_REASONS])
    )

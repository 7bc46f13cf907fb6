"""Columns of a shard: the samples' figures in the contract's units, one value a sample.

Rounding to microseconds keeps the sums: a sample's latency is rounded to the nearest microsecond, its phases are rounded
down, and the microseconds that are then missing go, one each, to the phases with the largest cut-off parts. So the
phases of a sample add up to its latency exactly, and no phase is off by a microsecond or more.

A figure that one sample lacks makes no column: values of some samples only would be statistics of another set.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vidbench_api.measured import Series, SeriesName, Statistics, Unit
from vidbench_api.verdict import Phase
from vidbench_runner.core.endings import shortened
from vidbench_runner.core.energy import net
from vidbench_runner.core.quality import QUALITY_COLUMNS, quality_figure, quality_reason
from vidbench_runner.core.sample import MeasuredSample

NANOSECONDS_PER_MICROSECOND = 1_000

SERIES_OF_PHASE: Mapping[Phase, SeriesName] = {
    Phase.PREPARE: SeriesName.PREPARE,
    Phase.TEXT_ENCODE: SeriesName.TEXT_ENCODE,
    Phase.IMAGE_ENCODE: SeriesName.IMAGE_ENCODE,
    Phase.DENOISE: SeriesName.DENOISE,
    Phase.VAE_DECODE: SeriesName.VAE_DECODE,
    Phase.AUDIO: SeriesName.AUDIO,
    Phase.POSTPROCESS: SeriesName.POSTPROCESS,
    Phase.OTHER: SeriesName.OTHER,
}
SERIES_OF_CALLS: Mapping[Phase, SeriesName] = {
    Phase.DENOISE: SeriesName.DENOISER_CALLS,
    Phase.TEXT_ENCODE: SeriesName.TEXT_ENCODE_CALLS,
    Phase.VAE_DECODE: SeriesName.VAE_DECODE_CALLS,
}
REASON_CHARACTERS = 96
NOT_SEEN = "not_seen"
NOT_IN_EVERY_SAMPLE = "not_in_every_sample"
NOT_TOLD = "not_told"
"""The service does not say."""


@dataclass(frozen=True)
class Columns:
    """The columns of a shard, and why others are absent, by name."""

    series: tuple[Series, ...]
    unmeasured: Mapping[str, str]


@dataclass(frozen=True)
class _Figure:
    """How one column is read off a sample: its value, or None and then the reason."""

    name: SeriesName
    unit: Unit
    value: Callable[[MeasuredSample], int | None]
    reason: Callable[[MeasuredSample], str]


def columns_of(samples: Sequence[MeasuredSample], idle_milliwatts: int | None = None) -> Columns:
    """Return the columns of the measured samples, in their order; none for no samples.

    `idle_milliwatts` is what the device takes at rest; without it there is no net energy.
    """
    if not samples:
        return Columns((), {})
    series: list[Series] = []
    unmeasured: dict[str, str] = {}
    for figure in _figures(samples, idle_milliwatts):
        values = [figure.value(sample) for sample in samples]
        present = [value for value in values if value is not None]
        if len(present) == len(values):
            series.append(
                Series(name=figure.name, unit=figure.unit, statistics=Statistics.of(present), values=tuple(present))
            )
        elif present:
            unmeasured[figure.name.value] = NOT_IN_EVERY_SAMPLE
        else:
            unmeasured[figure.name.value] = shortened(figure.reason(samples[0]), REASON_CHARACTERS)
    return Columns(tuple(series), unmeasured)


def phase_microseconds(sample: MeasuredSample) -> dict[Phase, int]:
    """Return the seen phases of a sample in microseconds; they add up to `latency_microseconds` exactly."""
    seen = {phase: time for phase, time in sample.clip.phase_nanoseconds.items() if time is not None}
    floors = {phase: time // NANOSECONDS_PER_MICROSECOND for phase, time in seen.items()}
    missing = latency_microseconds(sample) - sum(floors.values())
    by_cut_off_part = sorted(seen, key=lambda phase: -(seen[phase] % NANOSECONDS_PER_MICROSECOND))
    for phase in by_cut_off_part[:missing]:
        floors[phase] += 1
    return floors


def latency_microseconds(sample: MeasuredSample) -> int:
    """Return the latency of a sample, rounded to the nearest microsecond."""
    return _to_microseconds(sample.clip.latency_nanoseconds)


def _to_microseconds(nanoseconds: float) -> int:
    return round(nanoseconds / NANOSECONDS_PER_MICROSECOND)


def _figures(samples: Sequence[MeasuredSample], idle_milliwatts: int | None) -> list[_Figure]:
    phases = {(sample.warmup, sample.number): phase_microseconds(sample) for sample in samples}

    def time_of(phase: Phase) -> Callable[[MeasuredSample], int | None]:
        return lambda sample: phases[sample.warmup, sample.number].get(phase)

    def calls_of(phase: Phase) -> Callable[[MeasuredSample], int | None]:
        return lambda sample: sample.clip.phase_calls.get(phase)

    services = [
        _Figure(SeriesName.SERVICE_QUEUE, "microseconds", _service_queue, lambda _sample: NOT_TOLD),
        _Figure(SeriesName.SERVICE_RUN, "microseconds", _service_run, lambda _sample: NOT_TOLD),
    ]
    return [
        *(services if samples[0].clip.service is not None else ()),
        _Figure(SeriesName.LATENCY, "microseconds", latency_microseconds, _not_seen),
        *(_Figure(name, "microseconds", time_of(phase), _not_seen) for phase, name in SERIES_OF_PHASE.items()),
        _Figure(SeriesName.STEP, "microseconds", _median_step, _step_reason),
        _Figure(
            SeriesName.ENERGY,
            "millijoules",
            lambda sample: sample.energy.millijoules,
            lambda sample: sample.energy.reason or "not_read",
        ),
        _Figure(
            SeriesName.ENERGY_NET,
            "millijoules",
            lambda sample: net(sample.energy, idle_milliwatts),
            lambda sample: sample.energy.reason or "idle_power_not_measured",
        ),
        _Figure(
            SeriesName.MEMORY_ALLOCATED, "bytes", lambda sample: sample.clip.memory_allocated_bytes, _memory_reason
        ),
        _Figure(SeriesName.MEMORY_RESERVED, "bytes", lambda sample: sample.clip.memory_reserved_bytes, _memory_reason),
        _Figure(SeriesName.FRAMES, "count", lambda sample: sample.clip.delivered_frames, _not_seen),
        *(_Figure(name, "count", calls_of(phase), _not_seen) for phase, name in SERIES_OF_CALLS.items()),
        *(_Figure(name, unit, *_quality_of(name)) for name, unit in QUALITY_COLUMNS.items()),
    ]


def _not_seen(sample: MeasuredSample) -> str:
    return sample.clip.phases_reason or NOT_SEEN


def _step_reason(sample: MeasuredSample) -> str:
    return sample.clip.phases_reason or "calls_per_step_not_known"


def _quality_of(name: SeriesName) -> tuple[Callable[[MeasuredSample], int | None], Callable[[MeasuredSample], str]]:
    return (lambda sample: quality_figure(sample.quality, name), lambda sample: quality_reason(sample.quality, name))


def _memory_reason(sample: MeasuredSample) -> str:
    return sample.clip.memory_reason or "not_read"


def _service_queue(sample: MeasuredSample) -> int | None:
    queue = sample.clip.service.queue_nanoseconds if sample.clip.service is not None else None
    return None if queue is None else _to_microseconds(queue)


def _service_run(sample: MeasuredSample) -> int | None:
    run = sample.clip.service.run_nanoseconds if sample.clip.service is not None else None
    return None if run is None else _to_microseconds(run)


def _median_step(sample: MeasuredSample) -> int | None:
    steps = sample.clip.step_nanoseconds
    return _to_microseconds(statistics.median(steps)) if steps else None

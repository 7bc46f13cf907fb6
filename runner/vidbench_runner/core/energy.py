"""Energy of a sample: what the device's counter moved by, checked against sampled power, with and without idle. Pure.

The counter counts for the whole device since the driver was loaded. It says nothing of a sample on a slice of a card, on
a card that others use, on one of several GPUs, over less than a second, or across a reset: then there is no figure, and a
reason. The sampled power is integrated by trapezoids, with the first and the last reading held to the edges. It is a
check and, for phases, all there is: a phase has no reading of the counter of its own.

Energy of a whole GPU: A100 and H100 average their power sensor over a part of the time only (arXiv 2312.02741), so the
two ways differ by some percent on loads that change fast; more than `DISAGREEMENT` is told.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vidbench_api.measured import EnergyFacts
from vidbench_api.verdict import Phase
from vidbench_runner.ports import DeviceReading, DeviceSample, PhaseStretch

NANOSECONDS_PER_SECOND = 1_000_000_000
NANOSECONDS_PER_MICROSECOND = 1_000
SHORTEST_WINDOW_NANOSECONDS = NANOSECONDS_PER_SECOND
"""The driver's energy counter moves in steps of some 10 to 100 ms: over less than a second it says too little."""

SHORTEST_PHASE_NANOSECONDS = NANOSECONDS_PER_SECOND
LONGEST_GAP_NANOSECONDS = NANOSECONDS_PER_SECOND // 2
"""Between two readings of the power, and from the edges to the nearest one; beyond, what happened there is not known."""

FEWEST_IDLE_READINGS = 5
SHORTEST_CHECK_NANOSECONDS = 10 * NANOSECONDS_PER_SECOND
"""All windows together, for the two ways to be compared: below, the counter's steps alone may be some percent."""

DISAGREEMENT = 0.05
LEAST_OF_SAMPLED = 0.5
"""Of the sampled energy: a counter that moved by less began anew meanwhile, and has passed where it was."""


@dataclass(frozen=True)
class Energy:
    """What a sample took, in millijoules; None with a reason."""

    millijoules: int | None
    window_nanoseconds: int
    """Time between the two readings of the counter: the sample, and the rounding of its frames."""

    reason: str | None = None
    sampled_millijoules: int | None = None
    """By the sampled power, over the same window."""

    phases: Mapping[str, int] = field(default_factory=dict)
    """By the sampled power, of phases of a second or more, by their names."""


@dataclass(frozen=True)
class Sharing:
    """Why the device's figures are not this shard's alone, if they are not."""

    gpus: int = 1
    shared_resource: bool = False
    """The resource that the shard was given stands for a part of a GPU's time."""

    def reason(self, before: DeviceReading, after: DeviceReading) -> str | None:
        """Return why there is no energy, or None."""
        if before.mig or after.mig:
            return "mig"
        if self.shared_resource or before.other_processes or after.other_processes:
            return "shared_gpu"
        return f"one_of_{self.gpus}_gpus" if self.gpus > 1 else None


def energy_of(
    before: DeviceReading,
    after: DeviceReading,
    window: tuple[int, int],
    readings: Sequence[DeviceSample] = (),
    stretches: Sequence[PhaseStretch] = (),
    sharing: Sharing | None = None,
) -> Energy:
    """Return the energy of a sample.

    Args:
        before: Reading of the device right before `window`.
        after: Reading right after it.
        window: Start and end of the sample on the clock of the readings, in nanoseconds.
        readings: Power in and around the window.
        stretches: When which phase ran, in nanoseconds since the start of the window.
        sharing: Who else uses the device.
    """
    start, end = window
    unknown = (sharing or Sharing()).reason(before, after) or _unknown(before, after, end - start)
    if unknown is not None:
        return Energy(None, end - start, unknown)
    counted = (after.total_energy_millijoules or 0) - (before.total_energy_millijoules or 0)
    sampled = integral(readings, start, end)
    if sampled is not None and counted < LEAST_OF_SAMPLED * sampled:
        return Energy(None, end - start, "counter_reset")
    return Energy(
        counted,
        end - start,
        sampled_millijoules=sampled,
        phases=_by_phase(readings, start, stretches),
    )


def _unknown(before: DeviceReading, after: DeviceReading, nanoseconds: int) -> str | None:
    if before.total_energy_millijoules is None or after.total_energy_millijoules is None:
        return after.reason or before.reason or "no_counter"
    if before.uuid != after.uuid or after.total_energy_millijoules < before.total_energy_millijoules:
        return "counter_reset"
    return "window_below_1s" if nanoseconds < SHORTEST_WINDOW_NANOSECONDS else None


def integral(readings: Sequence[DeviceSample], start: int, end: int) -> int | None:
    """Return the millijoules between two moments by sampled power; None where readings are too far apart for that."""
    inside = [
        (reading.nanoseconds, reading.power_milliwatts)
        for reading in readings
        if reading.power_milliwatts is not None and start <= reading.nanoseconds <= end
    ]
    if not inside or end <= start:
        return None
    points = [(start, inside[0][1]), *inside, (end, inside[-1][1])]
    if any(later - earlier > LONGEST_GAP_NANOSECONDS for (earlier, _), (later, _) in itertools.pairwise(points)):
        return None
    doubled = sum(
        (after + before) * (later - earlier) for (earlier, before), (later, after) in itertools.pairwise(points)
    )
    return round(doubled / 2 / NANOSECONDS_PER_SECOND)


def _by_phase(readings: Sequence[DeviceSample], start: int, stretches: Sequence[PhaseStretch]) -> dict[str, int]:
    mine: dict[Phase, list[PhaseStretch]] = {}
    for stretch in stretches:
        mine.setdefault(stretch.phase, []).append(stretch)
    found = {}
    for phase, parts in mine.items():
        if sum(part.end - part.start for part in parts) < SHORTEST_PHASE_NANOSECONDS:
            continue
        taken = [_part(readings, start + part.start, start + part.end) for part in parts if part.end > part.start]
        known = [energy for energy in taken if energy is not None]
        if len(known) == len(taken):
            found[phase.value] = round(sum(known))
    return found


def _part(readings: Sequence[DeviceSample], start: int, end: int) -> float | None:
    """Return the energy of a stretch, which may be shorter than the time between readings: then by the nearest one."""
    whole = integral(readings, start, end)
    if whole is not None:
        return whole
    if end - start > LONGEST_GAP_NANOSECONDS:
        return None
    middle = (start + end) // 2
    powers = [reading for reading in readings if reading.power_milliwatts is not None]
    nearest = min(powers, key=lambda reading: abs(reading.nanoseconds - middle), default=None)
    if nearest is None or abs(nearest.nanoseconds - middle) > LONGEST_GAP_NANOSECONDS:
        return None
    return (nearest.power_milliwatts or 0) * (end - start) / NANOSECONDS_PER_SECOND


def idle_power(readings: Sequence[DeviceSample]) -> int | None:
    """Return the power of a device that rests, in milliwatts: the median, as a clock that falls must not count."""
    powers = [reading.power_milliwatts for reading in readings if reading.power_milliwatts is not None]
    return round(statistics.median(powers)) if len(powers) >= FEWEST_IDLE_READINGS else None


def net(energy: Energy, idle_milliwatts: int | None) -> int | None:
    """Return the energy above what the device would have taken at rest; None where either is not known."""
    if energy.millijoules is None or idle_milliwatts is None:
        return None
    return energy.millijoules - round(idle_milliwatts * energy.window_nanoseconds / NANOSECONDS_PER_SECOND)


def disagreement(energies: Sequence[Energy]) -> float | None:
    """Return by what share sampled power exceeds the counter, over all samples that have both; None for too little of it."""
    both = [energy for energy in energies if energy.millijoules and energy.sampled_millijoules is not None]
    if sum(energy.window_nanoseconds for energy in both) < SHORTEST_CHECK_NANOSECONDS:
        return None
    counted = sum(energy.millijoules or 0 for energy in both)
    return sum(energy.sampled_millijoules or 0 for energy in both) / counted - 1


def energy_facts(
    energies: Sequence[Energy], frames: int, steps: int, idle_milliwatts: int | None
) -> EnergyFacts | None:
    """Return what stands in the result beside the column: means per frame and step, by phase, idle and check.

    None where no sample has an energy. `frames` and `steps` are those of one video.
    """
    known = [energy for energy in energies if energy.millijoules is not None]
    if not known or len(known) < len(energies):
        return None
    mean = statistics.fmean(energy.millijoules or 0 for energy in known)
    differs = disagreement(known)
    common = set(known[0].phases).intersection(*(energy.phases for energy in known))
    return EnergyFacts(
        idle_milliwatts=idle_milliwatts,
        per_frame_millijoules=round(mean / frames) if frames else None,
        per_step_millijoules=round(mean / steps) if steps else None,
        phase_millijoules={
            name: round(statistics.fmean(energy.phases[name] for energy in known)) for name in sorted(common)
        },
        disagreement_ppm=None if differs is None else round(1_000_000 * differs),
    )

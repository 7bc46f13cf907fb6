"""What the device did while samples were generated: throttling, clocks, temperature. Pure, over readings taken ten times a second.

Bits are those of NVML's clocks event reasons. A driver that reports none for a reading says nothing: such a reading
counts for no share.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidbench_api.measured import DeviceFacts
from vidbench_runner.ports import DeviceSample

SW_POWER_CAP = 0x4
HW_SLOWDOWN = 0x8
SW_THERMAL = 0x20
HW_THERMAL = 0x40
HW_POWER_BRAKE = 0x80

THROTTLING: Mapping[str, tuple[int, int]] = {
    "swPowerCap": (SW_POWER_CAP, 0),
    "hwSlowdown": (HW_SLOWDOWN, HW_THERMAL | HW_POWER_BRAKE),
    "swThermal": (SW_THERMAL, 0),
    "hwThermal": (HW_THERMAL, 0),
    "hwPowerBrake": (HW_POWER_BRAKE, 0),
}
"""Bit by name, and the bits that explain it: a slowdown of the hardware is only counted where no cause is told."""

THROTTLE_SHARE = 0.01
CLOCK_SHARE = 0.05
TEMPERATURE_CELSIUS = 5


class Unwatched:
    """A `DeviceWatch` of a device that nobody reads."""

    reason: str | None = "nobody_reads_the_device"

    def between(self, _start: int, _end: int) -> tuple[DeviceSample, ...]:
        """Return nothing."""
        return ()

    def cost_ppm(self) -> int | None:
        """Return nothing: what does not happen costs nothing."""
        return None

    def rest(self, _nanoseconds: int) -> None:
        """Do not wait: there is nothing to see."""


@dataclass(frozen=True)
class WatchedSample:
    """What the readings within one sample say. None where no reading told."""

    readings: int = 0
    judged: int = 0
    """Readings that told whether the device was throttled."""

    throttled: Mapping[str, int] = field(default_factory=dict)
    """Readings by name of `THROTTLING`; only those that were seen."""

    sm_clock_megahertz: int | None = None
    sm_clock_min_megahertz: int | None = None
    memory_clock_megahertz: int | None = None
    temperature_celsius: int | None = None
    temperature_max_celsius: int | None = None


def watched(readings: Sequence[DeviceSample]) -> WatchedSample:
    """Return what the readings within one sample say; clocks and temperature are medians."""
    bits = [reading.clock_reasons for reading in readings if reading.clock_reasons is not None]
    counts = {
        name: sum(bool(each & bit) and not each & causes for each in bits) for name, (bit, causes) in THROTTLING.items()
    }
    clocks = [reading.sm_clock_megahertz for reading in readings if reading.sm_clock_megahertz is not None]
    temperatures = [reading.temperature_celsius for reading in readings if reading.temperature_celsius is not None]
    return WatchedSample(
        readings=len(readings),
        judged=len(bits),
        throttled={name: count for name, count in counts.items() if count},
        sm_clock_megahertz=_median(clocks),
        sm_clock_min_megahertz=min(clocks, default=None),
        memory_clock_megahertz=_median(reading.memory_clock_megahertz for reading in readings),
        temperature_celsius=_median(temperatures),
        temperature_max_celsius=max(temperatures, default=None),
    )


def throttled_share(samples: Sequence[WatchedSample], name: str) -> float:
    """Return the share of readings, of all samples together, in which the device was throttled for this cause."""
    judged = sum(sample.judged for sample in samples)
    return sum(sample.throttled.get(name, 0) for sample in samples) / judged if judged else 0.0


def clock_spread(samples: Sequence[WatchedSample]) -> float:
    """Return how far the median SM clocks of samples are apart, as a share of the highest; 0 where fewer than two are known."""
    clocks = [sample.sm_clock_megahertz for sample in samples if sample.sm_clock_megahertz]
    return (max(clocks) - min(clocks)) / max(clocks) if len(clocks) > 1 else 0.0


def temperature_spread(samples: Sequence[WatchedSample]) -> int:
    """Return how many degrees the median temperatures of samples are apart; 0 where fewer than two are known."""
    seen = [sample.temperature_celsius for sample in samples if sample.temperature_celsius is not None]
    return max(seen) - min(seen) if seen else 0


def device_facts(samples: Sequence[WatchedSample], sampler_ppm: int | None) -> DeviceFacts | None:
    """Return what stands in the result; None where the device was not watched. `sampler_ppm` is the sampler's own cost."""
    readings = sum(sample.readings for sample in samples)
    if not readings:
        return None
    shares = {name: round(1_000_000 * throttled_share(samples, name)) for name in THROTTLING}
    minima = [sample.sm_clock_min_megahertz for sample in samples if sample.sm_clock_min_megahertz is not None]
    hottest = [sample.temperature_max_celsius for sample in samples if sample.temperature_max_celsius is not None]
    return DeviceFacts(
        readings=readings,
        throttled_ppm={name: share for name, share in shares.items() if share},
        sm_clock_megahertz=_median(sample.sm_clock_megahertz for sample in samples),
        sm_clock_min_megahertz=min(minima, default=None),
        memory_clock_megahertz=_median(sample.memory_clock_megahertz for sample in samples),
        temperature_celsius=_median(sample.temperature_celsius for sample in samples),
        temperature_max_celsius=max(hottest, default=None),
        sampler_ppm=sampler_ppm,
    )


def _median(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None

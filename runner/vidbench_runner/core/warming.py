"""Whether a shard is warm: its last warm-ups took the same time and the device no longer heats up. Pure.

The first warm-up is never compared: it compiles, picks kernels and fills caches. On a machine whose noise is larger than
the tolerance the maximum is reached, and the result says that the shard was not seen flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TIME_TOLERANCE = 0.02
"""Two warm-ups that differ by at most this share of the shorter one took the same time."""

TEMPERATURE_TOLERANCE_CELSIUS = 2
"""Sensors step by one degree."""


@dataclass(frozen=True)
class WarmupLimits:
    """Warm-ups at least and at most; equal where their number is fixed."""

    min: int
    max: int

    @property
    def fixed(self) -> bool:
        """Whether nothing is to be decided."""
        return self.min >= self.max


@dataclass(frozen=True)
class WarmupReading:
    """One warm-up: how long it took, and the device's temperature after it, where there is one."""

    latency_nanoseconds: int
    temperature_celsius: int | None = None


def is_flat(readings: Sequence[WarmupReading]) -> bool:
    """Return whether the last two warm-ups after the first were alike, in time and, where it is read, in temperature."""
    if len(readings) < 3:
        return False
    before, last = readings[-2], readings[-1]
    shorter = min(before.latency_nanoseconds, last.latency_nanoseconds)
    if abs(last.latency_nanoseconds - before.latency_nanoseconds) > TIME_TOLERANCE * shorter:
        return False
    if last.temperature_celsius is None or before.temperature_celsius is None:
        return True
    return abs(last.temperature_celsius - before.temperature_celsius) <= TEMPERATURE_TOLERANCE_CELSIUS


def needs_warmup(readings: Sequence[WarmupReading], limits: WarmupLimits) -> bool:
    """Return whether another warm-up has to follow those that were made."""
    done = len(readings)
    if done < limits.min:
        return True
    return not limits.fixed and done < limits.max and not is_flat(readings)

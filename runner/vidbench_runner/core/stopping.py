"""When a shard has samples enough, and when there is no time for another one. Pure.

Plan Precision stops by the width of an interval, never by what a comparison would say. Looking at the interval after
every sample makes it cover somewhat less than 95 %: about 93 % from ten samples on (docs/measuring.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidbench_api.measured import Series, StopReason
from vidbench_runner.core.precision import half_width_ppm


@dataclass(frozen=True)
class PrecisionTarget:
    """The figure that is looked at, and the half-width of its interval that is enough, in millionths of its mean."""

    metric: str
    half_width_ppm: int


@dataclass(frozen=True)
class Quota:
    """How many samples a shard takes: at least `required`, at most `most`; in between by the target, if there is one."""

    required: int
    most: int
    target: PrecisionTarget | None = None


@dataclass(frozen=True)
class TimeLeft:
    """Nanoseconds until the shard is ended, and what the last turn took. None: there is no limit, or no turn yet."""

    left: int | None
    turn: int | None

    @property
    def enough(self) -> bool:
        """Whether another turn like the last one would end in time."""
        return self.left is None or self.left >= (self.turn or 0)


def reached_ppm(target: PrecisionTarget | None, series: Sequence[Series]) -> int | None:
    """Return the target figure's half-width over the samples; None without a target, or where it cannot be told."""
    if target is None:
        return None
    column = next((entry for entry in series if entry.name == target.metric), None)
    return half_width_ppm(column.statistics) if column is not None else None


def stop_reason(quota: Quota, done: int, reached: int | None, time: TimeLeft) -> StopReason | None:
    """Return why no sample may follow the `done` ones, or None."""
    target = quota.target if done >= quota.required else None
    if target is not None and reached is not None and reached <= target.half_width_ppm:
        return StopReason.PRECISION
    if done >= quota.most:
        return StopReason.ALL_DONE if quota.target is None else StopReason.MAXIMUM
    return None if time.enough else StopReason.DEADLINE

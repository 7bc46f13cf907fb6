"""From the times of a bare pipeline and of the runner to the figures of `make bench-runner`. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidbench_runner.core.precision import STUDENT_975


@dataclass(frozen=True)
class Ratio:
    """A ratio of two times with its 95 % interval; without one from a single pair."""

    value: float
    low: float | None
    high: float | None


def paired_ratio(bare: Sequence[int], timed: Sequence[int]) -> Ratio:
    """Return timed over bare: the geometric mean over pairs, and Student's interval on the logarithms.

    Raises:
        ValueError: no pair, or another number of one than of the other.
    """
    logs = [math.log(after / before) for before, after in zip(bare, timed, strict=True)]
    if not logs:
        raise ValueError("no pairs")
    middle = statistics.fmean(logs)
    if len(logs) == 1:
        return Ratio(math.exp(middle), None, None)
    t = STUDENT_975[min(len(logs) - 1, len(STUDENT_975)) - 1]
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def steps_that_last(
    seconds_of: Callable[[int], float | None], first: int, *, enough: float, wanted: float, most: int, tries: int = 8
) -> int:
    """Return with how many steps a video lasts at least `enough` seconds, by videos that are made; at most so many steps.

    Aims at `wanted`, which is more: what a video costs beside its steps makes it shorter than in proportion. `seconds_of` is None for more
    steps than a scheduler can take: then half the way back to what it took.
    """
    steps, taken = min(first, most), 1
    for _ in range(tries):
        seconds = seconds_of(steps)
        if seconds is None:
            most, steps = steps - 1, (taken + steps) // 2
            continue
        taken = steps
        if seconds >= enough or steps == most:
            break
        steps = min(most, max(steps + 1, math.ceil(steps * wanted / seconds)))
    return taken


def class_figures(
    bare: Sequence[int], timed: Sequence[int], other: Sequence[int], calls: int, cost_nanoseconds: int
) -> dict[str, Any]:
    """Return the figures of one pipeline class; times are nanoseconds of whole videos, one a pair."""
    ratio, latency = paired_ratio(bare, timed), statistics.median(timed)
    return {
        "pairs": len(bare),
        "latencySeconds": round(latency / 1e9, 4),
        "timedCalls": calls,
        "nanosecondsPerTimedCall": cost_nanoseconds,
        "instrumentPercent": round(100 * calls * cost_nanoseconds / latency, 5),
        "otherPercent": round(100 * statistics.fmean(part / whole for part, whole in zip(other, timed, strict=True)), 4),
        "ratioToBareLoop": {
            name: round(figure, 5) for name, figure in asdict(ratio).items() if figure is not None
        },
    }  # fmt: skip

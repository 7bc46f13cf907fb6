"""Percentiles of samples, no further out than the samples can tell, with an interval that assumes no distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .distributions import binomial_cumulative

UNSEEN = 0.0013
"""A percentile is not shown if the chance is larger than this that no sample lies beyond it."""


@dataclass(frozen=True)
class Percentile:
    """A percentile with bounds that are samples themselves.

    `value` is None below the floor, with reason `TooFewSamples`; a bound is None where no sample is far enough out. The
    bounds are of independent samples: of one process without autocorrelation they cover as often as they say, of samples
    of several processes less.
    """

    share: float
    count: int
    floor: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def floor_of(share: float) -> int:
    """Return how many samples a percentile takes: 64 for 90 %, 662 for 99 %, 10 for the median.

    The least n for which the farther tail is seen almost surely: max(share, 1 - share)^n <= 0.13 %.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a percentile is a share between 0 and 1, not {share}")
    return math.ceil(math.log(UNSEEN) / math.log(max(share, 1 - share)))


def percentile(values: Sequence[float], share: float, confidence: float = 0.95) -> Percentile:
    """Return a percentile (linear between order statistics, Hyndman and Fan 1996, type 7) with its interval.

    The bounds are order statistics whose ranks are binomial quantiles (e.g. Hahn and Meeker 1991, section 5.2).
    """
    count, floor = len(values), floor_of(share)
    if count < floor:
        return Percentile(share, count, floor, reason="TooFewSamples")
    ordered = sorted(values)
    place = share * (count - 1)
    below = math.floor(place)
    above = min(below + 1, count - 1)
    value = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    tail = (1 - confidence) / 2
    # P(order statistic r <= percentile) = P(at least r samples below) = 1 - P(at most r - 1).
    low = max((rank for rank in range(1, count + 1) if binomial_cumulative(rank - 1, count, share) <= tail), default=0)
    high = next((rank for rank in range(1, count + 1) if binomial_cumulative(rank - 1, count, share) >= 1 - tail), 0)
    return Percentile(
        share, count, floor, value, ordered[low - 1] if low else None, ordered[high - 1] if high else None
    )

"""When a figure is known well enough: stopping by the width of its interval, never by p.

Looking at p after every sample and stopping at 5 % finds differences that are not there in one of five cases; the width of
an interval does not know on which side of anything it lies.
"""

from __future__ import annotations

import math

from .distributions import t_quantile
from .intervals import Estimate

FEWEST = 10
"""Looked at earlier, intervals stop by chance while they are too narrow."""

MOST = 10_000


def is_precise(estimate: Estimate, half_width: float, fewest: int = FEWEST) -> bool:
    """Whether the interval's half-width is at most that share of the mean, over at least so many units (or samples)."""
    counted = estimate.samples if estimate.within_process else estimate.clusters
    return estimate.half_width is not None and counted >= fewest and estimate.half_width <= half_width


def needed_for_half_width(variation: float, half_width: float, confidence: float = 0.95) -> int | None:
    """Return the least number of units whose interval is that narrow, for units with this coefficient of variation.

    Both are shares of the mean. None beyond 10,000.
    """
    for count in range(2, MOST + 1):
        if t_quantile(0.5 + confidence / 2, count - 1) * variation / math.sqrt(count) <= half_width:
            return count
    return None


def expected_half_width(variation: float, count: int, confidence: float = 0.95) -> float | None:
    """Return the half-width, as a share of the mean, that so many units will have; None for fewer than two."""
    return t_quantile(0.5 + confidence / 2, count - 1) * variation / math.sqrt(count) if count >= 2 else None

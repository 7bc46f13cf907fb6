"""How narrow the interval of a mean becomes with a number of units, and how many make it as narrow as wanted.

The runner stops by that width (plan Precision), never by p: looking at p after every sample and stopping at 5 % finds
differences that are not there in one of five cases; the width does not know on which side of anything it lies.
"""

from __future__ import annotations

import math

from .distributions import t_quantile

MOST = 10_000


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

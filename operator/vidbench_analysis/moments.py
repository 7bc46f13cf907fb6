"""Mean, variance and covariance of a few values, by exact sums.

The standard library's variance works in fractions, which makes a comparison four times as slow and changes no digit that
is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """Return the variance (n - 1) of at least two values."""
    mean = mean_of(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation (n - 1) of at least two values."""
    return math.sqrt(variance(values))


def covariance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the covariance (n - 1) of at least two pairs."""
    mine, other = mean_of(first), mean_of(second)
    return math.fsum((a - mine) * (b - other) for a, b in zip(first, second, strict=True)) / (len(first) - 1)

"""Sizes of effect without a unit, beside ratio and difference: in standard deviations, and in order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .moments import mean_of, variance


def hedges_correction(freedom: float) -> float:
    """Return the factor that takes the bias out of a standardised difference (Hedges 1981, exact form)."""
    if freedom < 2:
        return 1.0
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def hedges_g(subject: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return (mean - mean) / pooled standard deviation, corrected; None without spread or with fewer than two on a side."""
    first, second = len(subject), len(reference)
    if first < 2 or second < 2:
        return None
    freedom = first + second - 2
    squares = (first - 1) * variance(subject) + (second - 1) * variance(reference)
    if squares == 0:
        return None
    difference = mean_of(subject) - mean_of(reference)
    return hedges_correction(freedom) * difference / math.sqrt(squares / freedom)


def cliffs_delta(subject: Sequence[float], reference: Sequence[float]) -> float:
    """Return P(subject above reference) - P(below), over all pairs of at least one value each (Cliff 1993)."""
    above = sum(a > b for a in subject for b in reference)
    below = sum(a < b for a in subject for b in reference)
    return (above - below) / (len(subject) * len(reference))

"""Samples of one process: how many independent ones they are worth, and how many lie far from the others.

The definitions are those by which the runner notes a shard (docs/validity.md): values of a series in their order.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

OUTLIER_SHARE = 0.03
OUTLIER_DEVIATIONS = 5.0
NORMAL_DEVIATIONS = 1.4826
"""Standard deviations in one median absolute deviation of a normal distribution."""

FEWEST_FOR_CORRELATION = 6


def autocorrelation(values: Sequence[float]) -> float:
    """Return the autocorrelation at lag 1; 0 for values that are all the same."""
    mean = statistics.fmean(values)
    deviations = [value - mean for value in values]
    total = math.fsum(deviation * deviation for deviation in deviations)
    return math.fsum(a * b for a, b in itertools.pairwise(deviations)) / total if total > 0 else 0.0


def effective_samples(values: Sequence[float]) -> float:
    """Return how many independent samples tell as much about the mean: n (1 - r) / (1 + r), never more than n.

    The limit for a first-order autoregression (e.g. Box, Jenkins, Reinsel). A negative correlation is not trusted to
    help. Below 6 samples the correlation says nothing, and the number of samples is returned.
    """
    count = len(values)
    if count < FEWEST_FOR_CORRELATION:
        return float(count)
    correlation = min(max(autocorrelation(values), 0.0), 0.99)
    return max(1.0, count * (1 - correlation) / (1 + correlation))


def is_autocorrelated(values: Sequence[float]) -> bool:
    """Whether the correlation at lag 1 is beyond what independent samples show in 19 of 20 cases."""
    return len(values) >= FEWEST_FOR_CORRELATION and autocorrelation(values) > 1.96 / math.sqrt(len(values))


def outliers(values: Sequence[float]) -> int:
    """Return how many values are further from the median than 5 standard deviations (by the MAD) and 3 % of it."""
    if not values:
        return 0
    median = statistics.median(values)
    away = [abs(value - median) for value in values]
    limit = max(OUTLIER_DEVIATIONS * NORMAL_DEVIATIONS * statistics.median(away), OUTLIER_SHARE * abs(median))
    return sum(distance > limit for distance in away)

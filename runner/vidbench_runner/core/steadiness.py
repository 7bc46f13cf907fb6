"""Whether the samples of a process are one population: drift, dependence on the one before, outliers, a cold first one.

Pure. Nothing here needs the samples to be normally distributed: latencies are not.

- Drift: Theil-Sen slope (Sen 1968, median of all pairwise slopes) times the run's length, and the exact two-sided p of
  the Mann-Kendall test against "no trend" (Mann 1945, Kendall 1938), from the number of permutations by inversions.
- Dependence: autocorrelation at lag 1, and the number of independent samples that are worth as much for a mean,
  n (1 - r) / (1 + r), the limit for a first-order autoregression; never more than n.
- Outliers: further from the median than five standard deviations as the median absolute deviation estimates them
  (times 1.4826 for a normal distribution), and than 3 % of it: a very steady process has no outlier of a microsecond.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vidbench_api.measured import Steadiness

FEWEST_SAMPLES = 6
"""Below, no order of the samples has a two-sided p below 1 %: 2 of 5! orders are 1.7 %."""

FEW_SAMPLES = f"fewer_than_{FEWEST_SAMPLES}_samples"
FEWEST_FOR_COLD = 3
TREND_P = 0.01
DRIFT_SHARE = 0.01
COLD_SHARE = 0.20
OUTLIER_SHARE = 0.03
OUTLIER_DEVIATIONS = 5.0
NORMAL_DEVIATIONS = 1.4826
"""Standard deviations in one median absolute deviation of a normal distribution."""

_MILLION = 1_000_000


@dataclass(frozen=True)
class Trend:
    """How the values move with their number: `drift` is the change from the first to the last, as a share of the median."""

    drift: float
    p: float


def trend_of(values: Sequence[float]) -> Trend:
    """Return the trend of at least two positive values."""
    pairs = list(itertools.combinations(range(len(values)), 2))
    slope = statistics.median((values[later] - values[earlier]) / (later - earlier) for earlier, later in pairs)
    ups = sum(values[later] > values[earlier] for earlier, later in pairs)
    downs = sum(values[later] < values[earlier] for earlier, later in pairs)
    # Ties speak for neither side: half of them each, rounded towards "no trend".
    fewer = min(ups, downs) + (len(pairs) - ups - downs + 1) // 2
    return Trend(slope * (len(values) - 1) / statistics.median(values), mann_kendall_p(len(values), fewer))


def mann_kendall_p(count: int, inversions: int) -> float:
    """Return the probability that a random order of `count` values has at most so many inversions, or as few the other way.

    The number of permutations by inversions are the Mahonian numbers: each further value adds 0 to i - 1 of them.
    """
    ways = [1]
    for size in range(2, count + 1):
        sums = [0, *itertools.accumulate(ways)]
        width = len(ways) + size - 1
        ways = [sums[min(k + 1, len(ways))] - sums[max(0, min(k + 1 - size, len(ways)))] for k in range(width)]
    return min(1.0, 2 * sum(ways[: inversions + 1]) / math.factorial(count))


def autocorrelation(values: Sequence[float]) -> float:
    """Return the autocorrelation at lag 1; 0 for values that are all the same."""
    mean = statistics.fmean(values)
    deviations = [value - mean for value in values]
    total = sum(deviation * deviation for deviation in deviations)
    return sum(a * b for a, b in itertools.pairwise(deviations)) / total if total > 0 else 0.0


def effective_samples(count: int, correlation: float) -> float:
    """Return how many independent samples tell as much about the mean; a negative correlation is not trusted to help."""
    correlation = min(max(correlation, 0.0), 0.99)
    return max(1.0, count * (1 - correlation) / (1 + correlation))


def outliers_of(values: Sequence[float]) -> int:
    """Return how many values lie far from the others."""
    median = statistics.median(values)
    deviation = NORMAL_DEVIATIONS * statistics.median(abs(value - median) for value in values)
    limit = max(OUTLIER_DEVIATIONS * deviation, OUTLIER_SHARE * median)
    return sum(abs(value - median) > limit for value in values)


def steadiness_of(latencies: Sequence[int]) -> Steadiness | None:
    """Return how steady the latencies of one process were; None for too few of them, or ones that are no durations."""
    if len(latencies) < FEWEST_SAMPLES or min(latencies) <= 0:
        return None
    trend, correlation = trend_of(latencies), autocorrelation(latencies)
    return Steadiness(
        drift_ppm=round(trend.drift * _MILLION),
        trend_p_ppm=round(trend.p * _MILLION),
        autocorrelation_ppm=round(correlation * _MILLION),
        effective_samples=round(effective_samples(len(latencies), correlation), 1),
        outliers=outliers_of(latencies),
    )


def is_drifting(steadiness: Steadiness) -> bool:
    """Whether there is a trend, and one that matters."""
    significant = steadiness.trend_p_ppm < TREND_P * _MILLION
    return significant and abs(steadiness.drift_ppm) > DRIFT_SHARE * _MILLION


def is_autocorrelated(steadiness: Steadiness, count: int) -> bool:
    """Whether the correlation at lag 1 is beyond what independent samples show in 19 of 20 cases."""
    return steadiness.autocorrelation_ppm > 1.96 / math.sqrt(count) * _MILLION


def is_cold(latencies: Sequence[int]) -> bool:
    """Whether the first sample still did what only a first one does: compile, tune, allocate."""
    if len(latencies) < FEWEST_FOR_COLD:
        return False
    first, rest = latencies[0], latencies[1:]
    median = statistics.median(rest)
    deviation = NORMAL_DEVIATIONS * statistics.median(abs(value - median) for value in rest)
    limit = max(COLD_SHARE * median, OUTLIER_DEVIATIONS * deviation)
    return first > max(rest) and first - median > limit

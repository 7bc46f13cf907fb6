"""Tests by ranks, on units as everywhere. They are exact, and silent where no data could reach the level.

For where someone states them: their null hypothesis is "the same distribution", not "the same mean". `scipy.stats` is
loaded with the first call; the operator makes none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .comparison import Comparison
from .metrics import Metric, Scale
from .observations import CellObservations
from .sides import Blocked, sides_of
from .verdicts import Method

ALPHA = 0.05
_PAIRED = (Method.PAIRED_BY_PROMPT, Method.PAIRED_BY_DEVICE)
_INDEPENDENT = (Method.WELCH_ON_SHARDS, Method.WELCH_ON_DEVICES)


@dataclass(frozen=True)
class RankTest:
    """A two-sided p; None with `reason` TooFew where even the most extreme data has a p of `smallest`, or NoVariance."""

    test: Literal["MannWhitney", "Wilcoxon"]
    p: float | None
    smallest: float
    reason: str | None = None


def by_ranks(
    found: Comparison, subject: CellObservations, reference: CellObservations, metric: Metric
) -> RankTest | None:
    """Test by ranks what a comparison tested by means: the same units, pairs as pairs; ratios as logarithms.

    None where nothing was tested, and for shards within devices: they are not of one distribution.
    """
    sides = sides_of(subject, reference, metric, found.pairing)
    if found.p is None or isinstance(sides, Blocked):
        return None
    if sides.method in _INDEPENDENT:
        return mann_whitney(sides.subject, sides.reference)
    if sides.method not in _PAIRED:
        return None
    scaled = math.log if metric.scale == Scale.RATIO else float
    return wilcoxon([scaled(value) for value in sides.subject], [scaled(value) for value in sides.reference])


def mann_whitney(subject: Sequence[float], reference: Sequence[float], alpha: float = ALPHA) -> RankTest:
    """Test two independent samples (Mann and Whitney 1947); exact below 9 on a side and without ties.

    The smallest p is 2 / C(n + m, n): 0.1 for three against three, so that four on each side are the least for 5 %.
    """
    from scipy import stats

    smallest = min(1.0, 2 / math.comb(len(subject) + len(reference), len(subject)))
    if smallest >= alpha:
        return RankTest("MannWhitney", None, smallest, "TooFew")
    if len({*subject, *reference}) == 1:
        return RankTest("MannWhitney", None, smallest, "NoVariance")
    return RankTest(
        "MannWhitney", float(stats.mannwhitneyu(subject, reference, alternative="two-sided").pvalue), smallest
    )


def wilcoxon(subject: Sequence[float], reference: Sequence[float], alpha: float = ALPHA) -> RankTest:
    """Test pairs by signed ranks (Wilcoxon 1945); pairs without a difference are left out.

    The smallest p is 2 / 2^n: six pairs are the least for 5 %.
    """
    from scipy import stats

    differences = [a - b for a, b in zip(subject, reference, strict=True) if a != b]
    smallest = 2.0 ** (1 - len(differences)) if differences else 1.0
    if not differences:
        return RankTest("Wilcoxon", None, smallest, "NoVariance")
    if smallest >= alpha:
        return RankTest("Wilcoxon", None, smallest, "TooFew")
    tied = len({abs(difference) for difference in differences}) < len(differences)
    method = "exact" if len(differences) <= 50 and not tied else "approx"
    return RankTest("Wilcoxon", float(stats.wilcoxon(differences, method=method).pvalue), smallest)

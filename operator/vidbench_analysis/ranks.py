"""Tests by ranks, on units as everywhere. They are exact, and silent where no data could reach the level.

For where someone states them: their null hypothesis is "the same distribution", not "the same mean". `scipy.stats` is
loaded with the first call; the operator makes none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ALPHA = 0.05


@dataclass(frozen=True)
class RankTest:
    """A two-sided p; None with `reason` TooFew where even the most extreme data has a p of `smallest`, or NoVariance."""

    p: float | None
    smallest: float
    reason: str | None = None


def mann_whitney(subject: Sequence[float], reference: Sequence[float], alpha: float = ALPHA) -> RankTest:
    """Test two independent samples (Mann and Whitney 1947); exact below 9 on a side and without ties.

    The smallest p is 2 / C(n + m, n): 0.1 for three against three, so that four on each side are the least for 5 %.
    """
    from scipy import stats

    smallest = min(1.0, 2 / math.comb(len(subject) + len(reference), len(subject)))
    if smallest >= alpha:
        return RankTest(None, smallest, "TooFew")
    if len({*subject, *reference}) == 1:
        return RankTest(None, smallest, "NoVariance")
    return RankTest(float(stats.mannwhitneyu(subject, reference, alternative="two-sided").pvalue), smallest)


def wilcoxon(subject: Sequence[float], reference: Sequence[float], alpha: float = ALPHA) -> RankTest:
    """Test pairs by signed ranks (Wilcoxon 1945); pairs without a difference are left out.

    The smallest p is 2 / 2^n: six pairs are the least for 5 %.
    """
    from scipy import stats

    differences = [a - b for a, b in zip(subject, reference, strict=True) if a != b]
    smallest = 2.0 ** (1 - len(differences)) if differences else 1.0
    if not differences:
        return RankTest(None, smallest, "NoVariance")
    if smallest >= alpha:
        return RankTest(None, smallest, "TooFew")
    tied = len({abs(difference) for difference in differences}) < len(differences)
    method = "exact" if len(differences) <= 50 and not tied else "approx"
    return RankTest(float(stats.wilcoxon(differences, method=method).pvalue), smallest)

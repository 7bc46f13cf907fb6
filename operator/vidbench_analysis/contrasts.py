"""Differences of two means with their standard errors: Welch, paired, and within blocks. Kernels on plain numbers.

Each is a pivot for Student's t: (difference - truth) / error has (nearly) a t distribution with `freedom` degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .moments import covariance, mean_of, variance


@dataclass(frozen=True)
class Contrast:
    """Subject minus reference. The two variances are those of the means, `covariance` is between them."""

    subject: float
    reference: float
    freedom: float
    subject_variance: float
    reference_variance: float
    covariance: float = 0.0

    @property
    def difference(self) -> float:
        """The difference of the means."""
        return self.subject - self.reference

    @property
    def error(self) -> float:
        """Its standard error."""
        return math.sqrt(max(0.0, self.subject_variance + self.reference_variance - 2 * self.covariance))


def welch(subject: Sequence[float], reference: Sequence[float]) -> Contrast:
    """Return the contrast of two independent samples of at least two values each (Welch 1947, Satterthwaite 1946)."""
    first = variance(subject) / len(subject)
    second = variance(reference) / len(reference)
    total = first + second
    freedom = (
        total**2 / (first**2 / (len(subject) - 1) + second**2 / (len(reference) - 1))
        if total > 0
        else float(len(subject) + len(reference) - 2)
    )
    return Contrast(mean_of(subject), mean_of(reference), freedom, first, second)


def paired(subject: Sequence[float], reference: Sequence[float]) -> Contrast:
    """Return the contrast of at least two pairs."""
    count = len(subject)
    return Contrast(
        mean_of(subject),
        mean_of(reference),
        count - 1.0,
        variance(subject) / count,
        variance(reference) / count,
        covariance(subject, reference) / count,
    )


def blocked(subject: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]) -> Contrast | None:
    """Return the contrast within blocks that both sides have values in; None where no degree of freedom is left.

    Least squares with an effect for each block and one for the side (two-way analysis of variance without interaction):
    the difference is the mean of the blocks' differences, weighted by a b / (a + b) for a and b values in the block.
    """
    blocks = [block for block in subject if block in reference]
    weights = {
        block: len(subject[block]) * len(reference[block]) / (len(subject[block]) + len(reference[block]))
        for block in blocks
    }
    total = sum(weights.values())
    count = sum(len(subject[block]) + len(reference[block]) for block in blocks)
    freedom = count - len(blocks) - 1
    if not blocks or freedom < 1:
        return None
    mine = sum(weights[block] * mean_of(subject[block]) for block in blocks) / total
    other = sum(weights[block] * mean_of(reference[block]) for block in blocks) / total
    squares = 0.0
    for block in blocks:
        # The block's effect is what is left of its values when the side's effect is taken away.
        moved = [value - (mine - other) for value in subject[block]] + list(reference[block])
        centre = mean_of(moved)
        squares += sum((value - centre) ** 2 for value in moved)
    variance = squares / freedom
    first = variance * sum((weights[block] / total) ** 2 / len(subject[block]) for block in blocks)
    second = variance * sum((weights[block] / total) ** 2 / len(reference[block]) for block in blocks)
    return Contrast(mine, other, float(freedom), first, second)


def ratio_bounds(contrast: Contrast, quantile: float) -> tuple[float, float] | None:
    """Return the interval of subject / reference by Fieller (1954); None where the reference may be zero."""
    a = contrast.reference**2 - quantile**2 * contrast.reference_variance
    b = contrast.subject * contrast.reference - quantile**2 * contrast.covariance
    c = contrast.subject**2 - quantile**2 * contrast.subject_variance
    inside = b * b - a * c
    if a <= 0 or inside < 0:
        return None
    root = math.sqrt(inside)
    return (b - root) / a, (b + root) / a

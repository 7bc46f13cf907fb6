"""How many units a comparison takes, and what it can see, with equal spread on both sides.

Effects and spreads are on the scale of the comparison: for ratios, logarithms (2 % is log 1.02; a coefficient of
variation of 1 % is a spread of about 0.01).

A test rejects where the estimate is beyond its threshold, t times the *estimated* error. Power is the normal probability of
that, averaged over the distribution of the estimated error: for pairs and large samples this is the noncentral t of Cohen
(1988) and the equivalence of Phillips (1990). For few independent units it is averaged over both sides' spreads, as Welch's
test then loses power that Student's would have: five points with four units each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from .distributions import normal_above, normal_differences, spread_ratios, t_quantile, welch_thresholds

POWER = 0.80
ALPHA = 0.05
MOST = 100_000
WELCH_UNITS = 40
"""Beyond, Welch's and Student's tests have the same power to three digits."""

_PARTS = 1024
_PARTS_OF_A_SIDE = 32


class Design(StrEnum):
    """What `each` counts and `spread` is of."""

    INDEPENDENT = "Independent"
    """So many units on each side, with this spread; on the other side `against` where that is given."""

    PAIRED = "Paired"
    """So many pairs, whose differences have this spread."""


def power_of_difference(
    effect: float,
    spread: float,
    each: int,
    alpha: float = ALPHA,
    design: Design = Design.INDEPENDENT,
    against: int | None = None,
) -> float:
    """Return the probability that a two-sided test sees the effect, in the right direction."""
    return _above(abs(effect), spread, each, 1 - alpha / 2, design, against)


def power_of_failure(
    effect: float,
    margin: float,
    spread: float,
    each: int,
    confidence: float = 1 - ALPHA,
    design: Design = Design.INDEPENDENT,
) -> float:
    """Return the probability that a NoWorseThan gate fails, for a subject that is truly worse by `effect`.

    It fails if the lower end of the two-sided interval of that confidence is above the margin.
    """
    return _above(effect - margin, spread, each, 0.5 + confidence / 2, design, None)


def power_of_pass(
    effect: float,
    margin: float,
    spread: float,
    each: int,
    confidence: float = 1 - ALPHA,
    design: Design = Design.INDEPENDENT,
    against: int | None = None,
) -> float:
    """Return the probability that such a gate passes: the upper end of the interval is below the margin."""
    return _above(margin - effect, spread, each, 0.5 + confidence / 2, design, against)


def power_of_equivalence(
    effect: float,
    margin: float,
    spread: float,
    each: int,
    alpha: float = ALPHA,
    design: Design = Design.INDEPENDENT,
    against: int | None = None,
) -> float:
    """Return the probability that two one-sided tests show |difference| < margin, for a true difference of `effect`."""
    other = each if against is None else against
    if min(each, other) < 2:
        return 0.0
    error, thresholds = _error(spread, each, other, design), _thresholds(each, other, 1 - alpha, design)
    return normal_differences((-margin - effect) / error + thresholds, (margin - effect) / error - thresholds)


def _above(effect: float, spread: float, each: int, probability: float, design: Design, against: int | None) -> float:
    """P(the estimate is above zero by more than the quantile of its error), for a true value of `effect`."""
    other = each if against is None else against
    if min(each, other) < 2:
        return 0.0
    return normal_above(effect / _error(spread, each, other, design), _thresholds(each, other, probability, design))


def _error(spread: float, each: int, other: int, design: Design) -> float:
    return spread / math.sqrt(each) if design == Design.PAIRED else spread * math.sqrt(1 / each + 1 / other)


@functools.lru_cache(maxsize=512)
def _thresholds(each: int, other: int, probability: float, design: Design) -> Any:
    """Critical values in true standard errors, equally likely each."""
    if design == Design.INDEPENDENT and min(each, other) <= WELCH_UNITS:
        return welch_thresholds(each, other, probability, _PARTS_OF_A_SIDE)
    freedom = each - 1 if design == Design.PAIRED else each + other - 2
    return t_quantile(probability, freedom) * spread_ratios(freedom, _PARTS)


def needed(power_of: Callable[[int], float], power: float = POWER) -> int | None:
    """Return the smallest number of units (each) at which a power that grows with it is reached; None beyond 100,000."""
    high = 2
    while power_of(high) < power:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high if power_of(2) < power else 2


def needed_to_decide(
    margin: float,
    spread: float,
    power: float = POWER,
    alpha: float = ALPHA,
    design: Design = Design.INDEPENDENT,
) -> int | None:
    """Return how many units see a difference as large as the margin, and show its absence where there is none."""
    if spread <= 0:
        return 2
    see = needed(lambda each: power_of_difference(margin, spread, each, alpha, design), power)
    rule_out = needed(lambda each: power_of_equivalence(0.0, margin, spread, each, alpha, design), power)
    return None if see is None or rule_out is None else max(see, rule_out)


def detectable(
    spread: float,
    each: int,
    power: float = POWER,
    alpha: float = ALPHA,
    design: Design = Design.INDEPENDENT,
    against: int | None = None,
) -> float | None:
    """Return the smallest effect that so many units see with that power; None for fewer than two."""
    if min(each, each if against is None else against) < 2:
        return None
    low, high = 0.0, spread
    while power_of_difference(high, spread, each, alpha, design, against) < power:
        low, high = high, 2 * high
    for _ in range(24):
        middle = (low + high) / 2
        seen = power_of_difference(middle, spread, each, alpha, design, against) >= power
        low, high = (low, middle) if seen else (middle, high)
    return high

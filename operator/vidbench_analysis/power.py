"""How many shards a comparison takes, and what it can see. Exact for Student's t with equal spread on both sides.

Effects and spreads are on the scale of the comparison: for ratios, logarithms (2 % is log 1.02; a coefficient of
variation of 1 % is a spread of about 0.01). Source: Cohen (1988), chapter 2, with the noncentral t; equivalence as in
Phillips (1990), integrated over the distribution of the estimated spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .distributions import chi_square_quantile, noncentral_t_cumulative, normal_cumulative, t_quantile

POWER = 0.80
ALPHA = 0.05
MOST = 100_000
_NODES = 256


def power_of_difference(effect: float, spread: float, each: int, alpha: float = ALPHA) -> float:
    """Return the probability that a two-sided test on so many units each sees the effect, in the right direction."""
    if each < 2:
        return 0.0
    freedom, noncentrality = 2 * each - 2, abs(effect) / (spread * math.sqrt(2 / each))
    return 1 - noncentral_t_cumulative(t_quantile(1 - alpha / 2, freedom), freedom, noncentrality)


def power_of_pairs(effect: float, spread: float, pairs: int, alpha: float = ALPHA) -> float:
    """Return the same for pairs whose differences have that spread."""
    if pairs < 2:
        return 0.0
    noncentrality = abs(effect) * math.sqrt(pairs) / spread
    return 1 - noncentral_t_cumulative(t_quantile(1 - alpha / 2, pairs - 1), pairs - 1, noncentrality)


def power_of_gate(effect: float, margin: float, spread: float, each: int, confidence: float = 1 - ALPHA) -> float:
    """Return the probability that a NoWorseThan gate fails, for a subject that is truly worse by `effect`.

    It fails if the lower end of the two-sided interval of that confidence is above the margin.
    """
    if each < 2:
        return 0.0
    freedom, noncentrality = 2 * each - 2, (effect - margin) / (spread * math.sqrt(2 / each))
    return 1 - noncentral_t_cumulative(t_quantile(0.5 + confidence / 2, freedom), freedom, noncentrality)


def power_of_pass(effect: float, margin: float, spread: float, each: int, confidence: float = 1 - ALPHA) -> float:
    """Return the probability that a NoWorseThan gate passes: the upper end of the interval is below the margin."""
    return power_of_gate(-effect, -margin, spread, each, confidence)


def power_of_equivalence(effect: float, margin: float, spread: float, each: int, alpha: float = ALPHA) -> float:
    """Return the probability that two one-sided tests show |difference| < margin, for a true difference of `effect`."""
    if each < 2:
        return 0.0
    freedom, error = 2 * each - 2, spread * math.sqrt(2 / each)
    quantile = t_quantile(1 - alpha, freedom)
    # The estimated spread over the true one: the middle of each of so many equally likely parts.
    found = 0.0
    for part in range(_NODES):
        ratio = math.sqrt(chi_square_quantile((part + 0.5) / _NODES, freedom) / freedom)
        upper = (margin - effect) / error - quantile * ratio
        lower = (-margin - effect) / error + quantile * ratio
        found += max(0.0, normal_cumulative(upper) - normal_cumulative(lower))
    return found / _NODES


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


def needed_to_decide(margin: float, spread: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Return how many units each see a difference as large as the margin, and show its absence where there is none."""
    if spread <= 0:
        return 2
    see = needed(lambda each: power_of_difference(margin, spread, each, alpha), power)
    rule_out = needed(lambda each: power_of_equivalence(0.0, margin, spread, each, alpha), power)
    return None if see is None or rule_out is None else max(see, rule_out)


def detectable(spread: float, each: int, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """Return the smallest effect that so many units each see with that power; None for fewer than two."""
    if each < 2:
        return None
    low, high = 0.0, spread
    while power_of_difference(high, spread, each, alpha) < power:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of_difference(middle, spread, each, alpha) >= power else (middle, high)
    return high

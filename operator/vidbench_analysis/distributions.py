"""The few distributions that intervals and tests need, from `scipy.special` alone.

`scipy.stats` has the same functions; importing it costs some 50 MiB of resident memory more, which the operator would pay
for ever. Tests hold these against it. `scipy.special` and numpy cost some 45 MiB, so that they are loaded with the first
call: a process that compares nothing does not pay.
"""

from __future__ import annotations

import functools
import math
from typing import Any


@functools.cache
def _special() -> Any:
    from scipy import special

    return special


def t_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t."""
    return float(_special().stdtrit(freedom, probability))


def t_two_sided(statistic: float, freedom: float) -> float:
    """Return the probability that |t| is at least |statistic|."""
    return float(min(1.0, 2.0 * _special().stdtr(freedom, -abs(statistic))))


def t_upper(statistic: float, freedom: float) -> float:
    """Return the probability that t is at least the statistic."""
    return float(_special().stdtr(freedom, -statistic))


def normal_cumulative(statistic: float) -> float:
    """Return the probability that z is at most the statistic."""
    return 0.5 * math.erfc(-statistic / math.sqrt(2.0))


def f_quantile(probability: float, numerator: float, denominator: float) -> float:
    """Return the quantile of F."""
    return float(_special().fdtri(numerator, denominator, probability))


def f_upper(statistic: float, numerator: float, denominator: float) -> float:
    """Return the probability that F is at least the statistic."""
    return float(_special().fdtrc(numerator, denominator, statistic))


def binomial_cumulative(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at most so many successes."""
    return float(_special().bdtr(successes, trials, probability)) if successes >= 0 else 0.0


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson 1934)."""
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else float(_special().betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(_special().betaincinv(successes + 1, trials - successes, 1.0 - tail))
    return low, high


def normal_above(effect: float, thresholds: Any) -> float:
    """Return the mean, over an array of thresholds, of P(z + effect > threshold)."""
    return float(_special().ndtr(effect - thresholds).mean())


def normal_differences(low: Any, high: Any) -> float:
    """Return the mean of P(low < z < high) over two arrays of bounds; 0 where they are crossed."""
    return float((_special().ndtr(high) - _special().ndtr(low)).clip(min=0.0).mean())


def spread_ratios(freedom: float, parts: int) -> Any:
    """Return the array of s / sigma at the middles of so many equally likely parts, for s with these degrees of freedom."""
    import numpy as np

    middles = (np.arange(parts) + 0.5) / parts
    return np.sqrt(2 * _special().gammaincinv(freedom / 2, middles) / freedom)


def welch_thresholds(first: int, second: int, probability: float, parts: int) -> Any:
    """Return the critical values of Welch's test in true standard errors, for sides of so many units and one spread.

    One for each pair of the equally likely parts of both sides' estimated variances.
    """
    import numpy as np

    squares = (spread_ratios(units - 1, parts) ** 2 / units for units in (first, second))
    mine, other = (side.ravel() for side in np.meshgrid(*squares))
    freedom = (mine + other) ** 2 / (mine**2 / (first - 1) + other**2 / (second - 1))
    return _special().stdtrit(freedom, probability) * np.sqrt((mine + other) / (1 / first + 1 / second))

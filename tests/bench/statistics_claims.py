"""Claims of `make simulate-statistics`: a figure, the bounds that it must lie in, and what chance alone adds to them."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

REPEATS = 2_000
SURE = 2.58


@dataclass(frozen=True)
class Claim:
    """A figure that must lie between two bounds, both included."""

    name: str
    figure: float
    low: float
    high: float
    repeats: int

    @property
    def holds(self) -> bool:
        return self.low <= self.figure <= self.high


def slack(rate: float, repeats: int) -> float:
    """Return how far off chance alone puts a rate, in 99 % of simulations."""
    return SURE * math.sqrt(rate * (1 - rate) / repeats)


def at_most(name: str, figure: float, level: float, repeats: int) -> Claim:
    return Claim(name, figure, 0.0, level + slack(level, repeats), repeats)


def covers(name: str, figure: float, repeats: int) -> Claim:
    """93 to 97 %, and by chance a little more or less where there are fewer than 2,000 repeats."""
    extra = max(0.0, slack(0.95, repeats) - slack(0.95, REPEATS)) if repeats else 0.0
    return Claim(name, figure, 0.93 - extra, 0.97 + extra, repeats)


def near(name: str, figure: float, planned: float, repeats: int) -> Claim:
    """Within 3 points of the plan, and what chance adds with fewer than 2,000 repeats."""
    extra = 0.03 + max(0.0, slack(planned, repeats) - slack(planned, REPEATS))
    return Claim(name, figure, planned - extra, planned + extra, repeats)


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))

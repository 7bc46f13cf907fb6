"""A straight line through samples, with how sure its slope is. Pure.

Memory is sampled every few seconds and changes slowly, so that neighbours say the same: samples are first put together
into blocks, and the standard error is that of the blocks' means.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trend:
    """A fitted line."""

    slope: float
    """Change of the value in one unit of time."""

    standard_error: float | None
    """Of the slope; None with fewer than three blocks."""

    blocks: int


def fit(times: Sequence[float], values: Sequence[float], block: float) -> Trend | None:
    """Fit a line by least squares to the means of blocks of so much time; None with fewer than two of them."""
    means = _means_of_blocks(times, values, block)
    if len(means) < 2:
        return None
    x_mean = statistics.fmean(x for x, _ in means)
    y_mean = statistics.fmean(y for _, y in means)
    spread = sum((x - x_mean) ** 2 for x, _ in means)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in means) / spread
    residue = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in means)
    free = len(means) - 2
    return Trend(slope, math.sqrt(residue / free / spread) if free else None, len(means))


def _means_of_blocks(times: Sequence[float], values: Sequence[float], block: float) -> list[tuple[float, float]]:
    blocks: dict[int, list[tuple[float, float]]] = {}
    for entry in zip(times, values, strict=True):
        blocks.setdefault(int(entry[0] // block), []).append(entry)
    return [
        (statistics.fmean(x for x, _ in entries), statistics.fmean(y for _, y in entries))
        for entries in blocks.values()
    ]

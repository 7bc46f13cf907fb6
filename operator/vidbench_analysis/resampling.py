"""Resampling that gives the same bytes for the same input: its generator is seeded by the input's digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

REPEATS = 4000


def generator_for(*parts: Any) -> Any:
    """Return a numpy Generator that is a function of the parts (anything that JSON can write)."""
    import numpy as np

    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def bootstrap_t(values: Sequence[float], confidence: float, repeats: int = REPEATS) -> tuple[float, float]:
    """Return the interval of a mean by the bootstrap-t (Efron and Tibshirani 1993, section 12.5), clusters resampled.

    It corrects for skewness, which neither t nor the percentile bootstrap does. Values must not all be the same.
    """
    import numpy as np

    array = np.asarray(values, dtype=float)
    count = array.size
    mean, error = float(array.mean()), float(array.std(ddof=1)) / math.sqrt(count)
    drawn = array[generator_for(list(map(float, values)), confidence).integers(0, count, (repeats, count))]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(count)
    usable = errors > 0
    statistics = (drawn.mean(axis=1)[usable] - mean) / errors[usable]
    low, high = np.quantile(statistics, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean - float(high) * error, mean - float(low) * error

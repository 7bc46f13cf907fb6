"""Several hypotheses at once: Holm's adjustment, over those that were named before anything was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the adjusted p of each hypothesis (Holm 1979): below alpha means rejected at a family-wise level of alpha.

    A hypothesis without p (None: inconclusive; or a figure that is no number) has none and still counts: it was named, so that leaving it out after the
    fact would make the others look better.
    """
    count = len(p_values)
    ordered = sorted((p, name) for name, p in p_values.items() if p is not None and math.isfinite(p))
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, (p, name) in enumerate(ordered):
        largest = max(largest, min(1.0, (count - rank) * p))
        adjusted[name] = largest
    return adjusted

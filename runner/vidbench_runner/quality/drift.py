"""How far a clip's colours wander: the distance between the histograms of frames that are some frames apart.

It knows nothing of where in the picture something is, so that motion alone is no drift.
"""

from __future__ import annotations

from typing import Any

from vidbench_runner.quality.pictures import FULL_SCALE

LAGS = (2, 5, 10, 20, 50)
"""In frames."""


def drift(histograms: Any, lag: int) -> float | None:
    """Return the drift over a lag, 0 to 1; None for a clip of no more than `lag` frames.

    `histograms` is an integer array (frames, 3, 256). The distance of two histograms is the earth mover's (first Wasserstein)
    one: the mean way, as a share of full scale, by which values would have to change; in one dimension the area between the
    cumulated histograms. It is averaged over channels and over all pairs of frames that far apart.
    """
    import numpy as np

    if len(histograms) <= lag:
        return None
    cumulated = np.cumsum(histograms, axis=2) / histograms[0, 0].sum()
    ways = np.abs(cumulated[lag:] - cumulated[:-lag]).sum(axis=2)
    return float(ways.mean()) / FULL_SCALE

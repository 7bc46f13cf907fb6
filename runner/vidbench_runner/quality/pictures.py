"""What single frames show: brightness, contrast, clipping, sharpness, black and blank frames. No time in it.

All figures are shares of the full scale of 8 bits unless they count frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEVELS = 256
FULL_SCALE = LEVELS - 1
BLACK_LEVEL = 32
BLACK_SHARE = 0.98
"""A frame is black if that share of its pixels has a luma below `BLACK_LEVEL`: the defaults of ffmpeg's `blackframe`."""

BLANK_DEVIATION = 1.0
"""A frame is blank if no channel's standard deviation is above this many levels: nothing is to be seen in it."""


@dataclass(frozen=True)
class Picture:
    """The figures of one frame."""

    brightness: float
    """Mean luma, 0 to 1."""

    contrast: float
    """Standard deviation of luma, 0 to 0.5."""

    clipped: float
    """Share of the values of all channels that are 0 or 255."""

    sharpness: float
    """Standard deviation of the Laplacian of luma, as a share of full scale: 0 to 4."""

    black: bool
    blank: bool


def describe(frame: Any, luma: Any, histogram: Any) -> Picture:
    """Return the figures of a uint8 RGB frame (height, width, 3), its luma (height, width) and its histogram (3, 256).

    Sharpness is the root of the variance of the 4-neighbour Laplacian (Pech-Pacheco et al., ICPR 2000), borders mirrored.
    """
    import cv2
    import numpy as np

    mean, deviation = cv2.meanStdDev(luma)
    _, edges = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F, ksize=1))
    _, spread = cv2.meanStdDev(frame)
    return Picture(
        brightness=float(mean[0, 0]) / FULL_SCALE,
        contrast=float(deviation[0, 0]) / FULL_SCALE,
        clipped=float(histogram[:, 0].sum() + histogram[:, -1].sum()) / float(histogram.sum()),
        sharpness=float(edges[0, 0]) / FULL_SCALE,
        black=bool(np.count_nonzero(luma < BLACK_LEVEL) >= BLACK_SHARE * luma.size),
        blank=bool(float(spread.max()) <= BLANK_DEVIATION),
    )


def histogram_of(frame: Any) -> Any:
    """Return how often each level occurs in each channel of a uint8 RGB frame: an integer array (3, 256)."""
    import cv2
    import numpy as np

    counts = [cv2.calcHist([frame], [channel], None, [LEVELS], [0, LEVELS]).ravel() for channel in range(3)]
    return np.stack(counts).astype(np.int64)


def luma_of(frame: Any) -> Any:
    """Return the luma of a uint8 RGB frame by the weights of ITU-R BT.601, full range, as uint8 (height, width)."""
    import cv2

    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)

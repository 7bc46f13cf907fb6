"""What happens between neighbouring frames: flicker, freezes, duplicates, scene cuts; and whether anything happens at all.

Differences are mean absolute differences over all pixels and channels, as shares of full scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_runner.quality.pictures import FULL_SCALE

FROZEN_DIFFERENCE = 0.001
"""A frame is frozen if it differs from the one before by no more: the default of ffmpeg's `freezedetect` (-60 dB)."""

STATIC_LEVELS = 1
"""A clip is static if no value of any frame is more levels away from the first frame's."""

THUMBNAIL = 32
"""Scene cuts are looked for in frames of 32x32, in which noise and fine textures that move average out."""

CUT_DIFFERENCE = 0.1
CUT_RATIO = 3.0
CUT_WINDOW = 2
SHORTEST_FOR_CUTS = 4


def difference(first: Any, second: Any) -> float:
    """Return the mean absolute difference of two uint8 RGB frames of one size, 0 to 1."""
    import cv2

    return float(cv2.norm(first, second, cv2.NORM_L1) / (first.size * FULL_SCALE))


def is_static(first: Any, frame: Any) -> bool:
    """Return whether a frame shows what the first one shows."""
    import cv2

    return bool(cv2.norm(first, frame, cv2.NORM_INF) <= STATIC_LEVELS)


def thumbnail(frame: Any) -> Any:
    """Return the frame as a float32 array (32, 32, 3) of 0 to 1; each value is the mean of what it covers, to half a level."""
    import cv2
    import numpy as np

    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / FULL_SCALE


def scene_cuts(thumbnails: Sequence[Any]) -> list[int]:
    """Return the positions t at which a scene ends: between frames t and t + 1.

    A cut is a change that is large, that stands out among the `CUT_WINDOW` changes on each side (the idea of
    PySceneDetect's adaptive detector), and that lasts: after a flash the picture is as it was before.
    """

    def distance(first: int, second: int) -> float:
        return float(abs(thumbnails[first] - thumbnails[second]).mean())

    last = len(thumbnails) - 1
    changes = [distance(position, position + 1) for position in range(last)]
    cuts = []
    for position, change in enumerate(changes):
        around = changes[max(0, position - CUT_WINDOW) : position] + changes[position + 1 : position + 1 + CUT_WINDOW]
        if change < CUT_DIFFERENCE or change < CUT_RATIO * sum(around) / len(around):
            continue
        before, after = max(0, position - 1), min(last, position + 2)
        if distance(before, position + 1) >= CUT_DIFFERENCE and distance(position, after) >= CUT_DIFFERENCE:
            cuts.append(position)
    return cuts

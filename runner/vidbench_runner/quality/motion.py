"""How much moves, and whether what moves keeps its colours: optical flow by DIS, forward and backward.

The flow is that of OpenCV's `DISOpticalFlow`, preset MEDIUM (Kroeger et al., ECCV 2016), on luma. It needs no weights and gives
the same bits for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidbench_runner.quality.pictures import FULL_SCALE

SMALLEST_SIDE = 32
"""Below it the patches of the flow see too little."""

MAX_PAIRS = 16
"""Flow costs some hundred milliseconds a pair at 480x832 on two cores: of longer clips this many pairs are taken."""

MOVING_SHARE = 0.05
SMALLEST_VISIBLE_SHARE = 0.25
"""A pair of which less can be followed says nothing of warping."""


@dataclass(frozen=True)
class PairMotion:
    """The figures of one pair of neighbouring frames."""

    fastest: float
    """Mean length, in pixels, of the longest 5 % of the flow's vectors."""

    warping_error: float | None
    """None where too little of the first frame can be found again in the second."""

    occluded: float
    """Share of pixels that cannot be followed."""


def pairs_to_follow(frames: int) -> tuple[int, ...]:
    """Return the first frames of at most `MAX_PAIRS` pairs, spread evenly, always the same for a length."""
    pairs = frames - 1
    taken = min(pairs, MAX_PAIRS)
    return tuple(number * pairs // taken for number in range(taken))


def follow(first: Any, second: Any, first_luma: Any, second_luma: Any) -> PairMotion:
    """Measure the motion between two uint8 RGB frames (height, width, 3), of which the luma is given as well.

    The warping error is the mean absolute difference, as a share of full scale, between the first frame and the second one warped
    back along the flow, over the pixels that are not occluded (as in Lai et al., ECCV 2018, with the absolute for the squared
    difference).
    """
    import cv2
    import numpy as np

    forward, backward = _flow(first_luma, second_luma), _flow(second_luma, first_luma)
    lengths = np.linalg.norm(forward, axis=2).ravel()
    count = max(1, round(lengths.size * MOVING_SHARE))
    fastest = float(np.partition(lengths, -count)[-count:].mean())
    height, width = first_luma.shape
    across = forward[..., 0] + np.arange(width, dtype=np.float32)
    down = forward[..., 1] + np.arange(height, dtype=np.float32)[:, np.newaxis]
    visible = _visible(forward, backward, across, down)
    share = float(visible.mean())
    if share < SMALLEST_VISIBLE_SHARE:
        return PairMotion(fastest, None, 1.0 - share)
    warped = cv2.remap(second.astype(np.float32), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    errors = np.abs(warped - first.astype(np.float32))[visible]
    return PairMotion(fastest, float(errors.mean(dtype=np.float64)) / FULL_SCALE, 1.0 - share)


def _flow(first: Any, second: Any) -> Any:
    import cv2

    estimator: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator.calc(first, second, None)


def _visible(forward: Any, backward: Any, across: Any, down: Any) -> Any:
    """Which pixels can be followed: they stay in the picture, and the way back leads to where they came from.

    The test of Sundaram et al. (ECCV 2010): |w + v|² <= 0.01 (|w|² + |v|²) + 0.5 for the flow w and the flow back v.
    """
    import cv2

    height, width = forward.shape[:2]
    inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    back = cv2.remap(backward, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap = ((forward + back) ** 2).sum(axis=2)
    allowed = 0.01 * ((forward**2).sum(axis=2) + (back**2).sum(axis=2)) + 0.5
    return inside & (gap <= allowed)

"""All figures of quality of one clip, within a stated time: one look at every frame, then motion on some pairs.

Called between samples, while the device rests: a beat at least every few frames tells the watchdog that it goes on. What
is not done when the time is over is absent, never a figure over fewer frames, so that the figures of a clip are the same on
any machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidbench_api.measured import SeriesName
from vidbench_runner.core.quality import QUALITY_COLUMNS, absent
from vidbench_runner.ports import ClipQuality, Clock, Progress
from vidbench_runner.quality.changes import (
    FROZEN_DIFFERENCE,
    SHORTEST_FOR_CUTS,
    difference,
    is_static,
    scene_cuts,
    thumbnail,
)
from vidbench_runner.quality.drift import LAGS, drift
from vidbench_runner.quality.motion import SMALLEST_SIDE, PairMotion, follow, pairs_to_follow
from vidbench_runner.quality.pictures import Picture, describe, histogram_of, luma_of

LIMIT_SECONDS = 20
"""For one clip. A device that rests longer between samples cools down more than it would in use."""

NANOSECONDS_PER_SECOND = 1_000_000_000
FRAMES_PER_BEAT = 8
ONE_FRAME = "one_frame"
TOO_SLOW = f"not_done_in_{LIMIT_SECONDS}_s"
SERIES_OF_LAG: Mapping[int, SeriesName] = {lag: SeriesName(f"drift{lag}") for lag in LAGS}
_logger = logging.getLogger(__name__)
_Figures = dict[SeriesName, float | str]
"""Each column of quality: its figure, or the reason why there is none."""


class _OutOfTimeError(Exception):
    """The limit is reached."""


@dataclass
class _Look:
    """What one pass over the frames saw."""

    pictures: list[Picture] = field(default_factory=list)
    histograms: list[Any] = field(default_factory=list)
    thumbnails: list[Any] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    duplicates: int = 0
    static: bool = True


class FrameAssessor:
    """A `ClipAssessor` over OpenCV and NumPy; both run on the CPU."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def assess(self, frames: Any, progress: Progress) -> ClipQuality:
        """Measure uint8 RGB frames (frames, height, width, 3); whatever fails becomes a reason."""
        started = self._clock.nanoseconds()
        deadline = started + LIMIT_SECONDS * NANOSECONDS_PER_SECOND

        def beat(word: str) -> None:
            progress(word)
            if self._clock.nanoseconds() > deadline:
                raise _OutOfTimeError

        try:
            return _assess(frames, beat, lambda: self._clock.nanoseconds() - started)
        except _OutOfTimeError:
            return absent(TOO_SLOW)
        except Exception as error:
            _logger.warning("the quality of a clip was not measured", exc_info=True)
            return absent(f"failed: {type(error).__name__}")


def _assess(frames: Any, beat: Progress, elapsed: Any) -> ClipQuality:
    if not len(frames):
        return absent("no_frames")
    look = _look_at(frames, beat)
    cuts = scene_cuts(look.thumbnails) if len(frames) >= SHORTEST_FOR_CUTS else []
    beat("drift")
    columns = _pictures(look) | _changes(look, cuts) | _drifts(look)
    motion, occluded = _motion(frames, cuts, beat)
    columns |= motion
    return ClipQuality(
        figures={name: value for name in QUALITY_COLUMNS if not isinstance(value := columns[name], str)},
        reasons={name: value for name in QUALITY_COLUMNS if isinstance(value := columns[name], str)},
        blank=all(picture.blank for picture in look.pictures),
        static=look.static if len(frames) > 1 else None,
        occluded=occluded,
        nanoseconds=elapsed(),
    )


def _look_at(frames: Any, beat: Progress) -> _Look:
    import numpy as np

    look = _Look()
    first = previous = np.ascontiguousarray(frames[0])
    for number in range(len(frames)):
        if number % FRAMES_PER_BEAT == 0:
            beat(f"frame {number + 1}")
        frame = np.ascontiguousarray(frames[number])
        histogram = histogram_of(frame)
        look.pictures.append(describe(frame, luma_of(frame), histogram))
        look.histograms.append(histogram)
        look.thumbnails.append(thumbnail(frame))
        look.static = look.static and is_static(first, frame)
        if number:
            look.differences.append(difference(previous, frame))
            look.duplicates += bool(np.array_equal(previous, frame))
        previous = frame
    return look


def _pictures(look: _Look) -> _Figures:
    pictures = look.pictures
    return {
        SeriesName.BRIGHTNESS: _mean([picture.brightness for picture in pictures]),
        SeriesName.CONTRAST: _mean([picture.contrast for picture in pictures]),
        SeriesName.CLIPPED: _mean([picture.clipped for picture in pictures]),
        SeriesName.SHARPNESS: _mean([picture.sharpness for picture in pictures]),
        SeriesName.BLACK_FRAMES: sum(picture.black for picture in pictures),
    }


def _changes(look: _Look, cuts: list[int]) -> _Figures:
    enough = len(look.pictures) >= SHORTEST_FOR_CUTS
    scenes: _Figures = {SeriesName.SCENE_CUTS: len(cuts) if enough else f"fewer_than_{SHORTEST_FOR_CUTS}_frames"}
    if not look.differences:
        names = (SeriesName.FLICKER, SeriesName.FROZEN_FRAMES, SeriesName.DUPLICATE_FRAMES)
        return scenes | dict.fromkeys(names, ONE_FRAME)
    return scenes | {
        SeriesName.FLICKER: _mean(look.differences),
        SeriesName.FROZEN_FRAMES: sum(value <= FROZEN_DIFFERENCE for value in look.differences),
        SeriesName.DUPLICATE_FRAMES: look.duplicates,
    }


def _drifts(look: _Look) -> _Figures:
    import numpy as np

    histograms = np.stack(look.histograms)
    drifts = {lag: drift(histograms, lag) for lag in LAGS}
    return {
        SERIES_OF_LAG[lag]: f"fewer_than_{lag + 1}_frames" if value is None else value for lag, value in drifts.items()
    }


def _motion(frames: Any, cuts: list[int], beat: Progress) -> tuple[_Figures, float | None]:
    """Follow what moves; over a cut there is nothing to follow."""
    import numpy as np

    def nothing(reason: str) -> tuple[_Figures, None]:
        return {SeriesName.DYNAMIC_DEGREE: reason, SeriesName.WARPING_ERROR: reason}, None

    if len(frames) < 2:
        return nothing(ONE_FRAME)
    if min(frames.shape[1:3]) < SMALLEST_SIDE:
        return nothing(f"smaller_than_{SMALLEST_SIDE}_pixels")
    positions = [position for position in pairs_to_follow(len(frames)) if position not in set(cuts)]
    if not positions:
        return nothing("cut_at_every_pair")
    pairs: list[PairMotion] = []
    try:
        for position in positions:
            beat(f"flow {position + 1}")
            first, second = (np.ascontiguousarray(frame) for frame in frames[position : position + 2])
            pairs.append(follow(first, second, luma_of(first), luma_of(second)))
    except _OutOfTimeError:
        return nothing(TOO_SLOW)
    errors = [pair.warping_error for pair in pairs if pair.warping_error is not None]
    return {
        SeriesName.DYNAMIC_DEGREE: _mean([pair.fastest for pair in pairs]),
        SeriesName.WARPING_ERROR: _mean(errors) if errors else "occluded",
    }, _mean([pair.occluded for pair in pairs])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

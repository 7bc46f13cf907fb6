"""All figures of a clip together: which are there, which are not and why, the time limit, and what a failure costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import clips

from vidbench_api.measured import SeriesName
from vidbench_runner.core.quality import QUALITY_COLUMNS, absent, quality_line
from vidbench_runner.ports import ClipQuality
from vidbench_runner.quality.assessment import LIMIT_SECONDS, TOO_SLOW, FrameAssessor
from vidbench_runner.quality.motion import MAX_PAIRS

MOTION = (SeriesName.DYNAMIC_DEGREE, SeriesName.WARPING_ERROR)
CHANGES = (SeriesName.FLICKER, SeriesName.FROZEN_FRAMES, SeriesName.DUPLICATE_FRAMES)


@dataclass
class Ticks:
    """A clock that goes on by so many milliseconds with every look at it."""

    milliseconds: int = 1
    looks: Iterator[int] = field(default_factory=count)

    def nanoseconds(self) -> int:
        return next(self.looks) * self.milliseconds * 1_000_000


def assess(frames: Any, milliseconds: int = 1) -> tuple[ClipQuality, list[str]]:
    words: list[str] = []
    return FrameAssessor(Ticks(milliseconds)).assess(frames, words.append), words


def figure(quality: ClipQuality, name: SeriesName) -> float:
    return quality.figures[name]


def test_quality_of_a_static_clip() -> None:
    quality, _ = assess(clips.still(12))
    assert (quality.static, quality.blank, quality.occluded) == (True, False, 0.0)
    for name in (*MOTION, SeriesName.FLICKER, SeriesName.SCENE_CUTS, SeriesName.DRIFT_2, SeriesName.DRIFT_10):
        assert figure(quality, name) == 0.0
    assert figure(quality, SeriesName.FROZEN_FRAMES) == figure(quality, SeriesName.DUPLICATE_FRAMES) == 11


def test_quality_of_a_pan() -> None:
    quality, _ = assess(clips.pan(12, 4, 120, 200))
    assert (quality.static, quality.blank) == (False, False)
    assert figure(quality, SeriesName.DYNAMIC_DEGREE) == pytest.approx(4, rel=0.05)
    assert figure(quality, SeriesName.WARPING_ERROR) < 0.003 < figure(quality, SeriesName.FLICKER)
    assert figure(quality, SeriesName.FROZEN_FRAMES) == figure(quality, SeriesName.DUPLICATE_FRAMES) == 0


def test_quality_of_a_flicker_is_its_height_and_no_motion() -> None:
    quality, _ = assess(clips.shifted(clips.still(12), [0, 20] * 6))
    assert figure(quality, SeriesName.FLICKER) == pytest.approx(20 / 255)
    assert figure(quality, SeriesName.WARPING_ERROR) == pytest.approx(20 / 255, rel=0.05)
    assert figure(quality, SeriesName.DRIFT_5) == pytest.approx(20 / 255)
    assert figure(quality, SeriesName.DRIFT_10) == 0.0, "of the same phase"
    assert quality.static is False


def test_quality_of_a_clip_that_freezes_counts_the_frozen_frames() -> None:
    moving = clips.pan(8, 3)
    nearly = moving[-1:].copy()
    nearly[0, :10, :10] += 1
    quality, _ = assess(np.concatenate([moving, moving[-1:], moving[-1:], nearly]))
    assert figure(quality, SeriesName.FROZEN_FRAMES) == 3
    assert figure(quality, SeriesName.DUPLICATE_FRAMES) == 2
    assert quality.static is False


def test_quality_of_a_cut_is_a_cut_and_no_motion() -> None:
    quality, _ = assess(np.concatenate([clips.still(5, seed=1), clips.shifted(clips.still(5, seed=2), [-35] * 5)]))
    assert figure(quality, SeriesName.SCENE_CUTS) == 1
    assert figure(quality, SeriesName.DYNAMIC_DEGREE) == figure(quality, SeriesName.WARPING_ERROR) == 0.0
    assert figure(quality, SeriesName.FLICKER) > 0.01


@pytest.mark.parametrize(
    ("clip", "blank", "static", "black"),
    [
        pytest.param(clips.constant(0), True, True, 6, id="black"),
        pytest.param(clips.constant(77), True, True, 0, id="grey"),
        pytest.param(clips.shifted(clips.constant(0), range(0, 60, 10)), True, False, 4, id="a fade of nothing"),
        pytest.param(
            np.concatenate([clips.constant(0, 5), clips.noise(1, 40, 48)]), False, False, 5, id="one frame shows"
        ),
        pytest.param(clips.constant(0, 1), True, None, 1, id="one black frame"),
        pytest.param(clips.noise(), False, False, 0, id="noise"),
    ],
)
def test_quality_blank_and_static(clip: Any, blank: bool, static: bool | None, black: int) -> None:
    quality, _ = assess(clip)
    assert (quality.blank, quality.static) == (blank, static)
    assert figure(quality, SeriesName.BLACK_FRAMES) == black


def test_quality_of_one_frame_knows_its_picture_and_says_why_no_more() -> None:
    quality, _ = assess(clips.still(1))
    assert set(quality.figures) == {
        SeriesName.SHARPNESS, SeriesName.BRIGHTNESS, SeriesName.CONTRAST, SeriesName.CLIPPED, SeriesName.BLACK_FRAMES,
    }  # fmt: skip
    assert {quality.reasons[name] for name in (*MOTION, *CHANGES)} == {"one_frame"}
    assert quality.reasons[SeriesName.SCENE_CUTS] == "fewer_than_4_frames"
    assert quality.reasons[SeriesName.DRIFT_50] == "fewer_than_51_frames"


@pytest.mark.parametrize(
    ("clip", "reasons"),
    [
        pytest.param(clips.noise(6, 31, 64), dict.fromkeys(MOTION, "smaller_than_32_pixels"), id="too small for flow"),
        pytest.param(clips.noise(6, 240, 416), {SeriesName.WARPING_ERROR: "occluded"}, id="nothing to follow"),
        pytest.param(clips.pan(3, 2), {SeriesName.SCENE_CUTS: "fewer_than_4_frames"}, id="too short for cuts"),
        pytest.param(clips.noise(0), dict.fromkeys(QUALITY_COLUMNS, "no_frames"), id="nothing"),
    ],
)
def test_quality_that_makes_no_sense_is_absent_with_a_reason(clip: Any, reasons: dict[SeriesName, str]) -> None:
    quality, _ = assess(clip)
    drifts = {name: reason for name, reason in quality.reasons.items() if "drift" in name and reason != "no_frames"}
    assert {name: reason for name, reason in quality.reasons.items() if name not in drifts} == reasons


def test_quality_beats_every_few_frames_and_at_every_pair() -> None:
    _, words = assess(clips.still(60, 40, 48))
    assert [word for word in words if word.startswith("frame")] == [f"frame {n}" for n in range(1, 61, 8)]
    assert len([word for word in words if word.startswith("flow")]) == MAX_PAIRS
    assert max(len(f"quality {word}") for word in words) < 46, "it has to fit on the page of the pulse"


def test_quality_that_takes_too_long_is_absent_from_where_it_was() -> None:
    clip = clips.pan(20, 2)
    whole, words = assess(clip)
    looks = len(words)
    none, _ = assess(clip, milliseconds=LIMIT_SECONDS * 1000)
    assert none == absent(TOO_SLOW)
    pictures, cut_short = assess(clip, milliseconds=LIMIT_SECONDS * 1000 // (looks - 3))
    assert {pictures.reasons[name] for name in MOTION} == {TOO_SLOW}
    assert len(cut_short) < looks
    assert pictures.figures == {name: value for name, value in whole.figures.items() if name not in MOTION}, (
        "never of fewer"
    )


def test_quality_takes_time_that_is_told() -> None:
    quality, words = assess(clips.still(2), milliseconds=7)
    assert quality.nanoseconds == (len(words) + 1) * 7_000_000


@pytest.mark.parametrize("error", [cv2.error("no such thing"), MemoryError()])
def test_quality_that_fails_is_a_reason_and_costs_no_measurement(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr("vidbench_runner.quality.assessment.follow", fail)
    quality, _ = assess(clips.still(3))
    assert quality == absent(f"failed: {type(error).__name__}")


@given(
    st.integers(0, 14),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_quality_of_any_clip_has_a_figure_or_a_reason_for_each_column_within_its_bounds(
    frames: int, height: int, width: int, seed: int, repeat: bool, stride: int
) -> None:
    clip = clips.noise(frames, height, width * stride, seed)[:, :, ::stride]
    if repeat and frames:
        clip = clip[np.zeros(frames, dtype=int)]
    quality, _ = assess(clip)
    assert list(quality.figures) == [name for name in QUALITY_COLUMNS if name in quality.figures]
    assert set(quality.figures) ^ set(quality.reasons) == set(QUALITY_COLUMNS)
    assert not any(reason.startswith("failed") for reason in quality.reasons.values())
    assert json.loads(json.dumps(quality_line(quality))) == quality_line(quality), "plain numbers"
    for name, value in quality.figures.items():
        unit = QUALITY_COLUMNS[name]
        if unit == "partsPerMillion":
            assert 0 <= value <= (4 if name is SeriesName.SHARPNESS else 1)
        elif unit == "count":
            assert value == int(value)
            assert 0 <= value <= frames
        else:
            assert value >= 0

"""Each figure of quality against a closed-form answer, or against another implementation of its definition."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import clips

from vidbench_runner.quality.changes import difference, is_static, scene_cuts, thumbnail
from vidbench_runner.quality.drift import drift
from vidbench_runner.quality.motion import MAX_PAIRS, PairMotion, follow, pairs_to_follow
from vidbench_runner.quality.pictures import Picture, describe, histogram_of, luma_of

FRAMES = st.integers(0, 2**32 - 1).map(lambda seed: clips.noise(1, 9, 13, seed)[0])


def picture(frame: Any) -> Picture:
    return describe(frame, luma_of(frame), histogram_of(frame))


def motion(first: Any, second: Any) -> PairMotion:
    return follow(first, second, luma_of(first), luma_of(second))


def histograms(clip: Any) -> Any:
    return np.stack([histogram_of(frame) for frame in clip])


def cuts(clip: Any) -> list[int]:
    return scene_cuts([thumbnail(frame) for frame in clip])


# -- pictures


@pytest.mark.parametrize(
    ("level", "brightness", "clipped", "black"),
    [
        pytest.param(0, 0.0, 1.0, True, id="black"),
        pytest.param(31, 31 / 255, 0.0, True, id="nearly black"),
        pytest.param(32, 32 / 255, 0.0, False, id="no longer black"),
        pytest.param(128, 128 / 255, 0.0, False, id="grey"),
        pytest.param(255, 1.0, 1.0, False, id="white"),
    ],
)
def test_quality_of_a_constant_frame_is_its_level(level: int, brightness: float, clipped: float, black: bool) -> None:
    seen = picture(clips.constant(level)[0])
    assert (seen.brightness, seen.clipped, seen.black) == (pytest.approx(brightness), clipped, black)
    assert (seen.contrast, seen.sharpness, seen.blank) == (0.0, 0.0, True)


def test_quality_of_a_checkerboard_is_the_largest_sharpness_and_contrast() -> None:
    board = ((np.indices((16, 24)).sum(axis=0) % 2) * 255).astype(np.uint8)
    seen = picture(np.dstack([board] * 3))
    assert seen.sharpness == pytest.approx(4.0)
    assert seen.contrast == pytest.approx(0.5)
    assert seen.clipped == 1.0


def test_quality_sharpness_of_noise_is_its_deviation_times_the_root_of_twenty() -> None:
    """The Laplacian's weights are -4 and four times 1, and 16 + 4 is 20."""
    grey = np.random.default_rng(1).normal(128, 20, (400, 400)).round().clip(0, 255).astype(np.uint8)
    seen = picture(np.dstack([grey] * 3))
    assert seen.sharpness * 255 == pytest.approx(20 * math.sqrt(20), rel=0.02)
    blurred = cv2.GaussianBlur(grey, (0, 0), 2)
    assert picture(np.dstack([blurred] * 3)).sharpness < seen.sharpness / 20


@given(FRAMES)
@settings(max_examples=30, deadline=None)
def test_quality_pictures_are_what_numpy_says(frame: Any) -> None:
    luma = np.rint(frame @ np.array([0.299, 0.587, 0.114])).astype(int)
    edges = np.pad(luma, 1, mode="reflect")
    laplacian = edges[:-2, 1:-1] + edges[2:, 1:-1] + edges[1:-1, :-2] + edges[1:-1, 2:] - 4 * luma
    seen = picture(frame)
    assert seen.brightness == pytest.approx(luma.mean() / 255, abs=0.002)
    assert seen.contrast == pytest.approx(luma.std() / 255, abs=0.002)
    assert seen.sharpness == pytest.approx(laplacian.std() / 255, abs=0.01)
    assert seen.clipped == pytest.approx(((frame == 0) | (frame == 255)).mean())
    assert np.array_equal(histogram_of(frame), [np.histogram(frame[..., c], np.arange(257))[0] for c in range(3)])


@pytest.mark.parametrize(("dark_rows", "black"), [(98, True), (97, False)])
def test_quality_black_is_a_frame_of_which_98_percent_are_dark(dark_rows: int, black: bool) -> None:
    frame = clips.constant(200, 1, 100, 48)[0].copy()
    frame[:dark_rows] = 10
    assert picture(frame).black is black


def test_quality_blank_is_nothing_to_see_and_not_just_little() -> None:
    rest = np.random.default_rng(0).integers(100, 103, (40, 48, 3), dtype=np.uint8)
    assert picture(rest).blank, "a deviation of 0.8 levels"
    star = np.zeros((40, 48, 3), dtype=np.uint8)
    star[20, 20] = 255
    assert not picture(star).blank
    assert picture(star).black
    one_channel = np.zeros((40, 48, 3), dtype=np.uint8)
    one_channel[:20, :, 2] = 9
    assert not picture(one_channel).blank


# -- changes


@given(FRAMES, FRAMES)
@settings(max_examples=30, deadline=None)
def test_quality_difference_is_the_mean_absolute_one(first: Any, second: Any) -> None:
    expected = np.abs(first.astype(int) - second.astype(int)).mean() / 255
    assert difference(first, second) == pytest.approx(expected)


def test_quality_flicker_of_uniform_noise_is_a_third() -> None:
    """Two values of 0 to n - 1 are (n² - 1) / 3n apart on average."""
    first, second = clips.noise(2, 400, 400)
    assert difference(first, second) == pytest.approx((256**2 - 1) / (3 * 256) / 255, rel=0.01)


def test_quality_static_allows_one_level_and_counts_from_the_first_frame() -> None:
    first = clips.texture()
    assert is_static(first, first + np.uint8(1))
    moved = first.copy()
    moved[3, 4, 1] += 2
    assert not is_static(first, moved)


A, B = clips.still(5, seed=1), clips.shifted(clips.still(5, seed=2), [-35] * 5)
FLASH = np.concatenate([A, clips.constant(255, 1, 96, 160), A])


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        pytest.param(A, [], id="static"),
        pytest.param(np.concatenate([A, B]), [4], id="one cut"),
        pytest.param(np.concatenate([A, B, A]), [4, 9], id="there and back"),
        pytest.param(np.concatenate([A[:1], B]), [0], id="after the first frame"),
        pytest.param(np.concatenate([A, B[:1]]), [4], id="before the last frame"),
        pytest.param(np.concatenate([clips.pan(6, 1, seed=1), clips.shifted(clips.pan(6, 1, seed=9), [-35] * 6)]), [5], id="between pans"),
        pytest.param(clips.pan(12, 12), [], id="a fast pan"),
        pytest.param(clips.noise(), [], id="noise"),
        pytest.param(clips.shifted(clips.still(8), [0, 40] * 4), [], id="flicker"),
        pytest.param(FLASH, [], id="a flash"),
        pytest.param(clips.shifted(clips.still(9), range(-36, 36, 8)), [], id="a fade"),
    ],
)  # fmt: skip
def test_quality_scene_cuts(clip: Any, expected: list[int]) -> None:
    assert cuts(clip) == expected


def test_quality_thumbnail_is_the_mean_of_what_it_covers() -> None:
    frame = clips.noise(1, 64, 96)[0]
    expected = frame.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3)) / 255
    assert np.allclose(thumbnail(frame), expected, atol=0.501 / 255)


# -- drift


@pytest.mark.parametrize("lag", [2, 5, 10])
def test_quality_drift_of_a_ramp_is_its_slope_times_the_lag(lag: int) -> None:
    clip = clips.shifted(clips.still(14), range(-10, 18, 2))
    assert drift(histograms(clip), lag) == pytest.approx(2 * lag / 255)


def test_quality_drift_of_the_same_values_elsewhere_is_nothing() -> None:
    rolled = np.stack([np.roll(clips.texture(), 7 * number, axis=1) for number in range(6)])
    assert drift(histograms(rolled), 2) == 0.0


def test_quality_drift_needs_frames_that_far_apart() -> None:
    assert drift(histograms(clips.still(5)), 5) is None
    assert drift(histograms(clips.still(6)), 5) == 0.0


@given(st.lists(FRAMES, min_size=3, max_size=6))
@settings(max_examples=30, deadline=None)
def test_quality_drift_is_the_way_between_sorted_values(frames: list[Any]) -> None:
    """In one dimension the cheapest way to change one set of values into another goes in their order."""
    ordered = [np.sort(frame.reshape(-1, 3).astype(int), axis=0) for frame in frames]
    expected = np.mean([np.abs(one - other).mean() for one, other in zip(ordered, ordered[2:], strict=False)]) / 255
    assert drift(histograms(frames), 2) == pytest.approx(expected)


# -- motion


@pytest.mark.parametrize("step", [1, 2, 4, 8, 12])
def test_quality_motion_of_a_pan_is_its_step_and_its_colours_stay(step: int) -> None:
    first, second = clips.pan(2, step, 120, 200)
    seen = motion(first, second)
    window = cv2.createHanningWindow((200, 120), cv2.CV_64F)
    (across, down), _ = cv2.phaseCorrelate(luma_of(first).astype(float), luma_of(second).astype(float), window)
    assert math.hypot(across, down) == pytest.approx(step, abs=0.3), "another implementation, of another idea"
    assert seen.fastest == pytest.approx(step, rel=0.08, abs=0.05)
    assert seen.warping_error is not None
    assert seen.warping_error < 0.003
    assert step / 200 * 0.5 < seen.occluded < step / 200 + 0.05


@pytest.mark.parametrize("brighter", [3, 10])
def test_quality_warping_error_of_a_pan_that_brightens_is_how_much(brighter: int) -> None:
    clip = clips.shifted(clips.pan(2, 4, 120, 200), [0, brighter])
    seen = motion(*clip)
    assert seen.warping_error == pytest.approx(brighter / 255, rel=0.1)


def test_quality_warping_error_of_a_pan_with_noise_is_the_difference_of_two_noises() -> None:
    """|x - y| of two normal values is 2 sd / sqrt(pi) on average, and interpolation takes a part of the second noise away."""
    moved = clips.pan(2, 4, 120, 200).astype(float) + np.random.default_rng(0).normal(0, 6, (2, 120, 200, 3))
    seen = motion(*moved.round().clip(0, 255).astype(np.uint8))
    assert seen.warping_error is not None
    assert 0.7 < seen.warping_error * 255 / (2 * 6 / math.sqrt(math.pi)) <= 1.05


def test_quality_what_is_covered_does_not_count_as_a_warping_error() -> None:
    """A patch moves over a still picture: what it uncovers cannot be followed."""
    first = clips.texture(120, 200, seed=3, low=30, high=120)
    second = first.copy()
    patch = clips.texture(48, 48, seed=4, low=140, high=230)
    first[30:78, 60:108] = patch
    second[30:78, 68:116] = patch
    seen = motion(first, second)
    assert seen.fastest == pytest.approx(8, rel=0.06)
    assert seen.warping_error is not None
    uncovered = 48 * 8 / first[..., 0].size
    assert 0.5 * uncovered < seen.occluded < 4 * uncovered
    naive = difference(first, second)
    assert seen.warping_error < naive / 4


def test_quality_of_a_still_pair_has_no_motion() -> None:
    first, second = clips.still(2)
    assert motion(first, second) == PairMotion(0.0, 0.0, 0.0)


def test_quality_motion_that_cannot_be_followed_makes_no_warping_error() -> None:
    first, second = clips.noise(2, 240, 416)
    seen = motion(first, second)
    assert seen.occluded > 0.75
    assert seen.warping_error is None


def test_quality_motion_is_the_same_for_any_number_of_threads() -> None:
    first, second = clips.pan(2, 5, 240, 416)
    before = cv2.getNumThreads()
    try:
        seen = set()
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            seen.add(motion(first, second))
    finally:
        cv2.setNumThreads(before)
    assert len(seen) == 1


@pytest.mark.parametrize("frames", [2, 3, 33, 34, 81, 257])
def test_quality_pairs_are_few_and_spread_over_the_clip(frames: int) -> None:
    positions = pairs_to_follow(frames)
    assert len(positions) == min(frames - 1, MAX_PAIRS) == len(set(positions))
    assert positions[0] == 0
    assert positions[-1] + 1 < frames
    gaps = np.diff([*positions, frames - 1])
    assert max(gaps) - min(gaps) <= 1

"""The slope of a line, and what it is worth."""

from __future__ import annotations

import random
import statistics

import pytest

from bench.trend import fit


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    times = [float(second) for second in range(600)]
    trend = fit(times, [80 + 0.5 * moment for moment in times], block=60)
    assert trend is not None
    assert trend.slope == pytest.approx(0.5)
    assert trend.standard_error == pytest.approx(0, abs=1e-9)
    assert trend.blocks == 10


def test_known_residues_give_the_textbook_error() -> None:
    trend = fit([0, 1, 2, 3], [0, 2, 1, 3], block=1)
    assert trend is not None
    assert trend.slope == pytest.approx(0.8)
    assert trend.standard_error == pytest.approx((1.8 / 2 / 5) ** 0.5)


def test_errors_of_noise_are_as_large_as_they_say() -> None:
    """Over many noisy lines without a slope, slope by standard error has a spread of about one."""
    chance = random.Random(7)
    times = [float(second) for second in range(0, 1200, 5)]
    scores = []
    for _ in range(200):
        trend = fit(times, [chance.gauss(100, 2) for _ in times], block=60)
        assert trend is not None
        assert trend.standard_error is not None
        scores.append(trend.slope / trend.standard_error)
    assert 0.85 < statistics.stdev(scores) < 1.25
    assert abs(statistics.fmean(scores)) < 0.25


def test_too_little_gives_no_slope_or_no_error() -> None:
    assert fit([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], block=60) is None
    trend = fit([0.0, 70.0], [1.0, 2.0], block=60)
    assert trend is not None
    assert trend.standard_error is None

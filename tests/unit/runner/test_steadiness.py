"""Trend, dependence, outliers and cold first samples, against brute force, textbook values and simulations."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_runner.core.steadiness import (
    FEWEST_SAMPLES,
    autocorrelation,
    effective_samples,
    is_autocorrelated,
    is_cold,
    is_drifting,
    mann_kendall_p,
    outliers_of,
    steadiness_of,
    trend_of,
)

STEADY = (1_000_300, 999_800, 1_000_100, 999_900, 1_000_200, 1_000_000, 999_700, 1_000_400, 999_600, 1_000_050)


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_mann_kendall_p_is_the_share_of_all_orders(count: int) -> None:
    orders = list(itertools.permutations(range(count)))
    inversions = [sum(a > b for a, b in itertools.combinations(order, 2)) for order in orders]
    pairs = count * (count - 1) // 2
    for most in range(pairs // 2 + 1):
        share = sum(each <= most or each >= pairs - most for each in inversions) / len(orders)
        assert mann_kendall_p(count, most) == pytest.approx(min(1.0, share)) or 2 * most == pairs


def test_mann_kendall_p_of_a_published_table() -> None:
    # Kendall's table of S: n = 10, S = 23 has a one-sided probability of 0.023.
    assert mann_kendall_p(10, (45 - 23) // 2) / 2 == pytest.approx(0.023, abs=0.0005)


def test_fewest_samples_are_those_with_which_a_trend_can_be_significant() -> None:
    assert mann_kendall_p(FEWEST_SAMPLES, 0) < 0.01 <= mann_kendall_p(FEWEST_SAMPLES - 1, 0)


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=30))
def test_trend_is_a_probability_and_turns_with_the_order(values: list[int]) -> None:
    there, back = trend_of(values), trend_of(values[::-1])
    assert 0 < there.p <= 1
    assert there.p == back.p
    assert there.drift == pytest.approx(-back.drift)


def test_trend_of_a_straight_line_is_its_slope() -> None:
    trend = trend_of([1000 + 10 * number for number in range(10)])
    assert trend.drift == pytest.approx(90 / 1045)
    assert trend.p == pytest.approx(2 / math.factorial(10))


@pytest.mark.parametrize(
    ("values", "drifting"),
    [
        pytest.param(STEADY, False, id="steady"),
        pytest.param([1_000_000 + 2_000 * n for n in range(10)], True, id="1.8 % over the run"),
        pytest.param([1_000_000 + 500 * n for n in range(10)], False, id="sure, and too small to matter"),
        pytest.param([1_000_000 + 30_000 * (n % 2) for n in range(10)], False, id="large, and no trend"),
        pytest.param([1_000_000] * 10, False, id="all the same"),
        pytest.param([1_000_000 - 5_000 * n for n in range(6)], True, id="falling, six samples"),
    ],
)
def test_drift_is_a_trend_that_is_sure_and_matters(values: list[int], drifting: bool) -> None:
    steadiness = steadiness_of(values)
    assert steadiness is not None
    assert is_drifting(steadiness) == drifting


def test_steady_processes_are_rarely_taken_for_drifting_ones() -> None:
    chance = random.Random(5)
    runs = [[round(chance.gauss(1e6, 2e4)) for _ in range(10)] for _ in range(1500)]
    false = sum(is_drifting(found) for run in runs if (found := steadiness_of(run)) is not None)
    assert false / len(runs) < 0.015


def test_a_correlated_process_tells_less_about_its_mean() -> None:
    chance, value, values = random.Random(1), 0.0, []
    for _ in range(20_000):
        value = 0.6 * value + chance.gauss(0, 1)
        values.append(value)
    assert autocorrelation(values) == pytest.approx(0.6, abs=0.02)
    assert effective_samples(40, 0.6) == pytest.approx(10)
    assert effective_samples(40, -0.5) == 40
    assert effective_samples(40, 1.0) == 1
    assert autocorrelation([5.0] * 9) == 0


def test_correlation_is_told_where_it_is_beyond_chance() -> None:
    slow = [1_000_000 + round(20_000 * math.sin(n / 3)) for n in range(24)]
    for values, told in ((slow, True), (STEADY, False)):
        steadiness = steadiness_of(values)
        assert steadiness is not None
        assert is_autocorrelated(steadiness, len(values)) == told


@pytest.mark.parametrize(
    ("values", "outliers"),
    [
        pytest.param(STEADY, 0, id="none"),
        pytest.param((*STEADY, 1_040_000), 1, id="4 % slower"),
        pytest.param((*STEADY, 1_020_000), 0, id="far in deviations, and less than 3 %"),
        pytest.param((*[1_000_000] * 9, 1_100_000), 1, id="all others the same"),
    ],
)
def test_outliers_are_far_in_both_ways(values: tuple[int, ...], outliers: int) -> None:
    assert outliers_of(values) == outliers


@pytest.mark.parametrize(
    ("values", "cold"),
    [
        pytest.param((1_300_000, *STEADY), True, id="30 % slower"),
        pytest.param((1_100_000, *STEADY), False, id="10 % slower"),
        pytest.param((*STEADY, 1_300_000), False, id="not the first one"),
        pytest.param((1_300_000, 900_000, 1_400_000, 700_000, 1_100_000), False, id="all over the place"),
        pytest.param((1_300_000, 1_000_000), False, id="nothing to compare with"),
    ],
)
def test_cold_is_a_first_sample_far_above_all_others(values: tuple[int, ...], cold: bool) -> None:
    assert is_cold(values) == cold


@pytest.mark.parametrize("values", [STEADY[:5], (0, *STEADY)])
def test_too_few_or_impossible_latencies_say_nothing(values: tuple[int, ...]) -> None:
    assert steadiness_of(values) is None

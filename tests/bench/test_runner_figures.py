"""The figures of `make bench-runner` against answers known beforehand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.runner_figures import class_figures, paired_ratio, steps_that_last

TIMES = st.lists(st.integers(10**8, 10**10), min_size=2, max_size=40)


def test_a_pair_that_is_a_percent_slower_throughout_is_a_ratio_of_1_01_without_width() -> None:
    ratio = paired_ratio([10**9, 2 * 10**9, 3 * 10**9], [1_010_000_000, 2_020_000_000, 3_030_000_000])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.01, 1.01, 1.01))


@given(TIMES)
def test_turning_a_ratio_round_inverts_it(times: list[int]) -> None:
    other = [time + 10**7 * (number % 3) for number, time in enumerate(times)]
    one, inverse = paired_ratio(times, other), paired_ratio(other, times)
    assert one.value == pytest.approx(1 / inverse.value)
    assert one.low is not None
    assert one.high is not None
    assert inverse.high is not None
    assert one.low == pytest.approx(1 / inverse.high)
    assert one.low <= one.value <= one.high


def test_a_single_pair_has_a_ratio_and_no_interval() -> None:
    ratio = paired_ratio([10**9], [2 * 10**9])
    assert ratio.value == pytest.approx(2)
    assert (ratio.low, ratio.high) == (None, None)
    assert class_figures([1], [2], [0], 1, 0)["ratioToBareLoop"] == {"value": 2.0}


@pytest.mark.parametrize(("bare", "timed"), [([], []), ([1, 2], [1])])
def test_a_ratio_needs_pairs(bare: list[int], timed: list[int]) -> None:
    with pytest.raises(ValueError, match=r"pairs|argument"):
        paired_ratio(bare, timed)


def test_the_instruments_share_is_calls_times_cost_over_the_latency() -> None:
    figures = class_figures([10**9, 10**9], [10**9, 10**9], [10**7, 3 * 10**7], calls=1_000, cost_nanoseconds=500)
    assert (figures["instrumentPercent"], figures["otherPercent"], figures["latencySeconds"]) == (0.05, 2.0, 1.0)


@pytest.mark.parametrize(
    ("beside", "each", "least"),
    [
        pytest.param(0.0, 0.1, 15, id="in proportion to its steps"),
        pytest.param(0.6, 0.01, 90, id="most of it beside the steps"),
        pytest.param(5.0, 0.1, 2, id="long enough as it is"),
        pytest.param(0.0, 0.001, 500, id="never: the most that may be"),
    ],
)
def test_a_video_gets_steps_until_it_lasts(beside: float, each: float, least: int) -> None:
    steps = steps_that_last(lambda steps: beside + steps * each, 2, enough=1.5, wanted=2.0, most=500)
    assert least <= steps <= 500
    assert steps == 500 or beside + steps * each == pytest.approx(max(2.0, beside + 2 * each), abs=0.6)


def test_no_more_steps_than_the_scheduler_takes() -> None:
    asked: list[int] = []

    def seconds_of(steps: int) -> float | None:
        asked.append(steps)
        return None if steps >= 180 else steps * 0.01

    steps = steps_that_last(seconds_of, 4, enough=1.5, wanted=2.0, most=500)
    assert (steps, asked[1]) == (asked[-1], 200)
    assert 150 <= steps < 180

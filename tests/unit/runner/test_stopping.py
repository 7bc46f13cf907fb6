"""When a shard is warm, when it has samples enough, and how well it knows a mean: tables, properties, an integral."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.measured import Series, SeriesName, Statistics, StopReason
from vidbench_runner.core.precision import STUDENT_975, half_width_ppm
from vidbench_runner.core.stopping import PrecisionTarget, Quota, TimeLeft, reached_ppm, stop_reason
from vidbench_runner.core.warming import WarmupLimits, WarmupReading, is_flat, needs_warmup

ENDLESS = TimeLeft(None, None)
ONE_PERCENT = PrecisionTarget("latency", 10_000)


def student_probability(t: float, freedom: int, steps: int = 2000) -> float:
    """P(|T| < t) by Simpson's rule over Student's density."""

    def density(x: float) -> float:
        scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
        return math.exp(scale) / math.sqrt(freedom * math.pi) * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    width = t / steps
    inner = sum((4 if number % 2 else 2) * density(number * width) for number in range(1, steps))
    return 2 * (density(0) + inner + density(t)) * width / 3


@pytest.mark.parametrize("freedom", range(1, 64))
def test_precision_table_holds_the_points_of_students_distribution(freedom: int) -> None:
    assert student_probability(STUDENT_975[freedom - 1], freedom) == pytest.approx(0.95, abs=2e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([100], None, id="one sample has no spread"),
        pytest.param([0, 0], None, id="a share of nothing"),
        pytest.param([-5, -3], None, id="a share of what is negative"),
        pytest.param([100, 100, 100], 0, id="no spread at all"),
        # t(0.975, 4) = 2.7764, s = sqrt(2.5), n = 5: 2.7764 * 1.58114 / 2.23607 / 100
        pytest.param([98_000, 99_000, 100_000, 101_000, 102_000], 19_633, id="by hand"),
    ],
)
def test_precision_half_width_is_a_share_of_the_mean(values: list[int], expected: int | None) -> None:
    assert half_width_ppm(Statistics.of(values)) == expected


@given(st.lists(st.integers(1_000_000, 2_000_000), min_size=2, max_size=64), st.integers(2, 9))
def test_precision_does_not_depend_on_the_unit_and_grows_with_the_spread(values: list[int], factor: int) -> None:
    width = half_width_ppm(Statistics.of(values))
    scaled = half_width_ppm(Statistics.of([value * factor for value in values]))
    assert width is not None
    assert scaled is not None
    assert abs(width - scaled) <= 1
    mean = round(sum(values) / len(values))
    spread_out = half_width_ppm(Statistics.of([mean + 2 * (value - mean) for value in values]))
    assert spread_out is not None
    assert spread_out >= width - 2


@pytest.mark.parametrize(
    ("quota", "done", "reached", "time", "expected"),
    [
        pytest.param(Quota(3, 3), 2, None, ENDLESS, None, id="Fixed goes on to the last"),
        pytest.param(Quota(3, 3), 3, None, ENDLESS, StopReason.ALL_DONE, id="Fixed ends with the last"),
        pytest.param(Quota(10, 50, ONE_PERCENT), 9, 1, ENDLESS, None, id="narrow, but below the minimum"),
        pytest.param(Quota(10, 50, ONE_PERCENT), 10, 10_000, ENDLESS, StopReason.PRECISION, id="just narrow enough"),
        pytest.param(Quota(10, 50, ONE_PERCENT), 10, 10_001, ENDLESS, None, id="just too wide"),
        pytest.param(
            Quota(10, 50, ONE_PERCENT), 49, None, ENDLESS, None, id="a figure that is not there is never known"
        ),
        pytest.param(Quota(10, 50, ONE_PERCENT), 50, 10_001, ENDLESS, StopReason.MAXIMUM, id="no more are allowed"),
        pytest.param(Quota(10, 10, ONE_PERCENT), 10, 9, ENDLESS, StopReason.PRECISION, id="precision at the maximum"),
        pytest.param(Quota(3, 3), 1, None, TimeLeft(99, 100), StopReason.DEADLINE, id="the next would end too late"),
        pytest.param(Quota(3, 3), 1, None, TimeLeft(100, 100), None, id="the next just ends in time"),
        pytest.param(Quota(3, 3), 0, None, TimeLeft(5, None), None, id="how long one takes is not known"),
        pytest.param(Quota(3, 3), 0, None, TimeLeft(-1, None), StopReason.DEADLINE, id="no time is left at all"),
        pytest.param(Quota(3, 3), 3, None, TimeLeft(-1, 9), StopReason.ALL_DONE, id="done is done"),
    ],
)
def test_stopping(quota: Quota, done: int, reached: int | None, time: TimeLeft, expected: StopReason | None) -> None:
    assert stop_reason(quota, done, reached, time) is expected


@given(
    st.integers(1, 64), st.integers(0, 64), st.integers(0, 80),
    st.none() | st.integers(0, 10**6), st.none() | st.integers(1, 10**6),
)  # fmt: skip
def test_stopping_never_goes_beyond_the_maximum_nor_below_the_minimum(
    required: int, more: int, done: int, reached: int | None, wanted: int | None
) -> None:
    quota = Quota(required, required + more, PrecisionTarget("latency", wanted) if wanted else None)
    stop = stop_reason(quota, done, reached, ENDLESS)
    assert (stop is None) <= (done < quota.most)
    assert (stop is not None) <= (done >= quota.required)


def test_stopping_looks_at_the_figure_of_the_target() -> None:
    column = Series(
        name=SeriesName.DENOISE,
        unit="microseconds",
        statistics=Statistics.of([98_000, 99_000, 100_000, 101_000, 102_000]),
    )
    assert reached_ppm(PrecisionTarget("denoise", 1), [column]) == 19_633
    assert reached_ppm(PrecisionTarget("energy", 1), [column]) is None
    assert reached_ppm(None, [column]) is None


def readings(*pairs: tuple[int, int | None]) -> list[WarmupReading]:
    return [WarmupReading(time, temperature) for time, temperature in pairs]


@pytest.mark.parametrize(
    ("made", "flat"),
    [
        pytest.param([], False, id="none"),
        pytest.param([(100, 50), (100, 50)], False, id="the first is never compared"),
        pytest.param([(900, 40), (100, 50), (102, 50)], True, id="just alike"),
        pytest.param([(900, 40), (100, 50), (103, 50)], False, id="slower"),
        pytest.param([(900, 40), (103, 50), (100, 50)], False, id="still getting faster"),
        pytest.param([(900, 40), (100, 50), (100, 52)], True, id="a step of the sensor"),
        pytest.param([(900, 40), (100, 50), (100, 53)], False, id="still heating up"),
        pytest.param([(900, None), (100, None), (100, None)], True, id="no temperature is read"),
        pytest.param([(100, 50), (100, 50), (100, 50), (200, 50)], False, id="flat before, not now"),
    ],
)
def test_warming_is_flat(made: list[tuple[int, int | None]], *, flat: bool) -> None:
    assert is_flat(readings(*made)) is flat


FLAT = readings((900, None), (100, None), (100, None))
UNEVEN = readings((900, None), (100, None), (300, None))


@pytest.mark.parametrize(
    ("made", "limits", "again"),
    [
        pytest.param([], WarmupLimits(0, 0), False, id="none wanted"),
        pytest.param(FLAT[:1], WarmupLimits(2, 2), True, id="fixed: below"),
        pytest.param(UNEVEN, WarmupLimits(3, 3), False, id="fixed: that many, flat or not"),
        pytest.param(FLAT, WarmupLimits(4, 6), True, id="flat, but below the minimum"),
        pytest.param(FLAT, WarmupLimits(1, 6), False, id="flat"),
        pytest.param(UNEVEN, WarmupLimits(1, 6), True, id="not flat yet"),
        pytest.param(UNEVEN, WarmupLimits(1, 3), False, id="not flat, but no more are allowed"),
    ],
)
def test_warming_goes_on(made: list[WarmupReading], limits: WarmupLimits, *, again: bool) -> None:
    assert needs_warmup(made, limits) is again


@given(st.lists(st.integers(1, 1000), max_size=20), st.integers(0, 8), st.integers(0, 8))
def test_warming_always_makes_the_minimum_and_never_more_than_the_maximum(
    times: list[int], least: int, more: int
) -> None:
    limits, made = WarmupLimits(least, least + more), 0
    endless = readings(*((time, None) for time in [*times, *range(1, 5000, 100)]))
    while needs_warmup(endless[:made], limits):
        made += 1
    assert limits.min <= made <= limits.max

"""Derived figures: by hand, and what holds for whatever a pod may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.figures import Figures, NeededMemory, figures_of
from vidbench_api.measured import Environment, Measured, Memory, Series, SeriesName, Statistics

GPU = Environment(device="NVIDIA H100 80GB HBM3", device_count=1)


def series(name: SeriesName, *values: int) -> Series:
    unit = "microseconds" if name is SeriesName.LATENCY else "count"
    return Series(name=name, unit=unit, statistics=Statistics.of(values))  # type: ignore[arg-type]


def measured(**changes: Any) -> Measured:
    """Two videos of 33 frames, 20 s each, 60 denoiser calls."""
    columns = (
        series(SeriesName.LATENCY, 19_000_000, 21_000_000),
        series(SeriesName.FRAMES, 33, 33),
        series(SeriesName.DENOISER_CALLS, 60, 60),
    )
    return Measured(**({"series": columns, "environment": GPU} | changes))


def test_figures_by_hand() -> None:
    found = figures_of(
        measured(memory=Memory(device=20 * 2**30)),
        frames_per_second=16,
        gpus=2,
        start_seconds=12.0,
        container_seconds=100.0,
    )
    assert found == Figures(
        denoiser_calls_per_video=60, frames_per_video=33,
        video_seconds_per_second=round(33 / 16 / 20, 6), video_seconds_per_gpu_second=round(33 / 16 / 40, 6),
        videos_per_hour=180, needed_gpu_memory=NeededMemory(mebibytes=20_480, basis="Estimate"),
        start_seconds=12, overhead_percent=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param(None, None, id="nothing was read"),
        pytest.param(Memory(allocated=2**30), None, id="the allocator alone is not what a GPU needs"),
        pytest.param(
            Memory(device=2**30 + 1), NeededMemory(mebibytes=1025, basis="Estimate"), id="a peak is an estimate"
        ),
        pytest.param(
            Memory(device=21 * 2**30, reserved=20 * 2**30, cap=24 * 2**30),
            NeededMemory(mebibytes=25_600, basis="Measured"),
            id="under a cap, and what the allocator does not hold",
        ),
        pytest.param(
            Memory(device=19 * 2**30, reserved=20 * 2**30, cap=24 * 2**30),
            NeededMemory(mebibytes=24_576, basis="Measured"),
            id="peaks of two moments: never less than the cap",
        ),
        pytest.param(
            Memory(reserved=20 * 2**30, cap=24 * 2**30),
            NeededMemory(mebibytes=24_576, basis="Estimate"),
            id="under a cap, and what else was used is not known",
        ),
        pytest.param(
            Memory(device=21 * 2**30, cap=24 * 2**30),
            NeededMemory(mebibytes=24_576, basis="Estimate"),
            id="under a cap, and what the allocator held is not known",
        ),
    ],
)
def test_that_a_cell_fits_is_measured_only_under_a_cap(memory: Memory | None, expected: NeededMemory | None) -> None:
    assert figures_of(measured(memory=memory), frames_per_second=16, gpus=1).needed_gpu_memory == expected


def test_a_shard_without_a_sample_does_not_fit_anywhere() -> None:
    found = figures_of(measured(series=(), memory=Memory(device=1, cap=2)), frames_per_second=16, gpus=1)
    assert found == Figures()


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        pytest.param(Environment(device="cpu"), 1, id="a pretended GPU"),
        pytest.param(Environment(device="cpu"), 0, id="a CPU"),
        pytest.param(Environment(device="mock"), 1, id="a mock on a GPU node"),
        pytest.param(None, 1, id="nobody knows"),
    ],
)
def test_without_a_gpu_there_are_no_gpu_seconds(environment: Environment | None, gpus: int) -> None:
    found = figures_of(measured(environment=environment), frames_per_second=16, gpus=gpus)
    assert found.video_seconds_per_gpu_second is None
    assert found.video_seconds_per_second is not None


@given(
    st.lists(st.integers(-5, 2**53 - 1), min_size=1, max_size=4), st.lists(st.integers(-5, 2**53 - 1), min_size=1, max_size=4),
    st.none() | st.floats(-1e9, 1e9), st.none() | st.floats(-1e9, 1e9), st.integers(0, 16),
)  # fmt: skip
def test_figures_of_whatever_a_pod_says_are_valid_or_absent(
    times: list[int], frames: list[int], start: float | None, container: float | None, gpus: int
) -> None:
    said = measured(series=(series(SeriesName.LATENCY, *times), series(SeriesName.FRAMES, *frames)))
    found = figures_of(said, frames_per_second=16, gpus=gpus, start_seconds=start, container_seconds=container)
    assert Figures.model_validate(found.to_wire()) == found
    if gpus and found.video_seconds_per_gpu_second:
        assert found.video_seconds_per_second is not None
        assert found.video_seconds_per_gpu_second <= found.video_seconds_per_second

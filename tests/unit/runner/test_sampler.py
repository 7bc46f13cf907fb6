"""The sampler's thread: what it writes, what it says where there is nothing to read, and that it ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from unit.runner.nvml_replay import H100, NvmlReplay, error

from vidbench_runner.meters.sampler import INTERVAL_NANOSECONDS, Timing, sampling, take_readings
from vidbench_runner.meters.trace import TraceWatch, TraceWriter, new_trace
from vidbench_runner.ports import DeviceSample


@pytest.fixture
def descriptor() -> Iterator[int]:
    descriptor = new_trace()
    yield descriptor
    os.close(descriptor)


def wait_for(watch: TraceWatch, reason: bool) -> None:
    while (watch.reason is None) == reason or "not answered" in (watch.reason or ""):
        time.sleep(0.01)


def test_readings_of_a_device_come_for_as_long_as_the_context_lasts(descriptor: int) -> None:
    watch, replay = TraceWatch(descriptor), NvmlReplay(H100)
    began = time.perf_counter_ns()
    with sampling(descriptor, {}, lambda: replay):
        wait_for(watch, reason=False)
    [first, *_] = watch.between(began, time.perf_counter_ns())
    assert (first.power_milliwatts, first.temperature_celsius, first.clock_reasons) == (71_250, 31, 1)
    assert replay.open == 0
    assert "device-sampler" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("environment", "init", "reason"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, None, "shows no device"),
        ({}, error("LIBRARY_NOT_FOUND"), "NVML does not start"),
        ({"CUDA_VISIBLE_DEVICES": "3"}, None, "none of which is 3"),
    ],
)
def test_where_there_is_nothing_to_read_the_trace_says_why(
    descriptor: int, environment: dict[str, str], init: Exception | None, reason: str
) -> None:
    watch = TraceWatch(descriptor)
    with sampling(descriptor, environment, lambda: NvmlReplay(H100, init=init)):
        wait_for(watch, reason=True)
    assert reason in (watch.reason or "")
    assert watch.cost_ppm() is None


def test_readings_keep_to_their_beat_and_do_not_make_up_for_late_ones(descriptor: int) -> None:
    clock = [0]
    costs = iter([30_000_000, 250_000_000, 10_000_000, 0])

    class Slow:
        def read(self, nanoseconds: int) -> DeviceSample:
            clock[0] += next(costs)
            return DeviceSample(nanoseconds)

    def wait(seconds: float) -> bool:
        clock[0] += round(seconds * 1e9)
        return clock[0] > 5 * INTERVAL_NANOSECONDS - 1

    writer = TraceWriter(descriptor)
    take_readings(Slow(), writer, wait, Timing(now=lambda: clock[0], spent=lambda: clock[0] // 100))
    times = [sample.nanoseconds for sample in TraceWatch(descriptor).between(0, 10**12)]
    assert times == [0, 100_000_000, 400_000_000]
    assert TraceWatch(descriptor).cost_ppm() == pytest.approx(10_000, rel=0.1)


def test_trace_of_a_hidden_device_does_not_ask_the_driver(descriptor: int) -> None:
    asked = []

    def load() -> NvmlReplay:
        asked.append(True)
        return NvmlReplay(H100)

    with sampling(descriptor, {"CUDA_VISIBLE_DEVICES": ""}, load):
        wait_for(TraceWatch(descriptor), reason=True)
    assert asked == []

"""From samples to what a soak says."""

from __future__ import annotations

import pytest

from bench.process_figures import Handles, ProcessFigures
from bench.soak import Churn, Sample, soak_figures


def sample(seconds: float, mebibytes: float, *, sockets: int = 9, tasks: int = 40) -> Sample:
    process = ProcessFigures(mebibytes, 130.0, seconds / 10)
    return Sample(seconds, process, Handles(3, 20, sockets), main_tasks=tasks, watch_tasks=12)


def churn(*samples: Sample) -> Churn:
    return Churn(100, 0, 400, 0, 900, samples, afterwards=sample(1300, 95.0, sockets=8, tasks=33))


def test_the_slope_is_that_of_what_is_left_after_the_beginning_was_dropped() -> None:
    beginning = [sample(second, 60 + second) for second in range(0, 300, 5)]
    rest = [sample(second, 100 + second / 3600) for second in range(300, 1205, 5)]
    figures = soak_figures(churn(*beginning, *rest))
    assert figures["memory"]["mebibytesPerHour"] == pytest.approx(1.0)
    assert figures["memory"]["mebibytesPerHourError"] == pytest.approx(0.0)
    assert figures["memory"]["mebibytes"]["min"] == 100.1
    assert (figures["memory"]["afterwardsMebibytes"], figures["memory"]["peakMebibytes"]) == (95.0, 130.0)
    assert figures["churn"] == {
        "runs": 100, "runsLeft": 0, "shards": 400, "lost": 0, "passes": 900, "cpuShare": 0.1,
    }  # fmt: skip


def test_what_the_process_holds_is_told_with_its_slope_and_its_number_afterwards() -> None:
    samples = [sample(second, 100, sockets=9 + second // 600, tasks=40) for second in range(0, 1205, 5)]
    figures = soak_figures(churn(*samples))
    assert figures["sockets"]["number"] == {"median": 10, "min": 9, "max": 11}
    assert figures["sockets"]["slopePerHour"] > 0
    assert figures["sockets"]["afterwards"] == 8
    assert figures["mainTasks"] == {
        "number": {"median": 40, "min": 40, "max": 40}, "afterwards": 33, "slopePerHour": 0.0, "slopePerHourError": 0.0,
    }  # fmt: skip


def test_a_soak_that_is_too_short_has_no_slope_rather_than_a_made_up_one() -> None:
    figures = soak_figures(churn(*(sample(second, 100) for second in range(0, 50, 5))))
    assert (figures["memory"]["mebibytesPerHour"], figures["memory"]["mebibytesPerHourError"]) == (None, None)


def test_each_minute_has_its_memory_from_the_beginning_on() -> None:
    figures = soak_figures(churn(*(sample(second, 100 + second // 60) for second in range(0, 150, 5))))
    assert figures["memory"]["byMinute"] == [100, 101, 102]

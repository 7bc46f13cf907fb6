"""From calls to waiting times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bench.audit import Call
from bench.latency import Latency, latencies_of, latency_figures, percentiles

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def call(kind: str, name: str, start: float, end: float, code: int = 200) -> Call:
    verb, resource = kind.split(" ")
    at = [NOON + timedelta(milliseconds=moment) for moment in (start, end)]
    return Call("me", verb, resource, "a", name, code, *at)


def test_latency_is_from_the_arrival_of_the_cause_to_the_answer_of_the_effect() -> None:
    applied = [call("create benchmarkruns", f"run-000{number}", number * 1000, number * 1000 + 5) for number in (1, 2)]
    ended = [
        call("patch pods/status", f"run-000{number}-0123abcd-1-1-x7x2z", number * 1000 + 500, number * 1000 + 505)
        for number in (1, 2)
    ]
    answers = [
        call("update benchmarkruns/status", "run-0001", 1010, 1020),
        call("create jobs", "run-0001-0123abcd-1-1", 1020, 1040, 201),
        call("update benchmarkruns/status", "run-0001", 1600, 1610, 409),
        call("update benchmarkruns/status", "run-0001", 1700, 1725),
        call("create jobs", "run-0002-0123abcd-1-1", 2020, 2030, 201),
        call("update benchmarkruns/status", "run-0002", 2600, 2620),
    ]
    assert latencies_of(applied, ended, answers) == [Latency(0.040, 0.225), Latency(0.030, 0.120)]


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentiles(range(200, 0, -1)) == {"p50": 100, "p99": 198, "max": 200}
    assert percentiles([7.04]) == {"p50": 7.0, "p99": 7.0, "max": 7.0}


def test_latency_figures_are_in_milliseconds() -> None:
    figures = latency_figures([Latency(0.04, 0.2), Latency(0.05, 0.3)])
    assert figures["runs"] == 2
    assert figures["applyToJobMilliseconds"]["max"] == 50.0
    assert figures["podEndToStatusMilliseconds"] == {"p50": 200.0, "p99": 300.0, "max": 300.0}

"""Kubernetes timestamps, and what other people's clocks make of them."""

from __future__ import annotations

import pytest

from vidbench_operator.core.timestamps import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("1970-01-01T00:00:00Z", 0.0, id="the epoch"),
        pytest.param("2027-01-15T08:00:00Z", 1_800_000_000.0, id="Kubernetes' form"),
        pytest.param("2027-01-15T08:00:00.250000Z", 1_800_000_000.25, id="micro time"),
        pytest.param("2027-01-15T10:00:00+02:00", 1_800_000_000.0, id="another zone"),
        pytest.param("2027-01-15T08:00:00", 1_800_000_000.0, id="no zone is UTC"),
        pytest.param("yesterday", None, id="no timestamp"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
        pytest.param(12, None, id="a number"),
    ],
)
def test_a_timestamp_is_seconds_and_nonsense_is_none(text: str | None, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("seconds", [0.0, 1_800_000_000.0, 253_402_300_799.0])
def test_what_is_written_reads_back(seconds: float) -> None:
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(1_800_000_000.9, "2027-01-15T08:00:00Z", id="whole seconds only"),
        pytest.param(-5.0, "1970-01-01T00:00:00Z", id="before the epoch"),
        pytest.param(1e18, "9999-12-31T23:59:59Z", id="after the last year"),
    ],
)
def test_a_time_that_no_timestamp_can_say_becomes_the_nearest_that_can(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_the_latest_timestamp_of_the_westernmost_zone_can_be_written_again() -> None:
    moment = parse_time("9999-12-31T23:59:59-23:59")
    assert moment is not None
    assert format_time(moment) == "9999-12-31T23:59:59Z"

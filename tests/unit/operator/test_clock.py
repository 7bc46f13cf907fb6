"""API time from Date headers."""

from __future__ import annotations

import email.utils

import pytest

from vidbench_operator.adapters.clock import ApiClock

SERVER_AHEAD = 1_000_000.0


class Machine:
    """A monotonic clock that the test turns, and a server whose clock is elsewhere."""

    def __init__(self) -> None:
        self.now = 50.0
        self.ahead = SERVER_AHEAD

    def monotonic(self) -> float:
        return self.now

    def answer(self, clock: ApiClock, seconds: float = 0.01) -> None:
        """One request: the server reads its clock half way, and sends whole seconds."""
        sent = clock.reading()
        self.now += seconds / 2
        date = email.utils.formatdate(int(self.now + self.ahead), usegmt=True)
        self.now += seconds / 2
        clock.learn(date, sent)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> ApiClock:
    return ApiClock(machine.monotonic, wall=lambda: 77.0)


def test_clock_shows_the_wall_until_the_first_answer(clock: ApiClock, machine: Machine) -> None:
    assert clock.now() == 77.0
    machine.now += 3
    assert clock.now() == 80.0


def test_clock_follows_the_server_not_the_wall(clock: ApiClock, machine: Machine) -> None:
    machine.answer(clock)
    assert clock.now() == pytest.approx(machine.now + SERVER_AHEAD, abs=1.0)


def test_clock_narrows_with_every_answer(clock: ApiClock, machine: Machine) -> None:
    for _ in range(50):
        machine.now += 0.137
        machine.answer(clock)
    assert clock.now() == pytest.approx(machine.now + SERVER_AHEAD, abs=0.05)


def test_clock_is_not_misled_by_a_slow_answer(clock: ApiClock, machine: Machine) -> None:
    for _ in range(50):
        machine.now += 0.137
        machine.answer(clock)
    machine.answer(clock, seconds=25.0)
    assert clock.now() == pytest.approx(machine.now + SERVER_AHEAD, abs=0.05)


def test_clock_never_runs_backward_while_it_narrows(clock: ApiClock, machine: Machine) -> None:
    before = 0.0
    for number in range(200):
        machine.now += 0.0731
        machine.answer(clock, seconds=0.3 if number % 7 else 2.0)
        assert clock.now() >= before
        before = clock.now()


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["the server's clock was put forward", "or back"])
def test_clock_starts_anew_when_a_clock_was_set(clock: ApiClock, machine: Machine, jump: float) -> None:
    for _ in range(10):
        machine.answer(clock)
        clock.now()
    machine.ahead += jump
    machine.answer(clock)
    assert clock.now() == pytest.approx(machine.now + machine.ahead, abs=1.0)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2026"])
def test_clock_ignores_what_is_no_date(clock: ApiClock, date: str | None) -> None:
    clock.learn(date, 0.0)
    assert clock.now() == 77.0

"""Operators that share a Lease in memory: who leads when, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.adapters.leases import StoredLease
from vidbench_operator.core.leadership import LeaseRecord, Limits
from vidbench_operator.ports import Conflict, Refused, Unavailable
from vidbench_operator.shell.leadership import Leadership, SoleLeader, make_identity

LIMITS = Limits(duration=12, renew_deadline=8, renew_period=2, watch_period=1)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


class SharedLease:
    """A Lease that is written only by who saw its latest version."""

    def __init__(self) -> None:
        self.stored: StoredLease | None = None
        self.writes = 0


class FakeLeases:
    """One operator's connection to it."""

    name = "vidbench-operator"

    def __init__(self, shared: SharedLease) -> None:
        self.shared = shared
        self.error: Exception | None = None
        self.answers_lost = False
        self.write_seconds = 0.0
        self.told: list[str] = []

    def moment(self) -> str:
        return f"t{self.shared.writes}"

    async def read(self) -> StoredLease | None:
        if self.error:
            raise self.error
        return self.shared.stored

    async def write(self, record: LeaseRecord, stored: StoredLease | None) -> StoredLease:
        if self.error:
            raise self.error
        if stored != self.shared.stored:
            raise Conflict("the object has been modified")
        await asyncio.sleep(self.write_seconds)
        self.shared.writes += 1
        self.shared.stored = StoredLease(record, str(self.shared.writes), "uid")
        if self.answers_lost:
            raise Unavailable("the connection was cut")
        return self.shared.stored

    async def announce(self, stored: StoredLease, identity: str) -> None:
        self.told.append(identity)


class Candidate:
    """One operator process, as far as it takes part."""

    def __init__(self, shared: SharedLease, name: str) -> None:
        self.leases = FakeLeases(shared)
        self.lag = 0.0
        self.took_over_at: list[float] = []
        loop = asyncio.get_running_loop()
        self.leadership = Leadership(self.leases, name, LIMITS, clock=loop.time)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        now = asyncio.get_running_loop().time
        self.task = asyncio.create_task(self.leadership.run(lambda: self.took_over_at.append(now())))

    def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()

    @property
    def leads(self) -> bool:
        return self.leadership.is_leading()


async def pair() -> tuple[Candidate, Candidate]:
    """Two operators, of which the first has led for 20 s."""
    shared = SharedLease()
    first, second = Candidate(shared, "first"), Candidate(shared, "second")
    first.start()
    await asyncio.sleep(0.5)
    second.start()
    await asyncio.sleep(20)
    assert (first.leads, second.leads) == (True, False)
    return first, second


async def watch(candidates: tuple[Candidate, Candidate], until: Callable[[], bool], limit: float = 60) -> float:
    """Wait in small steps; never do both lead. Returns the seconds that passed."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not until():
        assert loop.time() - started < limit
        assert sum(candidate.leads for candidate in candidates) <= 1
        await asyncio.sleep(0.05)
    return loop.time() - started


@in_virtual_time
async def test_first_one_leads_and_says_so_once() -> None:
    first, second = await pair()
    assert len(first.took_over_at) == 1
    assert first.leases.told == ["first"]
    assert second.took_over_at == second.leases.told == []
    assert first.leases.shared.writes == pytest.approx(11, abs=1), "one renewal in two seconds, none by the follower"


@in_virtual_time
async def test_killed_leader_is_followed_after_the_duration() -> None:
    first, second = await pair()
    first.kill()
    seconds = await watch((first, second), lambda: second.leads)
    assert 8 <= seconds <= 12 + 1.1
    stored = second.leases.shared.stored
    assert stored is not None
    assert (stored.record.holder, stored.record.transitions) == ("second", 1)
    assert second.leases.told == ["second"]


@in_virtual_time
async def test_leader_that_goes_in_peace_is_followed_in_a_second() -> None:
    first, second = await pair()
    first.kill()
    await first.leadership.release()
    assert not first.leads
    assert await watch((first, second), lambda: second.leads) <= 1.1


@in_virtual_time
async def test_release_finds_the_renewal_whose_answer_was_cut_off() -> None:
    first, second = await pair()
    first.leases.answers_lost = True
    await asyncio.sleep(2.1)
    first.kill()
    first.leases.answers_lost = False
    await first.leadership.release()
    assert await watch((first, second), lambda: second.leads) <= 1.1


@in_virtual_time
async def test_follower_that_goes_takes_nothing_with_it() -> None:
    first, second = await pair()
    second.kill()
    await second.leadership.release()
    await asyncio.sleep(10)
    assert first.leads


@in_virtual_time
async def test_leader_that_cannot_renew_stops_before_another_begins() -> None:
    first, second = await pair()
    first.leases.error = Unavailable("connection refused")
    stopped = await watch((first, second), lambda: not first.leads)
    assert 6 <= stopped <= 8
    await watch((first, second), lambda: second.leads)
    first.leases.error = None
    await asyncio.sleep(20)
    assert (first.leads, second.leads) == (False, True)


@in_virtual_time
async def test_leader_whose_calls_fail_for_a_moment_goes_on(logs: list[MutableMapping[str, Any]]) -> None:
    first, second = await pair()
    first.leases.error = Unavailable("connection refused")
    await asyncio.sleep(4)
    first.leases.error = None
    await watch((first, second), lambda: second.leads or asyncio.get_running_loop().time() > 60, limit=100)
    assert first.leads
    assert len(first.took_over_at) == 1
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 1, "the same complaint is made once"


@in_virtual_time
async def test_leader_that_was_frozen_does_not_act_when_it_wakes(logs: list[MutableMapping[str, Any]]) -> None:
    """Its loop has not run yet, and still it knows by the clock."""
    first, second = await pair()
    loop = asyncio.get_running_loop()
    frozen = first.task
    assert frozen is not None
    first.kill()
    await watch((first, second), lambda: second.leads)
    await asyncio.sleep(20)
    assert not first.leads, "asked before its loop has run"
    first.start()
    await asyncio.sleep(5)
    assert (first.leads, second.leads) == (False, True)
    assert len(first.took_over_at) == 1
    assert loop.time() > 40
    assert any(entry["event"].startswith("leadership lost") for entry in logs)


@in_virtual_time
async def test_leader_that_was_frozen_and_leads_on_takes_over_anew() -> None:
    """What came due meanwhile was dropped, so all that there is has to be looked at again."""
    only = Candidate(SharedLease(), "only")
    only.start()
    await asyncio.sleep(20)
    only.kill()
    await asyncio.sleep(9)
    assert not only.leads
    only.start()
    await asyncio.sleep(0.5)
    assert only.leads
    assert len(only.took_over_at) == 2


@in_virtual_time
async def test_leader_whose_renewal_takes_too_long_takes_over_anew() -> None:
    only = Candidate(SharedLease(), "only")
    only.start()
    await asyncio.sleep(20)
    only.leases.write_seconds = 9
    await asyncio.sleep(10)
    assert not only.leads
    only.leases.write_seconds = 0
    await asyncio.sleep(10)
    assert only.leads
    assert len(only.took_over_at) >= 2


@in_virtual_time
async def test_write_whose_answer_was_lost_is_found_to_be_ours() -> None:
    shared = SharedLease()
    only = Candidate(shared, "only")
    only.leases.answers_lost = True
    only.start()
    await asyncio.sleep(0.5)
    assert not only.leads, "nobody has confirmed it"
    only.leases.answers_lost = False
    await asyncio.sleep(1)
    assert only.leads


@in_virtual_time
async def test_operator_that_may_not_touch_leases_waits_and_beats() -> None:
    only = Candidate(SharedLease(), "only")
    only.leases.error = Refused("leases.coordination.k8s.io is forbidden")
    only.start()
    await asyncio.sleep(100)
    assert not only.leads
    assert only.leadership.seconds_since_beat <= 1
    only.leases.error = None
    await asyncio.sleep(1.1)
    assert only.leads


@in_virtual_time
async def test_operator_that_always_comes_second_makes_no_storm() -> None:
    only = Candidate(SharedLease(), "only")
    only.leases.error = Conflict("the object has been modified")
    reads = 0
    read = only.leases.read

    async def counted() -> StoredLease | None:
        nonlocal reads
        reads += 1
        error, only.leases.error = only.leases.error, None
        stored = await read()
        only.leases.error = error
        return stored

    only.leases.read = counted  # type: ignore[method-assign]
    only.start()
    await asyncio.sleep(10)
    assert 90 <= reads <= 101


@in_virtual_time
async def test_sole_operator_leads_without_a_lease() -> None:
    took_over = 0

    def count() -> None:
        nonlocal took_over
        took_over += 1

    leader = SoleLeader("only")
    task = asyncio.create_task(leader.run(count))
    await asyncio.sleep(100)
    task.cancel()
    await leader.release()
    assert leader.is_leading()
    assert took_over == 1


def test_identity_is_the_given_one_or_one_of_a_kind() -> None:
    assert make_identity("pod-1") == "pod-1"
    assert make_identity("") != make_identity("")

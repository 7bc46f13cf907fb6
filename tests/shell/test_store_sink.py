"""Results on their way into the store: nothing waits for it, and nothing is lost when it is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.ports import ResultsWritten, StoreUnavailable
from vidbench_operator.shell.store_sink import BATCH, PERIOD_SECONDS, WAITING, StoreSink


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


class Scene:
    """A sink with a store and a ledger in memory, and what it says of itself."""

    def __init__(self, ledger: int = 0) -> None:
        self.ledger = [document(number) for number in range(ledger)]
        self.stored: dict[str, Any] = {}
        self.down = False
        self.leads = True
        self.reads = 0
        self.writes: list[int] = []
        self.told: dict[str, Any] = {}
        self.closed = 0
        self.sink = StoreSink(self, self, self, may_act=lambda: self.leads, jitter=lambda: 0.0)

    async def read_results(self) -> AsyncIterator[dict[str, Any]]:
        self.reads += 1
        for entry in list(self.ledger):
            yield entry

    async def write(self, documents: Sequence[Any]) -> ResultsWritten:
        await asyncio.sleep(0.1)
        if self.down:
            raise StoreUnavailable("PostgreSQL ledger at db: connection refused")
        self.writes.append(len(documents))
        new = {entry["metadata"]["uid"]: entry for entry in documents} | {}
        added = len(new.keys() - self.stored.keys())
        self.stored |= new
        return ResultsWritten(added, len(documents) - added)

    def close(self) -> None:
        self.closed += 1

    def set_store(self, **told: Any) -> None:
        self.told = told

    def results_stored(self, added: int, known: int, unreadable: int) -> None:
        self.told["added"] = self.told.get("added", 0) + added

    def create(self, number: int) -> None:
        """A result is created: it is in the ledger, and offered."""
        entry = document(number)
        self.ledger.append(entry)
        self.sink.offer(entry)

    async def for_seconds(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.sink.run())
            await asyncio.sleep(seconds)
            running.cancel()


def document(number: int) -> dict[str, Any]:
    return {"metadata": {"uid": f"uid-{number}", "name": f"result-{number}"}}


@in_virtual_time
async def test_what_was_there_before_is_read_once_and_what_comes_is_written() -> None:
    scene = Scene(ledger=2 * BATCH + 5)
    await scene.for_seconds(10)
    assert scene.writes == [BATCH, BATCH, 5]
    scene.create(1000)
    await scene.for_seconds(10)
    assert scene.writes == [BATCH, BATCH, 5, 1]
    assert (scene.reads, scene.sink.is_complete) == (1, True)
    assert scene.told == {"up": True, "waiting": 0, "complete": True}
    assert scene.closed == 2


@in_virtual_time
async def test_offering_never_waits_and_a_store_that_is_down_loses_nothing() -> None:
    scene = Scene()
    scene.down = True
    for number in range(WAITING + 50):
        scene.create(number)
    await scene.for_seconds(200)
    assert scene.told == {"up": False, "waiting": WAITING, "complete": False}
    assert scene.stored == {}
    scene.down = False
    await scene.for_seconds(200)
    assert len(scene.stored) == WAITING + 50
    assert scene.sink.is_complete


@in_virtual_time
async def test_retries_slow_down_to_a_minute_and_are_told_once(logs: list[MutableMapping[str, Any]]) -> None:
    scene = Scene(ledger=1)
    scene.down = True
    await scene.for_seconds(3600)
    assert 60 <= scene.reads <= 70
    assert [entry["error"] for entry in logs if entry["log_level"] == "warning"] == [
        "PostgreSQL ledger at db: connection refused"
    ]


@in_virtual_time
async def test_an_overflow_while_the_ledger_is_read_is_read_again() -> None:
    scene = Scene(ledger=5 * BATCH)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.sink.run())
        await asyncio.sleep(0.15)
        for number in range(10_000, 10_000 + WAITING + 10):
            scene.create(number)
        await asyncio.sleep(60)
        running.cancel()
    assert len(scene.stored) == 5 * BATCH + WAITING + 10
    assert scene.reads == 2


@in_virtual_time
async def test_a_follower_writes_nothing_and_reads_the_ledger_when_it_takes_over() -> None:
    scene = Scene(ledger=3)
    scene.leads = False
    await scene.for_seconds(100)
    assert (scene.reads, scene.told["complete"]) == (0, False)
    scene.leads = True
    await scene.for_seconds(10)
    assert len(scene.stored) == 3
    scene.ledger.append(document(77))
    scene.sink.catch_up()
    await scene.for_seconds(10)
    assert (len(scene.stored), scene.reads) == (4, 2)


@in_virtual_time
async def test_what_nobody_offered_is_found_within_the_hour() -> None:
    scene = Scene()
    await scene.for_seconds(10)
    scene.ledger.append(document(1))
    await scene.for_seconds(PERIOD_SECONDS + 10)
    assert len(scene.stored) == 1


@in_virtual_time
async def test_results_that_keep_coming_do_not_put_the_hourly_reading_off() -> None:
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.sink.run())
        await asyncio.sleep(10)
        scene.ledger.append(document(1))
        for number in range(100, 100 + 12):
            await asyncio.sleep(PERIOD_SECONDS / 4)
            scene.create(number)
        running.cancel()
    assert "uid-1" in scene.stored
    assert scene.reads == 4


@in_virtual_time
async def test_an_error_that_nobody_expected_is_told_and_retried_as_slowly(
    logs: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(ledger=1)
    asked = 0

    async def fail(_documents: Sequence[Any]) -> ResultsWritten:
        nonlocal asked
        asked += 1
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(scene, "write", fail)
        await scene.for_seconds(3600)
    assert 60 <= asked <= 70
    assert {entry["error"] for entry in logs if entry["log_level"] == "warning"} == {"RuntimeError('a bug')"}
    assert not scene.told["complete"]
    await scene.for_seconds(100)
    assert len(scene.stored) == 1

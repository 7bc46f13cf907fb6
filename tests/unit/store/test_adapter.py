"""The operator's adapter: a real store behind the port, down and up again, and never on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from support.ledger_documents import document
from support.postgresql import PASSWORD, PostgresServer

from vidbench_operator.adapters.store import SqlStore, in_thread
from vidbench_operator.ports import ResultsWritten, StoreUnavailable
from vidbench_store.engine import connect
from vidbench_store.location import Location, parse_location
from vidbench_store.schema import migrate
from vidbench_store.store import Store

Open = Callable[[Location], SqlStore]


@pytest.fixture
def opened() -> Iterator[Callable[[Location], SqlStore]]:
    """Make adapters, and close them after the test."""
    made: list[SqlStore] = []

    def make(location: Location) -> SqlStore:
        made.append(SqlStore(location, "here"))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()


async def test_writing_again_changes_nothing(store: Store, opened: Open) -> None:
    adapter = opened(store.location)
    broken = document(run_uid="broken")
    del broken["spec"]["cell"]
    written = await adapter.write([document(), broken])
    assert (written.added, written.known, len(written.unreadable)) == (1, 0, 1)
    assert await adapter.write([document()]) == ResultsWritten(added=0, known=1)
    assert [cluster for cluster, _ in store.find_results()] == ["here"]


async def test_a_store_without_tables_becomes_usable_without_a_restart(location: Location, opened: Open) -> None:
    adapter = opened(location)
    with pytest.raises(StoreUnavailable, match="vidbench init-db"):
        await adapter.write([document()])
    engine = connect(location)
    migrate(engine, location)
    engine.dispose()
    assert (await adapter.write([document()])).added == 1


async def test_a_server_that_dies_and_comes_back(own_postgresql: PostgresServer, opened: Open) -> None:
    location = parse_location(own_postgresql.make_database("dies"))
    engine = connect(location)
    migrate(engine, location)
    engine.dispose()
    adapter = opened(location)
    assert (await adapter.write([document(run_uid="a")])).added == 1
    own_postgresql.halt()
    with pytest.raises(StoreUnavailable) as caught:
        await adapter.write([document(run_uid="b")])
    assert PASSWORD not in str(caught.value)
    own_postgresql.serve()
    written = await adapter.write([document(run_uid="a"), document(run_uid="b")])
    assert (written.added, written.known) == (1, 1)


async def test_a_database_that_hangs_is_left_and_asked_anew(
    own_postgresql: PostgresServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_postgresql.make_database("hangs")
    engine = connect(parse_location(url))
    migrate(engine, parse_location(url))
    engine.dispose()
    adapter = opened(parse_location(url))
    assert (await adapter.write([document(run_uid="a")])).added == 1
    monkeypatch.setattr("vidbench_operator.adapters.store._ANSWER_SECONDS", 0.5)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE results IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.5 s from PostgreSQL hangs at"):
            await adapter.write([document(run_uid="b")])
    monkeypatch.undo()
    written = await adapter.write([document(run_uid="a"), document(run_uid="b")])
    # What was left may have been stored after all; writing again changes nothing.
    assert written.added + written.known == 2
    for thread in threading.enumerate():
        if thread.name == "vidbench-store":
            await asyncio.to_thread(thread.join, 20)


async def test_a_database_that_hangs_does_not_hold_up_the_loop_nor_who_gives_up() -> None:
    release = threading.Event()
    hanging = asyncio.create_task(in_thread(release.wait))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    release.set()


async def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await in_thread(fail)

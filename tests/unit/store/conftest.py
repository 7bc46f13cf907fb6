"""Every test of the store runs on both databases: SQLite in a file, and a real PostgreSQL server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgresql import PostgresServer

from vidbench_store.engine import connect
from vidbench_store.location import Location, parse_location
from vidbench_store.schema import migrate
from vidbench_store.store import Store
from vidbench_store.tables import METADATA

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A server that all tests share."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty place without tables."""
    if request.param == "sqlite":
        return parse_location(str(tmp_path / "data" / "ledger.sqlite"))
    server: PostgresServer = request.getfixturevalue("postgresql")
    return parse_location(server.make_database(f"test{next(_numbers)}"))


@pytest.fixture(scope="session")
def migrated() -> dict[str, Location]:
    """Places that have tables already, by kind: to make them costs more than most tests."""
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, migrated: dict[str, Location], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store with tables and without results."""
    location = migrated.get(request.param)
    if location is None:
        if request.param == "sqlite":
            location = parse_location(str(tmp_path_factory.mktemp("store") / "ledger.sqlite"))
        else:
            location = parse_location(request.getfixturevalue("postgresql").make_database("shared"))
        engine = connect(location)
        migrate(engine, location)
        engine.dispose()
        migrated[request.param] = location
    empty(location)
    with Store.open(location) as opened:
        yield opened


def empty(location: Location) -> None:
    """Delete what earlier tests stored."""
    engine = connect(location)
    with engine.begin() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@pytest.fixture
def own_postgresql() -> Iterator[PostgresServer]:
    """A server that a test may end."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()

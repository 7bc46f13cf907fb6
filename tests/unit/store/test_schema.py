"""Migrations: from nothing, back and forth, and to what `tables.py` says, on both databases."""

from __future__ import annotations

import sqlite3
import stat
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError
from support.ledger_documents import document
from support.postgresql import PASSWORD, PostgresServer

from vidbench_store.engine import connect
from vidbench_store.location import Location, StoreError, find_location, parse_location
from vidbench_store.schema import Migration, check_version, differences, migrate, newest_version, version_of
from vidbench_store.store import Store


def test_migrations_lead_to_the_tables_that_the_code_uses(location: Location) -> None:
    engine = connect(location)
    assert migrate(engine, location) == Migration(None, newest_version())
    assert migrate(engine, location) == Migration(newest_version(), newest_version())
    with engine.connect() as connection:
        assert differences(connection) == []
        connection.execute(text("ALTER TABLE results ADD COLUMN surprise INTEGER"))
        assert len(differences(connection)) == 1
    engine.dispose()


def test_down_and_up_again(location: Location) -> None:
    engine = connect(location)
    migrate(engine, location)
    migrate(engine, location, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    migrate(engine, location)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


def test_a_migration_that_was_interrupted_leaves_nothing(location: Location) -> None:
    engine = connect(location)
    with engine.begin() as connection:
        # The last table that it makes.
        connection.execute(text("CREATE TABLE horizons (x INTEGER)"))
    with pytest.raises(SQLAlchemyError, match="already exists"):
        migrate(engine, location)
    assert inspect(engine).get_table_names() == ["horizons"]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE horizons"))
    assert migrate(engine, location) == Migration(None, newest_version())
    engine.dispose()


def test_two_who_make_the_tables_at_once(location: Location) -> None:
    def make() -> Migration:
        engine = connect(location)
        try:
            return migrate(engine, location)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as threads:
        made = [made.result() for made in [threads.submit(make) for _ in range(4)]]
    assert sorted(str(entry.before) for entry in made) == sorted(["None", *[newest_version()] * 3])


def test_a_new_file_that_another_writes_is_waited_for(tmp_path: Path) -> None:
    # Before it is a write-ahead log: SQLite refuses at once to make it one, in spite of its busy timeout.
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    ends.start()
    engine = connect(parse_location(str(path)))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
    ends.join()
    other.close()


def test_a_store_without_tables_says_what_to_do(location: Location) -> None:
    with pytest.raises(StoreError, match=r"there are no tables at .*: run `vidbench init-db`"):
        Store.open(location)


def test_tables_of_another_version_are_not_touched(location: Location) -> None:
    engine = connect(location)
    migrate(engine, location)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="version 9999, which this vidbench does not know"):
        migrate(engine, location)
    with engine.connect() as connection:
        assert version_of(connection) == "9999"
        with pytest.raises(StoreError, match="use the newer vidbench"):
            check_version(connection, location)
    engine.dispose()


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, {"XDG_DATA_HOME": "/data"}, "SQLite /data/vidbench/ledger.sqlite"),
        (None, {"XDG_DATA_HOME": "relative"}, f"SQLite {Path.home()}/.local/share/vidbench/ledger.sqlite"),
        (None, {"VIDBENCH_STORE_URL": "sqlite:////srv/l.db"}, "SQLite /srv/l.db"),
        ("/mine", {"VIDBENCH_STORE_URL": "sqlite:////srv/l.db"}, "SQLite /mine"),
        ("postgres://u:secret@db:5433/led?sslmode=require&password=secret", {}, "PostgreSQL led at db:5433"),
        ("postgresql:///led", {}, "PostgreSQL led at local socket"),
        (None, {"VIDBENCH_STORE_URL": "postgresql://u:secret@db/led\n"}, "PostgreSQL led at db"),
        ("/data/user@example.org/l.sqlite", {}, "SQLite /data/user@example.org/l.sqlite"),
    ],
)
def test_where_a_store_is(given: str | None, environment: dict[str, str], expected: str) -> None:
    location = find_location(given, environment)
    assert location.text == expected
    assert "secret" not in repr(location)


@pytest.mark.parametrize(
    "given",
    [
        "mysql://u:secret@db/x",
        "http://u:secret@x/",
        "postgresql://u:secret@db:port/x",
        "sqlite://",
        "://secret",
        "host=db password=secret dbname=l",
        "dbname=l Password = secret",
        "postgresql:/u:secret@db/l",
        "postgres:u:secret@db",
        "u:secret@db/l",
        " ",
    ],
)
def test_what_is_no_store_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(StoreError, match="give a store as postgresql://") as caught:
        parse_location(given)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    location = parse_location(f"postgresql://u:hunter2@/x?host={tmp_path}&password=hunter2")
    with pytest.raises(
        StoreError, match=r"cannot open the store at PostgreSQL x at local socket: .*No such file"
    ) as caught:
        Store.open(location)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_password_is_not_repeated(postgresql: PostgresServer) -> None:
    url = postgresql.make_database("wrong").replace("p%40ss", "wr0ng")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        Store.open(parse_location(url))
    shown = "".join(traceback.format_exception(caught.value))
    assert "wr0ng" not in shown
    assert PASSWORD not in shown


def test_data_is_not_in_errors(location: Location) -> None:
    engine = connect(location)
    migrate(engine, location)
    with engine.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX narrow ON results (model)"))
    engine.dispose()
    twice = [document(run_uid=uid, model="a-secret-model") for uid in ("a", "b")]
    with Store.open(location) as store, pytest.raises(StoreError, match=r"(?i)unique") as caught:
        store.write("east", twice)
    assert "a-secret-model" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the folder .* of the store cannot be made"):
        Store.open(parse_location(str(tmp_path / "file" / "x.sqlite")))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
def test_a_new_folder_is_its_owners_alone(tmp_path: Path) -> None:
    connect(parse_location(str(tmp_path / "new" / "x.sqlite"))).dispose()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700

"""Connections to a store: settings of each database, and its errors as StoreError, without credentials and data."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from .location import Location, StoreError

_CONNECT_SECONDS: Final = 10
_BUSY_MILLISECONDS: Final = 30_000
_BETWEEN_TRIES_SECONDS: Final = 0.01
_SILENT_MILLISECONDS: Final = 30_000


def connect(location: Location, *, statement_seconds: float | None = None) -> Engine:
    """Return an engine; connects to nothing yet, but makes the folder of a file. Raises StoreError.

    `statement_seconds` limits each statement on PostgreSQL.
    """
    if location.is_sqlite:
        _make_folder(Path(str(location.url.database)))
        engine = create_engine(location.url, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "vidbench",
        "tcp_user_timeout": _SILENT_MILLISECONDS,
        # For a server that is gone while it is waited for: nothing of ours is on its way then.
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    if statement_seconds is not None:
        arguments["options"] = f"-c statement_timeout={round(statement_seconds * 1000)}"
    # What is given in the URL's options wins.
    arguments = {key: value for key, value in arguments.items() if key not in location.url.query}
    return create_engine(location.url, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)


@contextmanager
def explained(location: Location, doing: str) -> Iterator[None]:
    """Turn errors of the database into StoreError: what was done, where, and what the database said."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        # Not from the error: a traceback would show the URL and the data.
        raise StoreError(f"{doing} at {location.text}: {_said(error, location)}") from None


def _said(error: Exception, location: Location) -> str:
    cause = getattr(error, "orig", None) or error
    # PostgreSQL's details hold the row; its first line says what was wrong.
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    text = " ".join(str(primary or cause).split())[:512] or type(cause).__name__
    password = location.url.password
    return text.replace(str(password), "***") if password else text


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder {path.parent} of the store cannot be made: {error.strerror}") from error


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    _write_ahead(connection)
    for pragma in (
        "synchronous=NORMAL",
        # What is erased is overwritten, not just forgotten.
        "secure_delete=ON",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log, waiting for others.

    Of two who open a new file at once both read it and want it for themselves: SQLite refuses one of them at once
    then, whatever its busy timeout is.
    """
    last = time.monotonic() + _BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= last:
                raise
            time.sleep(_BETWEEN_TRIES_SECONDS)
        else:
            return

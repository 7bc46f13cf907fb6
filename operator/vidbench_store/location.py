"""Where a store is: a file of SQLite or a PostgreSQL server, by URL; and how that is said without its credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ENV_STORE_URL: Final = "VIDBENCH_STORE_URL"
_FILE_NAME: Final = "ledger.sqlite"
_MEANT_FOR_POSTGRESQL: Final = re.compile(
    r"^(postgres|sqlite|jdbc:)[\w+]*:|\b(host|hostaddr|user|password|dbname)\s*=|:[^/]*@", re.IGNORECASE
)
"""A URL that lost a slash, libpq's words and values, a user with a password: what is no path, but may hold a password."""

_POSTGRESQL: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg"})


class StoreError(Exception):
    """The store cannot do it; the text is for people and holds no credentials."""


@dataclass(frozen=True)
class Location:
    """A store's place. `text` names it for people, without user, password and options of the URL."""

    url: URL
    text: str

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file here."""
        return self.url.get_backend_name() == "sqlite"

    def __repr__(self) -> str:
        return f"Location({self.text})"


def find_location(given: str | None = None, environment: Mapping[str, str] | None = None) -> Location:
    """Return the place that was given, else that of VIDBENCH_STORE_URL, else a file below the XDG data directory.

    Raises:
        StoreError: it is no URL of SQLite or PostgreSQL.
    """
    environment = os.environ if environment is None else environment
    text = given or environment.get(ENV_STORE_URL)
    return parse_location(text) if text else _sqlite(_data_directory(environment) / "vidbench" / _FILE_NAME)


def parse_location(text: str) -> Location:
    """Return the place of a URL `postgresql://...` or `sqlite:///PATH`, or of a path. Raises StoreError.

    White space around it is none of it: a Secret made from a file ends in a newline.
    """
    text = text.strip()
    if not text:
        raise StoreError(_explain("no store was given"))
    if "://" not in text:
        if _MEANT_FOR_POSTGRESQL.search(text):
            # As the name of a file it would be made, and shown, password and all.
            raise StoreError(_explain("what was given is no URL, and no path either"))
        return _sqlite(Path(text).expanduser())
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not from the error: it may quote the URL, password and all.
        raise StoreError(_explain("what was given is no URL")) from None
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreError(_explain("SQLite needs a file"))
        return _sqlite(Path(url.database).expanduser())
    if url.drivername not in _POSTGRESQL:
        raise StoreError(_explain(f"there is no store of kind {url.drivername!r}"))
    host = f"{url.host or 'local socket'}" + (f":{url.port}" if url.port else "")
    return Location(url.set(drivername="postgresql+psycopg"), f"PostgreSQL {url.database or '(default)'} at {host}")


def _sqlite(path: Path) -> Location:
    absolute = path.absolute()
    return Location(URL.create("sqlite", database=str(absolute)), f"SQLite {absolute}")


def _data_directory(environment: Mapping[str, str]) -> Path:
    given = environment.get("XDG_DATA_HOME", "")
    # A relative path there is to be ignored, says the XDG Base Directory Specification.
    return Path(given) if given.startswith("/") else Path.home() / ".local" / "share"


def _explain(problem: str) -> str:
    return f"{problem}: give a store as postgresql://USER@HOST/DATABASE, sqlite:////PATH or a path (--store, {ENV_STORE_URL})"

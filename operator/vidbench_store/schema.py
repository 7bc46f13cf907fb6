"""Makes and migrates the tables, and says which version they are of."""

from __future__ import annotations

from dataclasses import dataclass

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, text

from .location import Location, StoreError
from .tables import METADATA

_ADVISORY_LOCK = 0x76696462
"""Held on PostgreSQL while tables are made, so that two who start at once do not make them twice."""


@dataclass(frozen=True)
class Migration:
    """From which version to which the tables went; before: None if there were none."""

    before: str | None
    after: str


def newest_version() -> str:
    """Return the version of the tables that this code works with."""
    head = ScriptDirectory.from_config(_configuration()).get_current_head()
    assert head is not None, "the package holds its migrations"  # noqa: S101 - a broken wheel
    return head


def version_of(connection: Connection) -> str | None:
    """Return the version of the tables; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine, location: Location, target: str = "head") -> Migration:
    """Bring the tables to a version. Raises StoreError if they are of a version that this code does not know."""
    with engine.begin() as connection:
        if location.is_sqlite:
            # The driver begins no transaction before DDL: half of a migration that was interrupted would stay.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        before = version_of(connection)
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        move = command.downgrade if target == "base" else command.upgrade
        try:
            move(configuration, target)
        except CommandError as error:
            raise StoreError(
                f"the tables at {location.text} are of version {before}, which this vidbench does not know: use a newer one"
            ) from error
        return Migration(before, version_of(connection) or "none")


def check_version(connection: Connection, location: Location) -> None:
    """Raise StoreError unless the tables are of the version that this code works with."""
    found, wanted = version_of(connection), newest_version()
    if found is None:
        raise StoreError(f"there are no tables at {location.text}: run `vidbench init-db` with the same store first")
    if found != wanted:
        remedy = "run `vidbench init-db`" if _knows(found) else "use the newer vidbench that made them"
        raise StoreError(f"the tables at {location.text} are of version {found}, not {wanted}: {remedy}")


def differences(connection: Connection) -> list[object]:
    """Return in what the tables differ from `tables.py`."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, METADATA))


def _knows(version: str) -> bool:
    return any(entry.revision == version for entry in ScriptDirectory.from_config(_configuration()).walk_revisions())


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", "vidbench_store:migrations")
    return configuration

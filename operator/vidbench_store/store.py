"""The ledger of any number of clusters: writes results so that writing them again changes nothing, and finds them again.

A result is known by its object's UID. What it says never changes; its labels may. Results that a cluster deleted stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .documents import Entry, Unreadable, read_documents
from .engine import connect, explained
from .location import Location
from .schema import check_version
from .tables import ERASURES, HORIZONS, RESULTS, SERIES, SYNC_STATES

EVERYTHING: Final = ""
"""Of clusters or namespaces: all of them."""

_REMOVAL_LOCK: Final = 0x76696463
"""On PostgreSQL: writers share it, and who prunes or erases has it alone, so that nothing is stored past an erasure."""

BATCH: Final = 500
"""Rows of one statement: far below the number of parameters that SQLite takes."""


@dataclass(frozen=True)
class Written:
    """What writing documents did. Refused: pruned or erased before, and not stored again."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    unreadable: tuple[Unreadable, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.refused + other.refused,
            self.unreadable + other.unreadable,
        )


@dataclass(frozen=True)
class Place:
    """What a sync lists: an API server by its address, and a namespace, or all of them."""

    server: str
    namespace: str = EVERYTHING


@dataclass(frozen=True)
class SyncState:
    """How far the sync of a place got. With a token it was cut, and goes on there."""

    continue_token: str | None
    resource_version: str | None
    listed: int
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Filter:
    """Which results; what is None or empty selects all. Times are of the measurement, the first included, the last not."""

    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    run_uids: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    validities: tuple[str, ...] = ()
    comparabilities: tuple[str, ...] = ()
    generation_hashes: tuple[str, ...] = ()
    superseded: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def to_clause(self) -> ColumnElement[bool]:
        """Return the condition for the database."""
        columns = RESULTS.c
        parts: list[ColumnElement[bool]] = [columns[name].in_(values) for name, values in self._listed() if values]
        if self.superseded is not None:
            parts.append(columns.superseded.is_(self.superseded))
        if self.since is not None:
            parts.append(columns.measured_at >= self.since)
        if self.until is not None:
            parts.append(columns.measured_at < self.until)
        return and_(True, *parts)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row that is in no database is selected."""
        return (
            all(not values or row[name] in values for name, values in self._listed())
            and (self.superseded is None or row["superseded"] is self.superseded)
            and (self.since is None or row["measured_at"] >= self.since)
            and (self.until is None or row["measured_at"] < self.until)
        )

    def _listed(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (
            ("cluster", self.clusters),
            ("namespace", self.namespaces),
            ("run", self.runs),
            ("run_uid", self.run_uids),
            ("model", self.models),
            ("hardware", self.hardware),
            ("variant", self.variants),
            ("outcome", self.outcomes),
            ("validity", self.validities),
            ("comparability", self.comparabilities),
            ("generation_hash", self.generation_hashes),
        )


class _Kind(Enum):
    """What a transaction does with results."""

    READS = "reads"
    ADDS = "adds"
    REMOVES = "removes"


class Store:
    """One store, of which the tables are there."""

    def __init__(self, engine: Engine, location: Location) -> None:
        self._engine = engine
        self.location = location

    @classmethod
    def open(cls, location: Location, *, statement_seconds: float | None = None) -> Self:
        """Connect and look whether the tables are those of this version. Raises StoreError."""
        engine = connect(location, statement_seconds=statement_seconds)
        try:
            with explained(location, "cannot open the store"), engine.connect() as connection:
                check_version(connection, location)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, location)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self,
        cluster: str,
        documents: Sequence[Mapping[str, Any]],
        *,
        state: tuple[Place, SyncState] | None = None,
    ) -> Written:
        """Store objects as the API server gives them, all or none of them; how far a sync got is stored with them.

        Raises:
            StoreError: the database would not; nothing was stored.
        """
        entries, unreadable = read_documents(documents)
        now = datetime.now(UTC)
        with self._begin("results cannot be written", _Kind.ADDS) as connection:
            written = Written(unreadable=tuple(unreadable))
            for start in range(0, len(entries), BATCH):
                written += _write(connection, cluster, entries[start : start + BATCH], now)
            if state is not None:
                _set_state(connection, *state)
        return written

    def read_state(self, place: Place) -> SyncState | None:
        """Return how far the last sync got; None: there was none."""
        columns = SYNC_STATES.c
        query = select(
            columns.continue_token, columns.resource_version, columns.listed, columns.began_at, columns.ended_at
        ).where(columns.server == place.server, columns.namespace == place.namespace)
        with self._begin("the state of the sync cannot be read") as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else SyncState(*row)

    def count(self, which: Filter | None = None) -> int:
        """Return how many results there are."""
        query = select(func.count()).select_from(RESULTS).where((which or Filter()).to_clause())
        with self._begin("results cannot be counted") as connection:
            return connection.execute(query).scalar_one()

    def find_documents(self, which: Filter | None = None) -> Iterator[dict[str, Any]]:
        """Yield the whole objects, in the order in which they were measured, a few hundred in memory at a time."""
        return (document for _cluster, document in self.find_results(which))

    def find_results(self, which: Filter | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the same with the names of their clusters."""
        query = select(RESULTS.c.cluster, RESULTS.c.document).where((which or Filter()).to_clause())
        for row in self.rows(query.order_by(RESULTS.c.measured_at, RESULTS.c.uid)):
            yield row.cluster, row.document

    def rows(self, query: Select[Any]) -> Iterator[Any]:
        """Yield the rows of a query. Raises StoreError."""
        with self._begin("the store cannot be read") as connection:
            streamed = connection.execution_options(yield_per=BATCH)
            yield from streamed.execute(query)

    def prune(self, before: datetime, cluster: str = EVERYTHING, *, rehearse: bool = False) -> int:
        """Delete results that were measured before, but those labelled to be kept, and never store such ones again.

        Returns how many that is; with `rehearse` nothing is done.
        """
        columns = RESULTS.c
        old = and_(columns.measured_at < before, columns.kept.is_(False))
        if cluster != EVERYTHING:
            old = and_(old, columns.cluster == cluster)
        with self._begin("results cannot be pruned", _Kind.READS if rehearse else _Kind.REMOVES) as connection:
            if rehearse:
                return connection.execute(select(func.count()).select_from(RESULTS).where(old)).scalar_one()
            stored = connection.execute(
                select(HORIZONS.c.measured_before).where(HORIZONS.c.cluster == cluster)
            ).scalar_one_or_none()
            _upsert(connection, HORIZONS, {"cluster": cluster, "measured_before": max(before, stored or before)})
            gone = connection.execute(delete(RESULTS).where(old)).rowcount
        self._empty_log()
        return gone

    def erase_runs(self, run_uids: Sequence[str], *, rehearse: bool = False) -> int:
        """Delete the results of runs, kept ones too, and never store them again; returns how many that is."""
        theirs = RESULTS.c.run_uid.in_(run_uids)
        with self._begin("results cannot be erased", _Kind.READS if rehearse else _Kind.REMOVES) as connection:
            if rehearse:
                return connection.execute(select(func.count()).select_from(RESULTS).where(theirs)).scalar_one()
            for uid in run_uids:
                _upsert(connection, ERASURES, {"run_uid": uid, "erased_at": datetime.now(UTC)})
            gone = connection.execute(delete(RESULTS).where(theirs)).rowcount
        self._empty_log()
        return gone

    def _empty_log(self) -> None:
        """Take what was deleted out of SQLite's log of writes too, where it stays for as long as any connection is open."""
        if self.location.is_sqlite:
            with explained(self.location, "the log of writes cannot be emptied"), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _begin(self, doing: str, kind: _Kind = _Kind.READS) -> Iterator[Connection]:
        """Begin a transaction. What a writer looked up holds until it has written: nobody removes in between."""
        with explained(self.location, doing), self._engine.begin() as connection:
            if kind is not _Kind.READS and self.location.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif kind is not _Kind.READS:
                lock = func.pg_advisory_xact_lock if kind is _Kind.REMOVES else func.pg_advisory_xact_lock_shared
                connection.execute(select(lock(_REMOVAL_LOCK)))
            yield connection


def _write(connection: Connection, cluster: str, entries: Sequence[Entry], now: datetime) -> Written:
    wanted = _without_refused(connection, cluster, entries)
    by_uid = {entry.uid: entry for entry in wanted}
    columns = RESULTS.c
    known = {
        uid: (key, digest)
        for key, uid, digest in connection.execute(
            select(columns.id, columns.uid, columns.digest).where(columns.uid.in_(by_uid))
        )
    }
    new = [entry for entry in wanted if entry.uid not in known]
    changed = [entry for entry in wanted if entry.uid in known and known[entry.uid][1] != entry.row["digest"]]
    added = _insert(connection, [{**entry.row, "cluster": cluster, "stored_at": now} for entry in new])
    if changed:
        # The cluster stays what it was called when the result was first stored.
        names = [name for name in changed[0].row if name != "uid"]
        statement = (
            update(RESULTS)
            .where(columns.id == bindparam("key"))
            .values({name: bindparam(f"new_{name}") for name in names})
        )
        connection.execute(
            statement,
            [{"key": known[entry.uid][0], **{f"new_{name}": entry.row[name] for name in names}} for entry in changed],
        )
        keys = [known[entry.uid][0] for entry in changed]
        connection.execute(delete(SERIES).where(SERIES.c.result_id.in_(keys)))
    owners = added | {entry.uid: known[entry.uid][0] for entry in changed}
    series = [{**row, "result_id": key} for uid, key in owners.items() for row in by_uid[uid].series]
    if series:
        connection.execute(insert(SERIES), series)
    # What another writer stored in between is not added; it is the same result.
    unchanged = len(wanted) - len(added) - len(changed)
    return Written(len(added), len(changed), unchanged, len(entries) - len(wanted))


def _without_refused(connection: Connection, cluster: str, entries: Sequence[Entry]) -> list[Entry]:
    before = connection.execute(
        select(func.max(HORIZONS.c.measured_before)).where(HORIZONS.c.cluster.in_((EVERYTHING, cluster)))
    ).scalar_one()
    uids = {entry.row["run_uid"] for entry in entries}
    erased = set(connection.execute(select(ERASURES.c.run_uid).where(ERASURES.c.run_uid.in_(uids))).scalars())
    # One that was kept until now is written once more: that its label is gone has to be known, or no prune deletes it.
    columns = RESULTS.c
    kept = set(
        connection.execute(
            select(columns.uid).where(columns.uid.in_([entry.uid for entry in entries]), columns.kept.is_(True))
        ).scalars()
    )
    return [
        entry
        for entry in entries
        if entry.row["run_uid"] not in erased
        and (before is None or entry.row["kept"] or entry.row["measured_at"] >= before or entry.uid in kept)
    ]


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Insert results; returns the keys by UID of those that were not there."""
    if not rows:
        return {}
    statement = _inserting(connection)(RESULTS).on_conflict_do_nothing(index_elements=[RESULTS.c.uid])
    returned = connection.execute(statement.returning(RESULTS.c.uid, RESULTS.c.id), list(rows))
    return {uid: key for uid, key in returned}  # noqa: C416 - rows are no tuples of two for mypy


def _set_state(connection: Connection, place: Place, state: SyncState) -> None:
    _upsert(
        connection,
        SYNC_STATES,
        {
            "server": place.server,
            "namespace": place.namespace,
            "continue_token": state.continue_token,
            "resource_version": state.resource_version,
            "listed": state.listed,
            "began_at": state.began_at,
            "ended_at": state.ended_at,
        },
    )


def _upsert(connection: Connection, table: Any, row: Mapping[str, Any]) -> None:
    keys = [column.name for column in table.primary_key]
    statement = _inserting(connection)(table).values(**row)
    rest = {name: value for name, value in row.items() if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def _inserting(connection: Connection) -> Any:
    """Return the database's INSERT, which knows ON CONFLICT: the same words on both, in two classes."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert

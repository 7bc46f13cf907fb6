"""The tables of the store. `migrations` makes them; a test compares the two. Units are those of the results."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A moment, in UTC on both databases: SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse moments without a zone and say the others in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return it in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _long() -> BigInteger:
    return BigInteger()


_KEY: Any = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up a column of type INTEGER alone."""

RESULTS: Final = Table(
    "results",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("uid", String(64), nullable=False),
    Column("cluster", String(256), nullable=False),
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("run", String(256), nullable=False),
    Column("run_uid", String(64), nullable=False),
    Column("cell", String(8), nullable=False),
    Column("model", String(64), nullable=False),
    Column("hardware", String(64), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("rung", String(64)),
    Column("weights", String(16)),
    Column("request_digest", String(64), nullable=False),
    Column("generation_hash", String(64), nullable=False),
    Column("environment_hash", String(64)),
    Column("outcome", String(32), nullable=False),
    Column("validity", String(32), nullable=False),
    Column("comparability", String(32), nullable=False),
    Column("superseded", Boolean, nullable=False),
    Column("reason", String(256)),
    Column("samples_done", Integer, nullable=False),
    Column("device", String(128)),
    Column("device_count", Integer),
    Column("gpu_uuid", String(64)),
    Column("driver", String(64)),
    Column("torch", String(64)),
    Column("node", String(256)),
    Column("image_id", String(512)),
    Column("gpu_seconds", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("measured_at", Moment, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("stored_at", Moment, nullable=False),
    Column("document", JSON, nullable=False),
    UniqueConstraint("uid"),
    Index(None, "model", "hardware", "variant", "measured_at"),
    Index(None, "run_uid"),
    Index(None, "cluster", "namespace", "name"),
    Index(None, "generation_hash"),
    Index(None, "measured_at"),
)
"""A row a BenchmarkResult. `measured_at` is when its pod ended, or when it was created; `document` is all of it."""

SERIES: Final = Table(
    "series",
    METADATA,
    Column("result_id", _KEY, ForeignKey("results.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("unit", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("mean", Double, nullable=False),
    Column("standard_deviation", Double),
    Column("min", _long(), nullable=False),
    Column("median", Double, nullable=False),
    Column("max", _long(), nullable=False),
    Index(None, "name"),
)
"""A row a series of a result: its exact statistics, in its unit."""

SYNC_STATES: Final = Table(
    "sync_states",
    METADATA,
    Column("server", String(512), primary_key=True),
    Column("namespace", String(256), primary_key=True),
    Column("continue_token", Text),
    Column("resource_version", String(64)),
    Column("listed", Integer, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("ended_at", Moment),
)
"""How far a sync got: where its list goes on, or what it had read to the end. Namespace `` is all of them.

By the server's address: names of clusters are people's, and a token of one means something else to another."""

HORIZONS: Final = Table(
    "horizons",
    METADATA,
    Column("cluster", String(256), primary_key=True),
    Column("measured_before", Moment, nullable=False),
)
"""What was pruned and is not stored again: results of a cluster that were measured before. Cluster `` is all of them."""

ERASURES: Final = Table(
    "erasures",
    METADATA,
    Column("run_uid", String(64), primary_key=True),
    Column("erased_at", Moment, nullable=False),
)
"""Runs whose results were erased and are not stored again."""

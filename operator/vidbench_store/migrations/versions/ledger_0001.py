"""The ledger's tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _make_results()
    op.create_table(
        "series",
        sa.Column("result_id", _KEY, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("standard_deviation", sa.Double()),
        sa.Column("min", sa.BigInteger(), nullable=False),
        sa.Column("median", sa.Double(), nullable=False),
        sa.Column("max", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("result_id", "name", name="pk_series"),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name="fk_series_result_id", ondelete="CASCADE"),
    )
    op.create_index("ix_series_name", "series", ["name"])
    op.create_table(
        "sync_states",
        sa.Column("server", sa.String(512), nullable=False),
        sa.Column("namespace", sa.String(256), nullable=False),
        sa.Column("continue_token", sa.Text()),
        sa.Column("resource_version", sa.String(64)),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("server", "namespace", name="pk_sync_states"),
    )
    op.create_table(
        "horizons",
        sa.Column("cluster", sa.String(256), nullable=False),
        sa.Column("measured_before", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", name="pk_horizons"),
    )
    op.create_table(
        "erasures",
        sa.Column("run_uid", sa.String(64), nullable=False),
        sa.Column("erased_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_uid", name="pk_erasures"),
    )


def _make_results() -> None:
    op.create_table(
        "results",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("cluster", sa.String(256), nullable=False),
        sa.Column("namespace", sa.String(256), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("run", sa.String(256), nullable=False),
        sa.Column("run_uid", sa.String(64), nullable=False),
        sa.Column("cell", sa.String(8), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("hardware", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("rung", sa.String(64)),
        sa.Column("weights", sa.String(16)),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("generation_hash", sa.String(64), nullable=False),
        sa.Column("environment_hash", sa.String(64)),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("validity", sa.String(32), nullable=False),
        sa.Column("comparability", sa.String(32), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(256)),
        sa.Column("samples_done", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(128)),
        sa.Column("device_count", sa.Integer()),
        sa.Column("gpu_uuid", sa.String(64)),
        sa.Column("driver", sa.String(64)),
        sa.Column("torch", sa.String(64)),
        sa.Column("node", sa.String(256)),
        sa.Column("image_id", sa.String(512)),
        sa.Column("gpu_seconds", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("measured_at", _MOMENT, nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("stored_at", _MOMENT, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
        sa.UniqueConstraint("uid", name="uq_results_uid"),
    )
    for columns in (
        ["model", "hardware", "variant", "measured_at"],
        ["run_uid"],
        ["cluster", "namespace", "name"],
        ["generation_hash"],
        ["measured_at"],
    ):
        op.create_index(f"ix_results_{'_'.join(columns)}", "results", columns)


def downgrade() -> None:
    """Drop the tables with all that they hold."""
    for table in ("erasures", "horizons", "sync_states", "series", "results"):
        op.drop_table(table)

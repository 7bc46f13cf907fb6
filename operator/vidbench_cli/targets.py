"""Which cell, shard and attempt of a run somebody means: pure, with an error that lists what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidbench_api.names import Outcome, RowPhase
from vidbench_api.run_status import CellRow, ShardStatus

from .errors import UsageError
from .run_page import cell_name
from .texts import _

_SHOWN = 20


@dataclass(frozen=True)
class Target:
    """One attempt of a shard; attempt 0: none has begun."""

    row: CellRow
    shard: ShardStatus
    attempt: int

    @property
    def text(self) -> str:
        """Return it for people."""
        return _("{cell} shard {shard} attempt {attempt}").format(
            cell=cell_name(self.row), shard=self.shard.index, attempt=self.attempt
        )


def pick_row(rows: Sequence[CellRow], wanted: str) -> CellRow:
    """Return the row that is meant by its id, its name, or a part of it that only one has; raises UsageError."""
    exact = [row for row in rows if wanted in (row.id, cell_name(row))]
    found = exact or [row for row in rows if wanted in cell_name(row) or row.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        text = _("{wanted!r} may be {count} cells").format(wanted=wanted, count=len(found))
        raise UsageError(text, _listed(found))
    raise UsageError(_("the run has no cell {wanted!r}").format(wanted=wanted), _listed(rows))


def pick_target(rows: Sequence[CellRow], wanted: str | None, shard: int | None, attempt: int | None) -> Target:
    """Return the attempt that is meant.

    Without a cell: the only one, or the only one that is active. Without a shard: one that is active, else one that failed,
    else the first. Without an attempt: the latest. Raises UsageError with what there is.
    """
    row = pick_row(rows, wanted) if wanted else _only_row(rows)
    chosen = _pick_shard(row, shard)
    if attempt is not None and not 1 <= attempt <= chosen.attempt:
        raise UsageError(
            _("{cell} shard {shard} has no attempt {attempt}").format(
                cell=cell_name(row), shard=chosen.index, attempt=attempt
            ),
            _("it has had {count}").format(count=chosen.attempt),
        )
    return Target(row, chosen, attempt or chosen.attempt)


def _only_row(rows: Sequence[CellRow]) -> CellRow:
    if not rows:
        raise UsageError(_("the run has no cells yet"), _("vidbench describe RUN says what it waits for"))
    active = [row for row in rows if row.phase is RowPhase.ACTIVE]
    for only in (rows, active):
        if len(only) == 1:
            return only[0]
    raise UsageError(_("the run has {count} cells: which one?").format(count=len(rows)), _listed(active or rows))


def _pick_shard(row: CellRow, wanted: int | None) -> ShardStatus:
    if wanted is None:
        active = [shard for shard in row.shards if shard.phase is RowPhase.ACTIVE]
        failed = [shard for shard in row.shards if shard.outcome not in (None, Outcome.SUCCEEDED)]
        if found := [*active, *failed, *row.shards]:
            return found[0]
    for shard in row.shards:
        if shard.index == wanted:
            return shard
    have = ", ".join(str(shard.index) for shard in row.shards) or _("none yet")
    text = _("{cell} has no shard {shard}").format(cell=cell_name(row), shard=wanted or 1)
    raise UsageError(text, _("it has: {shards}").format(shards=have))


def _listed(rows: Sequence[CellRow]) -> str:
    names = [cell_name(row) for row in rows]
    more = (
        [_("... and {count} more: vidbench get RUN").format(count=len(names) - _SHOWN)] if len(names) > _SHOWN else []
    )
    return "\n".join([*names[:_SHOWN], *more])

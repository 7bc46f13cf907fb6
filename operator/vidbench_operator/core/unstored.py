"""Shards whose result the API server will not have (a quota, an admission rule): they stay as they are until it has it.

Their pods and Jobs stay with what was measured, and the other shards go on. Knows no clock: the caller says what is held, and until when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vidbench_api.identity import result_name
from vidbench_api.run_status import ShardStatus

from .settle import Context, Entry, Settled


def hold_unstored(
    context: Context, stored: Mapping[str, Sequence[ShardStatus]], entries: tuple[Entry, ...]
) -> tuple[Entry, ...]:
    """Put the shards back whose results are refused. `stored` are the shards that the status has, by cell."""
    if not context.observed.refused_results:
        return entries
    before = {(cell, shard.index): shard for cell, shards in stored.items() for shard in shards}
    until = context.observed.results_retry_at
    look_at = until if until > context.now else context.now + context.policy.refusal_check_seconds
    return tuple(
        Entry(entry.cell, Settled(shard, stops=True, wake_at=look_at))
        if context.observed.refused_results.intersection(_names_of(context, entry))
        and (shard := before.get((entry.cell.id, entry.shard.index))) is not None
        else entry
        for entry in entries
    )


def _names_of(context: Context, entry: Entry) -> Iterator[str]:
    if entry.settled.superseded is not None:
        yield entry.settled.superseded.name
    if entry.settled.result is not None:
        yield result_name(context.run.name, entry.cell.id, entry.shard.index)

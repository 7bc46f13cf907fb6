"""Which shards start their next attempt in this pass, and why not more.

Takes settled shards and returns them with the attempts that start written down; creates nothing. Knows nothing of how
an attempt is judged, nor of how a run as a whole is held or stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vidbench_api.names import LimitedBy, RowPhase
from vidbench_api.run_status import ShardStatus

from .settle import Context, Entry
from .timestamps import format_time, parse_time


def start(context: Context, entries: Sequence[Entry]) -> tuple[LimitedBy, tuple[Entry, ...]]:
    """Write down the next attempts: shard 1 of every cell first, then shard 2; within, in the order of the cell ids.

    Cell ids are hashes of the run's UID, so that order is a shuffle with a seed of its own for every run.
    """
    active = sum(entry.shard.phase is RowPhase.ACTIVE for entry in entries)
    slots = max(0, context.run.spec.parallelism - active)
    probes: dict[str, int] = {}
    for entry in entries:
        probes[entry.cell.hardware] = probes.get(entry.cell.hardware, 0) + entry.settled.unschedulable
    started = {}
    held_back = False
    for entry in sorted(entries, key=lambda entry: (entry.shard.index, entry.cell.id)):
        if entry.shard.phase is not RowPhase.PENDING or (parse_time(entry.shard.not_before) or 0) > context.now:
            continue
        if probes[entry.cell.hardware] >= context.policy.unschedulable_probe:
            held_back = True
            continue
        if slots == 0:
            break
        slots -= 1
        started[(entry.cell.id, entry.shard.index)] = _next_attempt(entry.shard, context.now)
    wake_at = context.now + context.policy.refusal_check_seconds
    changed = tuple(
        Entry(entry.cell, replace(entry.settled, shard=started[key], wake_at=wake_at))
        if (key := (entry.cell.id, entry.shard.index)) in started
        else entry
        for entry in entries
    )
    waits = any(entry.shard.phase is RowPhase.PENDING for entry in changed)
    return _limited_by(changed, waits=waits, slots=slots, held_back=held_back), changed


def _next_attempt(shard: ShardStatus, now: float) -> ShardStatus:
    return shard.model_copy(
        update={
            "phase": RowPhase.ACTIVE,
            "attempt": shard.attempt + 1,
            "job_uid": None,
            "node": None,
            "started_at": format_time(now),
            "not_before": None,
        }
    )


def _limited_by(entries: Sequence[Entry], *, waits: bool, slots: int, held_back: bool) -> LimitedBy:
    if held_back or any(entry.settled.unschedulable for entry in entries):
        return LimitedBy.CAPACITY
    if any(entry.settled.refused for entry in entries):
        return LimitedBy.QUOTA
    return LimitedBy.PARALLELISM if waits and slots == 0 else LimitedBy.NOTHING

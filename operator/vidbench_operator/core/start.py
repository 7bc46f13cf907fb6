"""Which shards start their next attempt in this pass, and why not more.

Takes settled shards and returns them with the attempts that start written down; creates nothing. Knows nothing of how
an attempt is judged, nor of how a run as a whole is held or stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vidbench_api.names import LimitedBy, RowPhase
from vidbench_api.run_status import HardwareWindow, ParallelismStatus, ShardStatus

from .avoidance import Key, surroundings_of
from .breaker import Breakers
from .capacity import room_in
from .order import expected_seconds, in_order
from .pairing import pairing_of
from .settle import Context, Entry
from .timestamps import format_time, parse_time
from .windows import loads_of, windows_of

_ORDER_OF_LIMITS = (
    LimitedBy.QUOTA,
    LimitedBy.QUEUE,
    LimitedBy.CAPACITY,
    LimitedBy.PARALLELISM,
    LimitedBy.PAIRING,
    LimitedBy.BREAKER,
    LimitedBy.BACK_OFF,
)
"""Where several things hold shards back, the first of these is told."""


@dataclass(frozen=True)
class Started:
    """What a pass starts."""

    entries: tuple[Entry, ...]
    limited_by: LimitedBy
    windows: tuple[HardwareWindow, ...] = ()
    breakers: Breakers = field(default_factory=Breakers)

    def to_status(self) -> ParallelismStatus:
        """Return how many Jobs there are and why not more; an attempt whose Job was refused has none and waits."""
        active = [entry for entry in self.entries if entry.shard.phase is RowPhase.ACTIVE]
        without_job = sum(entry.settled.refused and entry.shard.job_uid is None for entry in active)
        return ParallelismStatus(
            active=len(active) - without_job,
            running=sum(entry.settled.running for entry in self.entries),
            waiting=sum(entry.shard.phase is RowPhase.PENDING for entry in self.entries) + without_job,
            queued=sum(entry.settled.queued for entry in self.entries),
            limited_by=self.limited_by,
            windows=self.windows,
        )


def start(context: Context, entries: Sequence[Entry], breakers: Breakers, held: frozenset[Key]) -> Started:
    """Write down the next attempts, in their order. The shards of `held` wait for a circuit breaker."""
    active = sum(entry.shard.phase is RowPhase.ACTIVE for entry in entries)
    slots = max(0, context.run.spec.parallelism - active)
    limits = {limit for entry in entries if (limit := _limit_of_active(entry)) is not None}
    refused = {entry.cell.hardware for entry in entries if entry.settled.refused}
    waiting = [entry for entry in entries if entry.shard.phase is RowPhase.PENDING and not entry.settled.stops]
    ready = [entry for entry in waiting if (parse_time(entry.shard.not_before) or 0.0) <= context.now]
    if len(ready) < len(waiting):
        limits.add(LimitedBy.BACK_OFF)
    loads = loads_of(context, entries)
    windows = windows_of(context, loads, ready, slots)
    rooms = {window.hardware: room_in(window, loads[window.hardware]) for window in windows}
    width = active + min(slots, len(ready), *([sum(rooms.values())] if rooms else []))
    pairing = pairing_of(context, entries, breakers, surroundings_of(context))
    started = {}
    for entry in in_order(ready, expected_seconds(context.run.status.rows, entries, context.now), width):
        hardware = entry.cell.hardware
        if (entry.cell.id, entry.shard.index) in held:
            limits.add(LimitedBy.BREAKER)
            continue
        if hardware in refused:
            # A quota is often of one kind of GPU: what it refuses holds back no other hardware.
            continue
        if slots == 0:
            limits.add(LimitedBy.PARALLELISM)
            break
        if rooms.get(hardware) == 0:
            limits.add(LimitedBy.CAPACITY)
            continue
        if pairing is not None and not pairing.may_start(entry):
            limits.add(LimitedBy.PAIRING)
            continue
        slots -= 1
        if hardware in rooms:
            rooms[hardware] -= 1
        if pairing is not None:
            pairing.start(entry)
        started[(entry.cell.id, entry.shard.index)] = _next_attempt(entry.shard, context.now)
    limited_by = next((limit for limit in _ORDER_OF_LIMITS if limit in limits), LimitedBy.NOTHING)
    return Started(_with_started(context, entries, started), limited_by, windows, breakers)


def _limit_of_active(entry: Entry) -> LimitedBy | None:
    """Return what keeps an attempt that is under way from running."""
    if entry.settled.refused:
        return LimitedBy.QUOTA
    if entry.settled.queued:
        return LimitedBy.QUEUE
    return LimitedBy.CAPACITY if entry.settled.unschedulable else None


def _with_started(
    context: Context, entries: Sequence[Entry], started: Mapping[tuple[str, int], ShardStatus]
) -> tuple[Entry, ...]:
    wake_at = context.now + context.policy.refusal_check_seconds
    return tuple(
        Entry(entry.cell, replace(entry.settled, shard=started[key], wake_at=wake_at))
        if (key := (entry.cell.id, entry.shard.index)) in started
        else entry
        for entry in entries
    )


def _next_attempt(shard: ShardStatus, now: float) -> ShardStatus:
    return shard.model_copy(
        update={
            "phase": RowPhase.ACTIVE,
            "attempt": shard.attempt + 1,
            "job_uid": None,
            "node": None,
            "harvest_at": None,
            "started_at": format_time(now),
            "not_before": None,
        }
    )

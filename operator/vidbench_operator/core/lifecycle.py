"""What its user, its deadline or its failures make of a run as a whole: go on, hold, or stop; and which clocks run.

Holding (`spec.suspend`) gives every node back and charges nobody. Stopping (`spec.cancel`, `timeouts.runSeconds`,
`failurePolicy.maxFailedCells`) ends what has not ended and keeps what was measured. Knows nothing of how an attempt is
judged: it acts on shards that were settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.request import Cell
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus, ShardStatus

from .evidence import AttemptEnd
from .observed import ObservedPod, ObservedRun, latest_pod
from .results import held_gpu_seconds
from .settle import Context, Settled, current_pod, give_up
from .timestamps import format_time, parse_time

_MAX_COUNT = 2_147_483_647


@dataclass(frozen=True)
class Stop:
    """The run is to end: shards that wait do not start any more, and with `at_once` those that run are ended too."""

    reason: Reason
    message: str
    at_once: bool


def find_stop(run: ObservedRun, cells: Sequence[tuple[Cell, Sequence[ShardStatus]]], now: float) -> Stop | None:
    """Return why the run is to end, or None if it goes on. `cells` are those that were asked for, with their shards."""
    spec = run.spec
    if now >= deadline_of(run, now):
        message = f"the run reached timeouts.runSeconds ({spec.timeouts.run_seconds} s)"
        return Stop(Reason.RUN_DEADLINE, message, at_once=True)
    if spec.cancel == "Immediate":
        return Stop(Reason.RUN_CANCELLED, "spec.cancel is Immediate", at_once=True)
    failed = sum(any(shard.outcome is Outcome.FAILED for shard in shards) for _, shards in cells)
    if failed * 100 > max_failed_percent(spec) * len(cells):
        message = f"{failed} of {len(cells)} cells failed, more than failurePolicy.maxFailedCells ({spec.failure_policy.max_failed_cells})"
        return Stop(Reason.TOO_MANY_FAILED, message, at_once=True)
    if spec.cancel == "Graceful":
        return Stop(Reason.RUN_CANCELLED, "spec.cancel is Graceful", at_once=False)
    return None


def max_failed_percent(spec: BenchmarkRunSpec) -> int:
    """Return maxFailedCells as a number of percent."""
    return int(spec.failure_policy.max_failed_cells.removesuffix("%"))


def stopped(context: Context, cell: Cell, settled: Settled, stop: Stop) -> Settled:
    """End a shard that has not ended, if the stop is for it."""
    shard = settled.shard
    waits = shard.phase is RowPhase.PENDING
    if shard.phase is RowPhase.FINISHED or not (waits or stop.at_once):
        return settled
    if settled.superseded is not None:
        # What was measured is kept first; the next pass finds it in the ledger, and it may stand for the shard.
        return replace(settled, stops=True)
    held = not waits and shard.job_uid is not None
    pod = latest_pod(context.observed.pods_of(shard.job_uid or ""), shard.job_uid or "") if held else None
    if held and stop.reason is not Reason.RUN_DEADLINE and _has_ended(context, shard, pod):
        return settled
    ended = give_up(context, cell, shard, None, pod, stop.reason, stop.message)
    return replace(ended, gpu_seconds=ended.gpu_seconds + settled.gpu_seconds)


def suspended(context: Context, cell: Cell, settled: Settled) -> Settled:
    """Take an attempt back that has not ended: its Job goes, and nothing is charged to the shard."""
    shard = settled.shard
    if not context.run.spec.suspend or shard.phase is not RowPhase.ACTIVE or settled.needs_live:
        return settled
    pod = latest_pod(context.observed.pods_of(shard.job_uid or ""), shard.job_uid or "")
    if _has_ended(context, shard, pod):
        return settled
    if not context.observed.live:
        # A runner that has just ended without our knowing must not lose its verdict.
        return Settled(shard, needs_live=True)
    end = AttemptEnd(Outcome.CANCELLED, context.now, Reason.SUSPENDED, pod=pod)
    waiting = shard.model_copy(update={"phase": RowPhase.PENDING, "not_before": None})
    gpus = context.document.find_hardware(cell.hardware).gpus
    return Settled(waiting, gpu_seconds=settled.gpu_seconds + held_gpu_seconds(end, gpus))


def _has_ended(context: Context, shard: ShardStatus, pod: ObservedPod | None) -> bool:
    """Whether the attempt's runner has ended: what it left is judged within moments, and counts."""
    finished = any(job.uid == shard.job_uid and job.finished is not None for job in context.observed.jobs)
    evicted = any(
        job.uid == shard.job_uid and current_pod(context, job) is None
        for job in context.observed.jobs
        if job.finished is None
    )
    return finished or (pod is not None and pod.ended and not evicted)


def deadline_of(run: ObservedRun, now: float) -> float:
    """Return when the run's own time is up: runSeconds from its creation, and the time that it was paused besides."""
    since = parse_time(run.status.paused_since)
    paused = run.status.paused_seconds + (max(0.0, now - since) if since is not None else 0.0)
    return run.created_at + run.spec.timeouts.run_seconds + paused


def is_paused(spec: BenchmarkRunSpec, shards: Iterable[ShardStatus], queued: int) -> bool:
    """Whether the run waits for somebody else's decision alone: its user's, or that of the queue that holds all its Jobs."""
    active = sum(shard.phase is RowPhase.ACTIVE for shard in shards)
    return (spec.suspend and not active) or (active > 0 and active == queued)


def with_pause(status: BenchmarkRunStatus, *, paused: bool, now: float) -> BenchmarkRunStatus:
    """Return the status with the pause begun, going on, or added to those before."""
    since = parse_time(status.paused_since)
    if paused:
        return status if since is not None else status.model_copy(update={"paused_since": format_time(now)})
    if status.paused_since is None:
        return status
    seconds = status.paused_seconds + round(max(0.0, now - (since if since is not None else now)))
    return status.model_copy(update={"paused_since": None, "paused_seconds": min(seconds, _MAX_COUNT)})

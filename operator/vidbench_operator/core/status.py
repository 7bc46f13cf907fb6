"""Shards to the status of the run: rows, counts, conditions, phase, and the sentence that says what is going on.

All of it is derived anew in every pass; only transition times are taken over from the status that is there.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from vidbench_api.names import (
    LABEL_RUN,
    LABEL_RUN_UID,
    Comparability,
    ConditionReason,
    ConditionType,
    LimitedBy,
    Outcome,
    Reason,
    RowPhase,
    RunPhase,
    Validity,
)
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.run_status import (
    BenchmarkRunStatus,
    CellCounts,
    CellRow,
    Condition,
    Fastest,
    ParallelismStatus,
    ShardCounts,
    ShardStatus,
)

from .gating import Judgement, judgement_of, unjudged
from .observed import Ledger, ObservedRun
from .results import headline_memory, reused_shard, seconds_text
from .reuse import Reusable
from .timestamps import format_time

ConditionStatus = Literal["True", "False", "Unknown"]
_MAX_CONDITIONS = 16
"""As the schema has it; our own come first, so that other people's cannot push them out."""


def is_terminal(status: BenchmarkRunStatus) -> bool:
    """Whether the run has ended, for ever."""
    return any(
        condition.status == "True" and condition.type in (ConditionType.COMPLETE, ConditionType.FAILED)
        for condition in status.conditions
    )


def with_conditions(
    run: ObservedRun,
    status: BenchmarkRunStatus,
    wanted: Mapping[ConditionType, tuple[ConditionStatus, str, str]],
    now: float,
) -> BenchmarkRunStatus:
    """Return the status with these conditions; a transition time changes only with the condition's status."""
    existing = {condition.type: condition for condition in status.conditions}
    for kind, (value, reason, message) in wanted.items():
        before = existing.get(kind.value)
        same = before is not None and before.status == value
        existing[kind.value] = Condition(
            type=kind.value,
            status=value,
            reason=reason,
            message=message[:4096],
            last_transition_time=before.last_transition_time if before is not None and same else format_time(now),
            observed_generation=run.generation,
        )
    order = {kind.value: position for position, kind in enumerate(ConditionType)}
    conditions = sorted(existing.values(), key=lambda condition: (order.get(condition.type, 99), condition.type))
    return status.model_copy(update={"conditions": tuple(conditions[:_MAX_CONDITIONS])})


def waiting_status(run: ObservedRun, reason: ConditionReason, message: str, now: float) -> BenchmarkRunStatus:
    """Return the status of a run that cannot be accepted yet."""
    status = run.status.model_copy(
        update={
            "observed_generation": run.generation,
            "phase": RunPhase.PENDING,
            "message": message[:1024],
            "start_time": run.status.start_time or format_time(now),
            "selector": selector_of(run),
        }
    )
    wanted: dict[ConditionType, tuple[ConditionStatus, str, str]] = {
        ConditionType.ACCEPTED: ("False", reason.value, message),
        **_running_conditions(ConditionReason.WAITING, message),
    }
    return with_conditions(run, status, wanted, now)


def accepted_status(
    run: ObservedRun,
    document: RequestDocument,
    name: str,
    now: float,
    reusable: Reusable | None = None,
    estimates: Mapping[str, int] | None = None,
    ledger: Ledger | None = None,
) -> BenchmarkRunStatus:
    """Return the status of a run whose request document has just been frozen.

    Its rows are empty of attempts. Shards that results of earlier runs stand for are finished already; if that is all of
    them, gates are held against `ledger`.
    """
    status = run.status.model_copy(
        update={
            "start_time": run.status.start_time or format_time(now),
            "request_name": name,
            "request_digest": document.digest,
            "selector": selector_of(run),
            "reuse_message": reusable.message if reusable else None,
            "rows": tuple(
                _first_row(cell, document, reusable, (estimates or {}).get(cell.id)) for cell in document.cells
            ),
        }
    )
    message = (
        f"{_counted(len(document.cells), 'cell')} x {_counted(document.shards, 'shard')}, frozen in ConfigMap {name}"
    )
    accepted: ConditionStatus = "True"
    status = with_conditions(
        run, status, {ConditionType.ACCEPTED: (accepted, ConditionReason.ACCEPTED.value, message)}, now
    )
    rows = status.rows
    judgement = judgement_of(run.spec, document, rows, run.status, ledger, ended=has_ended(rows))
    return summarise(run, status, ParallelismStatus(waiting=_waiting(rows)), now, judgement)


def _first_row(cell: Cell, document: RequestDocument, reusable: Reusable | None, estimate: int | None) -> CellRow:
    row = empty_row(cell, document).model_copy(update={"estimate_seconds": estimate})
    results = reusable.shards if reusable else {}
    known = {shard.index: results.get((cell.id, shard.index)) for shard in row.shards}
    specs = [entry[1] for entry in known.values() if entry is not None]
    if not specs:
        return row
    memory = headline_memory(specs[0])
    row = row.model_copy(
        update={
            "source": "Reused" if len(specs) == len(known) else "Mixed",
            "gpu": specs[0].environment.device[:64] if specs[0].environment else None,
            "memory_of": memory.of if memory else None,
        }
    )
    shards = [reused_shard(shard, *entry) if (entry := known[shard.index]) else shard for shard in row.shards]
    return summarise_row(row, shards)


def failed_status(run: ObservedRun, reason: ConditionReason, message: str, now: float) -> BenchmarkRunStatus:
    """Return the status of a run that ends here without being measured (further)."""
    rows = tuple(_cancelled(row, reason, message, now) for row in run.status.rows)
    status = run.status.model_copy(
        update={
            **_derived(rows),
            "rows": rows,
            "observed_generation": run.generation,
            "phase": RunPhase.FAILED,
            "message": message[:1024],
            "start_time": run.status.start_time or format_time(now),
            "completion_time": format_time(now),
            "parallelism": ParallelismStatus(),
            "selector": selector_of(run),
        }
    )
    judgement = unjudged(run.spec, message)
    status = _with_judgement(status, judgement)
    wanted = {
        **_end_conditions(succeeded=False, reason=reason, message=message),
        **_no_longer_suspended(status),
        **_gates_condition(judgement),
    }
    if status.request_digest is None:
        wanted[ConditionType.ACCEPTED] = ("False", reason.value, message)
    return with_conditions(run, status, wanted, now)


def _cancelled(row: CellRow, reason: ConditionReason, message: str, now: float) -> CellRow:
    """Return the row with an end for every shard that has none."""
    end = {
        "phase": RowPhase.FINISHED,
        "outcome": Outcome.CANCELLED,
        "reason": reason.value,
        "ended_at": format_time(now),
        "not_before": None,
    }
    shards = [
        shard if shard.phase is RowPhase.FINISHED else shard.model_copy(update=end)
        for shard in row.shards or (ShardStatus(index=1),)
    ]
    if any(shard.phase is not RowPhase.FINISHED for shard in row.shards):
        row = row.model_copy(update={"message": message[:256]})
    return summarise_row(row, shards)


def selector_of(run: ObservedRun) -> str:
    """Return the label selector of the run's pods."""
    return f"{LABEL_RUN}={run.name},{LABEL_RUN_UID}={run.uid}"


def empty_row(cell: Cell, document: RequestDocument) -> CellRow:
    """Return the row of a cell that nothing was done for."""
    return CellRow(
        id=cell.id,
        model=cell.model,
        hardware=cell.hardware,
        variant=cell.variant,
        rung=cell.rung,
        comparability=cell.comparability,
        weights="Random" if cell.weights == "Random" else None,
        plan=document.plan,
        shards=tuple(ShardStatus(index=index) for index in range(1, document.shards + 1)),
    )


def summarise_row(row: CellRow, shards: Sequence[ShardStatus]) -> CellRow:
    """Return the row with its figures derived from its shards, of which there is at least one.

    Latency, spread and number of samples are of the shards that succeeded; without any, the number of samples is of
    what was measured before the failure. Device, kind of memory and message stay; the message of a success is none.
    """
    finished = all(shard.phase is RowPhase.FINISHED for shard in shards)
    succeeded = [shard for shard in shards if shard.outcome is Outcome.SUCCEEDED]
    timed = [shard for shard in succeeded if shard.latency_microseconds is not None]
    means = [shard.latency_microseconds for shard in timed if shard.latency_microseconds is not None]
    memories = [shard.memory_mebibytes for shard in shards if shard.memory_mebibytes is not None]
    samples = [shard.samples for shard in succeeded or shards if shard.samples is not None]
    reruns = [shard.reruns for shard in succeeded if shard.reruns is not None]
    worst = _worst(shards) if finished else None
    spread, spread_of = _spread(timed, means)
    return row.model_copy(
        update={
            "phase": _phase_of(shards),
            "outcome": worst.outcome if worst else None,
            "validity": _worst_validity(shards) if finished else None,
            "reason": worst.reason if worst else next((shard.reason for shard in shards if shard.reason), None),
            "message": None if worst and worst.reason is None else row.message,
            "latency_microseconds": round(statistics.fmean(means)) if means else None,
            "spread_microseconds": spread,
            "spread_of": spread_of,
            "samples": sum(samples) if samples else None,
            "reruns": sum(reruns) if reruns else None,
            "reruns_equal": sum(shard.reruns_equal or 0 for shard in succeeded) if reruns else None,
            "memory_mebibytes": max(memories) if memories else None,
            "memory_of": None if not memories else row.memory_of,
            "source": row.source or ("Measured" if finished and succeeded else None),
            "shards": tuple(shards),
        }
    )


def is_summary_of(row: CellRow, shards: Sequence[ShardStatus]) -> bool:
    """Whether a stored row was derived from these very shards, so that it need not be derived anew."""
    finished = row.phase is RowPhase.FINISHED
    return row.shards == shards and row.phase is _phase_of(shards) and finished is (row.outcome is not None)


def _phase_of(shards: Sequence[ShardStatus]) -> RowPhase:
    if all(shard.phase is RowPhase.FINISHED for shard in shards):
        return RowPhase.FINISHED
    return RowPhase.ACTIVE if any(shard.phase is RowPhase.ACTIVE for shard in shards) else RowPhase.PENDING


def _spread(
    timed: Sequence[ShardStatus], means: Sequence[int]
) -> tuple[int | None, Literal["Samples", "Shards"] | None]:
    if len(means) > 1:
        return round(statistics.stdev(means)), "Shards"
    if timed and timed[0].spread_microseconds is not None:
        return timed[0].spread_microseconds, "Samples"
    return None, None


def _worst(shards: Sequence[ShardStatus]) -> ShardStatus:
    order = (Outcome.SUCCEEDED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED, Outcome.FAILED)
    return max(shards, key=lambda shard: (order.index(shard.outcome or Outcome.FAILED), -shard.index))


def _worst_validity(shards: Sequence[ShardStatus]) -> Validity | None:
    order = (Validity.VALID, Validity.PARTIAL, Validity.INVALID)
    return max((shard.validity or Validity.INVALID for shard in shards), key=order.index)


def summarise(
    run: ObservedRun,
    status: BenchmarkRunStatus,
    parallelism: ParallelismStatus,
    now: float,
    judgement: Judgement | None = None,
) -> BenchmarkRunStatus:
    """Return the status with counts, columns, phase and conditions derived from its rows and what is known of its gates."""
    counts = count_cells(status.rows)
    status = status.model_copy(
        update={**_derived(status.rows), "observed_generation": run.generation, "parallelism": parallelism}
    )
    if has_ended(status.rows):
        return _ended(run, status, counts, now, judgement or unjudged(run.spec, "its results were not read"))
    status = _with_judgement(status, judgement)
    started = any(shard.attempt for row in status.rows for shard in row.shards)
    reason, message = _progress_text(run, counts, parallelism, started=started)
    phase = RunPhase.SUSPENDED if run.spec.suspend else RunPhase.RUNNING if started else RunPhase.PENDING
    status = status.model_copy(update={"phase": phase, "message": message})
    wanted = {
        **_running_conditions(reason, message),
        **_suspended_condition(run, status),
        **_gates_condition(judgement),
    }
    return with_conditions(run, status, wanted, now)


def has_ended(rows: Sequence[CellRow]) -> bool:
    """Whether nothing is left to be measured."""
    counts = count_cells(rows)
    return counts.pending + counts.active == 0


def _with_judgement(status: BenchmarkRunStatus, judgement: Judgement | None) -> BenchmarkRunStatus:
    if judgement is None:
        return status
    return status.model_copy(
        update={"gates": judgement.gates, "hypotheses": judgement.hypotheses, "gates_text": judgement.text}
    )


def _gates_condition(judgement: Judgement | None) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    """Return GatesPassed; a run without gates has no such condition."""
    if judgement is None or not judgement.gates:
        return {}
    return {ConditionType.GATES_PASSED: judgement.condition}


def _suspended_condition(
    run: ObservedRun, status: BenchmarkRunStatus
) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    """Return the Suspended condition of a run that is, or was, suspended."""
    if run.spec.suspend:
        message = "spec.suspend is true: no Job runs, no time limit runs, what was measured stays"
        return {ConditionType.SUSPENDED: ("True", ConditionReason.SUSPENDED.value, message)}
    return _no_longer_suspended(status)


def _no_longer_suspended(status: BenchmarkRunStatus) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    if any(condition.type == ConditionType.SUSPENDED.value for condition in status.conditions):
        return {ConditionType.SUSPENDED: ("False", ConditionReason.NOT_SUSPENDED.value, "the run is not held")}
    return {}


def _derived(rows: Sequence[CellRow]) -> dict[str, object]:
    """Return the fields of the status that follow from its rows."""
    if not rows:
        return {}
    counts = count_cells(rows)
    shards = [shard for row in rows for shard in row.shards]
    finished = sum(shard.phase is RowPhase.FINISHED for shard in shards)
    return {
        "cells": counts,
        "shards": ShardCounts(total=len(shards), finished=finished),
        "progress": f"{counts.total - counts.pending - counts.active}/{counts.total}",
        "fastest": fastest_of(rows),
    }


def _ended(
    run: ObservedRun, status: BenchmarkRunStatus, counts: CellCounts, now: float, judgement: Judgement | None
) -> BenchmarkRunStatus:
    text = _counts_text(counts)
    failures = _failures_text(status.rows)
    measured = counts.succeeded + counts.out_of_memory
    reason = ConditionReason.ALL_SUCCEEDED if measured == counts.total else ConditionReason.SOME_CELLS_FAILED
    phase = RunPhase.SUCCEEDED if measured == counts.total else RunPhase.PARTIALLY_SUCCEEDED
    stop = _stop_of(status.rows)
    if stop is not None:
        reason, phase = stop
    elif not measured:
        reason, phase = ConditionReason.NO_RESULT, RunPhase.FAILED
    gates = f"; {judgement.message}" if judgement is not None and judgement.gates else ""
    message = f"{text}{failures}{gates}"[:1024]
    status = _with_judgement(status, judgement).model_copy(
        update={"phase": phase, "message": message, "completion_time": status.completion_time or format_time(now)}
    )
    succeeded = phase not in (RunPhase.FAILED, RunPhase.CANCELLED)
    wanted = {
        **_end_conditions(succeeded=succeeded, reason=reason, message=message),
        **_no_longer_suspended(status),
        **_gates_condition(judgement),
    }
    if succeeded and judgement is not None and judgement.gates and not judgement.passed:
        # Complete says that it was measured; who waits for it as for a deployment is to see that it is not good.
        not_good = (judgement.reason.value, judgement.message)
        wanted |= {ConditionType.READY: ("False", *not_good), ConditionType.STALLED: ("True", *not_good)}
    return with_conditions(run, status, wanted, now)


_STOPS = {
    Reason.RUN_DEADLINE.value: (ConditionReason.RUN_DEADLINE, RunPhase.FAILED),
    Reason.TOO_MANY_FAILED.value: (ConditionReason.TOO_MANY_FAILED, RunPhase.FAILED),
    Reason.RUN_CANCELLED.value: (ConditionReason.CANCELLED, RunPhase.CANCELLED),
}


def _stop_of(rows: Iterable[CellRow]) -> tuple[ConditionReason, RunPhase] | None:
    """Return as what a run ended that was stopped before all of its shards had their own end."""
    reasons = {shard.reason for row in rows for shard in row.shards}
    return next((stop for reason, stop in _STOPS.items() if reason in reasons), None)


def count_cells(rows: Iterable[CellRow]) -> CellCounts:
    """Count the cells that were asked for by what they are; a cancelled cell counts as failed.

    A cell is not finished as long as a rung of it is measured; how the rung ends is no end of the cell.
    """
    rows = tuple(rows)
    asked = [row for row in rows if row.rung is None]
    rungs = [row for row in rows if row.rung is not None]
    phases = [_phase_with_rungs(row, rungs) for row in asked]
    done = [row for row, phase in zip(asked, phases, strict=True) if phase is RowPhase.FINISHED]
    return CellCounts(
        total=len(asked),
        pending=phases.count(RowPhase.PENDING),
        active=phases.count(RowPhase.ACTIVE),
        succeeded=sum(row.outcome is Outcome.SUCCEEDED for row in done),
        out_of_memory=sum(row.outcome is Outcome.OUT_OF_MEMORY for row in done),
        failed=sum(row.outcome in (Outcome.FAILED, Outcome.CANCELLED) for row in done),
        reused=sum(row.source == "Reused" for row in done),
    )


def _phase_with_rungs(cell: CellRow, rungs: Sequence[CellRow]) -> RowPhase:
    names = (cell.model, cell.hardware, cell.variant)
    phases = {cell.phase, *(row.phase for row in rungs if (row.model, row.hardware, row.variant) == names)}
    return next((phase for phase in (RowPhase.ACTIVE, RowPhase.PENDING) if phase in phases), RowPhase.FINISHED)


def fastest_of(rows: Iterable[CellRow]) -> Fastest | None:
    """Return the valid, succeeded cell with the lowest mean latency, of those that were measured on a device of ours.

    A service is timed with its network, its queue and its other clients, and a mock sleeps: neither can be the fastest.
    """
    valid = [
        row
        for row in rows
        if row.comparability is Comparability.DEVICE
        and row.validity is Validity.VALID
        and row.outcome is Outcome.SUCCEEDED
        and row.latency_microseconds is not None
    ]
    if not valid:
        return None
    row = min(valid, key=lambda row: (row.latency_microseconds or 0, row.id))
    latency = row.latency_microseconds or 0
    return Fastest(
        cell=row.id,
        latency_microseconds=latency,
        text=f"{row.model}/{row.hardware}/{row.variant}{f'+{row.rung}' if row.rung else ''} {seconds_text(latency)}"
        + (" (random weights)" if row.weights == "Random" else ""),
    )


def _waiting(rows: Iterable[CellRow]) -> int:
    return sum(shard.phase is RowPhase.PENDING for row in rows for shard in row.shards)


def _running_conditions(reason: ConditionReason, message: str) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    return {
        ConditionType.COMPLETE: ("False", reason.value, message),
        ConditionType.FAILED: ("False", reason.value, message),
        ConditionType.RECONCILING: ("True", reason.value, message),
        ConditionType.READY: ("False", reason.value, message),
        ConditionType.STALLED: ("False", reason.value, message),
    }


def _end_conditions(
    *, succeeded: bool, reason: ConditionReason, message: str
) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    yes: ConditionStatus = "True" if succeeded else "False"
    no: ConditionStatus = "False" if succeeded else "True"
    return {
        ConditionType.COMPLETE: (yes, reason.value, message),
        ConditionType.FAILED: (no, reason.value, message),
        ConditionType.RECONCILING: ("False", reason.value, message),
        ConditionType.READY: (yes, reason.value, message),
        ConditionType.STALLED: (no, reason.value, message),
    }


def _progress_text(
    run: ObservedRun, counts: CellCounts, parallelism: ParallelismStatus, *, started: bool
) -> tuple[ConditionReason, str]:
    active, waiting = _counted(parallelism.active, "Job"), _counted(parallelism.waiting, "shard")
    text = f"{_counts_text(counts)}; {active} active, {waiting} waiting"
    if run.spec.cancel != "None":
        return ConditionReason.CANCELLING, f"{text}: spec.cancel is {run.spec.cancel}"
    if run.spec.suspend:
        return ConditionReason.SUSPENDED, f"{text}: spec.suspend is true"
    if parallelism.limited_by is LimitedBy.QUEUE:
        queued = _counted(parallelism.queued, "Job")
        return ConditionReason.QUEUED, f"{text}; {queued} waiting in queue {run.spec.scheduling.queue_name!r}"
    if run.spec.parallelism == 0 and parallelism.active == 0:
        return ConditionReason.HELD, f"{text}: spec.parallelism is 0"
    if parallelism.limited_by is LimitedBy.CAPACITY:
        return ConditionReason.WAITING_FOR_CAPACITY, f"{text}; no node fits for some of them now"
    if parallelism.limited_by is LimitedBy.QUOTA:
        return ConditionReason.WAITING_FOR_CAPACITY, f"{text}; a quota or an admission rule refuses pods"
    if parallelism.limited_by is LimitedBy.BREAKER:
        return ConditionReason.RUNNING, f"{text}; some wait for a circuit breaker (status.breakers)"
    return (ConditionReason.RUNNING if started else ConditionReason.PENDING), text


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _counts_text(counts: CellCounts) -> str:
    done = counts.succeeded + counts.out_of_memory + counts.failed
    text = f"{done} of {_counted(counts.total, 'cell')} finished: {counts.succeeded} succeeded"
    if counts.out_of_memory:
        text += f", {counts.out_of_memory} out of memory"
    if counts.failed:
        text += f", {counts.failed} failed"
    if counts.reused:
        text += f", {counts.reused} reused"
    return text


def _failures_text(rows: Sequence[CellRow]) -> str:
    failed = [row for row in rows if row.rung is None and row.outcome in (Outcome.FAILED, Outcome.CANCELLED)]
    named = [f"{row.model}/{row.hardware}/{row.variant} {row.reason}" for row in failed[:3]]
    if not named:
        return ""
    rest = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f" ({', '.join(named)}{rest})"

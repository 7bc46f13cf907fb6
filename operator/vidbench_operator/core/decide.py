"""decide(run, observed, now, policy) -> Plan: the whole of what one pass does about a run, as a function of values.

It reads like a list: settle every shard, end the run if its time is up, start what may start, clean up what is
settled, and say it all in one status. Time is an argument, names are computed, nothing is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vidbench_api.identity import attempt_name, harvest_name, result_name
from vidbench_api.names import ConditionType, EventReason, LimitedBy, Outcome, Reason, RowPhase, RunPhase
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, GpuSeconds, ShardStatus

from .alerts import health_alerts
from .avoidance import breakers_of, end_of_broken_models, held_by_breakers, surroundings_of
from .breaker import breaker_text, opened
from .fallback import entries_of, fallback_event, find_fallbacks, with_fallbacks, with_rungs
from .gating import judgement_of, states_something
from .lifecycle import deadline_of, find_stop, is_paused, stopped, suspended, with_pause
from .observed import Ledger, Observed, ObservedJob, ObservedRun, latest_pod
from .pairing import pairing_of, released
from .placement import placement_of
from .plan import CreateJob, CreateResult, DeleteJob, EmitEvent, PatchTtl, Plan
from .policy import Policy
from .results import headline_memory, result_labels
from .settle import Context, Entry, Settled, settle
from .start import Started, start
from .status import empty_row, has_ended, is_summary_of, is_terminal, summarise, summarise_row
from .timestamps import parse_time
from .unstored import hold_unstored

_MAX_COUNT = 2_147_483_647
_KEPT = ("gpu", "memory_of", "message", "source", "estimate_seconds")
"""Fields of a row that are not derived from its shards."""
_HOPELESS = frozenset({Reason.UNSCHEDULABLE.value, Reason.QUOTA_EXCEEDED.value, Reason.ADMISSION_REFUSED.value})
"""Ends of a shard that no other shard of its hardware entry need try for itself."""


def decide(run: ObservedRun, observed: Observed, now: float, policy: Policy) -> Plan:
    """Return what to do about an accepted run. `observed.document` must be the one whose digest the status holds."""
    if is_terminal(run.status):
        return _plan_ended(run, observed, now)
    document = observed.document
    if document is None:
        raise ValueError("an accepted run is decided with its request document")
    context = _make_context(run, with_rungs(document, run.status.rows), observed, now, policy)
    entries = _settle_all(context)
    fallbacks = find_fallbacks(context, entries)
    context = with_fallbacks(context, fallbacks)
    entries = (*entries, *(entry for fallback in fallbacks for entry in entries_of(context, fallback)))
    breakers = breakers_of(context, entries)
    stored = _stored_shards(run.status, context.document)
    entries = hold_unstored(context, stored, end_of_broken_models(context, entries, breakers))
    missing = _needs(entries, observed)
    if missing is not None:
        return missing
    if run.spec.suspend or run.spec.cancel != "None":
        started = Started(entries, LimitedBy.SUSPENDED if run.spec.suspend else LimitedBy.NOTHING, breakers=breakers)
    else:
        started = start(context, entries, breakers, held_by_breakers(context, entries, breakers))
    status = _make_status(context, started)
    if is_terminal(status) and states_something(run.spec) and observed.ledger is None:
        # What was measured is stored before anything else is asked for: its pods may go while baselines cannot be read.
        return Plan(results=_all_results(context, started), needs_ledger=True)
    plan = _make_plan(context, started, status)
    return replace(plan, events=(*(fallback_event(fallback) for fallback in fallbacks), *plan.events))


def _make_context(
    run: ObservedRun, document: RequestDocument, observed: Observed, now: float, policy: Policy
) -> Context:
    stored = _stored_shards(run.status, document)
    idle_since: dict[str, float | None] = {entry.name: 0.0 for entry in document.hardware}
    refused_at: dict[str, tuple[float, Reason]] = {}
    holders: dict[str, str] = {}
    for cell in document.cells:
        for shard in stored[cell.id]:
            if shard.phase is RowPhase.ACTIVE:
                holders[attempt_name(run.name, cell.id, shard.index, shard.attempt)] = cell.hardware
            ended = parse_time(shard.ended_at) or 0.0
            if shard.phase is RowPhase.FINISHED and shard.reason in _HOPELESS:
                refusal = (ended, Reason(shard.reason))
                refused_at[cell.hardware] = max(refused_at.get(cell.hardware, refusal), refusal)
            else:
                idle_since[cell.hardware] = max(idle_since[cell.hardware] or 0.0, ended)
    wanted = {job.uid: holders[job.name] for job in observed.jobs if job.owner_uid == run.uid and job.name in holders}
    for pod in observed.pods:
        if pod.job_uid in wanted and pod.node is not None and not pod.ended:
            idle_since[wanted[pod.job_uid]] = None
    hopeless = {
        name: reason
        for name, (moment, reason) in refused_at.items()
        if (idle := idle_since[name]) is not None and idle < moment
    }
    return Context(run, document, observed, now, policy, idle_since, hopeless)


def _stored_shards(status: BenchmarkRunStatus, document: RequestDocument) -> dict[str, tuple[ShardStatus, ...]]:
    """Return the shards of every cell of the document, as the status has them or untouched where it has none."""
    known = {row.id: {shard.index: shard for shard in row.shards} for row in status.rows}
    indexes = range(1, document.shards + 1)
    return {
        cell.id: tuple(shards.get(index) or ShardStatus(index=index) for index in indexes)
        for cell in document.cells
        for shards in (known.get(cell.id, {}),)
    }


def _settle_all(context: Context) -> tuple[Entry, ...]:
    stored = _stored_shards(context.run.status, context.document)
    settled = [
        (
            cell,
            [
                suspended(context, cell, released(context, cell, settle(context, cell, shard)))
                for shard in stored[cell.id]
            ],
        )
        for cell in context.document.cells
    ]
    stop = find_stop(context.run, _asked_for(settled), context.now)
    entries = tuple(
        Entry(cell, stopped(context, cell, each, stop) if stop is not None else each)
        for cell, shards in settled
        for each in shards
    )
    return hold_unstored(context, stored, entries)


def _asked_for(
    settled: Sequence[tuple[Cell, Sequence[Settled]]],
) -> list[tuple[Cell, list[ShardStatus]]]:
    """Return the cells without their rungs, which may fail without harm."""
    return [(cell, [each.shard for each in shards]) for cell, shards in settled if cell.rung is None]


def _needs(entries: Sequence[Entry], observed: Observed) -> Plan | None:
    """Ask for a closer look where a decision hangs on something that was not looked at."""
    live = any(entry.settled.needs_live for entry in entries) and not observed.live
    known = {refusal.job_uid for refusal in observed.refusals}
    wanted = frozenset(
        entry.settled.refusals_of
        for entry in entries
        if entry.settled.refusals_of and entry.settled.refusals_of not in known
    )
    if live or (wanted and not observed.refusals_read >= wanted):
        return Plan(needs_live=live, needs_refusals=wanted)
    return None


def _make_status(context: Context, started: Started) -> BenchmarkRunStatus:
    """Return the status of this moment; the one that is stored if there is nothing new but a window.

    Windows are a function of the stored ones and the time, so they need no write of their own.
    """
    run, entries = context.run, started.entries
    before = {row.id: row for row in run.status.rows}
    mine: dict[str, list[Entry]] = {}
    for entry in entries:
        mine.setdefault(entry.cell.id, []).append(entry)
    rows = tuple(_make_row(context, cell, before.get(cell.id), mine[cell.id]) for cell in context.document.cells)
    status = run.status.model_copy(
        update={
            "rows": rows,
            "gpu_seconds": _add_gpu_seconds(run.status, entries),
            "breakers": started.breakers.to_status(context.now),
        }
    )
    parallelism = started.to_status()
    paused = is_paused(run.spec, (entry.shard for entry in entries), queued=parallelism.queued)
    judgement = judgement_of(
        run.spec, context.document, rows, run.status, _ledger_of(context, entries), ended=has_ended(rows)
    )
    status = with_pause(status, paused=paused, now=context.now)
    status = summarise(run, status, parallelism, context.now, judgement)
    return run.status if _without_windows(status) == _without_windows(run.status) else status


def _ledger_of(context: Context, entries: Sequence[Entry]) -> Ledger | None:
    """Return what the ledger holds, with the results that this pass adds to it."""
    ledger = context.observed.ledger
    if ledger is None:
        return None
    added = {
        result_name(context.run.name, entry.cell.id, entry.shard.index): entry.settled.result
        for entry in entries
        if entry.settled.result is not None
    }
    return replace(ledger, results={**ledger.results, **context.observed.results, **added})


def _without_windows(status: BenchmarkRunStatus) -> BenchmarkRunStatus:
    if status.parallelism is None:
        return status
    return status.model_copy(update={"parallelism": status.parallelism.model_copy(update={"windows": ()})})


def _add_gpu_seconds(status: BenchmarkRunStatus, entries: Sequence[Entry]) -> GpuSeconds:
    """Return what was held so far with the attempts that ended in this pass: used by those that gave an answer."""
    total = status.gpu_seconds or GpuSeconds()
    used, wasted = total.used, total.wasted
    for entry in entries:
        end = entry.settled.ended
        if end is not None and end.outcome in (Outcome.SUCCEEDED, Outcome.OUT_OF_MEMORY):
            used += entry.settled.gpu_seconds
        else:
            wasted += entry.settled.gpu_seconds
    return GpuSeconds(used=min(used, _MAX_COUNT), wasted=min(wasted, _MAX_COUNT))


def _make_row(context: Context, cell: Cell, stored: CellRow | None, entries: Sequence[Entry]) -> CellRow:
    """Return the cell's row. Device and kind of memory are those of its first result, the message of its last failure."""
    shards = tuple(entry.shard for entry in entries)
    if stored is not None and is_summary_of(stored, shards) and not context.observed.results:
        return stored
    row = empty_row(cell, context.document)
    if stored is not None:
        row = row.model_copy(update={name: getattr(stored, name) for name in _KEPT})
    for entry in entries:
        spec = _result_of(context, entry)
        memory = headline_memory(spec) if spec is not None else None
        update: dict[str, str] = {}
        if row.gpu is None and spec is not None and spec.environment is not None:
            update["gpu"] = spec.environment.device[:64]
        if row.memory_of is None and memory is not None:
            update["memory_of"] = memory.of
        end = entry.settled.ended
        if end is not None and end.message:
            which = f"shard {entry.shard.index}: " if len(entries) > 1 else ""
            update["message"] = f"{which}{end.message}"[:256]
        row = row.model_copy(update=update)
    return summarise_row(row, shards)


def _result_of(context: Context, entry: Entry) -> BenchmarkResultSpec | None:
    name = result_name(context.run.name, entry.cell.id, entry.shard.index)
    return entry.settled.result or context.observed.results.get(name)


def _make_plan(context: Context, started: Started, status: BenchmarkRunStatus) -> Plan:
    run, observed, entries = context.run, context.observed, started.entries
    results = _all_results(context, started)
    creates = _creates(context, started)
    active = {_attempt_of(run, entry): entry.shard.job_uid for entry in entries if entry.shard.phase is RowPhase.ACTIVE}
    active |= {harvest_name(_attempt_of(run, entry)): None for entry in entries if _harvests(entry)}
    deletes, ttls = _clean_up(run, observed, active)
    ended = is_terminal(status)
    changed = status if _is_news(run.status, status) else None
    return Plan(
        results=results,
        status=changed,
        creates=creates,
        deletes=deletes,
        ttls=ttls,
        events=(
            *_turning_points(run.status, status),
            *_breaker_events(run.status, status),
            *_events(context, entries, status),
        )
        if changed
        else (),
        requeue_after=_requeue_after(context, started) if not ended else 0.0,
        urgent=ended or bool(creates) or bool(results),
    )


def _all_results(context: Context, started: Started) -> tuple[CreateResult, ...]:
    return tuple(result for entry in started.entries for result in _results_of(context.run, entry))


def _results_of(run: ObservedRun, entry: Entry) -> Iterator[CreateResult]:
    """Yield what a shard adds to the ledger: its result, or an Invalid one that it is measured again for."""
    settled = entry.settled
    if settled.superseded is not None:
        kept = settled.superseded
        yield CreateResult(kept.name, kept.spec, result_labels(run, kept.spec))
    if settled.result is not None:
        name = result_name(run.name, entry.cell.id, entry.shard.index)
        yield CreateResult(name, settled.result, result_labels(run, settled.result))


def _creates(context: Context, started: Started) -> tuple[CreateJob, ...]:
    """Return the Jobs of current attempts that nobody has made, with the nodes that they keep away from."""
    run, observed = context.run, context.observed
    held_back = observed.refused_jobs.keys() - observed.due_jobs
    tried = {job.name for job in observed.jobs if job.owner_uid == run.uid} | held_back
    wanted = {
        name: entry
        for entry in started.entries
        if entry.shard.phase is RowPhase.ACTIVE
        and entry.shard.job_uid is None
        and (name := _attempt_of(run, entry)) not in tried
    }
    around = surroundings_of(context) if wanted else {}
    pairing = pairing_of(context, started.entries, started.breakers, around) if wanted else None
    harvests = tuple(
        CreateJob(name, entry.cell.id, entry.shard.index, entry.shard.attempt, harvests=True)
        for entry in started.entries
        if _harvests(entry)
        and (name := harvest_name(_attempt_of(run, entry))) not in tried
        and name not in observed.conflicts
    )
    return harvests + tuple(
        CreateJob(
            name,
            entry.cell.id,
            entry.shard.index,
            entry.shard.attempt,
            placement_of(context, entry, started.entries, started.breakers, around[entry.cell.hardware], pairing),
        )
        for name, entry in wanted.items()
    )


def _attempt_of(run: ObservedRun, entry: Entry) -> str:
    return attempt_name(run.name, entry.cell.id, entry.shard.index, entry.shard.attempt)


def _harvests(entry: Entry) -> bool:
    """Whether the artifacts of the shard's attempt are being looked into."""
    return entry.shard.phase is RowPhase.ACTIVE and entry.shard.harvest_at is not None


def _is_news(stored: BenchmarkRunStatus, status: BenchmarkRunStatus) -> bool:
    """Whether the status is worth a write. The node of an attempt under way alone is not: it goes with the next one."""
    return status != stored and _without_nodes(status) != _without_nodes(stored)


def _without_nodes(status: BenchmarkRunStatus) -> BenchmarkRunStatus:
    rows = tuple(
        row.model_copy(
            update={
                "shards": tuple(
                    shard.model_copy(update={"node": None}) if shard.phase is RowPhase.ACTIVE else shard
                    for shard in row.shards
                )
            }
        )
        for row in status.rows
    )
    return status.model_copy(update={"rows": rows})


def _clean_up(
    run: ObservedRun, observed: Observed, active: Mapping[str, str | None]
) -> tuple[tuple[DeleteJob, ...], tuple[PatchTtl, ...]]:
    """Delete Jobs that no current attempt wants; let finished ones of attempts that the *stored* status settled expire.

    `active` holds the Job names of the current attempts with the UIDs that are known of them.
    """
    stored = {(row.id, shard.index): shard for row in run.status.rows for shard in row.shards}
    deletes, ttls = {}, {}
    for job in observed.jobs:
        if job.owner_uid != run.uid or job.deleting:
            continue
        shard = stored.get((job.cell, job.shard))
        if job.finished is None:
            unwanted = job.name not in active or active[job.name] not in (None, job.uid)
            if unwanted and not _is_completing(observed, shard, job):
                deletes[job.uid] = DeleteJob(job.name, job.uid, "its attempt has ended")
        elif job.ttl_seconds is None and (is_terminal(run.status) or _settled_in(shard, job)):
            ttls[job.uid] = PatchTtl(job.name, job.uid, _ttl_of(run, shard, job))
    return tuple(sorted(deletes.values(), key=_by_name)), tuple(sorted(ttls.values(), key=_by_name))


def _is_completing(observed: Observed, shard: ShardStatus | None, job: ObservedJob) -> bool:
    """Whether the Job's attempt ended with its pod, before the Job controller got to it: it holds no node any more."""
    if shard is None or shard.attempt != job.attempt or shard.job_uid not in (None, job.uid):
        return False
    pod = latest_pod(observed.pods_of(job.uid), job.uid)
    return pod is not None and pod.completes_its_job


def _by_name(entry: DeleteJob | PatchTtl) -> tuple[str, str]:
    return entry.name, entry.uid


def _settled_in(shard: ShardStatus | None, job: ObservedJob) -> bool:
    """Whether the stored status says how the Job's attempt ended; one that it does not know yet is not settled."""
    if shard is None or shard.phase is RowPhase.FINISHED:
        return True
    return job.attempt < shard.attempt or (job.attempt == shard.attempt and shard.phase is RowPhase.PENDING)


def _ttl_of(run: ObservedRun, shard: ShardStatus | None, job: ObservedJob) -> int:
    succeeded = shard is not None and shard.outcome is Outcome.SUCCEEDED and shard.attempt == job.attempt
    return run.spec.ttl.jobs_seconds if succeeded else run.spec.ttl.failed_jobs_seconds


def _plan_ended(run: ObservedRun, observed: Observed, now: float) -> Plan:
    """Clean up after a run that has ended; its status never changes again."""
    deletes, ttls = _clean_up(run, observed, {})
    due = None
    if run.spec.ttl.run_seconds is not None:
        due = (parse_time(run.status.completion_time) or now) + run.spec.ttl.run_seconds - now
    return Plan(
        deletes=deletes,
        ttls=ttls,
        delete_run=due is not None and due <= 0,
        requeue_after=due if due is not None and due > 0 else None,
    )


def _turning_points(before: BenchmarkRunStatus, after: BenchmarkRunStatus) -> tuple[EmitEvent, ...]:
    """Say that the run was suspended or goes on."""
    was, now = (status.phase is RunPhase.SUSPENDED for status in (before, after))
    if now and not was:
        return (EmitEvent("Normal", EventReason.SUSPENDED, after.message or ""),)
    if was and not now and not is_terminal(after):
        return (EmitEvent("Normal", EventReason.RESUMED, after.message or ""),)
    return ()


def _breaker_events(before: BenchmarkRunStatus, after: BenchmarkRunStatus) -> tuple[EmitEvent, ...]:
    return tuple(
        EmitEvent("Warning", EventReason.BREAKER_OPENED, breaker_text(breaker))
        for breaker in opened(before.breakers, after.breakers)
    )


def _events(context: Context, entries: Sequence[Entry], status: BenchmarkRunStatus) -> tuple[EmitEvent, ...]:
    events: list[EmitEvent] = []
    for entry in entries:
        end = entry.settled.ended
        if end is None:
            continue
        events.extend(health_alerts(context.document.runner_class.health, end))
        where = f"{entry.cell.model}/{entry.cell.hardware}/{entry.cell.variant} shard {entry.shard.index}"
        tried = f"{where} attempt {end.attempt} ({end.where})" if end.attempt else where
        if entry.shard.phase is not RowPhase.FINISHED:
            text = f"{tried}: {end.reason}: {end.message}; another attempt follows"
            events.append(EmitEvent("Warning", EventReason.ATTEMPT_FAILED, text))
        elif end.outcome is Outcome.SUCCEEDED:
            events.append(
                EmitEvent("Normal", EventReason.SHARD_FINISHED, f"{where}: measured, result {entry.shard.result}")
            )
        else:
            text = f"{tried}: {end.outcome}, {end.reason}: {end.message}"
            events.append(EmitEvent("Warning", EventReason.ATTEMPT_FAILED, text))
    if is_terminal(status):
        events.extend(last_events(status))
    return tuple(events)


def last_events(status: BenchmarkRunStatus) -> tuple[EmitEvent, ...]:
    """Return the Events about how a run ended, and what came of its gates."""
    gates = next((entry for entry in status.conditions if entry.type == ConditionType.GATES_PASSED), None)
    if gates is None:
        return (_end_event(status),)
    if gates.status == "True":
        return _end_event(status), EmitEvent("Normal", EventReason.GATES_PASSED, gates.message)
    return _end_event(status), EmitEvent("Warning", EventReason.GATES_NOT_PASSED, f"{gates.reason}: {gates.message}")


def _end_event(status: BenchmarkRunStatus) -> EmitEvent:
    if status.phase is RunPhase.FAILED:
        return EmitEvent("Warning", EventReason.RUN_FAILED, status.message or "")
    reason = EventReason.CANCELLED if status.phase is RunPhase.CANCELLED else EventReason.RUN_COMPLETE
    return EmitEvent("Normal", reason, status.message or "")


def _requeue_after(context: Context, started: Started) -> float:
    """Return seconds until the first limit runs out; a run that is not ended always has one: its own.

    A retry whose time has come but which has no slot waits for what frees one, not for the clock. What this pass keeps
    of a shard that does not go on may have to stand for it: nothing but the next pass finds that in the ledger.
    """
    if any(entry.settled.superseded and entry.shard.phase is RowPhase.PENDING for entry in started.entries):
        return 0.0
    wakes = [entry.settled.wake_at for entry in started.entries if entry.settled.wake_at is not None]
    wakes.append(deadline_of(context.run, context.now))
    half_open_at = started.breakers.wake_at(context.now)
    wakes.extend([half_open_at] if half_open_at is not None else [])
    return max(0.1, min((wake - context.now for wake in wakes if wake > context.now), default=0.0))

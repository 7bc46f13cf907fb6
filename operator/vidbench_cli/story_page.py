"""The whole story of a run, or of one of its cells: what was tried where, how it ended, what it waits for, where to look.

Pure: from the objects as read to a page. Says nothing that no object says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidbench_api.identity import attempt_name
from vidbench_api.names import LimitedBy, RowPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, ShardStatus

from .output import Cell, Column, Line, Page, Table, cell
from .run_page import CELL_COLUMNS, STYLES, cell_name, run_data, run_page
from .runs import RunView
from .texts import _

Object = Mapping[str, Any]
LIMITS = {
    LimitedBy.PARALLELISM: _("spec.parallelism: raise it with kubectl scale br/{run} --replicas=N"),
    LimitedBy.CAPACITY: _("no node has room for more: the scheduler's words are in the Events of the pods"),
    LimitedBy.QUOTA: _("a ResourceQuota or an admission rule refuses more: kubectl describe quota"),
    LimitedBy.QUEUE: _("Kueue holds the Jobs: kubectl get workloads"),
    LimitedBy.BREAKER: _("a circuit breaker is open: see below"),
    LimitedBy.BACK_OFF: _("what is left waits after a failure: see NOT BEFORE of its shards"),
    LimitedBy.PAIRING: _("shards wait for the node of their group (measurement.pairing)"),
    LimitedBy.SUSPENDED: _("it is suspended: vidbench resume {run}"),
}
_CONDITIONS = (
    Column("type", _("CONDITION")),
    Column("status", _("STATUS")),
    Column("reason", _("REASON")),
    Column("since", _("SINCE")),
    Column("message", _("MESSAGE"), folds=True),
)
_BREAKERS = (
    Column("kind", _("BREAKER OF")),
    Column("name", _("NAME")),
    Column("state", _("STATE")),
    Column("failures", _("FAILURES")),
    Column("until", _("TRIES AGAIN")),
)
_EVENTS = (
    Column("lastSeen", _("LAST SEEN")),
    Column("type", _("TYPE")),
    Column("reason", _("REASON")),
    Column("count", _("COUNT")),
    Column("message", _("MESSAGE"), folds=True),
)
_ATTEMPTS = (
    Column("shard", _("SHARD")),
    Column("attempt", _("ATTEMPT")),
    Column("state", _("STATE")),
    Column("node", _("NODE")),
    Column("started", _("STARTED"), wide=True),
    Column("ended", _("ENDED")),
    Column("pod", _("POD")),
    Column("job", _("JOB"), wide=True),
)
_SHARDS = (
    Column("shard", _("SHARD")),
    Column("state", _("STATE")),
    Column("validity", _("VALIDITY")),
    Column("attempts", _("ATTEMPTS")),
    Column("infrastructureRetries", _("RETRIES"), wide=True),
    Column("disruptions", _("DISRUPTIONS"), wide=True),
    Column("lostResults", _("LOST"), wide=True),
    Column("notBefore", _("NOT BEFORE")),
    Column("result", _("RESULT")),
)


@dataclass(frozen=True)
class Surroundings:
    """What the cluster holds beside the run itself; None: this user may not see it."""

    events: Sequence[Object] | None = ()
    pods: Sequence[Object] | None = ()
    unseen: Sequence[str] = field(default=())
    """Why something is missing, a line each."""


def run_story(view: RunView, around: Surroundings) -> Page:
    """Return all that there is to say of a run."""
    brief = run_page(view)
    status = view.status
    table = Table(brief.tables[0].columns, brief.tables[0].rows, _("Cells"))
    tables = [table, *brief.tables[1:], _conditions(status)]
    if status.breakers:
        tables.append(_breakers(status))
    tables.append(_events(around.events or ()))
    heading = (*brief.heading, *(Line(text, "yellow") for text in waits_for(view)))
    facts = tuple(Line(text) for text in _facts(view))
    data = run_data(view) | {"events": [_event_data(event) for event in around.events or ()]}
    return Page(tuple(tables), (*heading, *facts), (*brief.notes, *_unseen(around)), data)


def waits_for(view: RunView) -> list[str]:
    """Return why a run does not end, or does not run more: empty once it has ended."""
    obstacle = obstacle_of(view)
    lines = [] if obstacle is None else [obstacle]
    parallelism = view.status.parallelism
    if not view.ended and parallelism is not None and (parallelism.active or parallelism.waiting):
        text = _("{running} pods run of {active} Jobs, {waiting} shards wait, {queued} Jobs are held by a queue")
        lines.append(
            text.format(**{key: getattr(parallelism, key) for key in ("running", "active", "waiting", "queued")})
        )
    return lines


def obstacle_of(view: RunView) -> str | None:
    """Return what keeps a run from running more; None if nothing does."""
    if view.ended:
        return None
    status = view.status
    if status.phase is None:
        return _("Waits for the operator, which has not looked at it yet: is it running? vidbench health-check")
    accepted = next((entry for entry in status.conditions if entry.type == "Accepted"), None)
    if accepted is not None and accepted.status != "True":
        return _("Waits: {reason}: {message}").format(reason=accepted.reason, message=accepted.message)
    if status.parallelism is None:
        return None
    limited_by = status.parallelism.limited_by
    limit = LIMITS.get(limited_by)
    if limit is None:
        return None
    return _("Limited by {limit}: {why}").format(limit=limited_by.value, why=limit.format(run=view.name))


def _facts(view: RunView) -> Iterator[str]:
    status, spec = view.status, view.body.get("spec", {})
    if status.start_time:
        yield _("Started {start}, ended {end}").format(start=status.start_time, end=status.completion_time or "-")
    if status.gpu_seconds:
        yield _("GPU-seconds: {used} gave results, {wasted} did not").format(
            used=status.gpu_seconds.used, wasted=status.gpu_seconds.wasted
        )
    if status.reuse_message:
        yield _("Reuse: {message}").format(message=status.reuse_message)
    if spec.get("suspend"):
        yield _("spec.suspend is true")
    if spec.get("cancel", "None") != "None":
        yield _("spec.cancel is {mode}").format(mode=spec["cancel"])
    storage = (spec.get("artifacts") or {}).get("storageUri")
    if storage:
        yield _("Samples and videos: {uri}/{run}/CELL-ID/SHARD/ATTEMPT/").format(uri=storage, run=view.name)
    else:
        yield _("No samples or videos are stored: the run names no artifacts.storageUri")
    yield _("Results: kubectl get bres -n {namespace} -l vidbench.io/run={run}").format(
        namespace=view.namespace, run=view.name
    )


def cell_story(view: RunView, row: CellRow, around: Surroundings) -> Page:
    """Return all that there is to say of a cell: shards, attempts, Events, results, and where logs and videos are."""
    name = cell_name(row)
    brief = run_page(view)
    figures = next(
        line for line, entry in zip(brief.tables[0].rows, view.status.rows, strict=True) if entry.id == row.id
    )
    begun = f"{row.model}/{row.hardware}/{row.variant} shard "
    events = [event for event in around.events or () if str(event.get("message", "")).startswith(begun)]
    pods = _pods_by_job(around.pods or ())
    attempts = tuple(entry for shard in row.shards for entry in _attempts(view, row, shard, pods))
    tables = (
        Table(CELL_COLUMNS, (figures,), _("Figures")),
        Table(_SHARDS, tuple(_shard(shard) for shard in row.shards), _("Shards")),
        Table(_ATTEMPTS, attempts, _("Attempts")),
        _events(events),
    )
    heading = [Line(f"{view.namespace}/{view.name} {name}  ({row.id})", "bold")]
    if row.reason:
        heading.append(Line(f"{row.reason}: {row.message or ''}".rstrip(": "), "red"))
    heading += [Line(text, "yellow") for text in _cell_waits(view, row)]
    notes = [Line(text) for text in _where_to_look(view, row, pods)]
    data = {
        "row": row.model_dump(mode="json", by_alias=True, exclude_none=True),
        "attempts": Table(_ATTEMPTS, attempts).records,
        "events": [_event_data(event) for event in events],
        "results": {
            shard.result: view.results[shard.result].model_dump(mode="json", by_alias=True, exclude_none=True)
            for shard in row.shards
            if shard.result in view.results and shard.result
        },
    }
    return Page(tables, tuple(heading), (*notes, *_unseen(around)), data)


def _cell_waits(view: RunView, row: CellRow) -> list[str]:
    if row.phase is RowPhase.FINISHED or view.ended:
        return []
    lines = [
        _("Shard {shard} waits until {moment} after {reason}").format(
            shard=shard.index, moment=shard.not_before, reason=shard.reason or _("a failure")
        )
        for shard in row.shards
        if shard.phase is RowPhase.PENDING and shard.not_before
    ]
    lines += [
        _("The circuit breaker of {kind} {name} is {state}").format(
            kind=breaker.kind.lower(), name=breaker.name, state=breaker.state
        )
        for breaker in view.status.breakers
        if breaker.kind == "Node" or breaker.name == row.model
    ]
    return lines + (waits_for(view) if row.phase is RowPhase.PENDING else [])


def _attempts(
    view: RunView, row: CellRow, shard: ShardStatus, pods: Mapping[str, Sequence[Object]]
) -> Iterator[tuple[Cell, ...]]:
    def line(attempt: int, state: str, node: str | None, started: str | None, ended: str | None) -> tuple[Cell, ...]:
        job = attempt_name(view.name, row.id, shard.index, attempt)
        style = STYLES.get(state.split(" ", maxsplit=1)[0], "red" if state else "")
        found = pods.get(job, ())
        pod = found[-1] if found else None
        there = None if pod is None else str(pod["metadata"]["name"])
        on = node or (pod or {}).get("spec", {}).get("nodeName")
        return (
            cell(shard.index), cell(attempt), cell(state, style=style), cell(on), cell(started), cell(ended),
            cell(there, _("gone") if there is None else None), cell(job),
        )  # fmt: skip

    told = {failure.attempt for failure in shard.failures}
    for attempt in range(1, shard.attempt):
        if attempt not in told:
            yield line(attempt, _("Ended, not counted"), None, None, None)
    for failure in shard.failures:
        if failure.attempt != shard.attempt or shard.phase is not RowPhase.FINISHED:
            yield line(failure.attempt, failure.reason, failure.node, None, failure.ended_at)
    if not shard.attempt or (shard.failures and shard.failures[-1].attempt == shard.attempt
                             and shard.phase is not RowPhase.FINISHED):  # fmt: skip
        return
    state = _shard_state(shard)
    if shard.reason and shard.phase is RowPhase.FINISHED and shard.outcome and shard.outcome.value != "Succeeded":
        state = f"{state} ({shard.reason})"
    ended = shard.ended_at if shard.phase is RowPhase.FINISHED else None
    yield line(shard.attempt, state, shard.node, shard.started_at, ended)


def _shard_state(shard: ShardStatus) -> str:
    return shard.outcome.value if shard.outcome else shard.phase.value


def _shard(shard: ShardStatus) -> tuple[Cell, ...]:
    state = _shard_state(shard)
    return (
        cell(shard.index),
        cell(state, style=STYLES.get(state, "")),
        cell(shard.validity.value if shard.validity else None),
        cell(shard.attempt),
        cell(shard.retries),
        cell(shard.disruptions),
        cell(shard.lost_results),
        cell(shard.not_before if shard.phase is RowPhase.PENDING else None),
        cell(shard.result),
    )


def _where_to_look(view: RunView, row: CellRow, pods: Mapping[str, Sequence[Object]]) -> Iterator[str]:
    for shard in row.shards:
        result = view.results.get(shard.result or "")
        if result is not None:
            yield from _of_result(shard, result)
        if shard.attempt and pods.get(attempt_name(view.name, row.id, shard.index, shard.attempt)):
            text = _("Shard {shard}, log: vidbench logs {run} {cell} --shard {shard} -n {namespace}")
            yield text.format(shard=shard.index, run=view.name, cell=cell_name(row), namespace=view.namespace)
        elif shard.attempt:
            yield _("Shard {shard}, log: its pod is gone; {advice}").format(
                shard=shard.index, advice=after_the_pod(view, row, shard)
            )


def after_the_pod(view: RunView, row: CellRow, shard: ShardStatus) -> str:
    """Return where what a pod has said may still be, once it is gone."""
    spec = view.body.get("spec", {})
    ttl = (spec.get("ttl") or {}).get("failedJobsSeconds")
    kept = _("failed ones are kept for ttl.failedJobsSeconds ({seconds} s)").format(seconds=ttl)
    where = _("a log store of the cluster may have it: pod label vidbench.io/run={run}, node {node}").format(
        run=view.name, node=shard.node or "-"
    )
    storage = (spec.get("artifacts") or {}).get("storageUri")
    path = f"{storage}/{view.name}/{row.id}/{shard.index}/{shard.attempt}/"
    stored = _("; its samples and videos: {path}").format(path=path) if storage else ""
    return f"{kept}; {where}{stored}"


def _of_result(shard: ShardStatus, result: BenchmarkResultSpec) -> Iterator[str]:
    verdict = result.validity
    reasons = ", ".join((*verdict.reasons, *verdict.notes))
    if reasons:
        yield _("Shard {shard}, validity {state}: {reasons} (docs/validity.md)").format(
            shard=shard.index, state=verdict.state.value, reasons=reasons
        )
    if result.message:
        stage = "/".join(part for part in (result.stage, result.phase) if part)
        yield _("Shard {shard}, said by its runner{stage}: {message}").format(
            shard=shard.index, stage=f" ({stage})" if stage else "", message=result.message
        )
    if result.artifacts:
        yield _("Shard {shard}, samples and videos: {uri}").format(shard=shard.index, uri=result.artifacts.uri)


def _conditions(status: BenchmarkRunStatus) -> Table:
    rows = tuple(
        (cell(entry.type), cell(entry.status), cell(entry.reason), cell(entry.last_transition_time),
         cell(entry.message or None))
        for entry in status.conditions
    )  # fmt: skip
    return Table(_CONDITIONS, rows, _("Conditions"))


def _breakers(status: BenchmarkRunStatus) -> Table:
    rows = tuple(
        (cell(entry.kind), cell(entry.name), cell(entry.state, style="red"), cell(entry.failures), cell(entry.until))
        for entry in status.breakers
    )
    return Table(_BREAKERS, rows, _("Circuit breakers"))


def _events(events: Sequence[Object]) -> Table:
    in_order = sorted(events, key=_seen)
    rows = tuple(
        (cell(_seen(event) or None), cell(event.get("type"), style="yellow" if event.get("type") == "Warning" else ""),
         cell(event.get("reason")), cell(event.get("count") or 1), cell(event.get("message")))
        for event in in_order
    )  # fmt: skip
    return Table(_EVENTS, rows, _("Events (the cluster keeps them for an hour or so)"))


def _seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def _event_data(event: Object) -> dict[str, Any]:
    return {"lastSeen": _seen(event) or None} | {key: event.get(key) for key in ("type", "reason", "count", "message")}


def _pods_by_job(pods: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner.get("kind") == "Job":
                found.setdefault(str(owner.get("name")), []).append(pod)
    return found


def _unseen(around: Surroundings) -> tuple[Line, ...]:
    return tuple(Line(text, "yellow") for text in around.unseen)

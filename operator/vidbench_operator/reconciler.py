"""One pass over one run: read it, decide, apply in the order that a crash at any point leaves repairable.

Sees the world through the ports alone. What it keeps in memory saves calls; nothing that is correct depends on it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from vidbench_api.identity import attempt_name, digest_of, harvest_name, request_name
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.names import ConditionReason, EventReason, RowPhase
from vidbench_api.request import RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, ShardStatus

from .core.decide import decide, last_events
from .core.estimates import estimate_seconds
from .core.expand import Accepted, Refusal, Waiting, accept, wait_or_refuse
from .core.gating import BASELINE_PATIENCE_SECONDS, MOST_BASELINE_RESULTS, selectors_of, states_something
from .core.gpu_time import GpuTime, spent_between
from .core.lifecycle import deadline_of
from .core.observed import Ledger, Observed, ObservedRun
from .core.plan import CreateJob, CreateResult, DeleteJob, EmitEvent, PatchTtl, Plan
from .core.policy import Policy
from .core.preflight import PREFLIGHT_REASONS, check_before_start
from .core.retry import charged_attempts
from .core.reuse import Reusable, find_reusable
from .core.status import accepted_status, failed_status, is_terminal, waiting_status
from .held_back import HeldBack
from .manifests import harvest_manifest, job_manifest
from .ports import AlreadyExists, BrokenRun, Children, Cluster, Conflict, Gone, Refused, RunKey, Unavailable

STATUS_SPACING_SECONDS: Final = 1.0
_CONCURRENT_CALLS: Final = 8
_DOCUMENTS: Final = 128
"""Request documents that are kept: a quarter of a MiB each for a hundred cells. A pass without its own reads it anew."""

_PREFLIGHT_SECONDS: Final = 15.0
_LOOKS: Final = 5
"""Times that one pass may learn something new; each look answers a question, so two are the rule."""

Answer = TypeVar("Answer")


class _RunOver(Exception):  # noqa: N818 - not an error: the run is to end
    """The run cannot go on, whatever is tried."""

    def __init__(self, reason: ConditionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Applied:
    """What applying a plan led to."""

    run: ObservedRun
    learned: Observed | None = None
    """Set if a name was taken: decide anew with this."""


class Reconciler:
    """Passes over runs.

    `count_end` is told the reason or outcome of every attempt that ended, `count_gpu_time` what GPUs were held for.
    """

    def __init__(
        self,
        cluster: Cluster,
        children: Children,
        catalogue: Mapping[str, VideoModelSpec],
        policy: Policy,
        count_end: Callable[[str], None] = lambda _reason: None,
        count_gpu_time: Callable[[GpuTime], None] = lambda _spent: None,
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._catalogue = catalogue
        self._policy = policy
        self._count_end = count_end
        self._count_gpu_time = count_gpu_time
        self._documents: OrderedDict[str, RequestDocument] = OrderedDict()
        self._written_at: dict[RunKey, float] = {}
        self._reported: dict[RunKey, dict[str, str]] = {}
        self._held_back = HeldBack(policy.refusal_check_seconds)

    async def reconcile(self, key: RunKey) -> float | None:
        """Do one pass; returns seconds until the next one is due, or None if only an event can bring anything new.

        Raises:
            Unavailable, Refused: try again later. Every step that was done stays done.
        """
        try:
            run = await self._cluster.get_run(key)
        except BrokenRun as broken:
            await self._report(key, broken)
            return None
        if run is None:
            self._forget(key)
            return None
        try:
            if run.status.request_digest is None and not is_terminal(run.status):
                return await self._accept(run)
            return await self._advance(run)
        except Conflict:
            return 0.0
        except Gone:
            # The run or its namespace went while we looked: there is nobody left to do anything for.
            return None

    async def let_go(self, key: RunKey) -> None:
        """Drop from memory what the stored status has taken in. For who watches only; writes nothing."""
        try:
            run = await self._cluster.get_run(key)
        except BrokenRun:
            return
        if run is not None:
            self._forget_settled(run, self._observe(run, None))

    def _forget(self, key: RunKey) -> None:
        """Drop what is kept of a run that is gone."""
        self._written_at.pop(key, None)
        self._reported.pop(key, None)
        self._held_back.forget(key)

    async def _report(self, key: RunKey, broken: BrokenRun) -> None:
        """Tell people of a run that cannot be served, once for each thing that is wrong."""
        message = str(broken)
        if broken.run is None or self._reported.get(key, {}).get("Run") == message:
            return
        await self._cluster.report_broken(broken.run, message)
        self._reported.setdefault(key, {})["Run"] = message

    async def _accept(self, run: ObservedRun) -> float | None:
        """Freeze the request document, then say so; or say what is missing."""
        outcome = await self._resolve(run)
        if isinstance(outcome, Accepted):
            outcome = await self._preflight(run, outcome.document) or outcome
        now = self._cluster.now()
        if isinstance(outcome, Waiting):
            await self._write(run, waiting_status(run, outcome.reason, outcome.message, now))
            left = run.created_at + run.spec.timeouts.scheduling_seconds - now
            again = left if left > 0 else _PREFLIGHT_SECONDS
            # Nodes and queues may come without an event that names this run.
            return max(1.0, min(again, _PREFLIGHT_SECONDS) if outcome.reason in PREFLIGHT_REASONS else again)
        if not isinstance(outcome, Accepted):
            return await self._end(run, outcome.reason, outcome.message)
        name = request_name(run.name, run.uid)
        try:
            document = await self._freeze(run, name, outcome.document)
        except Refused as refused:
            return await self._wait_for_permission(run, f"ConfigMap {name}: {refused}")
        except _RunOver as over:
            return await self._end(run, over.reason, str(over))
        self._keep(run, document)
        reusable, estimates = await self._consult_ledger(run, document)
        ledger = await self._ledger_of_reused(run, document, reusable)
        arguments = (run, document, name, now, reusable, estimates, ledger)
        status = accepted_status(*arguments) if ledger is None else await asyncio.to_thread(accepted_status, *arguments)
        return await self._start(run, status, document)

    async def _consult_ledger(self, run: ObservedRun, document: RequestDocument) -> tuple[Reusable, dict[str, int]]:
        """Find which shards are measured already, and how long the others will take."""
        reusable = Reusable()
        if run.spec.reuse.policy != "Never":
            generations = frozenset(cell.generation_hash for cell in document.cells)
            ledger = await self._cluster.list_identical(run, generations)
            reusable = find_reusable(document, run.spec.reuse, ledger, self._children.nodes(), self._cluster.now())
        if len(document.cells) == 1:
            return reusable, {}
        return reusable, estimate_seconds(document, await self._cluster.list_ledger_heads(run))

    async def _ledger_of_reused(self, run: ObservedRun, document: RequestDocument, reusable: Reusable) -> Ledger | None:
        """Read what gates are held against, if results of earlier runs stand for every shard: then the run has ended."""
        if not states_something(run.spec) or len(reusable.shards) < len(document.cells) * document.shards:
            return None
        return await self._with_baselines(run, dict(reusable.shards.values()))

    async def _read_ledger(self, run: ObservedRun, document: RequestDocument | None) -> Ledger:
        """Read the results that the shards of a run name, its own and reused ones, and its baselines."""
        results = await self._cluster.list_results(run)
        named = {shard.result for row in run.status.rows for shard in row.shards if shard.result is not None}
        elsewhere = named - results.keys()
        if elsewhere and document is not None and run.spec.reuse.policy != "Never":
            generations = frozenset(cell.generation_hash for cell in document.cells)
            identical = await self._cluster.list_identical(run, generations)
            results = {**results, **{name: identical[name] for name in elsewhere if name in identical}}
        return await self._with_baselines(run, results)

    async def _with_baselines(self, run: ObservedRun, results: Mapping[str, BenchmarkResultSpec]) -> Ledger:
        baselines: dict[str, tuple[BenchmarkResultSpec, ...]] = {}
        unread: dict[str, str] = {}
        for name, selector in selectors_of(run.spec).items():
            most = MOST_BASELINE_RESULTS - sum(len(each) for each in baselines.values())
            try:
                found = await self._cluster.list_selected(run, selector, most)
            except Refused:
                # A run ends whatever may not be read: its gates are then inconclusive.
                unread[name] = "NotReadable"
            except Unavailable:
                now = self._cluster.now()
                if now < deadline_of(run, now) + BASELINE_PATIENCE_SECONDS:
                    raise
                unread[name] = "NotReadable"
            else:
                if len(found) > most:
                    unread[name] = "TooManyResults"
                else:
                    baselines[name] = found
        return Ledger(results, baselines, unread)

    async def _start(self, run: ObservedRun, status: BenchmarkRunStatus, document: RequestDocument) -> float | None:
        """Say that the run is accepted and what starts first, in one status write, and start it."""
        observed = self._observe(run, document)
        plan = decide(replace(run, status=status), observed, self._cluster.now(), self._policy)
        if plan.needs_live or plan.needs_refusals or plan.needs_ledger:
            plan = Plan(requeue_after=0.0)
        message = f"{len(document.cells)} cells x {document.shards} shards; frozen in ConfigMap {status.request_name}"
        first = [EmitEvent("Normal", EventReason.ACCEPTED, message)]
        if status.reuse_message:
            first.append(EmitEvent("Normal", EventReason.REUSED, status.reuse_message))
        if is_terminal(status):
            first.extend(last_events(status))
        applied = await self._apply(
            run, observed, replace(plan, status=plan.status or status, events=(*first, *plan.events))
        )
        return plan.requeue_after if applied.learned is None else 0.0

    async def _wait_for_permission(self, run: ObservedRun, message: str) -> float | None:
        """Wait for a quota or an admission rule to let the request document through, for schedulingSeconds."""
        now = self._cluster.now()
        limit = run.spec.timeouts.scheduling_seconds
        if now - run.created_at >= limit:
            return await self._end(run, ConditionReason.WAITING, f"{message}; tried for schedulingSeconds ({limit} s)")
        await self._write(run, waiting_status(run, ConditionReason.WAITING, message, now))
        return 10.0

    async def _freeze(self, run: ObservedRun, name: str, document: RequestDocument) -> RequestDocument:
        """Store the document, or return the one that an earlier pass stored before it got to the status."""
        try:
            await self._cluster.create_request(run, name, document.to_text())
        except AlreadyExists as error:
            stored = _parse(await self._cluster.get_request(run, name))
            if stored is None or stored.run.uid != run.uid:
                message = f"ConfigMap {name} exists and is not this run's: delete it and apply a new run"
                raise _RunOver(ConditionReason.REQUEST_CONFLICT, message) from error
            return stored
        return document

    async def _resolve(self, run: ObservedRun) -> Accepted | Waiting | Refusal:
        references = await self._cluster.get_references(run)
        return accept(run, references, self._catalogue, self._cluster.now())

    async def _preflight(self, run: ObservedRun, document: RequestDocument) -> Waiting | Refusal | None:
        queue = run.spec.scheduling.queue_name
        exists = await self._cluster.queue_exists(run, queue) if queue else None
        found = check_before_start(run.spec, document, self._children.nodes(), exists)
        return wait_or_refuse(run, found, self._cluster.now()) if isinstance(found, Waiting) else found

    async def _advance(self, run: ObservedRun) -> float | None:
        """Decide and apply, again for as long as applying brings something to light."""
        try:
            document = await self._document_of(run)
            observed = self._observe(run, document)
            for _ in range(_LOOKS):
                plan = await self._decide(run, observed)
                if plan.needs_live or plan.needs_refusals:
                    observed = await self._look(run, observed, plan)
                    continue
                if plan.needs_ledger:
                    observed = await self._look_into_ledger(run, observed, plan)
                    continue
                rest = self._rest_before(run, plan)
                if rest > 0:
                    return rest
                applied = await self._apply(run, observed, plan)
                run = applied.run
                if applied.learned is None:
                    return plan.requeue_after
                observed = applied.learned
        except _RunOver as over:
            return await self._end(run, over.reason, str(over))
        return 0.0

    async def _decide(self, run: ObservedRun, observed: Observed) -> Plan:
        """Decide; beside the loop where gates are to be judged, as many cells take seconds and the Lease must not wait."""
        arguments = (run, observed, self._cluster.now(), self._policy)
        return decide(*arguments) if observed.ledger is None else await asyncio.to_thread(decide, *arguments)

    def _observe(self, run: ObservedRun, document: RequestDocument | None) -> Observed:
        seen = Observed(
            jobs=self._children.jobs_of(run),
            pods=self._children.pods_of(run),
            nodes=self._children.nodes(),
            document=document,
        )
        return self._held_back.show(run, seen, self._cluster.now())

    async def _look(self, run: ObservedRun, observed: Observed, plan: Plan) -> Observed:
        """Ask the server what the watches cannot prove. Pods that were seen to end are remembered: no list has their verdict."""
        if plan.needs_live:
            jobs, pods = await self._cluster.list_children(run)
            results = await self._cluster.list_results(run)
            remembered = {pod.uid: pod for pod in self._children.pods_of(run) if pod.ended}
            there = tuple(pod for pod in pods if pod.uid not in remembered)
            observed = replace(observed, jobs=jobs, pods=(*there, *remembered.values()), results=results, live=True)
        if plan.needs_refusals:
            refusals = await self._cluster.list_refusals(run, plan.needs_refusals)
            read = observed.refusals_read | plan.needs_refusals
            observed = replace(observed, refusals=refusals, refusals_read=read)
        return observed

    async def _look_into_ledger(self, run: ObservedRun, observed: Observed, plan: Plan) -> Observed:
        """Store what a run that ends has measured, and read what its gates are held against."""
        learned = await self._store_results(run, observed, plan.results)
        if learned is None:
            known = {entry.name: entry.spec for entry in plan.results}
            learned = replace(observed, results={**observed.results, **known})
        elif learned.refused_results:
            # The run does not end as long as one of its results is nowhere.
            return learned
        return replace(learned, ledger=await self._read_ledger(run, observed.document))

    def _rest_before(self, run: ObservedRun, plan: Plan) -> float:
        """Return seconds to wait so that a status that is not urgent is written at most once a second."""
        if plan.status is None or plan.urgent:
            return 0.0
        since = self._cluster.now() - self._written_at.get(RunKey(run.namespace, run.name), float("-inf"))
        return STATUS_SPACING_SECONDS - since if 0 <= since < STATUS_SPACING_SECONDS else 0.0

    async def _apply(self, run: ObservedRun, observed: Observed, plan: Plan) -> _Applied:
        """Apply a plan in its order; a result that the server has already, or will not have, stops it before anything rests on it."""
        learned = await self._store_results(run, observed, plan.results)
        if learned is not None:
            return _Applied(run, learned)
        if plan.status is not None:
            before = run.status
            run = await self._write(run, plan.status)
            for reason in _ended_reasons(before, plan.status):
                self._count_end(reason)
            results = {**observed.results, **{entry.name: entry.spec for entry in plan.results}}
            self._count_gpu_time(spent_between(run.uid, before, plan.status, results, observed.document))
        conflicts, refused = await self._create_jobs(run, observed, plan.creates)
        await _in_parallel(self._delete_job(run, job) for job in plan.deletes)
        await _in_parallel(self._patch_ttl(run, job) for job in plan.ttls)
        self._forget_settled(run, observed)
        if plan.delete_run:
            await self._cluster.delete_run(run)
        await _in_parallel(self._cluster.emit(run, event) for event in plan.events)
        if conflicts or refused:
            await self._tell_refused(run, "Jobs", refused)
            return _Applied(run, replace(self._observe(run, observed.document), conflicts=conflicts))
        return _Applied(run)

    async def _tell_refused(self, run: ObservedRun, what: str, refused: Mapping[str, str]) -> None:
        """Write an Event about what the server will not have, once for each thing that it says."""
        key = RunKey(run.namespace, run.name)
        text = next(iter(sorted(refused.values())), None)
        if text is None or self._reported.get(key, {}).get(what) == text:
            return
        message = f"{len(refused)} {what} were refused and are tried again, e.g. {min(refused)}: {text}"
        await self._cluster.emit(run, EmitEvent("Warning", EventReason.ATTEMPT_FAILED, message))
        self._reported.setdefault(key, {})[what] = text

    async def _store_results(
        self, run: ObservedRun, observed: Observed, results: tuple[CreateResult, ...]
    ) -> Observed | None:
        """POST results. Returns what to decide anew with, if the server has others of these names or will not have one."""
        answers = await _in_parallel(
            (self._cluster.create_result(run, entry.name, entry.spec, entry.labels) for entry in results),
            AlreadyExists,
            Refused,
        )
        told = list(zip(results, answers, strict=True))
        refused = {entry.name: str(answer) for entry, answer in told if isinstance(answer, Refused)}
        known = {entry.name: entry.spec for entry in results if entry.name not in refused}
        self._held_back.note_results(run, known.keys(), refused, self._cluster.now())
        if refused:
            self._check_patience(run, refused)
            await self._tell_refused(run, "BenchmarkResults", refused)
        taken = [entry.name for entry, answer in told if isinstance(answer, AlreadyExists)]
        if not taken and not refused:
            return None
        for name in taken:
            stored = await self._cluster.get_result(run, name)
            if stored is None:
                message = f"BenchmarkResult {name} exists and cannot be read: delete it and apply a new run"
                raise _RunOver(ConditionReason.NO_RESULT, message)
            known[name] = stored
        learned = replace(observed, results={**observed.results, **known})
        return self._held_back.show(run, learned, self._cluster.now())

    def _check_patience(self, run: ObservedRun, refused: Mapping[str, str]) -> None:
        """End a run whose results are refused long after its time was over, or while it is cancelled; raises _RunOver.

        Before that it waits: what was measured is in its pods, and a quota may be raised.
        """
        now = self._cluster.now()
        given_up = run.spec.cancel != "None" and self._held_back.is_patience_over(run)
        if not given_up and now < deadline_of(run, now) + BASELINE_PATIENCE_SECONDS:
            return
        name = min(refused)
        message = f"BenchmarkResult {name} is refused, and the run has no time left: {refused[name]}"
        raise _RunOver(ConditionReason.NO_RESULT, message)

    async def _create_jobs(
        self, run: ObservedRun, observed: Observed, creates: tuple[CreateJob, ...]
    ) -> tuple[frozenset[str], dict[str, str]]:
        """POST Jobs; returns the names that somebody else has, and those that were refused with what the server said."""
        document = observed.document
        if document is None:
            return frozenset(), {}

        async def create(entry: CreateJob) -> None:
            which = (entry.cell, entry.shard, entry.attempt)
            manifest = (
                harvest_manifest(document, *which)
                if entry.harvests
                else job_manifest(document, *which, entry.placement)
            )
            self._children.remember_job(run, await self._cluster.create_job(run, manifest))

        answers = await _in_parallel((create(entry) for entry in creates), AlreadyExists, Refused)
        told = [(entry.name, answer) for entry, answer in zip(creates, answers, strict=True)]
        conflicts = frozenset(name for name, answer in told if isinstance(answer, AlreadyExists))
        refused = {name: str(answer) for name, answer in told if isinstance(answer, Refused)}
        self._hold_back(run, frozenset(name for name, answer in told if answer is None), refused)
        return conflicts, refused

    def _hold_back(self, run: ObservedRun, created: frozenset[str], refused: Mapping[str, str]) -> None:
        """Remember which Jobs the server will not have, so that they are tried again one by one."""
        if not refused and not self._held_back.has_jobs_of(run):
            return
        wanted = {
            attempt if shard.harvest_at is None else harvest_name(attempt)
            for row in run.status.rows
            for shard in row.shards
            if shard.phase is RowPhase.ACTIVE and (shard.job_uid is None or shard.harvest_at is not None)
            for attempt in (attempt_name(run.name, row.id, shard.index, shard.attempt),)
        }
        self._held_back.note_jobs(run, created, refused, wanted, self._cluster.now())

    async def _delete_job(self, run: ObservedRun, job: DeleteJob) -> None:
        await self._cluster.delete_job(run, job.name, job.uid)
        self._children.remember_deleting(run, job.uid)

    async def _patch_ttl(self, run: ObservedRun, job: PatchTtl) -> None:
        await self._cluster.patch_ttl(run, job.name, job.uid, job.seconds)
        self._children.remember_ttl(run, job.uid, job.seconds)

    def _forget_settled(self, run: ObservedRun, observed: Observed) -> None:
        """Let go of the pods whose verdicts the stored status has taken in."""
        active = {
            (row.id, shard.index): shard
            for row in run.status.rows
            for shard in row.shards
            if shard.phase is RowPhase.ACTIVE
        }
        wanted = {shard.job_uid for shard in active.values()}
        for job in observed.jobs:
            shard = active.get((job.cell, job.shard))
            if shard is not None and shard.attempt == job.attempt:
                wanted.add(job.uid)
        spent = frozenset(
            pod.job_uid
            for pod in observed.pods
            if pod.job_uid not in wanted and (pod.gone or (pod.ended and pod.message is not None))
        )
        if spent:
            self._children.forget_pods(run, spent)

    async def _document_of(self, run: ObservedRun) -> RequestDocument | None:
        """Return the document whose digest the status holds; a lost one is rebuilt, if that gives the same bytes.

        A run that has ended needs none any more.
        """
        digest = run.status.request_digest
        if is_terminal(run.status):
            self._documents.pop(run.uid, None)
            return None
        kept = self._documents.get(run.uid)
        if kept is not None:
            self._documents.move_to_end(run.uid)
            return kept
        name = run.status.request_name or request_name(run.name, run.uid)
        text = await self._cluster.get_request(run, name)
        document = _parse(text) if text is not None and digest_of(text) == digest else None
        if document is None:
            document = await self._rebuild(run, name)
        self._keep(run, document)
        return document

    async def _rebuild(self, run: ObservedRun, name: str) -> RequestDocument:
        outcome = await self._resolve(run)
        if not isinstance(outcome, Accepted) or outcome.document.digest != run.status.request_digest:
            message = f"ConfigMap {name} is lost or was changed, and what the run names is no longer as it was accepted"
            raise _RunOver(ConditionReason.REQUEST_LOST, message)
        try:
            await self._cluster.create_request(run, name, outcome.document.to_text())
        except AlreadyExists as error:
            message = f"ConfigMap {name} does not hold the request that was accepted: delete it and apply a new run"
            raise _RunOver(ConditionReason.REQUEST_LOST, message) from error
        return outcome.document

    def _keep(self, run: ObservedRun, document: RequestDocument) -> None:
        self._documents[run.uid] = document
        while len(self._documents) > _DOCUMENTS:
            self._documents.popitem(last=False)

    async def _end(self, run: ObservedRun, reason: ConditionReason, message: str) -> float | None:
        """End a run that cannot be measured (further); the next pass cleans up after it."""
        run = await self._write(run, failed_status(run, reason, message, self._cluster.now()))
        known = run.status.request_digest is not None
        kind = EventReason.RUN_FAILED if known else EventReason.REFUSED
        await self._cluster.emit(run, EmitEvent("Warning", kind, f"{reason.value}: {message}"))
        return 0.0

    async def _write(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        if status == run.status:
            return run
        written = await self._cluster.write_status(run, status)
        self._written_at[RunKey(run.namespace, run.name)] = self._cluster.now()
        return written


def _parse(text: str | None) -> RequestDocument | None:
    """Return the document of a text; None for a text that is none."""
    try:
        return None if text is None else RequestDocument.from_text(text)
    except ValueError:
        return None


def _ended_reasons(before: BenchmarkRunStatus, after: BenchmarkRunStatus) -> Iterable[str]:
    """Yield the reason, or the outcome where there is none, of every attempt that ended between two statuses."""
    old = {(row.id, shard.index): shard for row in before.rows for shard in row.shards}
    for row in after.rows:
        for shard in row.shards:
            if _has_ended(old.get((row.id, shard.index)), shard):
                yield shard.reason or (shard.outcome.value if shard.outcome else "Unknown")


def _has_ended(before: ShardStatus | None, after: ShardStatus) -> bool:
    if before is None or not after.attempt:
        # What an earlier run measured was no attempt of this one.
        return after.outcome is not None and after.attempt > 0
    again = after.disruptions + charged_attempts(after) > before.disruptions + charged_attempts(before)
    return again or (after.outcome is not None and before.outcome is None)


async def _in_parallel(calls: Iterable[Awaitable[Answer]], *expected: type[Exception]) -> list[Answer | BaseException]:
    """Await calls, a few at a time, and return their answers; all are tried before one that failed is raised.

    Errors of an expected type are answers.
    """
    gate = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def guarded(call: Awaitable[Answer]) -> Answer:
        async with gate:
            return await call

    answers = await asyncio.gather(*(guarded(call) for call in calls), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, expected):
            raise answer
    return answers

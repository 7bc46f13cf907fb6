"""One shard in one pass: where its current attempt stands by what was seen, and what follows from that.

Returns a value for every case; the caller collects. A shard moves by what a pod or the API server said; because of
something that was *not* seen (a Job, a pod's start, a verdict before a limit) only if the observation is live.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vidbench_api.identity import attempt_name, result_name
from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import ShardStatus

from .evidence import AttemptEnd, Expected, classify, ending_pod
from .failures import REASON_OF_WAITING
from .harvest import is_worthwhile, look, told_by
from .observed import Observed, ObservedJob, ObservedPod, ObservedRun, latest_pod
from .policy import Policy
from .remeasure import Superseded, invalid_end, needs_kept, stand_in, superseded
from .results import finished_shard, held_gpu_seconds, make_result
from .retry import Retry, failures_kept, next_attempt, remember_failure
from .timestamps import format_time, parse_time

_STOPS = frozenset({Reason.RUN_DEADLINE, Reason.RUN_CANCELLED, Reason.TOO_MANY_FAILED, Reason.RUNG_SKIPPED})
"""Reasons for which a shard is not measured, that are not its own."""

_NEVER_STARTS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""What a container waits for that no registry and no time brings: the kubelet does not even try."""

_MAX_NODE_NAME = 253


@dataclass(frozen=True)
class Context:
    """What is the same for all shards of a pass."""

    run: ObservedRun
    document: RequestDocument
    observed: Observed
    now: float
    policy: Policy
    hardware_idle_since: dict[str, float | None]
    """Per hardware entry: None while an attempt of this run holds a node, else when the last attempt ended (0: none yet)."""

    hopeless_hardware: Mapping[str, Reason] = field(default_factory=dict)
    """Entries for which a shard got no pod or node within its limit, and none of the run has held one since: as what it ended."""

    @property
    def failures_kept(self) -> int:
        """How many failed attempts each shard remembers."""
        return failures_kept(len(self.document.cells) * self.document.shards)

    @property
    def idle_since(self) -> float | None:
        """None while an attempt of this run holds any node, else when the last one ended (0: none yet)."""
        moments = [moment for moment in self.hardware_idle_since.values() if moment is not None]
        return max(moments, default=0.0) if len(moments) == len(self.hardware_idle_since) else None


@dataclass(frozen=True)
class Settled:
    """What came of one shard."""

    shard: ShardStatus
    result: BenchmarkResultSpec | None = None
    """A result to write; the shard is finished by it."""

    superseded: Superseded | None = None
    """A result to write under its attempt's name: the shard is measured again."""

    ended: AttemptEnd | None = None
    """The attempt that ended in this pass, for counters and Events."""

    gpu_seconds: int = 0
    needs_live: bool = False
    """Something would follow from what was not seen: look at the API server first. The shard is as it was."""

    refusals_of: str | None = None
    """UID of a Job without a pod, whose Events are to be read."""

    running: bool = False
    queued: bool = False
    """A queue holds the Job: none of our limits counts."""

    unschedulable: bool = False
    refused: bool = False
    stops: bool = False
    """The run is to end, or the API server will not have its result: what waits here does not start."""

    wake_at: float | None = None
    """When a limit of the present state runs out."""


@dataclass(frozen=True)
class Entry:
    """One shard of one cell with what came of it."""

    cell: Cell
    settled: Settled

    @property
    def shard(self) -> ShardStatus:
        """Return the shard as it is now."""
        return self.settled.shard


def settle(context: Context, cell: Cell, shard: ShardStatus) -> Settled:
    """Judge one shard."""
    if shard.phase is RowPhase.FINISHED:
        return Settled(shard)
    existing = context.observed.results.get(result_name(context.run.name, cell.id, shard.index))
    if existing is not None:
        return _finish_from(context, cell, shard, existing)
    if shard.phase is RowPhase.PENDING:
        return _settle_pending(context, cell, shard)
    name = attempt_name(context.run.name, cell.id, shard.index, shard.attempt)
    if name in context.observed.conflicts:
        message = f"Job {name} exists in namespace {context.run.namespace} and is not this run's: delete it and apply a new run"
        return _end(context, cell, shard, None, AttemptEnd(Outcome.FAILED, context.now, Reason.NAME_CONFLICT, message))
    job = _find_job(context, name, shard.job_uid)
    if job is None:
        return _settle_absent(context, cell, shard, name)
    seen = {"job_uid": job.uid, "node": _node_of(context, job) or shard.node}
    if seen != {"job_uid": shard.job_uid, "node": shard.node}:
        shard = shard.model_copy(update=seen)
    if job.finished is None:
        return _settle_live(context, cell, shard, job)
    return _settle_finished(context, cell, shard, job)


def _find_job(context: Context, name: str, uid: str | None) -> ObservedJob | None:
    """Return the run's Job of that name: the one of that UID, and if none is recorded the latest."""
    jobs = (
        job for job in context.observed.jobs_named(name) if job.owner_uid == context.run.uid and uid in (None, job.uid)
    )
    return max(jobs, key=lambda job: (job.created_at, job.uid, job.finished is not None), default=None)


def _node_of(context: Context, job: ObservedJob) -> str | None:
    """Return the node of the Job's latest pod, once it has one."""
    pod = latest_pod(context.observed.pods_of(job.uid), job.uid)
    return pod.node[:_MAX_NODE_NAME] if pod is not None and pod.node else None


def _settle_pending(context: Context, cell: Cell, shard: ShardStatus) -> Settled:
    """Leave a waiting shard, unless its hardware has shown that it will get no pod or that no node will take it."""
    reason = context.hopeless_hardware.get(cell.hardware)
    if reason is None:
        return Settled(shard, wake_at=parse_time(shard.not_before))
    lacks = "found no node" if reason is Reason.UNSCHEDULABLE else f"was allowed no pod ({reason})"
    message = f"not tried: another shard {lacks} for hardware {cell.hardware!r} within timeouts.schedulingSeconds"
    return give_up(context, cell, shard, None, None, reason, message)


def _finish_from(context: Context, cell: Cell, shard: ShardStatus, spec: BenchmarkResultSpec) -> Settled:
    """Finish a shard from a result that an earlier pass wrote without getting to the status."""
    name = result_name(context.run.name, cell.id, shard.index)
    if (spec.run.uid, spec.cell.id, spec.shard) != (context.run.uid, cell.id, shard.index):
        text = f"BenchmarkResult {name} is not this run's, so this shard's cannot be written: delete it and apply a new run"
        end = AttemptEnd(Outcome.FAILED, context.now, Reason.NAME_CONFLICT, text)
        refused = make_result(context.run, context.document, cell, shard, None, end)
        finished = finished_shard(shard, name, refused, context.now).model_copy(update={"result": None})
        return Settled(finished, ended=end)
    if attempt_name(context.run.name, cell.id, shard.index, spec.origin.attempt) in shard.superseded:
        return _finish_from_kept(context, cell, shard, spec)
    ended_at = parse_time(spec.origin.finished_at) or context.now
    reason = next((reason for reason in Reason if reason.value == spec.reason), None)
    origin = spec.origin
    end = AttemptEnd(spec.outcome, ended_at, reason, spec.message or "", job=origin.job_name, attempt=origin.attempt)
    failures = remember_failure(shard.failures, end, origin.node, context.failures_kept)
    shard = shard.model_copy(update={"failures": failures})
    return Settled(finished_shard(shard, name, spec, ended_at), ended=end, gpu_seconds=origin.gpu_seconds)


def _finish_from_kept(context: Context, cell: Cell, shard: ShardStatus, spec: BenchmarkResultSpec) -> Settled:
    """Finish a shard for which a superseded measurement stands: its own attempt is counted, the one after it is not yet.

    What that one left is judged as far as it is still there; the result is written, and waits for nothing.
    """
    tried = shard.phase is RowPhase.ACTIVE
    name = attempt_name(context.run.name, cell.id, shard.index, shard.attempt)
    job = _find_job(context, name, shard.job_uid) if tried else None
    pod = latest_pod(context.observed.pods_of(job.uid), job.uid) if job is not None else None
    held = AttemptEnd(Outcome.FAILED, context.now, pod=pod)
    end = None
    if job is not None and job.finished is not None:
        held = end = replace(_classify(context, cell, shard, job, pod), job=name, attempt=shard.attempt)
        node = _node_of(context, job) or shard.node
        failures = remember_failure(shard.failures, end, node, context.failures_kept)
        shard = shard.model_copy(update={"job_uid": job.uid, "node": node, "failures": failures})
    gpu_seconds = held_gpu_seconds(held, context.document.find_hardware(cell.hardware).gpus)
    result = result_name(context.run.name, cell.id, shard.index)
    return Settled(finished_shard(shard, result, spec, held.ended_at), ended=end, gpu_seconds=gpu_seconds)


def _settle_absent(context: Context, cell: Cell, shard: ShardStatus, name: str) -> Settled:
    """Judge an attempt whose Job is not among those seen: never created, or deleted."""
    if shard.job_uid is None and name in context.observed.refused_jobs:
        return _settle_refused(context, cell, shard, name)
    if not context.observed.live:
        return Settled(shard, needs_live=True)
    if shard.job_uid is None:
        return Settled(shard, wake_at=context.now + context.policy.refusal_check_seconds)
    deleted = ObservedJob(
        name=name, uid=shard.job_uid, owner_uid=context.run.uid, cell=cell.id, shard=shard.index, attempt=shard.attempt,
        created_at=parse_time(shard.started_at) or context.now, finished="Failed", finished_at=context.now,
    )  # fmt: skip
    pod = ending_pod(deleted, context.observed.pods_of(deleted.uid))
    if pod is not None:
        end = _classify(context, cell, shard, deleted, pod)
        if end.verdict is not None and end.verdict.final and end.reason is not Reason.POD_DELETED:
            return _end(context, cell, shard, deleted, end)
    message = f"Job {name} was deleted before its result was recorded"
    end = AttemptEnd(Outcome.FAILED, context.now, Reason.JOB_DELETED, message, pod=pod)
    return _end(context, cell, shard, deleted, end)


def _settle_refused(context: Context, cell: Cell, shard: ShardStatus, name: str) -> Settled:
    """Leave an attempt whose Job is refused: it is tried again, until that was for too long."""
    text = context.observed.refused_jobs[name]
    until = context.observed.refused_until
    look_at = until if until > context.now else context.now + context.policy.refusal_check_seconds
    limit = _limit_of_permission(context, parse_time(shard.started_at) or 0.0)
    if context.now < limit:
        return Settled(shard, refused=True, wake_at=min(limit, look_at))
    return give_up(context, cell, shard, None, None, _reason_of_refusal(text), f"Job {name} was refused: {text}")


def _limit_of_permission(context: Context, since: float) -> float:
    """Return until when a pod may be refused. While the run holds what a quota counts, it only waits its turn."""
    idle_since = context.idle_since
    return math.inf if idle_since is None else max(since, idle_since) + context.run.spec.timeouts.scheduling_seconds


def _reason_of_refusal(text: str) -> Reason:
    return Reason.QUOTA_EXCEEDED if "exceeded quota" in text else Reason.ADMISSION_REFUSED


def _settle_finished(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    """Judge a Job that has ended. A pod that was deleted need not be its last one: that takes a look at the server."""
    pod = ending_pod(job, context.observed.pods_of(job.uid))
    late = (job.finished_at or job.created_at) + context.policy.late_pod_seconds
    if pod is None and context.now < late:
        return Settled(shard, running=True, wake_at=late)
    end = _classify(context, cell, shard, job, pod)
    told = pod is not None and not pod.deleting and not pod.gone and end.verdict is not None and end.verdict.final
    if not told and not context.observed.live:
        return Settled(shard, needs_live=True)
    if is_worthwhile(context.document, end):
        return _settle_harvest(context, cell, shard, job, end)
    return _end(context, cell, shard, job, end)


def _settle_harvest(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, end: AttemptEnd) -> Settled:
    """Look into the artifacts before the attempt is given up; that it was begun is written down ahead."""
    begun_at = parse_time(shard.harvest_at)
    if begun_at is None:
        begun = shard.model_copy(update={"harvest_at": format_time(context.now)})
        return Settled(begun, wake_at=context.now + context.policy.refusal_check_seconds)
    harvest = look(
        context.observed,
        context.run.uid,
        job.name,
        begun_at,
        _expected(context, cell, shard),
        context.now,
        context.policy,
    )
    if harvest.wait_until is not None:
        look_at = context.now + context.policy.refusal_check_seconds
        return Settled(shard, wake_at=min(harvest.wait_until, look_at))
    return _end(context, cell, shard, job, told_by(end, harvest.verdict, job.name) if harvest.verdict else end)


def _settle_live(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    """Judge an attempt whose Job has not ended: is it within the limit of its state?"""
    if is_queued(context.run, job):
        return Settled(shard, queued=True)
    pod = current_pod(context, job)
    if pod is None:
        return _settle_without_pod(context, cell, shard, job)
    if pod.ended:
        return _settle_unfollowed(context, cell, shard, job, pod)
    lost_at = _lost_at(context, pod)
    if lost_at is not None:
        if context.now < lost_at:
            return Settled(shard, running=True, wake_at=lost_at)
        message = f"pod {pod.name}: node {pod.node} did not answer for {context.policy.node_lost_seconds:.0f} s"
        return give_up(context, cell, shard, job, pod, Reason.NODE_LOST, message)
    if pod.node is None and pod.scheduled_at is None and pod.started_at is None:
        return _settle_unscheduled(context, cell, shard, job, pod)
    if pod.started_at is None:
        return _settle_starting(context, cell, shard, job, pod)
    seconds = context.run.spec.timeouts.shard_seconds
    # The node's clock says when the container started; one that is slow must not end the attempt early.
    started_at = max(pod.started_at, pod.scheduled_at or pod.created_at)
    limit = started_at + seconds + context.policy.shard_grace_seconds
    if context.now < limit:
        return Settled(shard, running=True, wake_at=limit)
    message = f"pod {pod.name} runs for longer than timeouts.shardSeconds ({seconds} s)"
    return give_up(context, cell, shard, job, pod, Reason.SHARD_DEADLINE, message)


def is_queued(run: ObservedRun, job: ObservedJob) -> bool:
    """Whether the run's queue holds the Job back, or has taken its node away: it goes on in the same attempt."""
    return bool(run.spec.scheduling.queue_name) and job.suspended and job.finished is None


def current_pod(context: Context, job: ObservedJob) -> ObservedPod | None:
    """Return the latest pod of a Job that has not ended; none if that was evicted before the queue let the Job go on."""
    pod = latest_pod(context.observed.pods_of(job.uid), job.uid)
    evicted = pod is not None and pod.ended and (job.suspended or pod.created_at < _round_began(context, job))
    return None if evicted and context.run.spec.scheduling.queue_name else pod


def _round_began(context: Context, job: ObservedJob) -> float:
    """Return since when the Job may have a pod: with a queue, since that let it go on."""
    return max(job.created_at, job.started_at or 0.0) if context.run.spec.scheduling.queue_name else job.created_at


def _settle_unfollowed(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod) -> Settled:
    """Wait for the Job to end after its pod did; if it does not in time, judge by the pod.

    It counts as running meanwhile: the Job follows within moments, and that is not worth a write of the status. A pod
    that succeeded, and says so in its verdict, is not waited for: its Job can only become Complete, a second later.
    """
    if pod.completes_its_job:
        end = _classify(context, cell, shard, job, pod)
        if end.outcome is Outcome.SUCCEEDED:
            return _end(context, cell, shard, job, end)
    moments = (pod.created_at, pod.scheduled_at, pod.started_at, pod.finished_at, pod.deletes_at)
    limit = max(moment for moment in moments if moment is not None) + context.policy.shard_grace_seconds
    if context.now < limit:
        return Settled(shard, running=True, wake_at=limit)
    if not context.observed.live:
        return Settled(shard, needs_live=True)
    return _end(context, cell, shard, job, _classify(context, cell, shard, job, pod))


def _settle_without_pod(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    """Judge a Job that has no pod: quota, LimitRange and admission show only as Events of the Job."""
    began = _round_began(context, job)
    policy, limit = context.policy, _limit_of_permission(context, began)
    look_at = began + policy.refusal_check_seconds
    if context.now < min(look_at, limit):
        return Settled(shard, wake_at=min(look_at, limit))
    refusal = next((entry for entry in context.observed.refusals if entry.job_uid == job.uid), None)
    if context.now < limit:
        wake_at = min(limit, context.now + policy.refusal_check_seconds)
        return Settled(shard, refusals_of=job.uid, refused=refusal is not None, wake_at=wake_at)
    if refusal is None and job.uid not in context.observed.refusals_read:
        return Settled(shard, needs_live=True, refusals_of=job.uid)
    text = refusal.message if refusal else "no pod was created, and no Event says why: does the Job controller run?"
    return give_up(context, cell, shard, job, None, _reason_of_refusal(text), f"Job {job.name}: {text}")


def _settle_unscheduled(
    context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod
) -> Settled:
    """Judge a pod without a node. While other shards of this run hold the same hardware, it only waits its turn."""
    seconds = context.run.spec.timeouts.scheduling_seconds
    idle_since = context.hardware_idle_since[cell.hardware]
    waits = pod.unschedulable_message is not None
    if idle_since is None:
        # Looked at again even if nothing is heard: what holds the hardware may end by a limit of ours in this very pass.
        return Settled(shard, unschedulable=waits, wake_at=context.now + seconds)
    limit = max(pod.created_at, idle_since) + seconds
    if context.now < limit:
        return Settled(shard, unschedulable=waits, wake_at=limit)
    text = pod.unschedulable_message or "the scheduler has not looked at it"
    message = f"no node for hardware {cell.hardware!r} within timeouts.schedulingSeconds ({seconds} s): {text}"
    return give_up(context, cell, shard, job, pod, Reason.UNSCHEDULABLE, message)


def _settle_starting(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod) -> Settled:
    """Judge a pod that has a node but no running container."""
    seconds = context.run.spec.timeouts.image_pull_seconds
    limit = (pod.scheduled_at or pod.created_at) + seconds
    waiting = pod.waiting_reason or "ContainerCreating"
    if waiting in _NEVER_STARTS:
        message = f"pod {pod.name} on node {pod.node} cannot start: {waiting} {pod.waiting_message or ''}".rstrip()
        return give_up(context, cell, shard, job, pod, REASON_OF_WAITING[waiting], message)
    if context.now < limit:
        return Settled(shard, wake_at=limit)
    reason = REASON_OF_WAITING.get(waiting, Reason.CONTAINER_CONFIG)
    if waiting == "ContainerCreating" or waiting not in REASON_OF_WAITING:
        detail = "the volumes or the sandbox are not ready; `kubectl describe pod` shows the Events"
    else:
        detail = pod.waiting_message or ""
    message = f"pod {pod.name} on node {pod.node} did not start within timeouts.imagePullSeconds ({seconds} s): {waiting} {detail}"
    return give_up(context, cell, shard, job, pod, reason, message)


def _lost_at(context: Context, pod: ObservedPod) -> float | None:
    """Return when a pod is to be given up because its node does not answer; None while nothing speaks for that."""
    if not (pod.deleting or pod.phase == "Unknown") or pod.node is None:
        return None
    node = context.observed.nodes.get(pod.node) if context.observed.nodes is not None else None
    if node is not None and node.ready:
        return None
    since = node.not_ready_since if node is not None else None
    return max(since or 0.0, pod.deletes_at or pod.created_at) + context.policy.node_lost_seconds


def _classify(
    context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod | None
) -> AttemptEnd:
    node = (context.observed.nodes or {}).get(pod.node or "") if pod is not None else None
    return classify(job, pod, _expected(context, cell, shard), node)


def _expected(context: Context, cell: Cell, shard: ShardStatus) -> Expected:
    return Expected(cell.id, shard.index, shard.attempt, context.run.status.request_digest or context.document.digest)


def give_up(
    context: Context,
    cell: Cell,
    shard: ShardStatus,
    job: ObservedJob | None,
    pod: ObservedPod | None,
    reason: Reason,
    message: str,
) -> Settled:
    """Close an attempt at a limit of ours: what we waited for may have happened unseen, so only after a live look."""
    if not context.observed.live:
        return Settled(shard, needs_live=True)
    outcome = Outcome.CANCELLED if reason in _STOPS else Outcome.FAILED
    return _end(context, cell, shard, job, AttemptEnd(outcome, context.now, reason, message, pod=pod))


def _end(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob | None, end: AttemptEnd) -> Settled:
    """Close the attempt: another one, or the shard's result."""
    if needs_kept(end, shard, context.observed):
        return Settled(shard, needs_live=True)
    tried = shard.phase is RowPhase.ACTIVE
    name = attempt_name(context.run.name, cell.id, shard.index, shard.attempt)
    end = replace(end, job=name if tried else None, attempt=shard.attempt if tried else 0)
    gpu_seconds = held_gpu_seconds(end, context.document.find_hardware(cell.hardware).gpus)
    node = (context.observed.nodes or {}).get(end.pod.node or "") if end.pod else None
    spec = make_result(context.run, context.document, cell, shard, job, end, node)
    kept = superseded(spec, shard, context.run.spec.validity, context.policy)
    end = invalid_end(end, kept) if kept is not None else end
    identity = f"{context.run.uid}/{cell.id}/{shard.index}"
    retry = next_attempt(end, shard, context.run.spec.failure_policy, context.policy, identity)
    failures = remember_failure(shard.failures, end, shard.node, context.failures_kept)
    shard = shard.model_copy(update={"failures": failures, "harvest_at": None})
    if retry is None:
        spec = stand_in(end, shard, context.observed, context.run.uid) or spec
        name = result_name(context.run.name, cell.id, shard.index)
        finished = finished_shard(shard, name, spec, end.ended_at)
        return Settled(finished, result=spec, ended=end, gpu_seconds=gpu_seconds)
    again = _again(shard, end, retry, kept, context.now)
    new = kept if kept is not None and kept.name not in context.observed.results else None
    wake_at = context.now + retry.delay_seconds
    return Settled(again, superseded=new, ended=end, gpu_seconds=gpu_seconds, wake_at=wake_at)


def _again(shard: ShardStatus, end: AttemptEnd, retry: Retry, kept: Superseded | None, now: float) -> ShardStatus:
    """Return a shard that waits for another attempt, with what the one that ended is charged to."""
    names = (kept.name,) if kept is not None else ()
    return shard.model_copy(
        update={
            "phase": RowPhase.PENDING,
            "ended_at": format_time(end.ended_at),
            "not_before": format_time(now + retry.delay_seconds) if retry.delay_seconds else None,
            "disruptions": retry.disruptions,
            "retries": retry.retries,
            "lost_results": retry.lost_results,
            "unknown_failures": retry.unknown_failures,
            "superseded": (*shard.superseded, *names),
            "reason": end.reason.value if end.reason else None,
        }
    )

"""One shard in one pass: where its current attempt stands by what was seen, and what follows from that.

Returns a value for every case; the caller collects. A shard never moves because of something that was not seen, unless
the observation is live.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidbench_api.identity import attempt_name, result_name
from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import ShardStatus

from .observed import Observed, ObservedJob, ObservedPod, ObservedRun
from .policy import Policy
from .results import finished_shard, held_gpu_seconds, make_result
from .retry import AttemptEnd, Expected, classify, ending_pod, next_attempt
from .timestamps import format_time, parse_time

_PULL_TROUBLE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG_TROUBLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Context:
    """What is the same for all shards of a pass."""

    run: ObservedRun
    document: RequestDocument
    observed: Observed
    now: float
    policy: Policy
    hardware_idle_since: dict[str, float | None]
    """Per hardware entry: None while a pod of it runs, else when the last one of this run ended (0: none yet)."""

    hopeless_hardware: frozenset[str] = frozenset()
    """Entries for which a shard found no node within its limit while nothing of the run held one."""


@dataclass(frozen=True)
class Settled:
    """What came of one shard."""

    shard: ShardStatus
    result: BenchmarkResultSpec | None = None
    """A result to write; the shard is finished by it."""

    ended: AttemptEnd | None = None
    """The attempt that ended in this pass, for counters and Events."""

    gpu_seconds: int = 0
    needs_live: bool = False
    lost_refusals: str | None = None
    """UID of a Job without a pod, whose Events are to be read."""

    recreate: bool = False
    """The attempt is written down but its Job is not there: create it, under the same name."""

    running: bool = False
    unschedulable: bool = False
    refused: bool = False
    wake_at: float | None = None
    """When a limit of the present state runs out."""


def settle(context: Context, cell: Cell, shard: ShardStatus) -> Settled:
    """Judge one shard."""
    existing = context.observed.results.get(result_name(context.run.name, cell.id, shard.index))
    if shard.phase is not RowPhase.FINISHED and existing is not None:
        return _finish_from(context, cell, shard, existing)
    if shard.phase is RowPhase.PENDING:
        return _settle_pending(context, cell, shard)
    if shard.phase is RowPhase.FINISHED:
        return Settled(shard)
    name = attempt_name(context.run.name, cell.id, shard.index, shard.attempt)
    if name in context.observed.conflicts:
        message = f"Job {name} exists in namespace {context.run.namespace} and is not this run's: delete it and apply a new run"
        return _end(context, cell, shard, None, AttemptEnd(Outcome.FAILED, context.now, Reason.NAME_CONFLICT, message))
    job = next((job for job in context.observed.jobs if job.name == name and job.owner_uid == context.run.uid), None)
    if job is None or (shard.job_uid is not None and job.uid != shard.job_uid):
        return _settle_absent(context, cell, shard, name)
    shard = shard.model_copy(update={"job_uid": job.uid})
    if job.finished is None:
        return _settle_live(context, cell, shard, job)
    return _settle_finished(context, cell, shard, job)


def _settle_pending(context: Context, cell: Cell, shard: ShardStatus) -> Settled:
    """Leave a waiting shard, unless its hardware has shown that no node will take it."""
    if cell.hardware not in context.hopeless_hardware:
        return Settled(shard, wake_at=parse_time(shard.not_before))
    message = f"not tried: another shard found no node for hardware {cell.hardware!r} within timeouts.schedulingSeconds"
    return _end(context, cell, shard, None, AttemptEnd(Outcome.FAILED, context.now, Reason.UNSCHEDULABLE, message))


def _finish_from(context: Context, cell: Cell, shard: ShardStatus, spec: BenchmarkResultSpec) -> Settled:
    """Finish a shard from a result that an earlier pass wrote without getting to the status."""
    name = result_name(context.run.name, cell.id, shard.index)
    end = AttemptEnd(
        spec.outcome, context.now, Reason(spec.reason) if spec.reason in set(Reason) else None, spec.message or ""
    )
    return Settled(finished_shard(shard, name, spec, context.now), ended=end, gpu_seconds=spec.origin.gpu_seconds)


def _settle_absent(context: Context, cell: Cell, shard: ShardStatus, name: str) -> Settled:
    """Judge an attempt whose Job is not among those seen."""
    if not context.observed.live:
        return Settled(shard, needs_live=True)
    if shard.job_uid is None:
        return Settled(shard, recreate=True)
    remembered = ObservedJob(
        name=name, uid=shard.job_uid, owner_uid=context.run.uid, cell=cell.id, shard=shard.index, attempt=shard.attempt,
        created_at=parse_time(shard.started_at) or context.now, finished="Failed", finished_at=context.now,
    )  # fmt: skip
    pod = ending_pod(remembered, context.observed.pods)
    if pod is not None:
        end = classify(remembered, pod, _expected(context, cell, shard))
        if end.verdict is not None and end.verdict.final and end.reason is not Reason.POD_DELETED:
            return _end(context, cell, shard, remembered, end)
    message = f"Job {name} was deleted before its result was recorded"
    end = AttemptEnd(Outcome.FAILED, context.now, Reason.JOB_DELETED, message, pod=pod)
    return _end(context, cell, shard, remembered, end)


def _settle_finished(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    pod = ending_pod(job, context.observed.pods)
    if pod is None and not context.observed.live:
        return Settled(shard, needs_live=True)
    return _end(context, cell, shard, job, classify(job, pod, _expected(context, cell, shard)))


def _settle_live(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    """Judge an attempt whose Job has not ended: is it within the limit of its state?"""
    pods = [pod for pod in context.observed.pods if pod.job_uid == job.uid]
    pod = max((pod for pod in pods if not pod.gone), key=lambda pod: (pod.created_at, pod.uid), default=None)
    timeouts = context.run.spec.timeouts
    if pod is None:
        if pods:
            return Settled(shard)
        return _settle_without_pod(context, cell, shard, job)
    lost_at = _lost_at(context, pod)
    if lost_at is not None:
        if context.now < lost_at:
            return Settled(shard, running=True, wake_at=lost_at)
        message = f"pod {pod.name}: node {pod.node} did not answer for {context.policy.node_lost_seconds:.0f} s"
        end = AttemptEnd(Outcome.FAILED, context.now, Reason.NODE_LOST, message, pod=pod)
        return _end(context, cell, shard, job, end)
    if pod.ended:
        return Settled(shard, running=True)
    if pod.scheduled_at is None and pod.started_at is None:
        return _settle_unscheduled(context, cell, shard, job, pod)
    if pod.started_at is None:
        return _settle_starting(context, cell, shard, job, pod)
    limit = pod.started_at + timeouts.shard_seconds + context.policy.shard_grace_seconds
    if context.now < limit:
        return Settled(shard, running=True, wake_at=limit)
    message = f"pod {pod.name} runs for longer than timeouts.shardSeconds ({timeouts.shard_seconds} s)"
    end = AttemptEnd(Outcome.FAILED, context.now, Reason.SHARD_DEADLINE, message, pod=pod)
    return _end(context, cell, shard, job, end)


def _settle_without_pod(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob) -> Settled:
    """Judge a Job that has no pod: quota, LimitRange and admission show only as Events of the Job."""
    policy, limit = context.policy, job.created_at + context.run.spec.timeouts.scheduling_seconds
    look_at = job.created_at + policy.refusal_check_seconds
    if context.now < look_at:
        return Settled(shard, wake_at=look_at)
    refusal = next((entry for entry in context.observed.refusals if entry.job_uid == job.uid), None)
    if context.now < limit:
        wake_at = min(limit, context.now + policy.refusal_check_seconds)
        return Settled(shard, lost_refusals=job.uid, refused=refusal is not None, wake_at=wake_at)
    if refusal is None and not context.observed.live:
        return Settled(shard, needs_live=True, lost_refusals=job.uid)
    text = refusal.message if refusal else "no pod was created, and no Event says why: does the Job controller run?"
    reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in text else Reason.ADMISSION_REFUSED
    return _end(context, cell, shard, job, AttemptEnd(Outcome.FAILED, context.now, reason, f"Job {job.name}: {text}"))


def _settle_unscheduled(
    context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod
) -> Settled:
    """Judge a pod without a node. While other shards of this run hold the same hardware, it only waits its turn."""
    seconds = context.run.spec.timeouts.scheduling_seconds
    idle_since = context.hardware_idle_since[cell.hardware]
    waits = pod.unschedulable_message is not None
    if idle_since is None:
        return Settled(shard, unschedulable=waits)
    limit = max(pod.created_at, idle_since) + seconds
    if context.now < limit:
        return Settled(shard, unschedulable=waits, wake_at=limit)
    text = pod.unschedulable_message or "the scheduler has not looked at it"
    message = f"no node for hardware {cell.hardware!r} within timeouts.schedulingSeconds ({seconds} s): {text}"
    return _end(
        context, cell, shard, job, AttemptEnd(Outcome.FAILED, context.now, Reason.UNSCHEDULABLE, message, pod=pod)
    )


def _settle_starting(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob, pod: ObservedPod) -> Settled:
    """Judge a pod that has a node but no running container."""
    seconds = context.run.spec.timeouts.image_pull_seconds
    limit = (pod.scheduled_at or pod.created_at) + seconds
    if context.now < limit:
        return Settled(shard, wake_at=limit)
    waiting = pod.waiting_reason or "ContainerCreating"
    reason = Reason.CONTAINER_CONFIG if waiting not in _PULL_TROUBLE else Reason.IMAGE_PULL
    if waiting not in _CONFIG_TROUBLE | _PULL_TROUBLE:
        detail = "the volumes or the sandbox are not ready; `kubectl describe pod` shows the Events"
    else:
        detail = pod.waiting_message or ""
    message = f"pod {pod.name} on node {pod.node} did not start within timeouts.imagePullSeconds ({seconds} s): {waiting} {detail}"
    return _end(context, cell, shard, job, AttemptEnd(Outcome.FAILED, context.now, reason, message, pod=pod))


def _lost_at(context: Context, pod: ObservedPod) -> float | None:
    """Return when a pod is to be given up because its node does not answer; None while nothing speaks for that."""
    if not (pod.deleting or pod.phase == "Unknown") or pod.node is None or pod.ended:
        return None
    node = context.observed.nodes.get(pod.node) if context.observed.nodes is not None else None
    if node is not None and node.ready:
        return None
    since = node.not_ready_since if node is not None else None
    return max(since or 0.0, pod.deletes_at or pod.created_at) + context.policy.node_lost_seconds


def _expected(context: Context, cell: Cell, shard: ShardStatus) -> Expected:
    return Expected(cell.id, shard.index, shard.attempt, context.run.status.request_digest or context.document.digest)


def _end(context: Context, cell: Cell, shard: ShardStatus, job: ObservedJob | None, end: AttemptEnd) -> Settled:
    """Close the attempt: another one, or the shard's result."""
    gpus = context.document.find_hardware(cell.hardware).gpus
    gpu_seconds = held_gpu_seconds(end, gpus)
    retry = next_attempt(end, shard, context.run.spec.failure_policy, context.policy)
    if retry is None:
        spec = make_result(context.run, context.document, cell, shard, job, end)
        name = result_name(context.run.name, cell.id, shard.index)
        shard = shard.model_copy(update={"ended_at": format_time(end.ended_at)})
        return Settled(finished_shard(shard, name, spec, context.now), result=spec, ended=end, gpu_seconds=gpu_seconds)
    again = shard.model_copy(
        update={
            "phase": RowPhase.PENDING,
            "ended_at": format_time(end.ended_at),
            "not_before": format_time(context.now + retry.delay_seconds) if retry.delay_seconds else None,
            "retries": retry.retries,
            "lost_results": retry.lost_results,
            "unknown_failures": retry.unknown_failures,
            "reason": end.reason.value if end.reason else None,
        }
    )
    return Settled(again, ended=end, gpu_seconds=gpu_seconds, wake_at=context.now + retry.delay_seconds)


def with_run_deadline(context: Context, cell: Cell, settled: Settled) -> Settled:
    """End a shard that is not finished when the run's own time is up."""
    if settled.shard.phase is RowPhase.FINISHED:
        return settled
    seconds = context.run.spec.timeouts.run_seconds
    message = f"the run reached timeouts.runSeconds ({seconds} s)"
    end = AttemptEnd(Outcome.CANCELLED, context.now, Reason.RUN_DEADLINE, message)
    return replace(_end(context, cell, settled.shard, None, end), needs_live=settled.needs_live)

"""Failure to reason to what follows: another attempt, or the end of the shard. Values in, values out.

How an attempt ended is told by evidence in this order: a final verdict of the pod that ended the Job, a memory limit
that was hit, a disruption of the pod, the runner's exit code, the verdict written ahead. Knows nothing of manifests or
status layout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from vidbench_api.message import MessageError, decode
from vidbench_api.names import EXIT_CODE_OF_REASON, Outcome, Reason
from vidbench_api.run_spec import FailurePolicy
from vidbench_api.run_status import ShardStatus
from vidbench_api.verdict import Verdict

from .observed import ObservedJob, ObservedPod, latest_pod
from .policy import Policy


class FailureClass(StrEnum):
    """What a reason says about a further attempt. Each class has a budget of its own."""

    FINDING = "Finding"
    """Out of memory: the answer to the question that the cell asked."""

    DETERMINISTIC = "Deterministic"
    """It would fail again."""

    INFRASTRUCTURE = "Infrastructure"
    """Not the model's doing: failurePolicy.infrastructureRetries."""

    LOST = "Lost"
    """It ended, and nobody knows how: Policy.lost_result_retries."""

    UNKNOWN = "Unknown"
    """Evidence that fits nothing else: Policy.unknown_retries."""


CLASS_OF_REASON: dict[Reason, FailureClass] = {
    Reason.OUT_OF_MEMORY_CUDA: FailureClass.FINDING,
    Reason.OUT_OF_MEMORY_HOST: FailureClass.FINDING,
    Reason.INVALID_REQUEST: FailureClass.DETERMINISTIC,
    Reason.INVALID_ARGUMENTS: FailureClass.DETERMINISTIC,
    Reason.UNSUPPORTED_OPTION: FailureClass.DETERMINISTIC,
    Reason.MODEL_NOT_FOUND: FailureClass.DETERMINISTIC,
    Reason.MODEL_ACCESS_DENIED: FailureClass.DETERMINISTIC,
    Reason.MODEL_LOAD_FAILED: FailureClass.DETERMINISTIC,
    Reason.GENERATION_FAILED: FailureClass.DETERMINISTIC,
    Reason.NAN_OUTPUT: FailureClass.DETERMINISTIC,
    Reason.LOAD_DEADLINE: FailureClass.DETERMINISTIC,
    Reason.SHARD_DEADLINE: FailureClass.DETERMINISTIC,
    Reason.NAME_CONFLICT: FailureClass.DETERMINISTIC,
    Reason.CONTAINER_CONFIG: FailureClass.DETERMINISTIC,
    Reason.ADMISSION_REFUSED: FailureClass.DETERMINISTIC,
    Reason.QUOTA_EXCEEDED: FailureClass.DETERMINISTIC,
    Reason.UNSCHEDULABLE: FailureClass.DETERMINISTIC,
    Reason.IMAGE_PULL: FailureClass.DETERMINISTIC,
    Reason.RUN_DEADLINE: FailureClass.DETERMINISTIC,
    Reason.HUNG: FailureClass.INFRASTRUCTURE,
    Reason.INTERRUPTED: FailureClass.INFRASTRUCTURE,
    Reason.POD_DELETED: FailureClass.INFRASTRUCTURE,
    Reason.JOB_DELETED: FailureClass.INFRASTRUCTURE,
    Reason.EVICTED: FailureClass.INFRASTRUCTURE,
    Reason.PREEMPTED: FailureClass.INFRASTRUCTURE,
    Reason.NODE_LOST: FailureClass.INFRASTRUCTURE,
    Reason.DEVICE_FAULT: FailureClass.INFRASTRUCTURE,
    Reason.STORAGE_FAILED: FailureClass.INFRASTRUCTURE,
    Reason.HOST_UNHEALTHY: FailureClass.INFRASTRUCTURE,
    Reason.NODE_SHUTDOWN: FailureClass.INFRASTRUCTURE,
    Reason.DEVICE_REFUSED: FailureClass.INFRASTRUCTURE,
    Reason.NODE_REFUSED: FailureClass.INFRASTRUCTURE,
    Reason.SUSPENDED: FailureClass.INFRASTRUCTURE,
    Reason.RUN_CANCELLED: FailureClass.DETERMINISTIC,
    Reason.TOO_MANY_FAILED: FailureClass.DETERMINISTIC,
    Reason.BREAKER_OPEN: FailureClass.DETERMINISTIC,
    Reason.RUNG_SKIPPED: FailureClass.DETERMINISTIC,
    Reason.RESULT_LOST: FailureClass.LOST,
    Reason.RESULT_GARBAGE: FailureClass.LOST,
    Reason.KILLED: FailureClass.UNKNOWN,
    Reason.RUNNER_CRASHED: FailureClass.UNKNOWN,
    Reason.INTERNAL_ERROR: FailureClass.UNKNOWN,
}

_REASON_OF_EXIT_CODE: dict[int, Reason] = {}
for _reason, _code in EXIT_CODE_OF_REASON.items():
    _REASON_OF_EXIT_CODE.setdefault(int(_code), _reason)

_DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}
_POD_REASONS = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.PREEMPTED,
    "DeadlineExceeded": Reason.SHARD_DEADLINE,
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_LOST,
    "Shutdown": Reason.NODE_LOST,
    "Terminated": Reason.NODE_LOST,
    "UnexpectedAdmissionError": Reason.DEVICE_FAULT,
}
_EXIT_CODE_IN_MESSAGE = re.compile(r"failed with exit code (\d{1,3}) matching FailJob")
_DISRUPTION_IN_MESSAGE = "has condition DisruptionTarget matching FailJob"


@dataclass(frozen=True)
class AttemptEnd:
    """How one attempt ended, with all the evidence there is."""

    outcome: Outcome
    ended_at: float
    reason: Reason | None = None
    message: str = ""
    verdict: Verdict | None = None
    """What was measured, final or written ahead; None if nothing readable was left."""

    pod: ObservedPod | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Expected:
    """Whose verdict is waited for; any other is not this attempt's."""

    cell: str
    shard: int
    attempt: int
    request_digest: str


def ending_pod(job: ObservedJob, pods: tuple[ObservedPod, ...]) -> ObservedPod | None:
    """Return the pod that ended the Job: its latest one, and for a complete Job one that did not exit otherwise.

    None if that pod was not seen to end. A Job that was suspended and resumed has had others: their verdicts do not
    count, nor does an older one stand in for the latest.
    """
    if job.finished == "Complete":
        pods = tuple(pod for pod in pods if pod.exit_code in (0, None))
    pod = latest_pod(pods, job.uid)
    return pod if pod is not None and pod.ended else None


def classify(job: ObservedJob, pod: ObservedPod | None, expected: Expected) -> AttemptEnd:
    """Say how a finished Job's attempt ended. Without a pod, only its conditions are left to tell."""
    ended_at = job.finished_at or (pod.finished_at if pod else None) or job.created_at
    if pod is None:
        return _end_without_pod(job, ended_at)
    verdict, garbage = read_verdict(pod, expected)
    exit_code = pod.exit_code
    if verdict is not None and verdict.final and verdict.outcome is not None:
        said = _reason_of(verdict)
        if said is Reason.INTERRUPTED:
            said = _disruption_of(pod) or (Reason.POD_DELETED if pod.deleting or pod.gone else said)
        return AttemptEnd(_outcome_of(said), ended_at, said, verdict.message or "", verdict, pod, exit_code)
    reason, message = _reason_without_verdict(job, pod, verdict, garbage)
    return AttemptEnd(_outcome_of(reason), ended_at, reason, message, verdict, pod, exit_code)


def read_verdict(pod: ObservedPod, expected: Expected) -> tuple[Verdict | None, str | None]:
    """Return the pod's verdict, or None and why what it left is no verdict of this attempt (None: it left nothing)."""
    if not pod.message or not pod.message.strip():
        return None, None
    try:
        verdict = decode(pod.message)
    except MessageError as error:
        return None, f"{len(pod.message)} characters that are no verdict: {error}"
    claimed = Expected(verdict.cell, verdict.shard, verdict.attempt, verdict.request_digest)
    if claimed != Expected(expected.cell, expected.shard, expected.attempt, expected.request_digest[:16]):
        return None, "a verdict of another attempt"
    return verdict, None


def _reason_of(verdict: Verdict) -> Reason | None:
    """Return the reason that a final verdict gives, if it is one that a runner can know; None is success."""
    if verdict.outcome is Outcome.SUCCEEDED:
        return None
    return next((reason for reason in EXIT_CODE_OF_REASON if reason.value == verdict.reason), Reason.RUNNER_CRASHED)


def _outcome_of(reason: Reason | None) -> Outcome:
    """Return the outcome that goes with a reason, so that the two never contradict each other."""
    if reason is None:
        return Outcome.SUCCEEDED
    return Outcome.OUT_OF_MEMORY if CLASS_OF_REASON[reason] is FailureClass.FINDING else Outcome.FAILED


def _disruption_of(pod: ObservedPod) -> Reason | None:
    if pod.disruption:
        return _DISRUPTIONS.get(pod.disruption, Reason.EVICTED)
    if pod.pod_reason:
        # A pod that failed before its container ran was turned away by its node: OutOfcpu, NodeAffinity, ...
        turned_away = Reason.EVICTED if pod.phase == "Failed" and pod.exit_code is None else None
        return _POD_REASONS.get(pod.pod_reason, turned_away)
    return None


def _reason_without_verdict(
    job: ObservedJob, pod: ObservedPod, written_ahead: Verdict | None, garbage: str | None
) -> tuple[Reason, str]:
    where = f"pod {pod.name}" + (f" on node {pod.node}" if pod.node else "")
    progress = f"; {written_ahead.samples_done} samples were measured before" if written_ahead else ""
    if pod.container_reason == "OOMKilled":
        return Reason.OUT_OF_MEMORY_HOST, f"{where}: killed at the container's memory limit{progress}"
    disruption = _disruption_of(pod)
    if disruption is not None:
        return disruption, f"{where}: {pod.disruption or pod.pod_reason}{progress}"
    known = _REASON_OF_EXIT_CODE.get(pod.exit_code or 0)
    if known is not None:
        return known, f"{where}: exit code {pod.exit_code}, no final verdict{progress}"
    if pod.exit_code is None or ((pod.deleting or pod.gone) and pod.exit_code in (137, 143)):
        return Reason.POD_DELETED, f"{where}: deleted before it ended{progress}"
    if garbage is not None:
        return Reason.RESULT_GARBAGE, f"{where}: exit code {pod.exit_code}, left {garbage}"
    if written_ahead is not None:
        return Reason.KILLED, f"{where}: all processes ended at once, exit code {pod.exit_code}{progress}"
    return Reason.RESULT_LOST, f"{where}: exit code {pod.exit_code}, no termination message (Job {job.name})"


def _end_without_pod(job: ObservedJob, ended_at: float) -> AttemptEnd:
    """Judge a finished Job whose pod nobody saw end: podFailurePolicy has put exit code or disruption into its condition."""
    condition = job.finished_message if job.finished_reason == "PodFailurePolicy" else ""
    match = _EXIT_CODE_IN_MESSAGE.search(condition)
    code = int(match.group(1)) if match else None
    reason = _REASON_OF_EXIT_CODE.get(code or 0)
    by_condition = f"by the condition of Job {job.name}; its pod is gone, and with it what was measured"
    if reason is not None:
        return AttemptEnd(_outcome_of(reason), ended_at, reason, f"exit code {code}, {by_condition}", exit_code=code)
    if _DISRUPTION_IN_MESSAGE in condition:
        return AttemptEnd(Outcome.FAILED, ended_at, Reason.EVICTED, f"disrupted, {by_condition}")
    message = f"Job {job.name} is {job.finished} but its pod is gone, and with it the verdict"
    return AttemptEnd(Outcome.FAILED, ended_at, Reason.RESULT_LOST, message)


@dataclass(frozen=True)
class Retry:
    """The shard gets another attempt; the counters are those to write down."""

    delay_seconds: float
    retries: int
    lost_results: int
    unknown_failures: int


def next_attempt(end: AttemptEnd, shard: ShardStatus, failure: FailurePolicy, policy: Policy) -> Retry | None:
    """Return what to count and how long to wait for another attempt, or None if this end is the shard's."""
    if end.reason is None:
        return None
    counts = {
        FailureClass.INFRASTRUCTURE: (shard.retries, failure.infrastructure_retries),
        FailureClass.LOST: (shard.lost_results, min(policy.lost_result_retries, failure.infrastructure_retries)),
        FailureClass.UNKNOWN: (shard.unknown_failures, policy.unknown_retries),
    }
    failure_class = CLASS_OF_REASON[end.reason]
    used, budget = counts.get(failure_class, (0, 0))
    if used >= budget:
        return None
    total = shard.retries + shard.lost_results + shard.unknown_failures
    delays = policy.retry_delays_seconds
    return Retry(
        delay_seconds=delays[min(total, len(delays) - 1)],
        retries=shard.retries + (failure_class is FailureClass.INFRASTRUCTURE),
        lost_results=shard.lost_results + (failure_class is FailureClass.LOST),
        unknown_failures=shard.unknown_failures + (failure_class is FailureClass.UNKNOWN),
    )

"""What was seen of an attempt to how it ended: outcome, reason, and all that proves it. Values in, values out.

Told by evidence in this order: a final verdict of the pod that ended the Job, a memory limit that was hit, a disruption
of the pod, the runner's exit code, the verdict written ahead. The words stand in the table of `failures`; what follows
from a reason is decided in `retry`. Knows nothing of manifests or status layout.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vidbench_api.message import MessageError, decode
from vidbench_api.names import EXIT_CODE_OF_REASON, RUNNER_CONTAINER, Outcome, Reason
from vidbench_api.verdict import Verdict

from .failures import (
    CLASS_OF_REASON,
    REASON_OF_CONTAINER,
    REASON_OF_DISRUPTION,
    REASON_OF_EXIT_CODE,
    REASON_OF_POD,
    FailureClass,
)
from .node_health import device_fault
from .observed import ObservedJob, ObservedNode, ObservedPod, latest_pod

_OWN_LIMIT = re.compile(r"exceed(s|ed) (the|its) (total )?(limit|local ephemeral storage limit)", re.IGNORECASE)
"""What the kubelet says of a pod that it evicts for what the pod itself used: that would happen again for ever."""

_STOPPED = frozenset({137, 143})
_EXIT_CODE_IN_MESSAGE = re.compile(r"failed with exit code (\d{1,3}) matching FailJob")
_DISRUPTION_IN_MESSAGE = "has condition DisruptionTarget matching FailJob"


@dataclass(frozen=True)
class AttemptEnd:
    """How one attempt ended, with all the evidence there is: a structured error, if it was one."""

    outcome: Outcome
    ended_at: float
    reason: Reason | None = None
    message: str = ""
    """For people: what happened, and where."""

    verdict: Verdict | None = None
    """What was measured, final or written ahead; None if nothing readable was left."""

    pod: ObservedPod | None = None
    exit_code: int | None = None
    job: str | None = None
    """Name of the attempt's Job, if there was one."""

    attempt: int = 0
    """Number of the attempt; 0 if the shard was not tried."""

    @property
    def node(self) -> str | None:
        """The node that the attempt was on."""
        return self.pod.node if self.pod is not None else None

    @property
    def container(self) -> str | None:
        """The container that ended, if one did."""
        return RUNNER_CONTAINER if self.exit_code is not None else None

    @property
    def where(self) -> str:
        """Object, pod, node, container and exit code, as far as there are any, for people."""
        parts = (
            ("Job", self.job),
            ("pod", self.pod.name if self.pod is not None else None),
            ("node", self.node),
            ("container", self.container),
            ("exit code", self.exit_code),
        )
        return ", ".join(f"{word} {value}" for word, value in parts if value is not None)


@dataclass(frozen=True)
class Expected:
    """Whose verdict is waited for; any other is not this attempt's."""

    cell: str
    shard: int
    attempt: int
    request_digest: str


def ending_pod(job: ObservedJob, pods: Sequence[ObservedPod]) -> ObservedPod | None:
    """Return the pod that ended the Job: its latest one, and for a complete Job one that did not exit otherwise.

    None if that pod was not seen to end. A Job that was suspended and resumed has had others: their verdicts do not
    count, nor does an older one stand in for the latest.
    """
    if job.finished == "Complete":
        pods = tuple(pod for pod in pods if pod.exit_code in (0, None))
    pod = latest_pod(pods, job.uid)
    return pod if pod is not None and pod.ended else None


def classify(
    job: ObservedJob, pod: ObservedPod | None, expected: Expected, node: ObservedNode | None = None
) -> AttemptEnd:
    """Say how a finished Job's attempt ended. Without a pod, or its end, only the Job's conditions are left to tell.

    `node` is the pod's, as it is now, if it is visible: a failure of no known reason on a node with a faulty GPU is
    the GPU's.
    """
    ended_at = job.finished_at or (pod.finished_at if pod else None) or job.created_at
    if pod is None:
        return _end_without_pod(job, ended_at)
    if _is_told_by_job(job, pod):
        return replace(_end_without_pod(job, ended_at, _disruption_of(pod, node)), pod=pod)
    verdict, garbage = read_verdict(pod, expected)
    if verdict is not None and verdict.final and verdict.outcome is not None:
        reason, message = reason_of(verdict), verdict.message or ""
        if reason is Reason.INTERRUPTED:
            reason = _disruption_of(pod, node) or (Reason.POD_DELETED if pod.deleting or pod.gone else reason)
    else:
        reason, message = _reason_without_verdict(job, pod, node, verdict, garbage)
    fault = device_fault(node)
    if fault is not None and _is_unexplained(reason, pod):
        reason, message = Reason.DEVICE_FAULT, f"{message} ({reason}; {fault} of node {pod.node})"
    return AttemptEnd(outcome_of(reason), ended_at, reason, message, verdict, pod, pod.exit_code, job.name, job.attempt)


def _is_unexplained(reason: Reason | None, pod: ObservedPod) -> bool:
    """Whether nothing says why it failed: the node may. Where it did not fail but for the message, the node cannot."""
    if reason is None:
        return False
    failure_class = CLASS_OF_REASON[reason]
    return failure_class is FailureClass.UNKNOWN or (failure_class is FailureClass.LOST and pod.exit_code != 0)


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


def reason_of(verdict: Verdict) -> Reason | None:
    """Return the reason that a final verdict gives, if it is one that a runner can know; None is success."""
    if verdict.outcome is Outcome.SUCCEEDED:
        return None
    return next((reason for reason in EXIT_CODE_OF_REASON if reason.value == verdict.reason), Reason.RUNNER_CRASHED)


def outcome_of(reason: Reason | None) -> Outcome:
    """Return the outcome that goes with a reason, so that the two never contradict each other."""
    if reason is None:
        return Outcome.SUCCEEDED
    return Outcome.OUT_OF_MEMORY if CLASS_OF_REASON[reason] is FailureClass.FINDING else Outcome.FAILED


def _disruption_of(pod: ObservedPod, node: ObservedNode | None) -> Reason | None:
    """Return why the pod was taken away, or not let in. The kubelet's word about the pod says more than its condition."""
    told = REASON_OF_POD.get(pod.pod_reason or "")
    if told is Reason.EVICTED and _OWN_LIMIT.search(pod.pod_message or ""):
        return Reason.STORAGE_FAILED
    if told is not None:
        return told
    if pod.disruption == "DeletionByTaintManager" and node is not None and node.ready:
        return Reason.DEVICE_FAULT if device_fault(node) else Reason.EVICTED
    if pod.disruption:
        return REASON_OF_DISRUPTION.get(pod.disruption, Reason.EVICTED)
    turned_away = pod.pod_reason and pod.phase == "Failed" and pod.exit_code is None and pod.started_at is None
    return Reason.NODE_REFUSED if turned_away else None


def _reason_without_verdict(
    job: ObservedJob, pod: ObservedPod, node: ObservedNode | None, written_ahead: Verdict | None, garbage: str | None
) -> tuple[Reason, str]:
    where = f"pod {pod.name}" + (f" on node {pod.node}" if pod.node else "")
    progress = f"; {written_ahead.samples_done} samples were measured before" if written_ahead else ""
    by_container = REASON_OF_CONTAINER.get(pod.container_reason or "")
    if by_container is not None:
        return by_container, f"{where}: killed at the container's memory limit{progress}"
    disruption = _disruption_of(pod, node)
    if disruption is not None:
        return disruption, f"{where}: {_disruption_text(pod)}{progress}"
    known = REASON_OF_EXIT_CODE.get(pod.exit_code or 0)
    if known is Reason.INTERRUPTED and (pod.deleting or pod.gone):
        return Reason.POD_DELETED, f"{where}: deleted before it ended{progress}"
    if known is not None:
        return known, f"{where}: exit code {pod.exit_code}, no final verdict{progress}"
    if pod.exit_code is None or ((pod.deleting or pod.gone) and pod.exit_code in _STOPPED):
        return Reason.POD_DELETED, f"{where}: deleted before it ended{progress}"
    if garbage is not None:
        return Reason.RESULT_GARBAGE, f"{where}: exit code {pod.exit_code}, left {garbage}"
    if written_ahead is not None:
        return Reason.KILLED, f"{where}: all processes ended at once, exit code {pod.exit_code}{progress}"
    return Reason.RESULT_LOST, f"{where}: exit code {pod.exit_code}, no termination message (Job {job.name})"


def _disruption_text(pod: ObservedPod) -> str:
    words = " ".join(dict.fromkeys(word for word in (pod.pod_reason, pod.disruption) if word))
    return f"{words}: {pod.pod_message}" if pod.pod_message else words


def _is_told_by_job(job: ObservedJob, pod: ObservedPod) -> bool:
    """Whether the pod vanished before it was seen to end, and its Job knows more: that it succeeded, or why it failed.

    Such a pod was seen last while it ran, so its last state tells where and since when, and nothing of its end.
    """
    unseen = pod.gone and pod.exit_code is None and pod.phase not in {"Succeeded", "Failed"}
    return unseen and (job.finished == "Complete" or job.finished_reason == "PodFailurePolicy")


def _end_without_pod(job: ObservedJob, ended_at: float, disruption: Reason | None = None) -> AttemptEnd:
    """Judge a finished Job whose pod nobody saw end: podFailurePolicy has put exit code or disruption into its condition.

    `disruption` is what the pod's last state says about one, if there is any: more than the Job's condition.
    """
    condition = job.finished_message if job.finished_reason == "PodFailurePolicy" else ""
    match = _EXIT_CODE_IN_MESSAGE.search(condition)
    code = int(match.group(1)) if match else None
    reason = REASON_OF_EXIT_CODE.get(code or 0)
    by_condition = f"by the condition of Job {job.name}; its pod is gone, and with it what was measured"
    if reason is not None:
        message = f"exit code {code}, {by_condition}"
    elif _DISRUPTION_IN_MESSAGE in condition:
        reason, message = disruption or Reason.EVICTED, f"disrupted, {by_condition}"
    else:
        reason = Reason.RESULT_LOST
        message = f"Job {job.name} is {job.finished} but its pod is gone, and with it the verdict"
    code = code if reason is not Reason.RESULT_LOST else None
    return AttemptEnd(outcome_of(reason), ended_at, reason, message, exit_code=code, job=job.name, attempt=job.attempt)

"""How an attempt ended, by the evidence there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished, pod_of, running_pod

from vidbench_api.message import encode
from vidbench_api.names import EXIT_CODE_OF_REASON, ExitCode, Outcome, Reason
from vidbench_operator.core.evidence import AttemptEnd, Expected, classify, ending_pod, read_verdict
from vidbench_operator.core.failures import CLASS_OF_REASON, FAILURES, FailureClass
from vidbench_operator.core.observed import NodeCondition, NodeTaint, ObservedJob, ObservedNode, ObservedPod

SCENE = Scene.of()
JOB = SCENE.job()
FAILED = finished(JOB, "Failed")
EXPECTED = Expected(SCENE.cell.id, 1, 1, SCENE.document.digest)
SUCCESS, OOM = SCENE.verdict(), SCENE.failure(Reason.OUT_OF_MEMORY_CUDA, Outcome.OUT_OF_MEMORY)
INTERRUPTED = SCENE.failure(Reason.INTERRUPTED)
AHEAD = SCENE.written_ahead(3)
TURNED_AWAY = {"phase": "Failed", "started_at": None}
LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. Container runner was using 9Gi"
OWN_LIMITS = (
    'Usage of EmptyDir volume "scratch" exceeds the limit "10Gi". ',
    "Pod ephemeral local storage usage exceeds the total limit of containers 8Gi. ",
    'Container runner exceeded its local ephemeral storage limit "8Gi". ',
)
GARBAGE = "\x00garbage " * 455


def judge(pod: ObservedPod | None, job: ObservedJob = FAILED, node: ObservedNode | None = None) -> AttemptEnd:
    return classify(job, pod, EXPECTED, node)


FINAL: list[Any] = [
    pytest.param(SUCCESS, 0, {}, None, id="success"),
    pytest.param(SUCCESS, 137, {}, None, id="killed after its final verdict"),
    pytest.param(SUCCESS, 0, {"deleting": True, "gone": True}, None, id="deleted by hand, ended in order: it counts"),
    pytest.param(SUCCESS, 137, {"container_reason": "OOMKilled"}, None, id="out of memory after its final verdict"),
    pytest.param(OOM, 81, {}, Reason.OUT_OF_MEMORY_CUDA, id="out of memory"),
    pytest.param(SCENE.failure(Reason.MODEL_LOAD_FAILED), 84, {}, Reason.MODEL_LOAD_FAILED, id="a model that does not load"),
    pytest.param(SCENE.failure(Reason.MODEL_ACCESS_DENIED), 83, {}, Reason.MODEL_ACCESS_DENIED, id="two reasons of one code"),
    pytest.param(INTERRUPTED, 90, {}, Reason.INTERRUPTED, id="told to stop, nobody knows by whom"),
    pytest.param(INTERRUPTED, 90, {"deleting": True}, Reason.POD_DELETED, id="told to stop by a deletion"),
    pytest.param(INTERRUPTED, 90, {"gone": True}, Reason.POD_DELETED, id="told to stop and gone"),
    pytest.param(INTERRUPTED, 90, {"disruption": "PreemptionByScheduler"}, Reason.PREEMPTED, id="told to stop for another pod"),
    pytest.param(INTERRUPTED, 90, {"pod_reason": "DeadlineExceeded"}, Reason.SHARD_DEADLINE, id="told to stop by the kubelet"),
    pytest.param(SCENE.failure("NonsenseReason"), 94, {}, Reason.RUNNER_CRASHED, id="a reason that nobody knows"),
    pytest.param(SCENE.failure(Reason.RUN_DEADLINE), 94, {}, Reason.RUNNER_CRASHED, id="a reason that no runner can know"),
    pytest.param(SCENE.failure(Reason.NAN_OUTPUT, Outcome.OUT_OF_MEMORY), 86, {}, Reason.NAN_OUTPUT, id="an outcome that contradicts its reason"),
    pytest.param(SCENE.failure(Reason.HUNG, Outcome.CANCELLED), 89, {}, Reason.HUNG, id="an outcome that is not a runner's"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "code", "changes", "reason"), FINAL)
def test_a_final_verdict_says_how_the_attempt_ended(
    verdict: Any, code: int, changes: dict[str, Any], reason: Reason | None
) -> None:
    end = judge(ended_pod(JOB, verdict, code, **changes))
    assert end.reason is reason
    assert end.verdict == verdict
    assert end.exit_code == code
    if reason is None:
        assert end.outcome is Outcome.SUCCEEDED
    else:
        out_of_memory = CLASS_OF_REASON[reason] is FailureClass.FINDING
        assert end.outcome is (Outcome.OUT_OF_MEMORY if out_of_memory else Outcome.FAILED)


NOT_FINAL: list[Any] = [
    pytest.param(AHEAD, 137, {}, Reason.KILLED, "3 samples were measured before", id="all processes killed at once"),
    pytest.param(SCENE.written_ahead(0), 137, {}, Reason.KILLED, "0 samples", id="killed while loading"),
    pytest.param(AHEAD, 139, {}, Reason.KILLED, "exit code 139", id="a crash of all of it"),
    pytest.param(AHEAD, 137, {"container_reason": "OOMKilled"}, Reason.OUT_OF_MEMORY_HOST, "memory limit; 3 samples", id="memory limit, with evidence"),
    pytest.param(None, 137, {"container_reason": "OOMKilled"}, Reason.OUT_OF_MEMORY_HOST, "memory limit", id="memory limit, without"),
    pytest.param(AHEAD, 137, {"deleting": True}, Reason.POD_DELETED, "deleted before it ended", id="deleted by hand and killed"),
    pytest.param(AHEAD, 90, {"deleting": True}, Reason.POD_DELETED, "deleted before it ended", id="deleted by hand and stopped in time"),
    pytest.param(AHEAD, 137, {"gone": True}, Reason.POD_DELETED, "deleted before it ended", id="deleted by hand, only remembered"),
    pytest.param(None, None, {"gone": True, "phase": "Running"}, Reason.POD_DELETED, "deleted", id="gone while it ran"),
    pytest.param(AHEAD, 137, {"disruption": "PreemptionByScheduler"}, Reason.PREEMPTED, "PreemptionByScheduler", id="preempted"),
    pytest.param(AHEAD, 137, {"disruption": "DeletionByTaintManager"}, Reason.NODE_LOST, "TaintManager", id="tainted node"),
    pytest.param(None, None, {"disruption": "DeletionByPodGC", "phase": "Failed"}, Reason.NODE_LOST, "PodGC", id="node object deleted"),
    pytest.param(AHEAD, 143, {"disruption": "EvictionByEvictionAPI"}, Reason.EVICTED, "EvictionAPI", id="drained node"),
    pytest.param(AHEAD, 137, {"disruption": "TerminationByKubelet"}, Reason.EVICTED, "Kubelet", id="node pressure"),
    pytest.param(AHEAD, 137, {"disruption": "SomethingNew"}, Reason.EVICTED, "SomethingNew", id="a disruption of the future"),
    pytest.param(None, None, {"pod_reason": "Evicted"}, Reason.EVICTED, "Evicted", id="evicted by the kubelet"),
    pytest.param(None, None, {"pod_reason": "Evicted", "pod_message": LOW, "disruption": "TerminationByKubelet"}, Reason.EVICTED, "low on resource", id="evicted by a node that is low on memory"),
    *(
        pytest.param(None, 137, {"pod_reason": "Evicted", "pod_message": text}, Reason.STORAGE_FAILED, text, id=f"its own limit: {text[:20]}")
        for text in OWN_LIMITS
    ),
    pytest.param(AHEAD, 137, {"pod_reason": "Terminated", "disruption": "TerminationByKubelet"}, Reason.NODE_SHUTDOWN, "Terminated", id="node shutdown"),
    pytest.param(None, None, {"pod_reason": "NodeShutdown", **TURNED_AWAY}, Reason.NODE_SHUTDOWN, "NodeShutdown", id="a node that shuts down lets nothing in"),
    pytest.param(AHEAD, 137, {"pod_reason": "Preempting", "disruption": "TerminationByKubelet"}, Reason.PREEMPTED, "Preempting", id="preempted by the kubelet"),
    pytest.param(None, None, {"pod_reason": "OutOfnvidia.com/gpu", **TURNED_AWAY}, Reason.NODE_REFUSED, "OutOfnvidia.com/gpu", id="turned away by its node"),
    pytest.param(None, None, {"pod_reason": "NodeAffinity", **TURNED_AWAY}, Reason.NODE_REFUSED, "NodeAffinity", id="a node that was relabelled"),
    pytest.param(None, None, {"pod_reason": "SomethingNew", **TURNED_AWAY}, Reason.NODE_REFUSED, "SomethingNew", id="turned away in words of the future"),
    pytest.param(None, None, {"pod_reason": "UnexpectedAdmissionError", **TURNED_AWAY}, Reason.DEVICE_REFUSED, "UnexpectedAdmissionError", id="a device that cannot be given"),
    pytest.param(AHEAD, 137, {"pod_reason": "DeadlineExceeded"}, Reason.SHARD_DEADLINE, "DeadlineExceeded", id="deadline of the pod"),
    pytest.param(None, 1, {"pod_reason": "SomethingNew"}, Reason.RESULT_LOST, "exit code 1", id="a word about a pod that ran"),
    pytest.param(None, None, {"pod_reason": "SomethingNew", "phase": "Running"}, Reason.POD_DELETED, "deleted", id="a word about a pod that did not fail"),
    pytest.param(GARBAGE, 0, {}, Reason.RESULT_GARBAGE, "no verdict", id="garbage and success"),
    pytest.param(GARBAGE, 1, {}, Reason.RESULT_GARBAGE, "exit code 1", id="garbage and failure"),
    pytest.param(SCENE.verdict(attempt=2), 0, {}, Reason.RESULT_GARBAGE, "a verdict of another attempt", id="another attempt's verdict"),
    pytest.param(SCENE.verdict(cell=SCENE.cell.model_copy(update={"id": "00000000"})), 0, {}, Reason.RESULT_GARBAGE, "another attempt", id="another cell's verdict"),
    pytest.param(SCENE.verdict(shard=2), 0, {}, Reason.RESULT_GARBAGE, "another attempt", id="another shard's verdict"),
    pytest.param(SCENE.verdict(request_digest="0" * 16), 0, {}, Reason.RESULT_GARBAGE, "another attempt", id="a verdict on another request"),
    pytest.param(encode(SUCCESS)[:-9], 0, {}, Reason.RESULT_GARBAGE, "checksum", id="a verdict that was cut"),
    pytest.param(None, 0, {}, Reason.RESULT_LOST, "no termination message", id="exit 0 without a message"),
    pytest.param("  \n", 0, {}, Reason.RESULT_LOST, "no termination message", id="exit 0 with white space"),
    pytest.param(None, 1, {}, Reason.RESULT_LOST, "exit code 1", id="exit 1 without a message"),
    pytest.param(AHEAD, 0, {}, Reason.KILLED, "exit code 0", id="exit 0 without getting to the end"),
    pytest.param(SCENE.verdict(outcome=None), 0, {}, Reason.KILLED, "exit code 0", id="final, but of no outcome"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "code", "changes", "reason", "text"), NOT_FINAL)
def test_without_a_final_verdict_the_traces_say_how_the_attempt_ended(
    message: Any, code: int | None, changes: dict[str, Any], reason: Reason, text: str
) -> None:
    end = judge(ended_pod(JOB, message, code, **changes))
    assert end.reason is reason
    assert text in end.message
    assert end.message.startswith(f"pod {JOB.name}-x on node node-1: ")
    assert len(end.message) < 512, "garbage is not repeated"
    assert end.outcome is (Outcome.OUT_OF_MEMORY if reason is Reason.OUT_OF_MEMORY_HOST else Outcome.FAILED)


@pytest.mark.parametrize("ahead", [None, AHEAD], ids=["without a message", "with one written ahead"])
@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.SUCCEEDED])
def test_an_exit_code_of_ours_is_a_reason_without_a_final_verdict(code: ExitCode, ahead: Any) -> None:
    end = judge(ended_pod(JOB, ahead, int(code)))
    assert end.reason is not None
    assert EXIT_CODE_OF_REASON[end.reason] is code
    assert end.verdict == ahead


def test_what_was_written_ahead_stays_as_evidence() -> None:
    end = judge(ended_pod(JOB, AHEAD, 137))
    assert end.verdict == AHEAD
    assert end.verdict is not None
    assert end.verdict.samples_done == 3


def by_policy(message: str, reason: str = "PodFailurePolicy") -> ObservedJob:
    return finished(JOB, "Failed", finished_reason=reason, finished_message=message)


CODE_84 = "Container runner for pod lab/x failed with exit code 84 matching FailJob rule at index 0"
CODE_90 = CODE_84.replace("84", "90")
DISRUPTED = "Pod lab/x has condition DisruptionTarget matching FailJob rule at index 1"
WITHOUT_POD: list[Any] = [
    pytest.param(by_policy(CODE_84), Reason.MODEL_LOAD_FAILED, 84, id="the condition has the exit code"),
    pytest.param(
        by_policy(CODE_84.replace("84", "81")), Reason.OUT_OF_MEMORY_CUDA, 81, id="and it may say out of memory"
    ),
    pytest.param(by_policy(DISRUPTED), Reason.EVICTED, None, id="the condition has a disruption"),
    pytest.param(by_policy(CODE_84, "BackoffLimitExceeded"), Reason.RESULT_LOST, None, id="another controller's words"),
    pytest.param(by_policy(CODE_84.replace("84", "999")), Reason.RESULT_LOST, 999, id="a code of nobody"),
    pytest.param(finished(JOB), Reason.RESULT_LOST, None, id="complete, and its pod vanished"),
]


@pytest.mark.parametrize(("job", "reason", "code"), WITHOUT_POD)
def test_without_a_pod_the_conditions_of_the_job_are_all_there_is(
    job: ObservedJob, reason: Reason, code: int | None
) -> None:
    end = judge(None, job)
    assert end.reason is reason
    assert end.verdict is None
    assert end.exit_code == (None if reason is Reason.RESULT_LOST else code)
    assert "its pod is gone, and with it" in end.message
    assert end.ended_at == NOW + 60


UNSEEN: list[Any] = [
    *WITHOUT_POD,
    pytest.param(by_policy(CODE_90), Reason.INTERRUPTED, 90, id="the condition says that it was told to stop"),
]


@pytest.mark.parametrize("changes", [{}, {"deleting": True}], ids=["seen last while it ran", "while it was deleted"])
@pytest.mark.parametrize(("job", "reason", "code"), UNSEEN)
def test_a_pod_that_vanished_before_it_was_seen_to_end_overrules_no_finished_job(
    job: ObservedJob, reason: Reason, code: int | None, changes: dict[str, Any]
) -> None:
    pod = running_pod(JOB, gone=True, **changes)
    end = judge(pod, job, FAULTY)
    if job.finished != "Complete" and job.finished_reason != "PodFailurePolicy":
        assert end.reason is Reason.POD_DELETED, "nobody knows how it ended"
        return
    assert (end.reason, end.pod, end.node) == (reason, pod, "node-1")
    assert end.exit_code == (None if reason is Reason.RESULT_LOST else code)
    assert "its pod is gone, and with it" in end.message


def test_of_a_disruption_the_last_state_of_a_vanished_pod_says_more_than_its_job() -> None:
    preempted = running_pod(JOB, gone=True, deleting=True, disruption="PreemptionByScheduler")
    assert judge(preempted, by_policy(DISRUPTED)).reason is Reason.PREEMPTED
    assert judge(preempted, finished(JOB)).reason is Reason.RESULT_LOST, "it succeeded before it was taken away"


FIRST = ended_pod(JOB, AHEAD, 137, uid="first", deleting=True)
LATER = {"uid": "second", "created_at": NOW + 30}
SECOND = ended_pod(JOB, SUCCESS, 0, **LATER)


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "in reverse"])
@pytest.mark.parametrize(
    ("job", "pods", "which"),
    [
        pytest.param(FAILED, (FIRST, replace(SECOND, exit_code=1)), "second", id="requeued: the second pod ended it"),
        pytest.param(FAILED, (FIRST, running_pod(JOB, **LATER)), None, id="requeued: the second one was not seen to end"),
        pytest.param(finished(JOB), (FIRST, SECOND), "second", id="requeued and complete"),
        pytest.param(finished(JOB), (FIRST,), None, id="complete, and only the pod before is known"),
        pytest.param(FAILED, (replace(FIRST, job_uid="other"),), None, id="another Job's pod"),
        pytest.param(FAILED, (running_pod(JOB),), None, id="a pod that runs"),
        pytest.param(FAILED, (), None, id="no pod"),
        pytest.param(FAILED, (running_pod(JOB), replace(running_pod(JOB), gone=True)), f"pod-of-{JOB.uid}", id="an old and the last state of one pod"),
        pytest.param(FAILED, (FIRST, replace(SECOND, uid="a-second", created_at=NOW)), "a-second", id="a second pod within the same second"),
    ],
)  # fmt: skip
def test_the_pod_that_ended_a_job_is_its_last_one(
    job: ObservedJob, pods: tuple[ObservedPod, ...], which: str | None, order: int
) -> None:
    # Of two ended pods of one second nothing tells the later one but that the one before was deleted.
    pods = tuple(replace(pod, gone=True) if pod.uid == "first" else pod for pod in pods)
    found = ending_pod(job, pods[::order])
    assert (found.uid if found else None) == which


@pytest.mark.parametrize("message", [None, "", "   "], ids=["none", "empty", "white space"])
def test_a_pod_that_said_nothing_left_no_garbage(message: str | None) -> None:
    assert read_verdict(pod_of(JOB, message=message), EXPECTED) == (None, None)


XID_TAINT = ObservedNode("node-1", {}, ready=True, taints=(NodeTaint("nvidia.com/gpu-xid-error", "NoSchedule"),))
FAULTY = ObservedNode("node-1", {}, ready=True, conditions=(NodeCondition("GpuMemWatch", "True"),))
SOUND = ObservedNode("node-1", {}, ready=True, conditions=(NodeCondition("GpuMemWatch", "False"),))
ON_NODES: list[Any] = [
    pytest.param(ended_pod(JOB, AHEAD, 137), SOUND, Reason.KILLED, id="killed on a sound node"),
    pytest.param(ended_pod(JOB, AHEAD, 137), FAULTY, Reason.DEVICE_FAULT, id="killed on a node with a faulty GPU"),
    pytest.param(ended_pod(JOB, AHEAD, 137), XID_TAINT, Reason.DEVICE_FAULT, id="killed on a node with a tainted GPU"),
    pytest.param(ended_pod(JOB, None, 1), FAULTY, Reason.DEVICE_FAULT, id="failed without a word there"),
    pytest.param(ended_pod(JOB, None, 0), FAULTY, Reason.RESULT_LOST, id="exit 0 without a word there"),
    pytest.param(ended_pod(JOB, SCENE.failure(Reason.INTERNAL_ERROR), 94), FAULTY, Reason.DEVICE_FAULT, id="an error of the runner there"),
    pytest.param(ended_pod(JOB, SUCCESS, 0), FAULTY, None, id="a success there stays one"),
    pytest.param(ended_pod(JOB, OOM, 81), FAULTY, Reason.OUT_OF_MEMORY_CUDA, id="a known reason there stays"),
    pytest.param(ended_pod(JOB, AHEAD, 137, disruption="DeletionByTaintManager"), FAULTY, Reason.DEVICE_FAULT, id="driven away by a GPU taint"),
    pytest.param(ended_pod(JOB, AHEAD, 137, disruption="DeletionByTaintManager"), SOUND, Reason.EVICTED, id="driven away by another taint"),
    pytest.param(ended_pod(JOB, AHEAD, 137, disruption="DeletionByTaintManager"), replace(SOUND, ready=False), Reason.NODE_LOST, id="driven away as the node is silent"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "node", "reason"), ON_NODES)
def test_what_the_node_says_of_its_gpus_explains_what_nothing_else_explains(
    pod: ObservedPod, node: ObservedNode, reason: Reason | None
) -> None:
    assert judge(pod, node=node).reason is reason


def test_an_end_names_object_pod_node_container_exit_code_and_attempt() -> None:
    end = judge(ended_pod(JOB, AHEAD, 137))
    assert (end.job, end.attempt, end.node, end.container, end.exit_code) == (JOB.name, 1, "node-1", "runner", 137)
    assert end.where == f"Job {JOB.name}, pod {JOB.name}-x, node node-1, container runner, exit code 137"
    assert judge(None).where == f"Job {JOB.name}"


WORDS: list[Any] = [
    pytest.param(field, word, row.reason, id=f"{field}={word}")
    for row in FAILURES
    for field, words in (
        ("container_reason", row.container_reasons),
        ("pod_reason", row.pod_reasons),
        ("disruption", row.disruptions),
    )
    for word in words
]


@pytest.mark.parametrize(("field", "word", "reason"), WORDS)
def test_every_word_of_the_table_is_evidence_for_its_reason(field: str, word: str, reason: Reason) -> None:
    assert judge(ended_pod(JOB, AHEAD, 137, **{field: word})).reason is reason

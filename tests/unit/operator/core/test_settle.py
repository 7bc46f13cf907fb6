"""Every state of an attempt, its limit, and what ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import (
    NOW,
    Scene,
    ended_pod,
    finished,
    pod_of,
    running_pod,
    starting_pod,
    unschedulable_pod,
)

from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.result import Origin, RunReference
from vidbench_api.run_status import ShardStatus
from vidbench_operator.core.observed import CreationRefusal, NodeTaint, ObservedNode, ObservedPod
from vidbench_operator.core.plan import Plan

LIMITS = {"schedulingSeconds": 100, "imagePullSeconds": 200, "shardSeconds": 1000, "runSeconds": 50_000}
FRESH = Scene.of(timeouts=LIMITS)
SCENE = FRESH.active(job_uid=FRESH.job().uid, started_at="2027-01-15T08:00:00Z")
JOB = SCENE.job()
GRACE = 120


def shard_after(scene: Scene, plan: Plan) -> ShardStatus:
    return scene.after(plan).shard()


def test_a_job_that_was_just_created_is_recorded_by_its_uid() -> None:
    scene = FRESH.active()
    plan = scene.decide(JOB, at=1)
    assert shard_after(scene, plan).job_uid == JOB.uid
    assert (plan.creates, plan.deletes, plan.results) == ((), (), ())


STATES: list[Any] = [
    pytest.param(unschedulable_pod(JOB), 100, Reason.UNSCHEDULABLE, "0/3 nodes are available", id="no node"),
    pytest.param(pod_of(JOB), 100, Reason.UNSCHEDULABLE, "the scheduler has not looked at it", id="no scheduler"),
    pytest.param(starting_pod(JOB, waiting_reason="ImagePullBackOff", waiting_message="no such image"), 201, Reason.IMAGE_PULL, "ImagePullBackOff no such image", id="image pull"),
    pytest.param(starting_pod(JOB, waiting_reason="ErrImagePull", waiting_message="unauthorized"), 201, Reason.IMAGE_PULL, "ErrImagePull unauthorized", id="image that nobody may pull"),
    pytest.param(starting_pod(JOB, waiting_reason="CreateContainerConfigError", waiting_message="secret missing"), 201, Reason.CONTAINER_CONFIG, "secret missing", id="container configuration"),
    pytest.param(starting_pod(JOB), 201, Reason.CONTAINER_CONFIG, "the volumes or the sandbox are not ready", id="volumes"),
    pytest.param(pod_of(JOB, node="node-1"), 200, Reason.CONTAINER_CONFIG, "on node node-1", id="a node, and no word of the scheduler"),
    pytest.param(running_pod(JOB), 2 + 1000 + GRACE, Reason.SHARD_DEADLINE, "timeouts.shardSeconds (1000 s)", id="a runner without an end"),
    pytest.param(running_pod(JOB, started_at=NOW - 3600), 1 + 1000 + GRACE, Reason.SHARD_DEADLINE, "shardSeconds", id="a node's clock that is slow"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "limit", "reason", "text"), STATES)
def test_a_state_lasts_until_its_limit_and_then_ends_the_shard(
    pod: ObservedPod, limit: float, reason: Reason, text: str
) -> None:
    before = SCENE.decide(JOB, pod, at=limit - 1)
    assert shard_after(SCENE, before).phase is RowPhase.ACTIVE
    assert before.requeue_after == pytest.approx(1)
    assert SCENE.decide(JOB, pod, at=limit).needs_live, "the start may be one of the events that were missed"
    after = SCENE.decide_live(JOB, pod, at=limit)
    assert [result.spec.reason for result in after.results] == [reason]
    assert text in (after.results[0].spec.message or "")
    assert after.results[0].spec.outcome is Outcome.FAILED
    assert after.results[0].spec.origin.pod_uid == pod.uid
    assert [delete.uid for delete in after.deletes] == [JOB.uid]


def test_a_live_look_that_finds_the_pod_further_on_ends_nothing() -> None:
    assert SCENE.decide(JOB, unschedulable_pod(JOB), at=100).needs_live
    plan = SCENE.decide_live(JOB, running_pod(JOB, started_at=NOW + 99), at=100)
    assert (plan.results, plan.deletes) == ((), ())


def test_a_job_without_a_pod_is_first_given_time_and_then_its_events_are_read() -> None:
    assert not SCENE.decide(JOB, at=4.9).needs_refusals
    look = SCENE.decide(JOB, at=5)
    assert look.needs_refusals == {JOB.uid}
    assert look.writes_nothing
    told = SCENE.decide(JOB, at=5, refusals_read=frozenset({JOB.uid}))
    assert not told.needs_refusals
    assert told.requeue_after == 5


REFUSALS: list[Any] = [
    pytest.param('pods "x" is forbidden: exceeded quota: gpus', Reason.QUOTA_EXCEEDED, id="quota"),
    pytest.param('pods "x" is forbidden: violates PodSecurity', Reason.ADMISSION_REFUSED, id="admission"),
    pytest.param(None, Reason.ADMISSION_REFUSED, id="nobody says why"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSALS)
def test_a_job_that_gets_no_pod_within_the_limit_ends_for_what_its_events_say(text: str | None, reason: Reason) -> None:
    refusals = () if text is None else (CreationRefusal(JOB.uid, text),)
    waiting = SCENE.decide_live(JOB, at=99, refusals=refusals)
    assert shard_after(SCENE, waiting).phase is RowPhase.ACTIVE
    assert waiting.requeue_after == pytest.approx(1)
    ended = SCENE.decide_live(JOB, at=100, refusals=refusals)
    assert [result.spec.reason for result in ended.results] == [reason]
    assert (text or "does the Job controller run?") in (ended.results[0].spec.message or "")


def test_the_end_of_a_job_without_a_pod_waits_for_its_events_and_for_a_live_look() -> None:
    plan = SCENE.decide(JOB, at=100)
    assert (plan.needs_live, plan.needs_refusals) == (True, {JOB.uid})
    assert SCENE.decide(JOB, at=100, live=True).needs_refusals == {JOB.uid}
    assert SCENE.decide(JOB, at=100, refusals_read=frozenset({JOB.uid})).needs_live


def test_a_job_waits_for_its_turn_at_a_quota_while_another_shard_holds_a_node() -> None:
    refusals = (CreationRefusal(HELD.job(A).uid, "exceeded quota"),)
    plan = HELD.decide_live(HELD.job(A), HELD.job(B), running_pod(HELD.job(B)), at=900, refusals=refusals)
    assert plan.results == ()
    scene = HELD.with_shard(B, phase=RowPhase.FINISHED, ended_at="2027-01-15T08:10:00Z")
    assert scene.decide_live(scene.job(A), at=699, refusals=refusals).results == ()
    ended = scene.decide_live(scene.job(A), at=700, refusals=refusals)
    assert [result.spec.reason for result in ended.results] == [Reason.QUOTA_EXCEEDED]


def test_a_quota_that_let_nothing_in_is_not_tried_by_the_shards_that_wait() -> None:
    scene = REFUSED.with_shard(A, reason=Reason.QUOTA_EXCEEDED).with_shard(B, phase=RowPhase.PENDING, attempt=0)
    plan = scene.decide_live(at=101)
    assert [result.spec.reason for result in plan.results] == [Reason.QUOTA_EXCEEDED]
    assert "was allowed no pod (QuotaExceeded)" in (plan.results[0].spec.message or "")


def test_the_refusal_of_another_job_says_nothing() -> None:
    plan = SCENE.decide_live(JOB, at=100, refusals=(CreationRefusal("other", "exceeded quota"),))
    assert plan.results[0].spec.reason == Reason.ADMISSION_REFUSED


TWO = Scene.of(models=["a", "b"], timeouts=LIMITS)
A, B = TWO.document.cells
HELD = TWO.active(A, job_uid=TWO.job(A).uid).active(B, job_uid=TWO.job(B).uid)


def test_a_pod_waits_for_its_turn_while_another_shard_holds_the_hardware() -> None:
    waiting, running = unschedulable_pod(HELD.job(A)), running_pod(HELD.job(B))
    plan = HELD.decide_live(HELD.job(A), HELD.job(B), waiting, running, at=900)
    assert plan.results == ()
    assert HELD.after(plan).shard(A).phase is RowPhase.ACTIVE


def test_the_wait_for_a_node_counts_from_when_the_hardware_became_free() -> None:
    scene = HELD.with_shard(B, phase=RowPhase.FINISHED, ended_at="2027-01-15T08:10:00Z")
    job, pod = scene.job(A), unschedulable_pod(scene.job(A))
    assert scene.decide_live(job, pod, at=699).results == ()
    assert [result.spec.reason for result in scene.decide_live(job, pod, at=700).results] == [Reason.UNSCHEDULABLE]


def test_a_pod_of_an_attempt_that_has_ended_holds_no_hardware() -> None:
    scene = HELD.with_shard(B, attempt=2, job_uid=None)
    old = scene.job(B, attempt=1)
    stuck = running_pod(old, deleting=True, deletes_at=NOW)
    plan = scene.decide_live(scene.job(A), old, unschedulable_pod(scene.job(A)), stuck, at=300)
    assert [result.spec.reason for result in plan.results] == [Reason.UNSCHEDULABLE]


REFUSED = HELD.with_shard(A, phase=RowPhase.FINISHED, reason=Reason.UNSCHEDULABLE, ended_at="2027-01-15T08:01:40Z")


def test_hardware_that_no_node_offers_is_not_tried_by_the_shards_that_wait() -> None:
    scene = REFUSED.with_shard(B, phase=RowPhase.PENDING, attempt=0, job_uid=None)
    assert scene.decide(at=101).needs_live
    plan = scene.decide_live(at=101)
    assert [result.spec.reason for result in plan.results] == [Reason.UNSCHEDULABLE]
    assert "not tried" in (plan.results[0].spec.message or "")
    assert plan.results[0].spec.attempts == 0
    assert plan.creates == ()


def test_hardware_that_was_used_after_a_shard_found_no_node_is_tried_again() -> None:
    scene = Scene.of(models=["a", "b", "c"], timeouts=LIMITS)
    one, two, three = scene.document.cells
    scene = scene.with_shard(one, phase=RowPhase.FINISHED, reason=Reason.UNSCHEDULABLE, ended_at="2027-01-15T08:01:40Z")
    scene = scene.with_shard(two, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, ended_at="2027-01-15T08:01:41Z")
    plan = scene.decide_live(at=200)
    assert plan.results == ()
    assert [create.cell for create in plan.creates] == [three.id]


def test_other_hardware_is_not_hopeless() -> None:
    scene = Scene.of(models=["a"], hardware=["h100", "l40s"], timeouts=LIMITS)
    lost, kept = scene.document.cells
    scene = scene.with_shard(
        lost, phase=RowPhase.FINISHED, reason=Reason.UNSCHEDULABLE, ended_at="2027-01-15T08:01:40Z"
    )
    assert [create.cell for create in scene.decide_live(at=200).creates] == [kept.id]


@pytest.mark.parametrize("word", ["InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_no_time_brings_ends_the_shard_at_once(word: str) -> None:
    pod = starting_pod(JOB, waiting_reason=word, waiting_message="it is UPPER")
    assert SCENE.decide(JOB, pod, at=3).needs_live
    plan = SCENE.decide_live(JOB, pod, at=3)
    (result,) = plan.results
    assert (result.spec.reason, [delete.uid for delete in plan.deletes]) == (Reason.IMAGE_PULL, [JOB.uid])
    assert result.spec.message == f"pod {pod.name} on node node-1 cannot start: {word} it is UPPER"


SILENT = {"node-1": ObservedNode("node-1", {}, ready=False, not_ready_since=NOW + 300)}
TERMINATING = running_pod(JOB, deleting=True, deletes_at=NOW + 400)
NODES: list[Any] = [
    pytest.param(TERMINATING, SILENT, 460, id="terminating on a silent node: after its grace"),
    pytest.param(replace(TERMINATING, deletes_at=NOW + 310), {"node-1": replace(SILENT["node-1"], not_ready_since=NOW + 400)}, 460, id="silent after its grace: from then on"),
    pytest.param(replace(TERMINATING, started_at=None), SILENT, 460, id="lost before it started"),
    pytest.param(running_pod(JOB, phase="Unknown"), SILENT, 360, id="unknown to a silent node"),
    pytest.param(TERMINATING, {}, 460, id="terminating on a node that is no more"),
    pytest.param(TERMINATING, None, 460, id="nodes are not visible"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "nodes", "limit"), NODES)
def test_a_pod_on_a_lost_node_is_given_up_and_the_shard_tried_again(pod: ObservedPod, nodes: Any, limit: float) -> None:
    before = SCENE.decide(JOB, pod, at=limit - 1, nodes=nodes)
    assert shard_after(SCENE, before).attempt == 1
    assert before.requeue_after == pytest.approx(1)
    assert SCENE.decide(JOB, pod, at=limit, nodes=nodes).needs_live
    plan = SCENE.decide_live(JOB, pod, at=limit, nodes=nodes)
    shard = shard_after(SCENE, plan)
    assert (shard.attempt, shard.phase, shard.retries, shard.reason) == (2, RowPhase.ACTIVE, 1, Reason.NODE_LOST)
    assert [create.attempt for create in plan.creates] == [2]
    assert [delete.uid for delete in plan.deletes] == [JOB.uid]
    assert plan.results == ()


HEALTHY: list[Any] = [
    pytest.param(
        TERMINATING, {"node-1": ObservedNode("node-1", {}, ready=True)}, id="terminating, but its node answers"
    ),
    pytest.param(running_pod(JOB), SILENT, id="its node is silent, but nobody deletes it"),
]


@pytest.mark.parametrize(("pod", "nodes"), HEALTHY)
def test_a_pod_is_not_given_up_on_half_the_evidence(pod: ObservedPod, nodes: Any) -> None:
    plan = SCENE.decide_live(JOB, pod, at=1000, nodes=nodes)
    assert (plan.results, plan.creates, plan.deletes) == ((), (), ())


def test_the_verdict_of_a_pod_that_was_given_up_is_refused() -> None:
    scene = SCENE.active(attempt=2, job_uid=None)
    late = ended_pod(JOB, SCENE.verdict(), 0)
    plan = scene.decide_live(finished(JOB), late, at=500)
    assert plan.results == ()
    assert [create.attempt for create in plan.creates] == [2]


GONE = ended_pod(JOB, SCENE.verdict(), 0, gone=True, deleting=True)
UNFOLLOWED: list[Any] = [
    pytest.param(GONE, 50, Outcome.SUCCEEDED, None, id="a pod that succeeded and was deleted"),
    pytest.param(ended_pod(JOB, SCENE.failure(Reason.NAN_OUTPUT), 86, finished_at=NOW - 3600), 2, Outcome.FAILED, Reason.NAN_OUTPUT, id="a pod that failed, by a slow clock"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "since", "outcome", "reason"), UNFOLLOWED)
def test_a_job_that_does_not_end_after_its_pod_is_judged_by_the_pod(
    pod: ObservedPod, since: float, outcome: Outcome, reason: Reason | None
) -> None:
    before = SCENE.decide_live(JOB, pod, at=since + GRACE - 1)
    assert (before.results, before.requeue_after) == ((), pytest.approx(1))
    assert SCENE.decide(JOB, pod, at=since + GRACE).needs_live
    (result,) = SCENE.decide_live(JOB, pod, at=since + GRACE).results
    assert (result.spec.outcome, result.spec.reason) == (outcome, reason)


def test_a_pod_that_vanished_while_it_ran_is_tried_again_if_its_job_does_not_end() -> None:
    pod = running_pod(JOB, gone=True)
    plan = SCENE.decide_live(JOB, pod, at=2 + GRACE)
    assert (shard_after(SCENE, plan).reason, shard_after(SCENE, plan).attempt) == (Reason.POD_DELETED, 2)


def test_an_absent_job_is_believed_of_a_live_look_only() -> None:
    for scene in (SCENE, FRESH.active()):
        plan = scene.decide(at=50)
        assert plan.needs_live
        assert plan.writes_nothing


def test_an_absent_job_whose_uid_was_never_recorded_is_created_again_under_its_name() -> None:
    plan = FRESH.active().decide_live(at=50)
    assert [create.name for create in plan.creates] == [JOB.name]
    assert plan.requeue_after == 5, "no event need come of it"


def test_an_absent_job_whose_uid_was_recorded_was_deleted_and_is_tried_again() -> None:
    plan = SCENE.decide_live(at=50)
    shard = shard_after(SCENE, plan)
    assert (shard.reason, shard.attempt, shard.job_uid) == (Reason.JOB_DELETED, 2, None)
    assert (shard.disruptions, shard.retries) == (1, 0), "whoever deletes a Job does not use up the shard's retries"
    assert [create.attempt for create in plan.creates] == [2]


def test_a_deleted_job_whose_pod_left_a_final_verdict_has_a_result() -> None:
    (result,) = SCENE.decide_live(replace(GONE, deleting=False), at=50).results
    assert (result.spec.outcome, result.spec.origin.job_uid) == (Outcome.SUCCEEDED, JOB.uid)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(ended_pod(JOB, SCENE.written_ahead(2), 137, gone=True), id="written ahead"),
        pytest.param(ended_pod(JOB, SCENE.failure(Reason.INTERRUPTED), 90, gone=True), id="told to stop"),
        pytest.param(ended_pod(JOB, "garbage", 0, gone=True), id="garbage"),
    ],
)
def test_a_deleted_job_whose_pod_left_no_final_verdict_is_tried_again(pod: ObservedPod) -> None:
    plan = SCENE.decide_live(pod, at=60)
    assert plan.results == ()
    assert shard_after(SCENE, plan).reason == Reason.JOB_DELETED


def test_a_job_of_the_same_name_with_another_uid_is_not_the_attempts() -> None:
    impostor = replace(JOB, uid="restored")
    pod = ended_pod(impostor, SCENE.verdict(), 0)
    assert SCENE.decide(finished(impostor), pod, at=61).needs_live
    plan = SCENE.decide_live(impostor, pod, at=61)
    assert plan.results == ()
    assert shard_after(SCENE, plan).reason == Reason.JOB_DELETED
    assert [delete.uid for delete in plan.deletes] == ["restored"]


@pytest.mark.parametrize("order", [1, -1], ids=["old first", "new first"])
def test_of_two_jobs_of_one_name_the_recorded_one_counts_and_else_the_later(order: int) -> None:
    later = replace(JOB, uid="later", created_at=NOW + 9)
    pods = (running_pod(JOB), running_pod(later))
    jobs = (JOB, later)[::order]
    assert SCENE.decide(*jobs, *pods, at=50).status is not None
    assert shard_after(SCENE, SCENE.decide(*jobs, *pods, at=50)).job_uid == JOB.uid
    fresh = FRESH.active()
    assert shard_after(fresh, fresh.decide(*jobs, *pods, at=50)).job_uid == "later"


@pytest.mark.parametrize("order", [1, -1], ids=["old first", "new first"])
def test_of_an_old_and_a_new_state_of_a_job_its_end_counts(order: int) -> None:
    jobs = (JOB, finished(JOB))[::order]
    assert SCENE.decide(*jobs, ended_pod(JOB, SCENE.verdict(), 0), at=61).results


def test_a_job_that_somebody_else_owns_is_not_the_runs() -> None:
    foreign = replace(JOB, owner_uid="somebody")
    plan = FRESH.active().decide_live(foreign, ended_pod(foreign, SCENE.verdict(), 0), at=60)
    assert plan.results == ()
    assert plan.deletes == ()
    assert [create.name for create in plan.creates] == [JOB.name]


def test_a_name_that_somebody_else_has_ends_the_shard_and_touches_nothing() -> None:
    foreign = replace(JOB, owner_uid=None)
    plan = FRESH.active().decide(foreign, at=60, conflicts=frozenset({JOB.name}))
    (result,) = plan.results
    assert result.spec.reason == Reason.NAME_CONFLICT
    assert "delete it and apply a new run" in (result.spec.message or "")
    assert (plan.creates, plan.deletes, plan.ttls) == ((), (), ())


QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: count'


def test_a_job_that_the_server_refuses_is_tried_until_the_limit() -> None:
    scene = FRESH.active(started_at="2027-01-15T08:00:00Z")
    before = scene.decide_live(at=99, refused_jobs={JOB.name: QUOTA})
    assert (before.creates, before.results) == ((), ())
    assert before.requeue_after == pytest.approx(1)
    assert scene.decide_live(at=101).creates, "a refusal of an earlier pass is no refusal now"
    (result,) = scene.decide_live(at=100, refused_jobs={JOB.name: QUOTA}).results
    assert result.spec.reason == Reason.QUOTA_EXCEEDED
    assert QUOTA in (result.spec.message or "")


def test_a_result_that_an_earlier_pass_wrote_finishes_the_shard() -> None:
    for scene in (FRESH, FRESH.active(), SCENE):
        stored = scene.result()
        plan = scene.decide(JOB, running_pod(JOB), at=70, results={scene.result_name(): stored})
        shard = shard_after(scene, plan)
        assert (shard.phase, shard.outcome, shard.result) == (RowPhase.FINISHED, Outcome.SUCCEEDED, scene.result_name())
        assert (shard.latency_microseconds, shard.ended_at) == (2_100_000, "2027-01-15T08:01:00Z")
        assert plan.results == ()
        assert plan.status is not None
        assert plan.status.gpu_seconds is not None
        assert plan.status.gpu_seconds.used == 40


def test_a_result_of_another_run_under_the_shards_name_ends_the_shard_without_one() -> None:
    foreign = SCENE.result(run=RunReference(name="nightly", uid="other"))
    plan = SCENE.decide(JOB, running_pod(JOB), at=70, results={SCENE.result_name(): foreign})
    shard = shard_after(SCENE, plan)
    assert (shard.phase, shard.outcome, shard.reason, shard.result) == (
        RowPhase.FINISHED, Outcome.FAILED, Reason.NAME_CONFLICT, None,
    )  # fmt: skip
    assert plan.results == ()


def test_the_end_of_a_job_is_told_by_its_pod_without_a_call() -> None:
    plan = SCENE.decide(finished(JOB), ended_pod(JOB, SCENE.verdict(), 0), at=61)
    (result,) = plan.results
    assert result.spec.outcome is Outcome.SUCCEEDED
    assert plan.urgent


def test_a_pod_that_succeeded_is_believed_before_its_job_ends() -> None:
    pod = ended_pod(JOB, SCENE.verdict(), 0)
    plan = SCENE.decide(JOB, pod, at=61)
    (result,) = plan.results
    assert (result.spec.outcome, result.spec.origin.pod_uid) == (Outcome.SUCCEEDED, pod.uid)
    assert plan.urgent
    after = SCENE.after(plan)
    assert after.shard().phase is RowPhase.FINISHED
    again = after.decide(JOB, pod, at=62)
    assert (again.deletes, again.ttls, again.results) == ((), (), ()), "its Job ends by itself"
    assert [ttl.uid for ttl in after.decide(finished(JOB), pod, at=63).ttls] == [JOB.uid]


WAITED_FOR: list[Any] = [
    pytest.param(ended_pod(JOB, SCENE.verdict(), 0, deleting=True), id="deleted: its Job may get another"),
    pytest.param(ended_pod(JOB, SCENE.verdict(), 0, gone=True), id="gone"),
    pytest.param(ended_pod(JOB, SCENE.verdict(), 1), id="an exit code that is not 0"),
    pytest.param(ended_pod(JOB, SCENE.failure(Reason.NAN_OUTPUT), 0), id="a verdict that is a failure"),
    pytest.param(ended_pod(JOB, SCENE.written_ahead(2), 0), id="written ahead"),
    pytest.param(ended_pod(JOB, None, 0), id="without a verdict"),
]


@pytest.mark.parametrize("pod", WAITED_FOR)
def test_any_other_pod_that_ended_waits_for_its_job(pod: ObservedPod) -> None:
    plan = SCENE.decide(JOB, pod, at=61)
    assert (plan.results, plan.deletes, plan.needs_live) == ((), (), False)


def test_the_job_of_a_settled_attempt_is_deleted_unless_its_pod_succeeded() -> None:
    after = SCENE.after(SCENE.decide(JOB, ended_pod(JOB, SCENE.verdict(), 0), at=61))
    assert [delete.uid for delete in after.decide(JOB, running_pod(JOB), at=62).deletes] == [JOB.uid]


CONFIRMED: list[Any] = [
    pytest.param(ended_pod(JOB, SCENE.written_ahead(2), 137), id="written ahead: another pod may have followed"),
    pytest.param(
        ended_pod(JOB, SCENE.failure(Reason.INTERRUPTED), 90, deleting=True), id="a final word of a deleted pod"
    ),
    pytest.param(GONE, id="a verdict that is only remembered"),
]


@pytest.mark.parametrize("pod", CONFIRMED)
def test_the_end_of_a_job_is_confirmed_where_the_pod_need_not_be_the_last_one(pod: ObservedPod) -> None:
    assert SCENE.decide(finished(JOB, "Failed"), pod, at=90).needs_live
    assert not SCENE.decide_live(finished(JOB, "Failed"), pod, at=90).needs_live


def test_the_verdict_of_a_requeued_job_is_that_of_its_last_pod() -> None:
    first = ended_pod(JOB, SCENE.written_ahead(2), 137, uid="first", gone=True)
    second = ended_pod(JOB, SCENE.verdict(), 0, uid="second", created_at=NOW + 60)
    (result,) = SCENE.decide_live(finished(JOB, at=120), first, second, at=121).results
    assert (result.spec.outcome, result.spec.origin.pod_uid) == (Outcome.SUCCEEDED, "second")


def test_the_last_event_of_a_vanished_pod_is_waited_for_and_then_its_result_is_lost() -> None:
    job = finished(JOB, at=60)
    early = SCENE.decide(job, at=62)
    assert (early.needs_live, early.results, early.requeue_after) == (False, (), pytest.approx(3))
    assert SCENE.decide(job, at=65).needs_live
    plan = SCENE.decide_live(job, at=65)
    shard = shard_after(SCENE, plan)
    assert (shard.reason, shard.lost_results, shard.retries, shard.attempt) == (Reason.RESULT_LOST, 1, 0, 2)


def test_a_result_that_was_lost_twice_ends_the_shard() -> None:
    scene = SCENE.with_shard(lost_results=1)
    (result,) = scene.decide_live(finished(JOB), at=90).results
    assert (result.spec.outcome, result.spec.reason) == (Outcome.FAILED, Reason.RESULT_LOST)


def test_a_later_retry_waits() -> None:
    scene = SCENE.with_shard(disruptions=1)
    plan = scene.decide_live(at=50)
    shard = shard_after(scene, plan)
    assert (shard.phase, shard.disruptions, plan.creates) == (RowPhase.PENDING, 2, ())
    wait = plan.requeue_after
    assert wait is not None
    assert 5 <= wait <= 10
    again = scene.after(plan)
    assert again.decide(at=50 + wait - 1.1).creates == ()
    assert [create.attempt for create in again.decide(at=50 + wait).creates] == [2]


def test_the_node_of_an_attempt_is_recorded_with_the_next_write_and_costs_none() -> None:
    recorded = SCENE.after(SCENE.decide(JOB, starting_pod(JOB), at=3))
    assert recorded.decide(JOB, starting_pod(JOB, node="node-7"), at=4).status is None
    plan = recorded.decide(JOB, running_pod(JOB, node="node-7"), at=5)
    assert shard_after(recorded, plan).node == "node-7"
    assert recorded.after(plan).decide(JOB, running_pod(JOB, node="node-7"), at=6).status is None


def test_a_failed_attempt_is_remembered_with_its_node_and_the_next_one_starts_on_none() -> None:
    pod = ended_pod(JOB, SCENE.failure(Reason.DEVICE_FAULT), 91, node="node-7")
    plan = SCENE.decide(finished(JOB, "Failed"), pod, at=61)
    shard = shard_after(SCENE, plan)
    (failure,) = shard.failures
    assert (failure.attempt, failure.reason, failure.node, failure.ended_at) == (
        1, "DeviceFault", "node-7", "2027-01-15T08:01:00Z",
    )  # fmt: skip
    assert (shard.attempt, shard.node, shard.retries) == (2, None, 1)


def test_the_last_failure_and_the_place_of_a_success_stay_in_a_finished_shard() -> None:
    failed = ended_pod(JOB, SCENE.failure(Reason.NAN_OUTPUT), 86, node="node-7")
    shard = shard_after(SCENE, SCENE.decide(finished(JOB, "Failed"), failed, at=61))
    assert [(failure.reason, failure.node) for failure in shard.failures] == [("NaNOutput", "node-7")]
    succeeded = ended_pod(JOB, SCENE.verdict(), 0, node="node-8")
    shard = shard_after(SCENE, SCENE.decide(finished(JOB), succeeded, at=61))
    assert (shard.node, shard.failures) == ("node-8", ())


def test_a_failure_whose_result_was_written_before_a_crash_is_remembered_too() -> None:
    origin = Origin(attempt=1, node="node-7", finished_at="2027-01-15T08:01:00Z", job_name=JOB.name)
    stored = SCENE.result(outcome=Outcome.FAILED, reason="NaNOutput", series=(), origin=origin)
    plan = SCENE.decide(JOB, running_pod(JOB), at=70, results={SCENE.result_name(): stored})
    shard = shard_after(SCENE, plan)
    assert [(failure.attempt, failure.node) for failure in shard.failures] == [(1, "node-7")]


def test_what_a_faulty_gpu_kills_is_tried_again_as_a_device_fault() -> None:
    faulty = ObservedNode("node-1", {}, ready=True, taints=(NodeTaint("nvidia.com/gpu-xid-error", "NoSchedule"),))
    pod = ended_pod(JOB, SCENE.written_ahead(2), 137)
    plan = SCENE.decide_live(finished(JOB, "Failed"), pod, at=61, nodes={"node-1": faulty})
    shard = shard_after(SCENE, plan)
    assert (shard.reason, shard.retries, shard.unknown_failures) == (Reason.DEVICE_FAULT, 1, 0)

"""A run whose Jobs go through a queue: what counts while the queue holds one, and after it took a node away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished, pod_of, running_pod, unschedulable_pod

from vidbench_api.names import LimitedBy, Outcome, Reason, RowPhase
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import ParallelismStatus
from vidbench_operator.core.plan import Plan

LIMITS = {"schedulingSeconds": 100, "shardSeconds": 1000}
QUEUED: dict[str, Any] = {"scheduling": {"queueName": "lab"}, "timeouts": LIMITS}
SCENE = Scene.of(**QUEUED)
JOB = replace(SCENE.job(), suspended=True)
SCENE = SCENE.active(job_uid=JOB.uid)
RESUMED = replace(JOB, suspended=False, started_at=NOW + 5000)
EVICTED = ended_pod(JOB, SCENE.written_ahead(2), 137, deleting=True, gone=True, disruption=None)


def parallelism_of(plan: Plan) -> ParallelismStatus:
    assert plan.status is not None
    assert plan.status.parallelism is not None
    return plan.status.parallelism


def test_all_jobs_up_to_parallelism_are_given_to_the_queue_whatever_nodes_there_are() -> None:
    scene = Scene.of(models=list("abcdef"), parallelism=5, autoscaling={"mode": "Capacity"}, **QUEUED)
    plan = scene.decide(nodes={})
    assert len(plan.creates) == 5
    assert parallelism_of(plan).windows == ()


@pytest.mark.parametrize("at", [50, 101, 5000, 80_000])
def test_no_limit_counts_while_the_queue_holds_the_job(at: float) -> None:
    plan = SCENE.decide_live(JOB, at=at)
    assert (plan.results, plan.deletes, plan.creates) == ((), (), ())
    seen = parallelism_of(plan)
    assert (seen.active, seen.queued, seen.running, seen.limited_by) == (1, 1, 0, LimitedBy.QUEUE)
    assert plan.status is not None
    assert plan.status.message is not None
    assert "1 Job waiting in queue 'lab'" in plan.status.message


def test_a_run_that_only_queues_does_not_come_nearer_to_its_deadline() -> None:
    scene = Scene.of(scheduling={"queueName": "lab"}, timeouts={"runSeconds": 600}).active(job_uid=JOB.uid)
    job = replace(scene.job(), suspended=True)
    scene = scene.after(scene.decide(job, at=1))
    assert scene.decide_live(job, at=50_000).results == ()


def test_a_job_that_somebody_suspends_without_a_queue_is_not_waited_for() -> None:
    scene = Scene.of(timeouts=LIMITS).active(job_uid=JOB.uid)
    assert [result.spec.reason for result in scene.decide_live(JOB, at=100).results] == [Reason.ADMISSION_REFUSED]


def test_the_limits_of_a_job_that_was_let_go_on_begin_then() -> None:
    assert SCENE.decide_live(RESUMED, at=5099).results == ()
    ended = SCENE.decide_live(RESUMED, at=5100)
    assert [result.spec.reason for result in ended.results] == [Reason.ADMISSION_REFUSED]
    pod = unschedulable_pod(RESUMED, created_at=NOW + 5000)
    assert SCENE.decide_live(RESUMED, pod, at=5099).results == ()
    assert [result.spec.reason for result in SCENE.decide_live(RESUMED, pod, at=5100).results] == [Reason.UNSCHEDULABLE]


@pytest.mark.parametrize(
    "children",
    [
        pytest.param((JOB, EVICTED), id="held again, its pod gone"),
        pytest.param((JOB, replace(EVICTED, gone=False)), id="held again, its pod ended"),
        pytest.param((JOB, running_pod(JOB)), id="held again, its pod not ended yet"),
        pytest.param((RESUMED, EVICTED), id="let go on, no pod yet"),
        pytest.param((RESUMED, EVICTED, pod_of(RESUMED, uid="second", created_at=NOW + 5001)), id="with the next pod"),
    ],
)
def test_an_eviction_costs_nothing_and_the_attempt_goes_on(children: tuple[Any, ...]) -> None:
    plan = SCENE.decide_live(*children, at=5003)
    assert (plan.results, plan.deletes, plan.creates, plan.events) == ((), (), (), ())
    shard = SCENE.after(plan).shard()
    assert (shard.phase, shard.attempt, shard.job_uid) == (RowPhase.ACTIVE, 1, JOB.uid)
    assert (shard.retries, shard.disruptions, shard.failures) == (0, 0, ())


def test_only_the_pod_that_ended_the_job_counts() -> None:
    second = ended_pod(
        JOB, SCENE.verdict(), 0, uid="second", name="second", created_at=NOW + 5001, started_at=NOW + 5002
    )
    plan = SCENE.decide_live(finished(RESUMED, at=5060), EVICTED, second, at=5061)
    assert [(result.spec.outcome, result.spec.origin.pod_uid) for result in plan.results] == [
        (Outcome.SUCCEEDED, "second")
    ]


@pytest.mark.parametrize("change", [{"suspend": True}, {"cancel": "Immediate"}], ids=str)
@pytest.mark.parametrize("job", [JOB, RESUMED], ids=["held", "let go on"])
def test_a_user_takes_back_what_the_queue_has_evicted(change: dict[str, Any], job: Any) -> None:
    wire = SCENE.run.spec.to_wire() | change
    scene = replace(SCENE, run=replace(SCENE.run, spec=BenchmarkRunSpec.model_validate(wire), generation=2))
    plan = scene.decide_live(job, EVICTED, at=5001)
    assert [delete.uid for delete in plan.deletes] == [JOB.uid]

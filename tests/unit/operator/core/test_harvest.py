"""A look into the artifacts of an attempt that did not get to say how it ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished, pod_of, running_pod

from vidbench_api.names import Outcome, Reason, RowPhase, Validity
from vidbench_operator.core.observed import ObservedJob, ObservedPod
from vidbench_operator.core.plan import CreateJob
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.timestamps import format_time

FRESH = Scene.of(artifacts={"storageUri": "claim://store/runs"})
SCENE = FRESH.active(job_uid=FRESH.job().uid, started_at=format_time(NOW))
JOB = finished(SCENE.job(), "Failed")
LOST = ended_pod(JOB, None, 1, node="n1")
HARVESTING = SCENE.with_shard(harvest_at=format_time(NOW + 61), node="n1")
HARVEST = ObservedJob(
    f"{JOB.name}-h", "harvest", SCENE.run.uid, SCENE.cell.id, 1, 1, NOW + 62, harvests=True
)  # fmt: skip
BROUGHT = finished(HARVEST, at=80)
LIMIT = 61 + Policy().harvest_seconds

WORTHWHILE: list[Any] = [
    pytest.param(LOST, True, id="no message"),
    pytest.param(ended_pod(JOB, "garbage", 0), True, id="garbage"),
    pytest.param(ended_pod(JOB, SCENE.written_ahead(2), 137), True, id="only written ahead"),
    pytest.param(ended_pod(JOB, SCENE.failure(Reason.NAN_OUTPUT), 86), False, id="a final verdict"),
    pytest.param(ended_pod(JOB, None, 137, disruption="PreemptionByScheduler"), False, id="a disruption"),
    pytest.param(ended_pod(JOB, None, 137, container_reason="OOMKilled"), False, id="out of memory"),
]


@pytest.mark.parametrize(("pod", "harvested"), WORTHWHILE)
def test_what_the_message_does_not_tell_is_looked_for_before_the_attempt_is_given_up(
    pod: ObservedPod, harvested: bool
) -> None:
    plan = SCENE.decide_live(JOB, pod, at=61)
    shard = SCENE.after(plan).shard()
    if not harvested:
        assert shard.harvest_at is None
        return
    assert (shard.phase, shard.attempt, shard.harvest_at) == (RowPhase.ACTIVE, 1, format_time(NOW + 61))
    assert plan.creates == (CreateJob(HARVEST.name, SCENE.cell.id, 1, 1, harvests=True),)
    assert (plan.results, plan.deletes, plan.ttls) == ((), (), ())


def test_what_a_pod_stored_that_vanished_before_its_job_completed_is_looked_for() -> None:
    done = finished(SCENE.job())
    plan = SCENE.decide_live(done, running_pod(done, gone=True), at=61)
    assert [(create.name, create.harvests) for create in plan.creates] == [(HARVEST.name, True)]


def test_without_artifacts_there_is_nothing_to_look_into() -> None:
    scene = Scene.of().active(job_uid=JOB.uid)
    plan = scene.decide_live(finished(scene.job(), "Failed"), ended_pod(scene.job(), None, 1), at=61)
    assert scene.after(plan).shard().lost_results == 1


@pytest.mark.parametrize("children", [(HARVEST,), (HARVEST, pod_of(HARVEST)), (HARVEST, running_pod(HARVEST))])
def test_a_harvest_is_waited_for_and_is_no_attempt(children: tuple[Any, ...]) -> None:
    plan = HARVESTING.decide_live(JOB, LOST, *children, at=70)
    assert (plan.results, plan.creates, plan.deletes, plan.ttls) == ((), (), (), ())
    shard = HARVESTING.after(plan).shard()
    assert (shard.attempt, shard.lost_results, shard.node) == (1, 0, "n1")


def test_a_harvest_that_was_not_created_before_a_crash_is_created_again() -> None:
    plan = HARVESTING.decide_live(JOB, LOST, at=70)
    assert [(create.name, create.harvests) for create in plan.creates] == [(HARVEST.name, True)]


def test_what_the_harvest_brings_is_the_attempts_result() -> None:
    pod = ended_pod(HARVEST, SCENE.verdict(), 0, node="n9")
    plan = HARVESTING.decide_live(JOB, LOST, BROUGHT, pod, at=81)
    (result,) = plan.results
    assert (result.spec.outcome, result.spec.validity.state) == (Outcome.SUCCEEDED, Validity.VALID)
    assert (result.spec.origin.job_uid, result.spec.origin.pod_uid, result.spec.origin.node) == (
        JOB.uid,
        LOST.uid,
        "n1",
    )
    assert (result.spec.origin.attempt, result.spec.series) == (1, SCENE.verdict().series)
    assert f"read from the artifacts by Job {HARVEST.name}" in (result.spec.message or "")
    shard = HARVESTING.after(plan).shard()
    assert (shard.phase, shard.harvest_at, shard.lost_results) == (RowPhase.FINISHED, None, 0)
    later = HARVESTING.after(plan).decide(JOB, BROUGHT, at=90, results={result.name: result.spec})
    assert {patch.uid for patch in later.ttls} == {JOB.uid, HARVEST.uid}, "both may expire once the status has it"


def test_a_stored_failure_is_the_attempts_reason() -> None:
    pod = ended_pod(HARVEST, SCENE.failure(Reason.NAN_OUTPUT), 0)
    (result,) = HARVESTING.decide_live(JOB, LOST, BROUGHT, pod, at=81).results
    assert (result.spec.outcome, result.spec.reason) == (Outcome.FAILED, Reason.NAN_OUTPUT)


NOTHING: list[Any] = [
    pytest.param((finished(HARVEST, "Failed", at=80), ended_pod(HARVEST, None, 96)), 81, id="nothing is stored"),
    pytest.param((BROUGHT, ended_pod(HARVEST, SCENE.verdict(attempt=2), 0)), 81, id="of another attempt"),
    pytest.param((BROUGHT, ended_pod(HARVEST, "garbage", 0)), 81, id="garbage again"),
    pytest.param((BROUGHT,), 86, id="its pod vanished"),
    pytest.param((HARVEST, running_pod(HARVEST)), LIMIT, id="it takes too long"),
    pytest.param((), LIMIT, id="it cannot be created"),
]


@pytest.mark.parametrize(("children", "at"), NOTHING)
def test_a_harvest_that_brings_nothing_in_time_leaves_the_attempt_lost(children: tuple[Any, ...], at: float) -> None:
    plan = HARVESTING.decide_live(JOB, LOST, *children, at=at)
    shard = HARVESTING.after(plan).shard()
    assert (shard.attempt, shard.lost_results, shard.reason, shard.harvest_at) == (2, 1, Reason.RESULT_LOST, None)
    assert [(create.attempt, create.harvests) for create in plan.creates] == [(2, False)]
    unfinished = [child.uid for child in children if isinstance(child, ObservedJob) and child.finished is None]
    assert [delete.uid for delete in plan.deletes] == unfinished


def test_the_last_event_of_a_harvests_pod_is_waited_for() -> None:
    plan = HARVESTING.decide_live(JOB, LOST, BROUGHT, at=82)
    assert HARVESTING.after(plan).shard().attempt == 1
    assert plan.requeue_after == pytest.approx(3)


def test_a_name_that_somebody_else_has_ends_the_look() -> None:
    plan = HARVESTING.decide_live(JOB, LOST, at=70, conflicts=frozenset({HARVEST.name}))
    assert HARVESTING.after(plan).shard().lost_results == 1


def test_stored_samples_without_a_verdict_are_evidence_and_no_result() -> None:
    scene = HARVESTING.with_shard(lost_results=1)
    pod = ended_pod(HARVEST, SCENE.written_ahead(2), 0)
    (result,) = scene.decide_live(JOB, LOST, BROUGHT, pod, at=81).results
    assert (result.spec.outcome, result.spec.reason, result.spec.samples_done) == (
        Outcome.FAILED,
        Reason.RESULT_LOST,
        2,
    )
    assert result.spec.validity.state is Validity.PARTIAL


def test_an_attempt_that_is_looked_into_waits_for_no_node() -> None:
    two = Scene.of(models=["a", "b"], artifacts={"storageUri": "claim://store"}, autoscaling={"min": 1})
    first, second = two.document.cells
    job = finished(two.job(first), "Failed")
    scene = two.active(first, job_uid=job.uid, harvest_at=format_time(NOW + 61))
    harvest = replace(HARVEST, name=f"{job.name}-h", cell=first.id)
    plan = scene.decide_live(job, harvest, pod_of(harvest), at=66)
    assert [create.cell for create in plan.creates] == [second.id], "the window has room for one that waits"

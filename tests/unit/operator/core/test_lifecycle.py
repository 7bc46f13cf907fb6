"""Hold and stop: what becomes of the shards of a run as a whole, and which time counts for its deadline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, Scene, ended_pod, finished, running_pod, shards_of

from vidbench_api.message import encode
from vidbench_api.names import ConditionReason, EventReason, LimitedBy, Outcome, Reason, RowPhase, RunPhase
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.decide import decide
from vidbench_operator.core.lifecycle import deadline_of, with_pause
from vidbench_operator.core.observed import Observed
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.core.timestamps import format_time


def changed(scene: Scene, **spec: Any) -> Scene:
    """The scene after its user changed the spec."""
    wire = scene.run.spec.to_wire() | spec
    return replace(scene, run=replace(scene.run, spec=BenchmarkRunSpec.model_validate(wire), generation=2))


def look(scene: Scene, now: float = NOW + 10, **observed: Any) -> Plan:
    """A live look at what there is."""
    return decide(scene.run, Observed(document=scene.document, live=True, **observed), now, Policy())


def condition(status: BenchmarkRunStatus | None, kind: str) -> tuple[str, str] | None:
    assert status is not None
    return next(((entry.status, entry.reason) for entry in status.conditions if entry.type == kind), None)


def two_cells() -> Scene:
    return Scene.of(models=["a", "b"], parallelism=1)


def test_a_suspended_run_gives_its_job_back_and_charges_nobody() -> None:
    scene = two_cells()
    job = scene.job(scene.cell)
    scene = changed(scene.active(job_uid=job.uid), suspend=True)
    plan = look(scene, jobs=(job,), pods=(running_pod(job),))
    assert [entry.uid for entry in plan.deletes] == [job.uid]
    assert plan.status is not None
    [shard, other] = shards_of(plan.status)
    assert (shard.phase, shard.attempt, shard.retries, shard.disruptions) == (RowPhase.PENDING, 1, 0, 0)
    assert other.attempt == 0
    assert plan.status.phase is RunPhase.SUSPENDED
    assert condition(plan.status, "Suspended") == ("True", ConditionReason.SUSPENDED.value)
    assert plan.status.parallelism is not None
    assert plan.status.parallelism.limited_by is LimitedBy.SUSPENDED
    assert plan.status.paused_since == format_time(NOW + 10)
    assert [event.reason for event in plan.events] == [EventReason.SUSPENDED]


def test_a_job_that_is_seen_to_run_is_not_taken_back_without_a_live_look() -> None:
    scene = two_cells()
    job = scene.job(scene.cell)
    scene = changed(scene.active(job_uid=job.uid), suspend=True)
    observed = Observed(document=scene.document, jobs=(job,), pods=(running_pod(job),))
    assert decide(scene.run, observed, NOW + 10, Policy()).needs_live


def test_a_runner_that_ended_before_the_suspension_keeps_its_result() -> None:
    scene = two_cells()
    job = scene.job(scene.cell)
    pod = ended_pod(job, encode(scene.verdict()))
    scene = changed(scene.active(job_uid=job.uid), suspend=True)
    waiting = look(scene, jobs=(job,), pods=(pod,))
    assert not waiting.deletes
    plan = look(scene, jobs=(finished(job),), pods=(pod,))
    assert [result.spec.outcome for result in plan.results] == [Outcome.SUCCEEDED]


def test_a_resumed_run_starts_again_and_the_time_of_the_pause_does_not_count() -> None:
    scene = changed(two_cells(), suspend=True)
    scene = scene.after(look(scene, now=NOW + 10))
    assert deadline_of(scene.run, NOW + 500) == pytest.approx(NOW + 86_400 + 490)
    scene = changed(scene, suspend=False)
    plan = look(scene, now=NOW + 1010)
    assert len(plan.creates) == 1
    assert plan.status is not None
    assert (plan.status.paused_since, plan.status.paused_seconds) == (None, 1000)
    assert condition(plan.status, "Suspended") == ("False", ConditionReason.NOT_SUSPENDED.value)
    assert EventReason.RESUMED in [event.reason for event in plan.events]
    assert deadline_of(scene.after(plan).run, NOW + 2000) == NOW + 86_400 + 1000


def test_a_graceful_cancel_lets_the_running_shard_finish_and_starts_no_other() -> None:
    scene = two_cells()
    job = scene.job(scene.cell)
    scene = changed(scene.active(job_uid=job.uid), cancel="Graceful")
    plan = look(scene, jobs=(job,), pods=(running_pod(job),))
    assert not plan.deletes
    assert not plan.creates
    assert plan.status is not None
    assert [(shard.phase, shard.outcome) for shard in shards_of(plan.status)] == [
        (RowPhase.ACTIVE, None),
        (RowPhase.FINISHED, Outcome.CANCELLED),
    ]
    scene = scene.after(plan)
    plan = look(scene, jobs=(finished(job),), pods=(ended_pod(job, encode(scene.verdict())),), now=NOW + 60)
    assert plan.status is not None
    assert next(iter(shards_of(plan.status))).outcome is Outcome.SUCCEEDED
    assert plan.status.phase is RunPhase.CANCELLED
    assert condition(plan.status, "Failed") == ("True", ConditionReason.CANCELLED.value)
    assert condition(plan.status, "Complete") == ("False", ConditionReason.CANCELLED.value)
    assert plan.status.cells is not None
    assert plan.status.cells.succeeded == 1


def test_an_immediate_cancel_deletes_what_runs_and_keeps_what_is_finished() -> None:
    scene = Scene.of(models=["a", "b", "c"])
    done, running = scene.document.cells[:2]
    job = scene.job(running)
    scene = scene.with_shard(done, phase=RowPhase.FINISHED, attempt=1, outcome=Outcome.SUCCEEDED, result="kept")
    scene = changed(scene.active(running, job_uid=job.uid), cancel="Immediate")
    plan = look(scene, jobs=(job,), pods=(running_pod(job),))
    assert [entry.uid for entry in plan.deletes] == [job.uid]
    assert plan.status is not None
    assert is_terminal(plan.status)
    outcomes = {row.id: (row.outcome, row.reason) for row in plan.status.rows}
    assert outcomes[done.id] == (Outcome.SUCCEEDED, None)
    assert outcomes[running.id] == (Outcome.CANCELLED, Reason.RUN_CANCELLED.value)


@pytest.mark.parametrize(
    ("share", "ends"), [("100%", False), ("50%", False), ("49%", True), ("0%", True)], ids=["all", "half", "less", "none"]
)  # fmt: skip
def test_too_many_failed_cells_end_the_run(share: str, ends: bool) -> None:
    scene = Scene.of(models=["a", "b"], failurePolicy={"maxFailedCells": share})
    failure = {"phase": RowPhase.FINISHED, "attempt": 1, "outcome": Outcome.FAILED, "reason": "ModelLoadFailed"}
    scene = scene.with_shard(scene.cell, result="failed", **failure)
    plan = look(scene)
    assert plan.status is not None
    assert is_terminal(plan.status) is ends
    assert bool(plan.creates) is not ends
    if ends:
        assert condition(plan.status, "Failed") == ("True", ConditionReason.TOO_MANY_FAILED.value)


def test_a_cancelled_run_that_was_suspended_does_not_say_that_it_is_held() -> None:
    scene = changed(two_cells(), suspend=True)
    scene = changed(scene.after(look(scene)), cancel="Immediate")
    plan = look(scene)
    assert condition(plan.status, "Suspended") == ("False", ConditionReason.NOT_SUSPENDED.value)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=20))
def test_the_deadline_is_later_by_exactly_the_time_that_the_run_was_paused(steps: list[tuple[bool, int]]) -> None:
    run = Scene.of().run
    now, paused_for, was = NOW, 0, False
    for paused, seconds in steps:
        run = replace(run, status=with_pause(run.status, paused=paused, now=now))
        paused_for += seconds if paused else 0
        now, was = now + seconds, paused
    assert deadline_of(run, now) == pytest.approx(NOW + run.spec.timeouts.run_seconds + paused_for, abs=0.001)
    assert (run.status.paused_since is not None) is was

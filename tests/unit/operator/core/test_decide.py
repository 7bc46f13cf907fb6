"""What a pass does: what starts, what is cleaned up, what is said, and when it looks again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import (
    NOW,
    Scene,
    ended_pod,
    finished,
    running_pod,
    shards_of,
    starting_pod,
    unschedulable_pod,
)

from vidbench_api.measured import Environment, Memory
from vidbench_api.names import ConditionReason, EventReason, LimitedBy, Outcome, Reason, RowPhase, RunPhase
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import HardwareWindow, ParallelismStatus
from vidbench_operator.core.decide import decide
from vidbench_operator.core.observed import CreationRefusal, Observed, ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import failed_status, is_terminal
from vidbench_operator.core.timestamps import format_time

ENOUGH = {"parallelism": 100}


def started(plan: Plan) -> list[tuple[str, int]]:
    return [(create.cell, create.shard) for create in plan.creates]


def respecified(scene: Scene, **changes: Any) -> Scene:
    """The scene after the user changed the spec."""
    spec = BenchmarkRunSpec.model_validate(scene.run.spec.to_wire() | changes)
    return replace(scene, run=replace(scene.run, spec=spec, generation=2))


def parallelism_of(plan: Plan) -> ParallelismStatus:
    assert plan.status is not None
    assert plan.status.parallelism is not None
    return plan.status.parallelism


def all_active(scene: Scene) -> tuple[Scene, list[ObservedJob]]:
    """The scene with an attempt of every shard under way, and their Jobs."""
    jobs = []
    for cell in scene.document.cells:
        for index in range(1, scene.document.shards + 1):
            job = scene.job(cell, index)
            scene = scene.active(cell, index, job_uid=job.uid)
            jobs.append(job)
    return scene, jobs


def test_the_first_shard_of_every_cell_starts_before_the_second_of_any() -> None:
    scene = Scene.of(models=["a", "b", "c"], measurement={"shards": 2}, **ENOUGH)
    for slots in range(1, 7):
        plan = respecified(scene, parallelism=slots).decide()
        assert len(started(plan)) == slots
        indexes = sorted(index for _, index in started(plan))
        assert indexes == [1, 1, 1, 2, 2, 2][:slots]


def test_the_order_of_cells_is_a_shuffle_of_the_runs_own() -> None:
    orders = set()
    for uid in "abcdefgh":
        scene = Scene.of(uid=uid, models=["m1", "m2", "m3", "m4"], **ENOUGH)
        models = {cell.id: cell.model for cell in scene.document.cells}
        order = [cell for cell, _ in started(scene.decide())]
        assert sorted(models[cell] for cell in order) == ["m1", "m2", "m3", "m4"]
        two = [cell for cell, _ in started(respecified(scene, parallelism=2).decide())]
        assert set(two) == set(sorted(order)[:2])
        orders.add(tuple(models[cell] for cell in sorted(order)))
    assert len(orders) > 3


def test_a_started_attempt_is_written_down_before_its_job_is_made() -> None:
    scene = Scene.of()
    plan = scene.decide(at=7)
    shard = scene.after(plan).shard()
    assert (shard.phase, shard.attempt, shard.job_uid, shard.started_at) == (
        RowPhase.ACTIVE,
        1,
        None,
        "2027-01-15T08:00:07Z",
    )
    assert [create.name for create in plan.creates] == [scene.job().name]
    assert plan.urgent


@pytest.mark.parametrize(("parallelism", "new"), [(0, 0), (1, 0), (2, 1), (3, 2), (9, 3)])
def test_new_jobs_fill_the_slots_that_active_ones_leave(parallelism: int, new: int) -> None:
    scene = Scene.of(models=["a", "b", "c", "d"], parallelism=parallelism)
    job = scene.job()
    scene = scene.active(job_uid=job.uid)
    assert len(scene.decide(job, running_pod(job), at=5).creates) == new


def test_parallelism_zero_starts_nothing_and_waits_for_the_user_or_the_deadline() -> None:
    scene = Scene.of(parallelism=0)
    plan = scene.decide(at=10)
    assert (plan.creates, plan.requeue_after) == ((), 86_400 - 10)
    assert plan.status is not None
    assert (
        plan.status.message
        == "0 of 1 cell finished: 0 succeeded; 0 Jobs active, 1 shard waiting: spec.parallelism is 0"
    )
    assert parallelism_of(plan).limited_by is LimitedBy.PARALLELISM


def test_scaling_down_ends_no_job_and_starts_none_until_enough_have_ended() -> None:
    scene, jobs = all_active(Scene.of(models=["a", "b", "c"], parallelism=3))
    scene = respecified(scene, parallelism=1)
    pods = [running_pod(job) for job in jobs]
    plan = scene.decide(*jobs, *pods, at=9)
    assert (plan.creates, plan.deletes) == ((), ())
    assert parallelism_of(plan).active == 3


FOLLOW = {"autoscaling": {"mode": "Capacity"}}


def with_window(scene: Scene, probe: int, changed_at: float = NOW) -> Scene:
    """The scene with a stored window for its default hardware."""
    window = HardwareWindow(hardware="default", probe=probe, changed_at=format_time(changed_at))
    parallelism = ParallelismStatus(windows=(window,))
    return scene.with_status(scene.run.status.model_copy(update={"parallelism": parallelism}))


def probing(count: int, probe: int, **spec: Any) -> tuple[Scene, list[ObservedJob]]:
    """The scene of nine cells, so many of them with a Job, and a window."""
    scene = with_window(Scene.of(models=[f"m{number}" for number in range(9)], **(FOLLOW | ENOUGH | spec)), probe)
    jobs = []
    for cell in scene.document.cells[:count]:
        jobs.append(scene.job(cell))
        scene = scene.active(cell, job_uid=jobs[-1].uid)
    return scene, jobs


def test_only_a_few_jobs_probe_for_nodes_and_the_rest_is_held_back() -> None:
    scene, jobs = probing(2, 2)
    plan = scene.decide(*jobs, *map(unschedulable_pod, jobs), at=9)
    assert plan.creates == ()
    assert parallelism_of(plan).limited_by is LimitedBy.CAPACITY
    assert plan.status is not None
    assert any(entry.reason == ConditionReason.WAITING_FOR_CAPACITY for entry in plan.status.conditions)
    freed = scene.decide(*jobs, running_pod(jobs[0]), unschedulable_pod(jobs[1]), at=9)
    assert len(freed.creates) == 1


def test_twice_as_many_follow_when_all_that_probed_have_nodes() -> None:
    scene, jobs = probing(2, 2)
    plan = scene.decide(*jobs, *map(running_pod, jobs), at=9)
    assert len(plan.creates) == 4
    (window,) = parallelism_of(plan).windows
    assert (window.hardware, window.probe, window.changed_at) == ("default", 4, format_time(NOW + 9))


def test_a_place_that_became_free_is_taken_though_others_wait_for_a_node() -> None:
    scene, jobs = probing(3, 1)
    pods = [ended_pod(jobs[0], scene.verdict(scene.document.cells[0]), 0), running_pod(jobs[1])]
    plan = scene.decide(finished(jobs[0]), *jobs[1:], *pods, unschedulable_pod(jobs[2]), at=61)
    assert len(plan.creates) == 1
    nodes = {"node-1": ObservedNode("node-1", {}, ready=False)}
    lost = scene.decide(finished(jobs[0]), *jobs[1:], *pods, unschedulable_pod(jobs[2]), at=61, nodes=nodes)
    assert lost.creates == (), "not on a node that takes no pods"


def test_a_new_run_starts_as_many_as_its_nodes_have_room_for() -> None:
    scene = Scene.of(models=[f"m{number}" for number in range(9)], **(FOLLOW | ENOUGH))
    node = ObservedNode("a", {}, ready=True, allocatable={"cpu": "99", "memory": "999Gi", "nvidia.com/gpu": "4"})
    assert len(scene.decide(nodes={"a": node}).creates) == 4
    assert len(scene.decide().creates) == 1, "nodes are not visible"
    assert len(respecified(scene, autoscaling={"min": 3}).decide().creates) == 3
    assert len(respecified(scene, autoscaling={"mode": "Off"}).decide().creates) == 9


def test_windows_are_forgotten_when_jobs_do_not_follow_capacity() -> None:
    scene, jobs = probing(2, 2)
    plan = respecified(scene, autoscaling={"mode": "Off"}).decide(*jobs, *map(unschedulable_pod, jobs), at=9)
    assert (len(plan.creates), parallelism_of(plan).windows) == (7, ())


def test_a_window_that_shrinks_is_not_worth_a_write_of_its_own() -> None:
    scene, jobs = probing(8, 8)
    pods = [unschedulable_pod(job) for job in jobs]
    scene = scene.after(scene.decide(*jobs, *pods, at=9))
    for at in (100, 400, 1000):
        assert scene.decide(*jobs, *pods, at=at).writes_nothing
    later = scene.decide(*jobs, running_pod(jobs[0]), *pods[1:], at=1000)
    (window,) = parallelism_of(later).windows
    assert window.probe < 8


def test_hardware_that_is_short_holds_back_no_other() -> None:
    scene = Scene.of(models=["a", "b", "c"], hardware=["h100", "l40s"], **(FOLLOW | ENOUGH))
    windows = tuple(
        HardwareWindow(hardware=name, probe=probe, changed_at=format_time(NOW))
        for name, probe in {"h100": 2, "l40s": 9}.items()
    )
    status = scene.run.status.model_copy(update={"parallelism": ParallelismStatus(windows=windows)})
    scene = scene.with_status(status)
    short = [scene.cell_of(model, "h100") for model in "ab"]
    jobs = [scene.job(cell) for cell in short]
    for cell, job in zip(short, jobs, strict=True):
        scene = scene.active(cell, job_uid=job.uid)
    plan = scene.decide(*jobs, *map(unschedulable_pod, jobs), at=9)
    assert {cell for cell, _ in started(plan)} == {scene.cell_of(model, "l40s").id for model in "abc"}


def test_while_a_quota_refuses_nothing_new_starts() -> None:
    scene, jobs = probing(1, 9)
    refused = scene.decide(
        *jobs, at=10, refusals=(CreationRefusal(jobs[0].uid, "exceeded quota"),), refusals_read=frozenset({jobs[0].uid})
    )
    assert (refused.creates, parallelism_of(refused).limited_by) == ((), LimitedBy.QUOTA)
    assert len(scene.decide(*jobs, running_pod(jobs[0]), at=10).creates) == 8


def test_hardware_that_a_quota_refuses_holds_back_no_other() -> None:
    scene = Scene.of(models=["a", "b"], hardware=["h100", "l40s"])
    first = scene.cell_of("a", "h100")
    job = scene.job(first)
    scene = scene.active(first, job_uid=job.uid)
    seen = {"refusals": (CreationRefusal(job.uid, "exceeded quota"),), "refusals_read": frozenset({job.uid})}
    plan = scene.decide(job, at=10, **seen)
    assert {cell for cell, _ in started(plan)} == {scene.cell_of(model, "l40s").id for model in "ab"}
    assert parallelism_of(plan).limited_by is LimitedBy.QUOTA


def test_a_job_that_was_refused_does_not_exist_and_waits() -> None:
    scene = Scene.of(models=["a", "b"], parallelism=1)
    first = min(scene.document.cells, key=lambda cell: cell.id)
    scene = scene.active(first, started_at=format_time(NOW))
    plan = scene.decide(at=7, refused_jobs={scene.job(first).name: "exceeded quota"}, refused_until=NOW + 40)
    seen = parallelism_of(plan)
    assert (seen.active, seen.waiting, seen.limited_by) == (0, 2, LimitedBy.QUOTA)
    assert (plan.creates, plan.requeue_after) == ((), 33)


def test_a_shard_that_waits_after_a_failure_shows_as_back_off() -> None:
    scene = Scene.of().with_shard(attempt=1, retries=1, not_before=format_time(NOW + 30))
    plan = scene.decide(at=10)
    assert (parallelism_of(plan).limited_by, plan.requeue_after) == (LimitedBy.BACK_OFF, 20)


def test_a_refusal_shows_as_quota() -> None:
    scene, (job,) = all_active(Scene.of())
    plan = scene.decide(
        job, at=10, refusals=(CreationRefusal(job.uid, "exceeded quota"),), refusals_read=frozenset({job.uid})
    )
    assert parallelism_of(plan).limited_by is LimitedBy.QUOTA


def test_more_work_than_slots_shows_as_parallelism() -> None:
    scene = Scene.of(models=["a", "b"], parallelism=1)
    assert parallelism_of(scene.decide()).limited_by is LimitedBy.PARALLELISM
    assert parallelism_of(respecified(scene, parallelism=2).decide()).limited_by is LimitedBy.NOTHING


DEADLINE = {"timeouts": {"runSeconds": 600}}


def test_the_deadline_of_the_run_ends_all_that_is_left_after_a_live_look() -> None:
    scene = Scene.of(models=["a", "b", "c"], **DEADLINE)
    one, two, _ = scene.document.cells
    job = scene.job(one)
    scene = scene.active(one, job_uid=job.uid).with_shard(two, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED)
    pod = running_pod(job)
    before = scene.decide(job, pod, at=599)
    assert (before.results, before.requeue_after) == ((), 1.0)
    assert scene.decide(job, pod, at=600).needs_live
    plan = scene.decide_live(job, pod, at=600)
    assert [(result.spec.outcome, result.spec.reason) for result in plan.results] == [
        (Outcome.CANCELLED, Reason.RUN_DEADLINE)
    ] * 2
    assert [delete.uid for delete in plan.deletes] == [job.uid]
    assert plan.creates == ()
    assert plan.status is not None
    assert (plan.status.phase, is_terminal(plan.status)) == (RunPhase.FAILED, True)
    assert plan.status.gpu_seconds is not None
    assert (plan.status.gpu_seconds.used, plan.status.gpu_seconds.wasted) == (0, 599)


def test_a_verdict_that_came_in_time_is_taken_at_the_deadline() -> None:
    scene, (job,) = all_active(Scene.of(**DEADLINE))
    plan = scene.decide_live(finished(job, at=599), ended_pod(job, scene.verdict(), 0), at=600)
    assert [result.spec.outcome for result in plan.results] == [Outcome.SUCCEEDED]
    assert plan.status is not None
    assert plan.status.phase is RunPhase.SUCCEEDED


def test_the_time_that_a_retry_wasted_is_counted_at_the_deadline_too() -> None:
    scene, (job,) = all_active(Scene.of(**DEADLINE))
    plan = scene.decide_live(finished(job, "Failed", at=599), ended_pod(job, None, 137, disruption="X"), at=600)
    assert [result.spec.reason for result in plan.results] == [Reason.RUN_DEADLINE]
    assert plan.status is not None
    assert plan.status.gpu_seconds is not None
    assert plan.status.gpu_seconds.wasted == 49


def test_a_longer_deadline_lets_the_run_go_on() -> None:
    scene = respecified(Scene.of(**DEADLINE), timeouts={"runSeconds": 700})
    assert scene.decide(at=650).creates


ENDINGS: list[Any] = [
    pytest.param(Outcome.SUCCEEDED, None, 0, 10, id="a success: soon"),
    pytest.param(Outcome.FAILED, Reason.NAN_OUTPUT, 86, 20, id="a failure: later, for people to look at"),
    pytest.param(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY_CUDA, 81, 20, id="out of memory: later"),
]


@pytest.mark.parametrize(("outcome", "reason", "code", "seconds"), ENDINGS)
def test_a_job_expires_only_after_the_stored_status_says_how_it_ended(
    outcome: Outcome, reason: Reason | None, code: int, seconds: int
) -> None:
    scene, (job,) = all_active(Scene.of(ttl={"jobsSeconds": 10, "failedJobsSeconds": 20}))
    verdict = scene.verdict() if reason is None else scene.failure(reason, outcome)
    job, pod = finished(job, "Failed" if code else "Complete"), ended_pod(job, verdict, code)
    plan = scene.decide(job, pod, at=61)
    assert (plan.ttls, plan.deletes, plan.requeue_after) == ((), (), 0.0)
    after = scene.after(plan).decide(job, pod, at=62)
    assert [(ttl.uid, ttl.seconds) for ttl in after.ttls] == [(job.uid, seconds)]
    assert scene.after(plan).decide(replace(job, ttl_seconds=seconds), pod, at=63).writes_nothing


def test_the_job_of_an_attempt_that_is_tried_again_expires_as_a_failed_one() -> None:
    scene = Scene.of(ttl={"jobsSeconds": 10, "failedJobsSeconds": 20}).active(attempt=2, job_uid="second")
    old, new = finished(scene.job(attempt=1)), replace(scene.job(attempt=2), uid="second")
    plan = scene.decide(old, new, running_pod(new), at=90)
    assert [(ttl.uid, ttl.seconds) for ttl in plan.ttls] == [(old.uid, 20)]


def test_a_job_of_an_attempt_that_the_status_does_not_know_yet_does_not_expire() -> None:
    scene = Scene.of()
    plan = scene.decide(finished(scene.job()), at=61)
    assert plan.ttls == ()
    assert plan.creates == (), "it is there already"


def test_jobs_that_no_attempt_wants_are_deleted_by_uid() -> None:
    scene = Scene.of().active(attempt=2, job_uid="second")
    old, new = scene.job(attempt=1), replace(scene.job(attempt=2), uid="second")
    restored, stray = replace(new, uid="restored"), replace(scene.job(attempt=7), uid="stray")
    foreign = replace(scene.job(attempt=3), owner_uid="somebody")
    leaving = replace(scene.job(attempt=4), deleting=True)
    plan = scene.decide(old, new, restored, stray, foreign, leaving, running_pod(new), at=90)
    assert {delete.uid for delete in plan.deletes} == {old.uid, "restored", "stray"}
    assert plan.results == ()


def test_nothing_is_created_for_a_job_that_is_seen() -> None:
    scene = Scene.of().active()
    assert scene.decide(scene.job(), at=1).creates == ()


def test_a_steady_state_is_not_written_about() -> None:
    scene, jobs = all_active(Scene.of(models=["a", "b"]))
    children = [*jobs, running_pod(jobs[0]), starting_pod(jobs[1])]
    scene = scene.after(scene.decide(*children, at=10))
    for at in (11, 60, 1000):
        for plan in (scene.decide(*children, at=at), scene.decide_live(*children, at=at)):
            assert plan.writes_nothing
            assert plan.requeue_after is not None


def test_a_retry_that_has_no_slot_waits_for_one_and_not_for_the_clock() -> None:
    scene = Scene.of(models=["a", "b"], parallelism=1)
    one, two = scene.document.cells
    job = scene.job(one)
    scene = scene.active(one, job_uid=job.uid).with_shard(two, attempt=1, retries=1, not_before="2027-01-15T08:00:05Z")
    plan = scene.decide(job, running_pod(job), at=50)
    assert plan.creates == ()
    assert plan.requeue_after is not None
    assert plan.requeue_after > 1000


def after_end(**spec: Any) -> tuple[Scene, ObservedJob, ObservedPod]:
    """A scene whose only shard has just succeeded."""
    scene, (job,) = all_active(Scene.of(**spec))
    job, pod = finished(job), ended_pod(job, scene.verdict(), 0)
    return scene.after(scene.decide(job, pod, at=61)), job, pod


def test_an_ended_run_is_never_written_about_again() -> None:
    scene, job, pod = after_end()
    for changed in (scene, respecified(scene, parallelism=3), scene.with_shard(phase=RowPhase.ACTIVE)):
        for at in (62, 1e6):
            plan = changed.decide(job, pod, at=at)
            assert (plan.status, plan.results, plan.creates, plan.events) == (None, (), (), ())
    assert scene.decide(replace(job, ttl_seconds=5), at=62).requeue_after is None


def test_an_ended_run_is_decided_without_its_document() -> None:
    scene, job, _ = after_end()
    plan = decide(scene.run, Observed(jobs=(job,)), NOW + 62, Policy())
    assert [ttl.uid for ttl in plan.ttls] == [job.uid]


def test_an_accepted_run_is_not_decided_without_its_document() -> None:
    scene = Scene.of()
    with pytest.raises(ValueError, match="request document"):
        decide(scene.run, Observed(), NOW, Policy())


def test_all_jobs_of_a_run_that_failed_under_way_go() -> None:
    scene, (job, other) = all_active(Scene.of(models=["a", "b"]))
    scene = scene.with_status(failed_status(scene.run, ConditionReason.REQUEST_LOST, "lost", NOW + 50))
    plan = scene.decide(finished(job, "Failed"), other, running_pod(other), at=60)
    assert [ttl.uid for ttl in plan.ttls] == [job.uid]
    assert [delete.uid for delete in plan.deletes] == [other.uid]


def test_a_run_deletes_itself_so_long_after_its_end_as_it_says() -> None:
    scene, job, _ = after_end(ttl={"runSeconds": 100})
    done = replace(job, ttl_seconds=5)
    before = scene.decide(done, at=160)
    assert (before.delete_run, before.requeue_after) == (False, 1.0)
    assert scene.decide(done, at=161).delete_run
    assert not after_end()[0].decide(done, at=1e9).delete_run


def test_gpu_seconds_are_used_by_answers_and_wasted_by_the_rest() -> None:
    scene = Scene.of(
        models=["a", "b", "c"], hardware=[{"name": "gpu", "gpus": 2}], failurePolicy={"infrastructureRetries": 1}
    )
    scene, jobs = all_active(scene)
    fates = [
        ended_pod(jobs[0], scene.verdict(scene.document.cells[0]), 0),
        ended_pod(
            jobs[1], scene.failure(Reason.OUT_OF_MEMORY_CUDA, Outcome.OUT_OF_MEMORY, cell=scene.document.cells[1]), 81
        ),
        ended_pod(jobs[2], None, 137, disruption="PreemptionByScheduler"),
    ]
    plan = scene.decide_live(*[finished(job, "Failed") for job in jobs], *fates, at=61)
    assert plan.status is not None
    assert plan.status.gpu_seconds is not None
    assert (plan.status.gpu_seconds.used, plan.status.gpu_seconds.wasted) == (2 * 2 * 49, 2 * 49)


def test_events_tell_of_ends_and_of_nothing_else() -> None:
    scene, jobs = all_active(Scene.of(models=["a", "b", "c"]))
    assert scene.decide(*jobs, *map(running_pod, jobs), at=9).events == ()
    a, b, _ = scene.document.cells
    pods = [
        ended_pod(jobs[0], scene.verdict(a), 0),
        ended_pod(jobs[1], scene.failure(Reason.NAN_OUTPUT, cell=b), 86),
        ended_pod(jobs[2], None, 137, disruption="PreemptionByScheduler"),
    ]
    plan = scene.decide_live(*[finished(job, "Failed") for job in jobs], *pods, at=61)
    assert [(event.type, event.reason, event.message) for event in plan.events] == [
        ("Normal", EventReason.SHARD_FINISHED, f"a/default/default shard 1: measured, result {scene.result_name(a)}"),
        (
            "Warning",
            EventReason.ATTEMPT_FAILED,
            (
                f"b/default/default shard 1 attempt 1 (Job {jobs[1].name}, pod {pods[1].name}, node node-1, container runner,"
                " exit code 86): Failed, NaNOutput: it was NaNOutput"
            ),
        ),
        (
            "Warning",
            EventReason.ATTEMPT_FAILED,
            (
                f"c/default/default shard 1 attempt 1 (Job {jobs[2].name}, pod {pods[2].name}, node node-1, container runner,"
                f" exit code 137): Preempted: pod {pods[2].name} on node node-1: PreemptionByScheduler; another attempt follows"
            ),
        ),
    ]


def test_the_end_of_a_run_is_an_event_once() -> None:
    scene, (job,) = all_active(Scene.of())
    job, pod = finished(job), ended_pod(job, scene.verdict(), 0)
    plan = scene.decide(job, pod, at=61)
    assert [event.reason for event in plan.events] == [EventReason.SHARD_FINISHED, EventReason.RUN_COMPLETE]
    assert (plan.events[1].type, plan.events[1].message) == ("Normal", "1 of 1 cell finished: 1 succeeded")
    assert scene.after(plan).decide(job, pod, at=62).events == ()


def test_the_failure_of_a_run_is_a_warning() -> None:
    scene, (job,) = all_active(Scene.of())
    pod = ended_pod(job, scene.failure(Reason.NAN_OUTPUT), 86)
    plan = scene.decide(finished(job, "Failed"), pod, at=61)
    end = plan.events[-1]
    assert (end.type, end.reason) == ("Warning", EventReason.RUN_FAILED)
    assert end.message == "1 of 1 cell finished: 0 succeeded, 1 failed (wan/default/default NaNOutput)"


def test_a_row_shows_where_it_ran_and_whose_memory_it_was() -> None:
    scene, (job,) = all_active(Scene.of())
    verdict = scene.verdict(environment=Environment(device="cpu"), memory=Memory(host=3 * 1024**2))
    plan = scene.decide(finished(job), ended_pod(job, verdict, 0), at=61)
    assert plan.status is not None
    (row,) = plan.status.rows
    assert (row.gpu, row.memory_mebibytes, row.memory_of) == ("cpu", 3, "Host")


def test_a_row_of_several_shards_says_which_one_failed() -> None:
    scene, jobs = all_active(Scene.of(measurement={"shards": 2}))
    pod = ended_pod(jobs[1], scene.failure(Reason.NAN_OUTPUT, shard=2), 86)
    plan = scene.decide(jobs[0], running_pod(jobs[0]), finished(jobs[1], "Failed"), pod, at=61)
    assert plan.status is not None
    assert plan.status.rows[0].message == "shard 2: it was NaNOutput"


STORED: list[Any] = [
    pytest.param([], id="no rows"),
    pytest.param([{"shards": ()}], id="a row without shards"),
    pytest.param([{"hardware": "nowhere", "model": "other"}], id="a row of other names"),
    pytest.param([{"id": "00000000"}], id="a row of no cell"),
]


@pytest.mark.parametrize("changes", STORED)
def test_rows_that_somebody_broke_are_made_whole(changes: list[dict[str, Any]]) -> None:
    scene = Scene.of(measurement={"shards": 2})
    rows = tuple(scene.run.status.rows[0].model_copy(update=change) for change in changes)
    plan = scene.with_status(scene.run.status.model_copy(update={"rows": rows})).decide()
    assert plan.status is not None
    assert [(row.id, row.model, row.hardware, len(row.shards)) for row in plan.status.rows] == [
        (scene.cell.id, "wan", "default", 2)
    ]
    assert all(shard.attempt == 1 for shard in shards_of(plan.status))


def test_one_shard_that_needs_a_look_makes_the_pass_do_nothing_else() -> None:
    scene = Scene.of(models=["a", "b"]).active(job_uid="seen once")
    plan = scene.decide(at=50)
    assert plan == Plan(needs_live=True)

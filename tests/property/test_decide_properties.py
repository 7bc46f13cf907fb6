"""What must hold of deciding whatever happens: schedules of events on a model cluster, with crashes between writes.

The invariants are asserted by the cluster in every write (see `support/model_cluster.py`); the tests here add what
must hold at the end.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.builders import NOW, Scene
from support.model_cluster import CrashError, ModelCluster, OperatorPass
from support.model_events import (
    ACCIDENTS,
    PROGRESS,
    Event,
    all_goes_well,
    container_starts,
    job_controller_works,
    job_is_requeued,
    operator_sees_the_past,
    pod_is_deleted,
    run_is_held,
    runner_ends,
    scheduler_works,
)

from vidbench_api.names import Outcome, Reason, RowPhase, RunPhase
from vidbench_operator.core.observed import latest_pod

LONG = 100_000
SHORT = 400
TIMEOUTS = {
    "schedulingSeconds": 60,
    "imagePullSeconds": 60,
    "loadSeconds": 60,
    "shardSeconds": 200,
    "noProgressSeconds": 60,
}
MAX_PASSES = 500
Schedule = list[tuple[Event, int, int]]

schedules = st.lists(
    st.tuples(st.sampled_from(ACCIDENTS + PROGRESS + PROGRESS), st.integers(0, 10), st.integers(0, 10)), max_size=80
)
specs = st.fixed_dictionaries(
    {
        "models": st.sampled_from((["a"], ["a", "b"], ["a", "b", "c"])),
        "hardware": st.sampled_from(([{"name": "gpu"}], [{"name": "gpu"}, {"name": "cpu", "gpus": 0}])),
        "measurement": st.sampled_from(({"shards": 1}, {"shards": 2}, {"shards": 2, "pairing": "Node"})),
        "parallelism": st.sampled_from((0, 1, 2, 4, 4)),
        "artifacts": st.sampled_from(({}, {"storageUri": "claim://store"})),
        "scheduling": st.sampled_from(({}, {}, {"queueName": "lab"})),
        "autoscaling": st.sampled_from(({"mode": "Off"}, {"mode": "Capacity"}, {"mode": "Capacity", "min": 2})),
        "failurePolicy": st.sampled_from(
            ({"infrastructureRetries": 0}, {"infrastructureRetries": 2}, {"outOfMemory": "Fallback"})
        ),
        "timeouts": st.sampled_from((TIMEOUTS | {"runSeconds": SHORT}, TIMEOUTS | {"runSeconds": LONG})),
        "ttl": st.sampled_from(({}, {"runSeconds": 0}, {"jobsSeconds": 0})),
    }
)


def play(spec: dict[str, object], schedule: Schedule) -> ModelCluster:
    """Let a schedule happen to a run that was just accepted."""
    cluster = ModelCluster(Scene.of(**spec))
    for event, first, second in schedule:
        event(cluster, first, second)
        check(cluster)
    return cluster


def check(cluster: ModelCluster) -> None:
    """What holds after every event."""
    terminal = [
        condition.type
        for condition in cluster.status.conditions
        if condition.type in ("Complete", "Failed") and condition.status == "True"
    ]
    assert len(terminal) == (1 if cluster.status.completion_time else 0)
    budget = 1 + cluster.scene.run.spec.failure_policy.infrastructure_retries + 3
    for row in cluster.status.rows:
        for shard in row.shards:
            assert shard.attempt - shard.disruptions <= budget
            assert len(shard.failures) <= 8
            assert all(failure.attempt <= shard.attempt for failure in shard.failures)


def cancelled(cluster: ModelCluster) -> list[str]:
    """The cells that only the run's own deadline ended; a rung that cannot help is not even tried."""
    return [
        row.id
        for row in cluster.status.rows
        for shard in row.shards
        if shard.outcome is Outcome.CANCELLED and shard.reason != Reason.RUNG_SKIPPED
    ]


def wait_alone(cluster: ModelCluster) -> None:
    """Nothing happens any more but time and the operator's passes, until the run has ended."""
    for _ in range(MAX_PASSES):
        cluster.see()
        wait = OperatorPass(cluster, cluster.views[-1]).run()
        check(cluster)
        if cluster.ended:
            return
        assert wait is not None, "a run that nothing will end"
        cluster.now += wait
    raise AssertionError("a run that does not end")


def settle_down(cluster: ModelCluster) -> None:
    """Let the operator clean up after a run that has ended."""
    for _ in range(4):
        cluster.see()
        OperatorPass(cluster, cluster.views[-1]).run()


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    {
        "models": ["a", "b"],
        "hardware": [{"name": "gpu"}, {"name": "cpu", "gpus": 0}],
        "measurement": {"shards": 2, "pairing": "Node"},
        "parallelism": 4,
        "failurePolicy": {"infrastructureRetries": 0},
        "timeouts": TIMEOUTS | {"runSeconds": LONG},
    },
    [
        (all_goes_well, 0, 0),
        (operator_sees_the_past, 0, 1),
        (pod_is_deleted, 0, 0),
        (runner_ends, 0, 0),
        (job_is_requeued, 0, 0),
        (job_controller_works, 0, 0),
    ],
)
@given(specs, schedules)
def test_a_run_whatever_happens_ends_in_time_with_one_result_a_shard_and_then_rests(
    spec: dict[str, object], schedule: Schedule
) -> None:
    check_end_of(play(spec, schedule))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs, st.integers(0, 2**32), st.integers(60, 200))
def test_a_run_after_a_long_story_ends_in_time_with_one_result_a_shard_and_then_rests(
    spec: dict[str, object], seed: int, length: int
) -> None:
    chance = Random(seed)
    events = ACCIDENTS + PROGRESS * 3
    check_end_of(
        play(spec, [(chance.choice(events), chance.randrange(10), chance.randrange(10)) for _ in range(length)])
    )


def check_end_of(cluster: ModelCluster) -> None:
    """Wait for the end of the run, and for the rest after it."""
    begin = cluster.now
    run_is_held(cluster, 1, 0)
    cluster.open_queue()
    wait_alone(cluster)
    run = cluster.scene.run
    paused = cluster.status.paused_seconds
    assert cluster.now <= max(begin, NOW + run.spec.timeouts.run_seconds + paused) + 2
    if run.spec.timeouts.run_seconds == LONG and run.spec.parallelism > 0 and run.spec.cancel == "None":
        assert not cancelled(cluster), "a state without a limit of its own"
    assert all(shard.phase is RowPhase.FINISHED for row in cluster.status.rows for shard in row.shards)
    standing = [result for result in cluster.results.values() if not result.superseded]
    assert len(standing) == cluster.status.shards.total
    settle_down(cluster)
    for job in cluster.jobs.values():
        pod = latest_pod(cluster.pods.values(), job.uid)
        over = job.finished is not None or (pod is not None and pod.completes_its_job)
        assert over, "a Job runs on after the end of its run"
    job_controller_works(cluster, 0, 0)
    settle_down(cluster)
    assert all(job.finished is not None for job in cluster.jobs.values())
    assert all(job.ttl_seconds is not None for job in cluster.jobs.values()), "a Job that never expires"
    writes, status = cluster.writes, cluster.status
    settle_down(cluster)
    assert cluster.writes == writes, "an ended run is written about"
    assert cluster.status == status


def test_a_job_that_is_created_before_the_status_names_it_is_noticed() -> None:
    cluster = ModelCluster(Scene.of(timeouts=TIMEOUTS | {"runSeconds": LONG}))
    careless = OperatorPass(cluster, cluster.views[-1], crash_after=1, create_before_status=True)
    with pytest.raises(AssertionError, match="a Job that no status names"):
        careless.run()


@pytest.mark.parametrize("write", range(8))
def test_a_crash_before_any_one_write_leads_to_the_same_end(write: int) -> None:
    cluster = ModelCluster(Scene.of(models=["a", "b"], timeouts=TIMEOUTS | {"runSeconds": LONG}))
    crashed = False
    for _ in range(8):
        cluster.see()
        try:
            OperatorPass(cluster, cluster.views[-1], crash_after=None if crashed else write - cluster.writes).run()
        except CrashError:
            crashed = True
        job_controller_works(cluster, 0, 0)
        for _ in range(len(cluster.pods)):
            scheduler_works(cluster, 0, 2)
            container_starts(cluster, 0, 0)
            runner_ends(cluster, 0, 0)
    assert crashed
    assert cluster.status.phase is RunPhase.SUCCEEDED
    assert all(len(uids) == 1 for uids in cluster.jobs_created.values())
    calls = cluster.writes - cluster.version
    assert calls <= 3 * 2 + 2, "three mutating calls a shard, and after a crash the results once more"


def test_runs_that_store_artifacts_are_harvested_of_the_right_attempts() -> None:
    """The path is rare in stories of every kind: here most of them get there, and the origin of each figure is checked."""
    spec = {
        "models": ["a", "b"], "parallelism": 4, "artifacts": {"storageUri": "claim://store"},
        "timeouts": TIMEOUTS | {"runSeconds": LONG},
    }  # fmt: skip
    harvested = 0
    for seed in range(100):
        chance = Random(seed)
        events = ACCIDENTS + PROGRESS * 6
        cluster = play(spec, [(chance.choice(events), chance.randrange(10), chance.randrange(10)) for _ in range(150)])
        harvested += sum("read from the artifacts" in (result.message or "") for result in cluster.results.values())
        check_end_of(cluster)
    assert harvested > 5

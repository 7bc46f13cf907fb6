"""What must hold of deciding whatever happens: schedules of events on a model cluster, with crashes between writes.

The invariants are asserted by the cluster in every write (see `support/model_cluster.py`); the tests here add what
must hold at the end.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import NOW, Scene
from support.model_cluster import ModelCluster, OperatorPass
from support.model_events import (
    ACCIDENTS,
    PROGRESS,
    Event,
)

from vidbench_api.names import Outcome, RowPhase

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
    st.tuples(st.sampled_from(ACCIDENTS + PROGRESS + PROGRESS), st.integers(0, 9), st.integers(0, 9)), max_size=60
)
specs = st.fixed_dictionaries(
    {
        "models": st.sampled_from((["a"], ["a", "b"], ["a", "b", "c"])),
        "hardware": st.sampled_from(([{"name": "gpu"}], [{"name": "gpu"}, {"name": "cpu", "gpus": 0}])),
        "measurement": st.sampled_from(({"shards": 1}, {"shards": 2})),
        "parallelism": st.sampled_from((0, 1, 2, 4, 4)),
        "failurePolicy": st.sampled_from(({"infrastructureRetries": 0}, {"infrastructureRetries": 2})),
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
    budget = 1 + cluster.scene.run.spec.failure_policy.infrastructure_retries + 2
    for row in cluster.status.rows:
        for shard in row.shards:
            assert shard.attempt <= budget


def cancelled(cluster: ModelCluster) -> list[str]:
    """The cells that only the run's own deadline ended."""
    return [row.id for row in cluster.status.rows for shard in row.shards if shard.outcome is Outcome.CANCELLED]


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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs, schedules)
def test_a_run_whatever_happens_ends_in_time_with_one_result_a_shard_and_then_rests(
    spec: dict[str, object], schedule: Schedule
) -> None:
    cluster = play(spec, schedule)
    begin = cluster.now
    wait_alone(cluster)
    run = cluster.scene.run
    assert cluster.now <= max(begin, NOW + run.spec.timeouts.run_seconds) + 1
    if run.spec.timeouts.run_seconds == LONG and run.spec.parallelism > 0:
        assert not cancelled(cluster), "a state without a limit of its own"
    assert all(shard.phase is RowPhase.FINISHED for row in cluster.status.rows for shard in row.shards)
    assert len(cluster.results) == cluster.status.shards.total
    settle_down(cluster)
    assert all(job.finished is not None for job in cluster.jobs.values()), "a Job runs on after the end of its run"
    assert all(job.ttl_seconds is not None for job in cluster.jobs.values()), "a Job that never expires"
    writes, status = cluster.writes, cluster.status
    settle_down(cluster)
    assert cluster.writes == writes, "an ended run is written about"
    assert cluster.status == status

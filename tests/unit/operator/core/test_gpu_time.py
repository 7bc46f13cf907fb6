"""What GPUs were held for, from results and statuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, Scene, ended_pod, finished, latencies

from vidbench_api.names import Outcome, Reason
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, GpuSeconds
from vidbench_operator.core.gpu_time import GpuTime, spent_between, split_result
from vidbench_operator.core.timestamps import format_time

SCENE = Scene.of(hardware=[{"name": "gpu", "gpus": 2}])
TWO_CLIPS = (latencies(3_000_000, 5_000_000),)


def result(held: int, started: float | None, ended: float | None, series: Any = TWO_CLIPS) -> BenchmarkResultSpec:
    """A result of a pod that was bound at NOW."""
    spec = SCENE.result()
    origin = spec.origin.model_copy(
        update={
            "gpu_seconds": held,
            "started_at": None if started is None else format_time(NOW + started),
            "finished_at": None if ended is None else format_time(NOW + ended),
        }
    )
    return spec.model_copy(update={"series": series, "origin": origin})


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param(result(60, 10, 30), GpuTime(useful=16, overhead=24, idle=20), id="pulled, loaded, measured"),
        pytest.param(result(60, 10, 30, ()), GpuTime(overhead=40, idle=20), id="no sample was measured"),
        pytest.param(result(60, None, 30, ()), GpuTime(idle=60), id="its container never started"),
        pytest.param(result(60, 10, None), GpuTime(useful=16, overhead=44), id="nobody knows when it ended"),
        pytest.param(result(10, 0, 3), GpuTime(useful=6, idle=4), id="no more useful time than it ran"),
        pytest.param(result(10, 5, 3), GpuTime(idle=10), id="clocks that contradict each other"),
        pytest.param(result(0, 10, 30), GpuTime(), id="no pod held anything"),
    ],
)
def test_time_of_a_result_is_split(spec: BenchmarkResultSpec, want: GpuTime) -> None:
    assert split_result(spec, gpus=2) == want


moments = st.none() | st.floats(0, 1e6)


@given(
    held=st.integers(0, 10**6),
    started=moments,
    ended=moments,
    samples=st.lists(st.integers(0, 10**10), max_size=5),
    gpus=st.integers(0, 16),
)
def test_no_second_is_lost_or_made_up(
    held: int, started: float | None, ended: float | None, samples: list[int], gpus: int
) -> None:
    series = (latencies(*samples),) if samples else ()
    spent = split_result(result(held, started, ended, series), gpus)
    assert spent.useful + spent.overhead + spent.idle == pytest.approx(held)
    assert min(spent.useful, spent.overhead, spent.idle) >= -1e-6
    assert spent.wasted == 0


def statuses(scene: Scene, used: int, wasted: int, **shard: Any) -> BenchmarkRunStatus:
    status = scene.with_shard(**shard).run.status
    return status.model_copy(update={"gpu_seconds": GpuSeconds(used=used, wasted=wasted)})


def test_attempts_that_ended_between_two_statuses_are_counted_once() -> None:
    before = statuses(SCENE, 0, 5)
    name = SCENE.result_name()
    after = statuses(SCENE, 60, 12, outcome=Outcome.SUCCEEDED, result=name)
    spec = result(60, 10, 30)
    spent = spent_between(SCENE.run.uid, before, after, {name: spec}, SCENE.document)
    assert spent == split_result(spec, 2) + GpuTime(wasted=7)
    later = after.model_copy(update={"gpu_seconds": GpuSeconds(used=61, wasted=12)})
    assert spent_between(SCENE.run.uid, after, later, {name: spec}, SCENE.document) == GpuTime()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("reused", id="a result of an earlier run cost this one nothing"),
        pytest.param("failed", id="a failed shard is wasted, as the status says"),
        pytest.param("unknown", id="a result that is not at hand is not guessed at"),
    ],
)
def test_nothing_is_made_up(case: str) -> None:
    name = SCENE.result_name()
    spec = result(60, 10, 30)
    if case == "reused":
        spec = spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "another"})})
    outcome = Outcome.FAILED if case == "failed" else Outcome.SUCCEEDED
    results = {} if case == "unknown" else {name: spec}
    after = statuses(SCENE, 60, 0, outcome=outcome, result=name)
    assert spent_between(SCENE.run.uid, statuses(SCENE, 0, 0), after, results, SCENE.document) == GpuTime()


def test_pass_that_ends_an_attempt_adds_up_to_what_the_status_says() -> None:
    """Decided for real: the status' used and the split of its results agree."""
    job = SCENE.job()
    scene = SCENE.active(job_uid=job.uid)
    pod = ended_pod(job, scene.verdict(), 0)
    held = replace(pod, scheduled_at=pod.finished_at - 100 if pod.finished_at else None)
    plan = scene.decide_live(finished(job), held)
    assert plan.status is not None
    assert plan.status.gpu_seconds is not None
    results = {entry.name: entry.spec for entry in plan.results}
    spent = spent_between(scene.run.uid, scene.run.status, plan.status, results, scene.document)
    assert plan.status.gpu_seconds.used == 200
    assert spent.useful + spent.overhead + spent.idle == pytest.approx(200)
    assert spent.wasted == plan.status.gpu_seconds.wasted == 0


def test_attempt_without_a_result_is_wasted() -> None:
    job = SCENE.job()
    scene = SCENE.active(job_uid=job.uid)
    pod = ended_pod(job, scene.failure(Reason.INTERNAL_ERROR), 94)
    held = replace(pod, scheduled_at=pod.finished_at - 10 if pod.finished_at else None)
    plan = scene.decide_live(finished(job, "Failed"), held)
    assert plan.status is not None
    spent = spent_between(scene.run.uid, scene.run.status, plan.status, {}, scene.document)
    assert spent == GpuTime(wasted=20)

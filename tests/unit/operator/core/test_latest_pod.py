"""Which of a Job's pods is its last one, whatever clocks and watches say."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from support.builders import NOW, Scene, ended_pod, pod_of, running_pod

from vidbench_operator.core.observed import ObservedPod, latest_pod

SCENE = Scene.of()
JOB = SCENE.job()
FIRST = replace(ended_pod(JOB, SCENE.verdict()), uid="first", created_at=NOW)
RUNNING = replace(running_pod(JOB), uid="second", created_at=NOW + 60)


CASES = [
    pytest.param((FIRST, RUNNING), "second", id="the one that was made later"),
    pytest.param((FIRST, replace(RUNNING, created_at=NOW)), "second", id="of one second, the one that lives"),
    pytest.param((FIRST, replace(RUNNING, created_at=NOW - 3600)), "second", id="the one that lives, clock set back"),
    pytest.param(
        (replace(FIRST, gone=True), replace(FIRST, uid="second")), "second", id="of one second, the one there"
    ),
    pytest.param((FIRST, replace(FIRST, uid="second", created_at=NOW + 1, gone=True)), "second", id="both ended"),
    pytest.param(
        (
            replace(FIRST, phase="Failed", exit_code=137, disruption="DeletionByPodGC", gone=True),
            replace(FIRST, uid="second", created_at=NOW - 3600),
        ),
        "second",
        id="the one that succeeded, clock set back between them",
    ),
    pytest.param((FIRST, replace(RUNNING, job_uid="another")), "first", id="not another Job's"),
    pytest.param((replace(running_pod(JOB), uid="first"), FIRST), "first", id="seen twice: its end counts"),
]


@pytest.mark.parametrize(("pods", "latest"), CASES)
def test_last_pod_of_a_job_is_found_in_any_order(pods: tuple[ObservedPod, ...], latest: str) -> None:
    for order in permutations(pods):
        found = latest_pod(order, JOB.uid)
        assert found is not None
        assert (found.uid, found.ended) == (latest, latest == "first" or found.ended)


def test_job_without_a_pod_has_no_last_one() -> None:
    assert latest_pod((pod_of(SCENE.job(attempt=2)),), JOB.uid) is None

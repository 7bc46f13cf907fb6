"""An operator that is killed, away or told to go, on a real API server with the pods' ends played."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.live_runs import (
    WAIT_SECONDS,
    apply,
    assert_one_result_a_shard,
    condition,
    create_class,
    has_ended,
    jobs_of,
    make_run,
    results_of,
    running_pods,
    shards_of,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import Ending, PlayedKubelet, Pod, Script, succeeds

from localcluster.controlplane import ControlPlane

Play = Callable[[str, Script], PlayedKubelet]


@pytest.fixture(scope="session")
def played_class(api: KubeApi) -> None:
    """The class of all runs here."""
    create_class(api)


@pytest.fixture
def play(api: KubeApi) -> Iterator[Play]:
    """Starts a played kubelet of a namespace."""
    kubelets: list[PlayedKubelet] = []

    def start(namespace: str, script: Script) -> PlayedKubelet:
        kubelet = PlayedKubelet(api, namespace, script)
        kubelets.append(kubelet.__enter__())
        return kubelet

    yield start
    for kubelet in kubelets:
        kubelet.__exit__(None, None, None)
        assert kubelet.errors == []


@pytest.fixture
def operator(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, played_class: None
) -> Iterator[OperatorProcess]:
    """An operator of the test's own, to be killed."""
    with OperatorProcess(tmp_path, control_plane.admin_kubeconfig, namespace) as running:
        yield running


def test_killed_operator_loses_and_repeats_nothing(
    api: KubeApi,
    namespace: str,
    control_plane: ControlPlane,
    tmp_path: Path,
    played_class: None,
    play: Play,
) -> None:
    """kill -9 at random moments while 20 cells run."""
    chance = random.Random(20)
    durations: dict[str, float] = {}

    def script(pod: Pod) -> Ending:
        uid = pod["metadata"]["uid"]
        return succeeds(pod, after_seconds=durations.setdefault(uid, chance.uniform(0.0, 4.0)))

    play(namespace, script)
    run = make_run(namespace, models=20, parallelism=7)
    with OperatorProcess(tmp_path, control_plane.admin_kubeconfig, namespace) as operator:
        apply(api, run)
        kills = 0
        while not has_ended(api.get(run).body):
            assert kills < 40, "the run does not get on"
            time.sleep(chance.uniform(0.0, 1.5))
            operator.kill()
            kills += 1
            operator.start()
        body = api.get(run).body
        assert kills >= 3
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)
    assert {shard["attempt"] for shard in shards_of(body)} == {1}
    names = [job["metadata"]["name"] for job in jobs_of(api, namespace)]
    assert len(names) == len(set(names)) == 20


def test_pods_that_end_while_the_operator_is_away_count(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Play
) -> None:
    let_end = False

    def script(pod: Pod) -> Ending | None:
        return succeeds(pod) if let_end else None

    play(namespace, script)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 3)
    operator.kill()
    let_end = True
    deadline = time.monotonic() + WAIT_SECONDS
    while not all(job["status"].get("succeeded") == 1 for job in jobs_of(api, namespace)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert results_of(api, run) == []
    operator.start()
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)


def test_terminated_operator_ends_at_once_and_well(operator: OperatorProcess) -> None:
    assert operator.terminate() == 0


def test_steady_state_writes_nothing(
    api: KubeApi,
    namespace: str,
    operator: OperatorProcess,
    play: Play,
    control_plane: ControlPlane,
) -> None:
    play(namespace, lambda pod: None)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 3)
    time.sleep(2)
    before = api.get(run).body["metadata"]["resourceVersion"]
    written = operator.log.count('"mutation"')
    operator.kill()
    operator.start()
    time.sleep(4)
    assert operator.log.count('"mutation"') == written
    assert api.get(run).body["metadata"]["resourceVersion"] == before


def test_api_server_that_goes_and_comes_back_costs_nothing(
    api: KubeApi,
    namespace: str,
    operator: OperatorProcess,
    play: Play,
    control_plane: ControlPlane,
) -> None:
    kubelet = play(namespace, lambda pod: succeeds(pod, after_seconds=1.0))
    run = make_run(namespace, models=6, parallelism=2)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 2)
    kubelet.is_away = True
    control_plane.kill("kube-apiserver")
    time.sleep(4)
    control_plane.start("kube-apiserver")
    back = time.monotonic()
    late = make_run(namespace, "late")
    apply(api, late)
    wait_until(api, late, lambda body: bool(body.get("status", {}).get("requestDigest")))
    print(f"a new run was served {time.monotonic() - back:.1f} s after the API server was back")
    kubelet.is_away = False
    for each in (run, late):
        body = wait_until(api, each, has_ended)
        assert condition(body, "Complete")["reason"] == "AllSucceeded"
        assert_one_result_a_shard(api, each, body)
    assert operator.log.count('"event": "started"') == 1
    assert operator.get("/healthz") == (200, "ok")

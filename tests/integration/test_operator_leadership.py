"""Two operators on a real API server: one acts, the other one is ready to. Prints the seconds that were seen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from integration.live_runs import (
    apply,
    assert_one_result_a_shard,
    condition,
    create_class,
    has_begun,
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
from support.played_kubelet import PlayedKubelet, Script, succeeds

from localcluster.controlplane import ControlPlane

LEASE = "vidbench-operator"
TAKEOVER_SECONDS = 20.0
HANDOVER_SECONDS = 10.0
"""Less than a Lease lasts that nobody lets go: 12 s, of which two may be over."""

Play = Callable[[Script], PlayedKubelet]


@pytest.fixture
def play(api: KubeApi, namespace: str) -> Iterator[Play]:
    """Starts the played kubelet of the test's namespace."""
    create_class(api)
    kubelets: list[PlayedKubelet] = []

    def start(script: Script) -> PlayedKubelet:
        kubelets.append(PlayedKubelet(api, namespace, script).__enter__())
        return kubelets[-1]

    yield start
    for kubelet in kubelets:
        kubelet.__exit__(None, None, None)
        assert kubelet.errors == []


@pytest.fixture
def pair(
    control_plane: ControlPlane, namespace: str, api: KubeApi, tmp_path: Path
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Two operators of one namespace, the first of which leads."""
    first = _operator(control_plane, namespace, tmp_path, "first")
    second = _operator(control_plane, namespace, tmp_path, "second")
    with first:
        _wait("the first to lead", lambda: _holder(api, namespace) == "first")
        with second:
            yield first, second


def _operator(control_plane: ControlPlane, namespace: str, tmp_path: Path, identity: str) -> OperatorProcess:
    return OperatorProcess(
        tmp_path / identity,
        control_plane.admin_kubeconfig,
        namespace,
        leader_election="true",
        lease_namespace=namespace,
        identity=identity,
        resync_seconds="10",
    )


def _holder(api: KubeApi, namespace: str) -> str:
    lease = api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
    return str((lease.body.get("spec") or {}).get("holderIdentity") or "")


def _wait(what: str, holds: Callable[[], bool], seconds: float = 30) -> float:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def _leads(operator: OperatorProcess) -> bool:
    return "vidbench_leader 1.0" in operator.get("/metrics")[1]


def _mutations(operator: OperatorProcess) -> list[dict[str, Any]]:
    """What an operator has written, by its audit lines."""
    return [entry for entry in operator.mutations if entry["code"] != "withheld"]


def _begun(entry: dict[str, Any]) -> datetime:
    """When the call of an audit line began."""
    return datetime.fromisoformat(entry["timestamp"]) - timedelta(milliseconds=entry["milliseconds"])


def test_follower_is_ready_and_writes_nothing(
    api: KubeApi, namespace: str, pair: tuple[OperatorProcess, OperatorProcess], play: Play
) -> None:
    first, second = pair
    play(lambda pod: succeeds(pod, after_seconds=0.2))
    run = make_run(namespace, models=4, parallelism=2)
    apply(api, run)
    body = wait_until(api, run, has_ended)
    assert_one_result_a_shard(api, run, body)
    assert (_leads(first), _leads(second)) == (True, False)
    assert second.get("/readyz")[0] == second.get("/healthz")[0] == 200
    assert _mutations(second) == []
    written = _mutations(first)
    assert {entry["writer"] for entry in written} == {"first"}
    events = api.request("GET", f"/api/v1/namespaces/{namespace}/events").body["items"]
    ours = [entry for entry in events if entry.get("reportingComponent") == "vidbench-operator"]
    assert {entry["reportingInstance"] for entry in ours} == {"first"}
    elected = [entry for entry in ours if entry["reason"] == "LeaderElected"]
    assert [entry["message"] for entry in elected] == ["first leads"]


def test_killed_leader_is_followed_and_the_run_goes_on(
    api: KubeApi, namespace: str, pair: tuple[OperatorProcess, OperatorProcess], play: Play
) -> None:
    first, second = pair
    play(lambda pod: succeeds(pod, after_seconds=1.0))
    run = make_run(namespace, models=20, parallelism=3)
    apply(api, run)
    wait_until(api, run, lambda _: len(results_of(api, run)) >= 2)
    first.kill()
    seconds = _wait("the second to lead", lambda: _leads(second), TAKEOVER_SECONDS)
    print(f"kill -9 of the leader: the follower led after {seconds:.1f} s")
    wrote = seconds + _wait("its first write", lambda: bool(_mutations(second)))
    print(f"kill -9 of the leader: its first write came after {wrote:.1f} s")
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)
    assert {shard["attempt"] for shard in shards_of(body)} == {1}
    names = [job["metadata"]["name"] for job in jobs_of(api, namespace)]
    assert len(names) == len(set(names)) == 20
    first.start()
    time.sleep(3)
    assert (_leads(first), _leads(second)) == (False, True), "who comes back follows"


def test_pods_that_ended_and_went_while_nobody_led_count(
    api: KubeApi, namespace: str, pair: tuple[OperatorProcess, OperatorProcess], play: Play
) -> None:
    """The last words of a pod that is gone are in the follower's memory alone."""
    first, second = pair
    let_end = False
    kubelet = play(lambda pod: succeeds(pod) if let_end else None)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 3)
    first.kill()
    let_end = True
    _wait("the Jobs to end", lambda: all(job["status"].get("succeeded") == 1 for job in jobs_of(api, namespace)))
    for pod in kubelet.pods():
        answer = api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
        assert answer.status in (200, 202), answer.message
    _wait("the second to lead", lambda: _leads(second), TAKEOVER_SECONDS)
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


def test_terminated_leader_hands_over(
    api: KubeApi, namespace: str, pair: tuple[OperatorProcess, OperatorProcess], play: Play
) -> None:
    first, second = pair
    play(lambda pod: succeeds(pod, after_seconds=0.5))
    run = make_run(namespace, models=20, parallelism=2)
    apply(api, run)
    wait_until(api, run, has_begun)
    started = time.monotonic()
    first._daemon.send(signal.SIGTERM)
    _wait("the second to lead", lambda: _leads(second), HANDOVER_SECONDS)
    print(f"SIGTERM of the leader: the follower led after {time.monotonic() - started:.1f} s")
    body = wait_until(api, run, has_ended)
    assert_one_result_a_shard(api, run, body)
    _wait("the first to say that it let go", lambda: "leadership released" in first.log)


def test_frozen_leader_writes_nothing_when_it_wakes(
    api: KubeApi, namespace: str, pair: tuple[OperatorProcess, OperatorProcess], play: Play
) -> None:
    first, second = pair
    play(lambda pod: succeeds(pod, after_seconds=0.5))
    run = make_run(namespace, models=20, parallelism=2)
    apply(api, run)
    wait_until(api, run, has_begun)
    first._daemon.send(signal.SIGSTOP)
    # It is frozen for longer, and when a call began is known to within milliseconds only.
    stopped_at = datetime.now(UTC) + timedelta(seconds=1)
    seconds = _wait("the second to lead", lambda: _leads(second), TAKEOVER_SECONDS)
    print(f"SIGSTOP of the leader: the follower led after {seconds:.1f} s")
    time.sleep(1)
    first._daemon.send(signal.SIGCONT)
    body = wait_until(api, run, has_ended)
    assert (_leads(first), _leads(second)) == (False, True)
    # A call that was under way when it froze gets its answer now.
    begun_since = [entry for entry in _mutations(first) if _begun(entry) > stopped_at]
    assert begun_since == []
    _wait("the first to say that it lost", lambda: "leadership lost" in first.log)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)
    assert {shard["attempt"] for shard in shards_of(body)} == {1}

"""How many Jobs there are, on a real API server with the real Job controller and scheduler; the pods' ends are played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from integration.live_runs import (
    Manifest,
    apply,
    assert_one_result_a_shard,
    condition,
    create_class,
    create_namespaces,
    has_ended,
    jobs_of,
    make_run,
    running_pods,
    shards_of,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.kueue_stand_in import KueueStandIn
from support.played_kubelet import Ending, PlayedKubelet, Pod, succeeds
from support.quotas import JOBS, PODS, allow, forbid

from localcluster.controlplane import ControlPlane
from vidbench_api.names import LABEL_CELL

NAMESPACES = [f"capacity-{number}" for number in range(10)]
"""Of 6 tests; four may be tried twice in a session."""

GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Namespaces that one operator serves; each test takes one."""
    create_class(api)
    create_namespaces(api, NAMESPACES)
    directory = tmp_path_factory.mktemp("operator")
    settings = {"watch_namespaces": ",".join(NAMESPACES), "refusal_check_seconds": "1"}
    with OperatorProcess(directory, control_plane.admin_kubeconfig, NAMESPACES[0], **settings):
        yield list(NAMESPACES)


@pytest.fixture
def namespace(served: list[str]) -> str:
    return served.pop()


class Gate:
    """A script of runners that run until they are let end: all of them, or so many more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passes = 0
        self._ended: set[str] = set()
        self.is_open = False

    def let(self, count: int) -> None:
        """Let so many more end."""
        with self._lock:
            self._passes += count

    def __call__(self, pod: Pod) -> Ending | None:
        uid = pod["metadata"]["uid"]
        with self._lock:
            if not self.is_open and uid not in self._ended:
                if self._passes == 0:
                    return None
                self._passes -= 1
                self._ended.add(uid)
        return succeeds(pod)


def parallelism(body: Manifest) -> Manifest:
    return dict(body.get("status", {}).get("parallelism", {}))


def live_pods(kubelet: PlayedKubelet) -> dict[str, Pod]:
    """The namespace's pods that have not ended, by UID."""
    return {
        pod["metadata"]["uid"]: pod
        for pod in kubelet.pods()
        if pod["status"].get("phase") not in ("Succeeded", "Failed")
    }


def holds(check: Callable[[], bool], seconds: float = 2.0) -> None:
    """Assert that something goes on to be so for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert check()
        time.sleep(0.1)


def gpu_hardware(namespace: str) -> list[Manifest]:
    return [{"name": "gpu", "gpus": 1, "nodeSelector": {"vidbench.io/test-namespace": namespace}}]


def scale(api: KubeApi, run: Manifest, replicas: int) -> None:
    """Set the number of Jobs as `kubectl scale` does."""
    metadata = run["metadata"]
    path = f"/apis/vidbench.io/v1alpha1/namespaces/{metadata['namespace']}/benchmarkruns/{metadata['name']}/scale"
    answer = api.request("PATCH", path, {"spec": {"replicas": replicas}}, content_type="application/merge-patch+json")
    assert answer.accepted, answer.message


def test_scaling_up_starts_more_and_scaling_down_stops_nothing_that_runs(api: KubeApi, namespace: str) -> None:
    gate = Gate()
    with PlayedKubelet(api, namespace, gate) as kubelet:
        run = make_run(namespace, models=6, parallelism=1)
        apply(api, run)
        one = wait_until(api, run, lambda body: running_pods(body) == 1)
        assert (parallelism(one)["waiting"], parallelism(one)["limitedBy"]) == (5, "Parallelism")
        scale(api, run, 4)
        wait_until(api, run, lambda body: running_pods(body) == 4)
        running = live_pods(kubelet).keys()
        scale(api, run, 2)
        holds(lambda: live_pods(kubelet).keys() == running)
        gate.let(2)
        wait_until(api, run, lambda body: body["status"]["progress"] == "2/6")
        holds(lambda: len(live_pods(kubelet)) == 2)
        gate.let(1)
        wait_until(api, run, lambda body: body["status"]["progress"] == "3/6" and running_pods(body) == 2)
        scale(api, run, 0)
        gate.is_open = True
        held = wait_until(api, run, lambda body: parallelism(body)["active"] == 0)
        assert not has_ended(held)
        assert condition(held, "Reconciling")["reason"] == "HeldByParallelism"
        scale(api, run, 6)
        body = wait_until(api, run, has_ended)
    assert_one_result_a_shard(api, run, body)
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


def test_jobs_follow_the_nodes_there_are(api: KubeApi, namespace: str) -> None:
    """Two GPUs: what runs and a small probe. A node that joins is filled."""
    gate, most = Gate(), 0
    with PlayedKubelet(api, namespace, gate, allocatable={GPU: "2"}) as kubelet:
        run = make_run(namespace, models=12, hardware=gpu_hardware(namespace))
        apply(api, run)
        full = wait_until(
            api, run, lambda body: running_pods(body) == 2 and parallelism(body)["limitedBy"] == "Capacity"
        )
        assert parallelism(full)["waiting"] > 0
        time.sleep(1)
        most = len(live_pods(kubelet))
        assert most <= 2 + 4, f"{most} pods on two GPUs"
        with PlayedKubelet(api, namespace, gate, allocatable={GPU: "4"}, node=f"more-{namespace}"):
            wait_until(api, run, lambda body: running_pods(body) == 6)
            gate.is_open = True
            body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)


def test_quota_of_pods_is_respected_and_used_when_it_is_raised(api: KubeApi, namespace: str) -> None:
    forbid(api, namespace, PODS)
    with PlayedKubelet(api, namespace, succeeds):
        run = make_run(namespace, models=3, parallelism=3)
        apply(api, run)
        refused = wait_until(api, run, lambda body: parallelism(body).get("limitedBy") == "Quota")
        assert parallelism(refused)["running"] == 0
        allow(api, namespace, PODS, 9)
        body = wait_until(api, run, has_ended, 120)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


def test_quota_of_jobs_is_respected_without_a_storm_and_used_when_it_is_raised(api: KubeApi, namespace: str) -> None:
    forbid(api, namespace, JOBS)
    allow(api, namespace, JOBS, 2)
    gate = Gate()
    with PlayedKubelet(api, namespace, gate):
        run = make_run(namespace, models=8, parallelism=8)
        apply(api, run)
        refused = wait_until(
            api, run, lambda body: running_pods(body) == 2 and parallelism(body).get("limitedBy") == "Quota"
        )
        assert (parallelism(refused)["active"], parallelism(refused)["waiting"]) == (2, 6)
        holds(lambda: len(jobs_of(api, namespace)) == 2)
        allow(api, namespace, JOBS, 99)
        wait_until(api, run, lambda body: running_pods(body) == 8)
        gate.is_open = True
        body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


def test_paired_shards_run_on_one_node_and_move_together_when_it_is_cordoned(api: KubeApi, namespace: str) -> None:
    gate = Gate()
    names = [f"node-{namespace}", f"more-{namespace}"]
    with (
        PlayedKubelet(api, namespace, gate, allocatable={GPU: "2"}, node=names[0]) as kubelet,
        PlayedKubelet(api, namespace, gate, allocatable={GPU: "2"}, node=names[1]),
    ):
        run = make_run(namespace, models=5, hardware=gpu_hardware(namespace), measurement={"pairing": "Node"})
        apply(api, run)
        wait_until(api, run, lambda body: running_pods(body) == 2 and parallelism(body)["limitedBy"] == "Pairing")
        [first] = {pod["spec"].get("nodeName") for pod in live_pods(kubelet).values()}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": first}}
        assert api.merge_patch(node, {"spec": {"unschedulable": True}}).accepted
        wait_until(api, run, lambda body: running_pods(body) > 2)
        gate.is_open = True
        body = wait_until(api, run, has_ended)
        ran = [pod["spec"]["nodeName"] for pod in kubelet.pods()]
    [second] = set(names) - {first}
    assert (ran.count(first), ran.count(second)) == (2, 3)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


def test_queue_admits_evicts_and_lets_go_on_in_the_same_attempt(api: KubeApi, namespace: str) -> None:
    """The queue is a stand-in of Kueue: see its module."""
    gate = Gate()
    flavor = {"vidbench.io/test-namespace": namespace}
    with (
        PlayedKubelet(api, namespace, gate) as kubelet,
        KueueStandIn(api, namespace, "lab", quota=0, flavor=flavor) as queue,
    ):
        run = make_run(namespace, models=3, hardware=[{"name": "cpu", "gpus": 0}], scheduling={"queueName": "lab"},
                       timeouts={"schedulingSeconds": 15, "runSeconds": 3600})  # fmt: skip
        apply(api, run)
        queued = wait_until(api, run, lambda body: parallelism(body).get("queued") == 3)
        assert (parallelism(queued)["limitedBy"], condition(queued, "Reconciling")["reason"]) == ("Queue", "Queued")
        time.sleep(16)
        assert not has_ended(api.get(run).body), "schedulingSeconds must not count in the queue"
        queue.quota = 2
        wait_until(api, run, lambda body: running_pods(body) == 2 and parallelism(body)["queued"] == 1)
        [first, *_] = live_pods(kubelet).values()
        assert first["spec"]["nodeSelector"].items() >= flavor.items()
        evicted = first["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        queue.quota = 1
        queue.evict(evicted)
        wait_until(api, run, lambda body: running_pods(body) == 1 and parallelism(body)["queued"] == 2)
        queue.quota = 3
        wait_until(api, run, lambda body: running_pods(body) == 3 and parallelism(body)["queued"] == 0)
        again = next(pod for pod in live_pods(kubelet).values() if pod["metadata"]["labels"][LABEL_CELL] == first["metadata"]["labels"][LABEL_CELL])  # fmt: skip
        assert again["metadata"]["uid"] != first["metadata"]["uid"]
        gate.is_open = True
        body = wait_until(api, run, has_ended)
        assert queue.admissions.count(evicted) == 2
        assert queue.errors == []
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert {(shard["attempt"], shard["retries"], shard["disruptions"]) for shard in shards_of(body)} == {(1, 0, 0)}
    assert_one_result_a_shard(api, run, body)

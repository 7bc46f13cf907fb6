"""Where clips come from, with the real runner in a pod: nowhere (a mock), and a server in the cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import video_server
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_runs import real_run
from support.shared_cores import is_valid_but_for_the_machine

from demo.images import DEMO_RUNNER_IMAGE
from vidbench_api.measured import SeriesName
from vidbench_api.names import API_VERSION, Comparability, Outcome

SERVER_PORT = 8000
SERVE = f"""
import sys, time
sys.path.insert(0, "/script")
from video_server import video_server
with video_server(("0.0.0.0", {SERVER_PORT})):
    time.sleep(3600)
"""


def test_mock_is_measured_as_one_and_is_never_the_fastest(cluster: E2ECluster, namespace: str) -> None:
    cluster.apply(real_run(namespace, "dry", "cpu", models=[{"name": "mock"}]))
    view = cluster.wait_until_ended(namespace, "dry", 120)
    result = view.results["mock/cpu/default"]
    assert result.outcome is Outcome.SUCCEEDED, result.message
    assert is_valid_but_for_the_machine(result.validity), result.validity
    assert (result.comparability, view.row("mock/cpu/default").comparability) == (
        Comparability.MOCK,
        Comparability.MOCK,
    )
    assert result.environment is not None
    assert (result.environment.device, result.energy) == ("mock", None)
    latency = result.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert latency.statistics.count == 2
    assert latency.statistics.min >= 200_000, "it sleeps for 200 ms a clip"
    assert view.status.fastest is None


def test_server_in_the_cluster_is_measured_from_a_pod(
    cluster: E2ECluster, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    cluster.apply(*served(namespace))

    def address() -> str | None:
        pod = cluster.objects("Pod", namespace, "e2e=server")[0]
        ready = any(entry.get("ready") for entry in pod["status"].get("containerStatuses", ()))
        return pod["status"].get("podIP") if ready else None

    endpoint = f"http://{cluster.wait_for('the server', address, 120, namespace)}:{SERVER_PORT}/v1"
    runner_class = make_runner_class(services=[{"endpoint": endpoint}])
    clip = {"height": video_server.HEIGHT, "width": video_server.WIDTH, "frames": video_server.FRAMES, "steps": 2}
    model = {
        "apiVersion": API_VERSION,
        "kind": "VideoModel",
        "metadata": {"name": "served", "namespace": namespace},
        "spec": {"source": {"http": {"endpoint": endpoint, "model": "wan", "pollMilliseconds": 100}}, "defaults": clip},
    }
    cluster.apply(model, real_run(namespace, "served", runner_class, models=[{"name": "served"}]))
    view = cluster.wait_until_ended(namespace, "served", 120)
    result = view.results["served/cpu/default"]
    assert result.outcome is Outcome.SUCCEEDED, result.message
    assert result.comparability is Comparability.SERVICE
    assert result.service is not None
    assert (result.service.endpoint, result.service.resolution_microseconds) == (endpoint, 100_000)
    assert result.memory is None or (result.memory.allocated, result.memory.device) == (None, None)
    assert result.energy is None
    assert result.unmeasured["loaded"]
    assert result.samples_done == 2
    assert view.status.fastest is None
    cluster.kubectl("delete", "pod", "server", "-n", namespace)


def served(namespace: str) -> list[Manifest]:
    """A pod of the runner's image that serves clips, and its script."""
    metadata = {"name": "server", "namespace": namespace, "labels": {"e2e": "server"}}
    script = Path(video_server.__file__).read_text()
    container = {
        "name": "server",
        "image": DEMO_RUNNER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SERVE],
        "readinessProbe": {"tcpSocket": {"port": SERVER_PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "script", "mountPath": "/script"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": "server"}}],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"video_server.py": script}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]

"""Runs for a live operator: what tests apply, and what they wait for and read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from support.kube_api import KubeApi
from support.manifests import benchmark_run, runner_class

from vidbench_api.names import LABEL_RUN

Manifest = dict[str, Any]
WAIT_SECONDS = 60.0
CLASS = "played"


def create_class(api: KubeApi, name: str = CLASS) -> None:
    """Store a runner class whose image nobody pulls; a node of any size has room for many of its pods."""
    resources = {"cpu": "10m", "memory": "16Mi", "cpuLimit": "None"}
    answer = api.create(runner_class(name, image="played.invalid/runner:1", resources=resources))
    assert answer.status in (201, 409), answer.message


def create_namespaces(api: KubeApi, names: Iterable[str]) -> None:
    """Store namespaces; those that a first try of a fixture has left are taken as they are."""
    for name in names:
        answer = api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        assert answer.status in (201, 409), answer.message


def make_run(namespace: str, name: str = "run", models: int = 1, **spec: Any) -> Manifest:
    """A run of so many cells on the played node."""
    given = {
        "runnerClassName": CLASS,
        "models": [{"name": f"m{number}", "modelRef": {"name": "tiny-wan"}} for number in range(models)],
        "hardware": [{"name": "cpu", "gpus": 0, "nodeSelector": {"vidbench.io/test-namespace": namespace}}],
        "parallelism": 50,
    }
    return benchmark_run(name, namespace, **(given | spec))


def apply(api: KubeApi, run: Manifest) -> Manifest:
    """Store a run and the models that it names."""
    namespace = run["metadata"]["namespace"]
    model = {
        "apiVersion": run["apiVersion"],
        "kind": "VideoModel",
        "metadata": {"name": "tiny-wan", "namespace": namespace},
        "spec": {
            "source": {"tiny": "wan"},
            "pipelineClass": "WanPipeline",
            "defaults": {"dtype": "float32", "height": 32, "width": 32, "frames": 9, "steps": 4},
        },
    }
    assert api.create(model).status in (201, 409)
    answer = api.create(run)
    assert answer.accepted, answer.message
    return answer.body


def wait_until(
    api: KubeApi, run: Manifest, holds: Callable[[Manifest], bool], seconds: float = WAIT_SECONDS
) -> Manifest:
    """Wait until something holds of the stored run."""
    deadline = time.monotonic() + seconds
    while True:
        body = api.get(run).body
        if holds(body):
            return body
        assert time.monotonic() < deadline, f"not within {seconds} s: {body.get('status')}"
        time.sleep(0.1)


def condition(body: Manifest, kind: str) -> Manifest:
    """Return a condition of a run, or an empty one."""
    return next((entry for entry in body.get("status", {}).get("conditions", []) if entry["type"] == kind), {})


def has_ended(body: Manifest) -> bool:
    """Whether a run has come to its end."""
    return any(condition(body, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def results_of(api: KubeApi, run: Manifest) -> list[Manifest]:
    """Return the results of a run's namespace that name it."""
    path = f"/apis/vidbench.io/v1alpha1/namespaces/{run['metadata']['namespace']}/benchmarkresults"
    items = api.request("GET", path, query={"labelSelector": f"{LABEL_RUN}={run['metadata']['name']}"}).body["items"]
    return list(items)


def jobs_of(api: KubeApi, namespace: str) -> list[Manifest]:
    """Return the Jobs of a namespace."""
    return list(api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs").body["items"])


def events_of(api: KubeApi, run: Manifest) -> list[Manifest]:
    """Return the Events about a run."""
    metadata = run["metadata"]
    items = api.request("GET", f"/api/v1/namespaces/{metadata['namespace']}/events").body["items"]
    about = ("BenchmarkRun", metadata["name"])
    return [item for item in items if (item["involvedObject"]["kind"], item["involvedObject"]["name"]) == about]


def wait_for_events(api: KubeApi, run: Manifest, *reasons: str) -> list[Manifest]:
    """Return the Events about a run once each of these reasons is among them: they are written after the status."""
    wait_until(api, run, lambda _: {event["reason"] for event in events_of(api, run)} >= {*reasons})
    return events_of(api, run)


def shards_of(body: Manifest) -> list[Manifest]:
    """Return all shards of a run's status."""
    return [shard for row in body.get("status", {}).get("rows", []) for shard in row["shards"]]


def assert_one_result_a_shard(api: KubeApi, run: Manifest, body: Manifest) -> None:
    """Every shard of the status has its own result, and there is no other."""
    named = sorted(shard["result"] for shard in shards_of(body))
    stored = sorted(result["metadata"]["name"] for result in results_of(api, run))
    assert named == stored
    assert len(set(named)) == len(shards_of(body))


def running_pods(body: Manifest) -> int:
    """Return how many pods of a run its status says are running."""
    return int(body.get("status", {}).get("parallelism", {}).get("running", 0))


def has_begun(body: Manifest) -> bool:
    """Whether a pod of a run was seen running, or has ended: a short pod may do both between two statuses."""
    return running_pods(body) > 0 or any(shard.get("result") for shard in shards_of(body))

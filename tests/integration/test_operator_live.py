"""The operator on a real API server, with the pods' ends played: what a user sees, and what survives."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.manifests import benchmark_run, runner_class
from support.played_kubelet import Ending, PlayedKubelet, Pod, Script, model_of, succeeds

from localcluster.controlplane import ControlPlane
from vidbench_api.names import LABEL_RUN, ExitCode

Manifest = dict[str, Any]
WAIT_SECONDS = 60.0
CLASS = "played"


@pytest.fixture(scope="session")
def played_class(api: KubeApi) -> str:
    """A runner class whose image nobody pulls."""
    answer = api.create(
        runner_class(
            CLASS,
            image="played.invalid/runner:1",
            resources={"cpu": "10m", "memory": "16Mi", "cpuLimit": "None"},
        )
    )
    assert answer.accepted, answer.message
    return CLASS


@pytest.fixture
def play(api: KubeApi, namespace: str) -> Iterator[Callable[[Script], PlayedKubelet]]:
    """Starts a played kubelet of the test's namespace."""
    kubelets: list[PlayedKubelet] = []

    def start(script: Script) -> PlayedKubelet:
        kubelet = PlayedKubelet(api, namespace, script)
        kubelets.append(kubelet.__enter__())
        return kubelet

    yield start
    for kubelet in kubelets:
        kubelet.__exit__(None, None, None)
        assert kubelet.errors == []


@pytest.fixture
def operator(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, played_class: str
) -> Iterator[OperatorProcess]:
    """A running operator of the test's namespace."""
    with OperatorProcess(tmp_path, control_plane.admin_kubeconfig, namespace, refusal_check_seconds="1") as running:
        yield running


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


def shards_of(body: Manifest) -> list[Manifest]:
    """Return all shards of a run's status."""
    return [shard for row in body["status"]["rows"] for shard in row["shards"]]


def assert_one_result_a_shard(api: KubeApi, run: Manifest, body: Manifest) -> None:
    """Every shard of the status has its own result, and there is no other."""
    named = sorted(shard["result"] for shard in shards_of(body))
    stored = sorted(result["metadata"]["name"] for result in results_of(api, run))
    assert named == stored
    assert len(set(named)) == len(shards_of(body))


def test_run_completes_with_one_result_a_shard(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(succeeds)
    run = make_run(namespace, models=3, measurement={"shards": 2})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert condition(body, "Ready")["status"] == "True"
    assert body["status"]["progress"] == "3/3"
    assert_one_result_a_shard(api, run, body)
    for result in results_of(api, run):
        assert result["spec"]["origin"]["podUid"]
        assert not result["metadata"].get("ownerReferences")
    assert operator.get("/healthz") == (200, "ok")
    assert "vidbench_attempts_ended_total" in operator.get("/metrics")[1]
    events = api.request("GET", f"/api/v1/namespaces/{namespace}/events").body["items"]
    reasons = {event["reason"] for event in events if event["involvedObject"]["kind"] == "BenchmarkRun"}
    assert {"Accepted", "ShardFinished", "RunComplete"} <= reasons


def test_failures_end_as_their_own_reasons_and_leave_the_others_alone(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    endings = {
        "m0": Ending(int(ExitCode.MODEL_LOAD_FAILED), None, "Error"),
        "m1": Ending(137, None, "OOMKilled"),
        "m2": Ending(0, None),
        "m3": Ending(0, "x" * 4000),
        "m4": Ending(1, None, "Error"),
    }
    play(lambda pod: endings.get(model_of(pod)) or succeeds(pod))
    run = make_run(namespace, models=6)
    apply(api, run)
    body = wait_until(api, run, has_ended)
    rows = {row["model"]: row for row in body["status"]["rows"]}
    assert {model: (row["outcome"], row.get("reason")) for model, row in rows.items()} == {
        "m0": ("Failed", "ModelLoadFailed"),
        "m1": ("OutOfMemory", "OutOfMemoryHost"),
        "m2": ("Failed", "ResultLost"),
        "m3": ("Failed", "ResultGarbage"),
        "m4": ("Failed", "ResultLost"),
        "m5": ("Succeeded", None),
    }
    assert condition(body, "Complete")["reason"] == "SomeCellsFailed"
    assert_one_result_a_shard(api, run, body)


def test_killed_operator_loses_and_repeats_nothing(
    api: KubeApi,
    namespace: str,
    control_plane: ControlPlane,
    tmp_path: Path,
    played_class: str,
    play: Callable[[Script], PlayedKubelet],
) -> None:
    """kill -9 at random moments while 20 cells run."""
    chance = random.Random(20)
    durations: dict[str, float] = {}

    def script(pod: Pod) -> Ending:
        uid = pod["metadata"]["uid"]
        return succeeds(pod, after_seconds=durations.setdefault(uid, chance.uniform(0.0, 4.0)))

    play(script)
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
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    let_end = False

    def script(pod: Pod) -> Ending | None:
        return succeeds(pod) if let_end else None

    play(script)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 3)
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


def test_pod_deleted_by_hand_after_exit_0_keeps_its_verdict(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    """The pod's last state is only in the DELETED event."""
    let_end = False

    def script(pod: Pod) -> Ending | None:
        return succeeds(pod) if let_end else None

    kubelet = play(script)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
    let_end = True
    pod = kubelet.pods()[0]
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    assert api.request("DELETE", path).accepted
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    [result] = results_of(api, run)
    assert result["spec"]["origin"]["podUid"] == pod["metadata"]["uid"]


def test_pod_deleted_by_hand_while_it_runs_is_tried_again(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(pod["metadata"]["uid"])
        return None if pod["metadata"]["uid"] == first[0] else succeeds(pod)

    kubelet = play(script)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
    pod = kubelet.pods()[0]
    assert api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}").accepted
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"], shard["retries"]) == ("Succeeded", 2, 1)
    assert_one_result_a_shard(api, run, body)


def test_job_deleted_by_hand_is_tried_again(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(pod["metadata"]["uid"])
        return None if pod["metadata"]["uid"] == first[0] else succeeds(pod)

    play(script)
    run = make_run(namespace)
    apply(api, run)
    body = wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
    assert shards_of(body)[0]["jobUid"]
    [job] = jobs_of(api, namespace)
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}"
    assert api.request("DELETE", path, {"propagationPolicy": "Background"}).accepted
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"]) == ("Succeeded", 2)


def test_foreign_job_of_a_childs_name_costs_its_cell_only(
    api: KubeApi,
    namespace: str,
    control_plane: ControlPlane,
    tmp_path: Path,
    played_class: str,
    play: Callable[[Script], PlayedKubelet],
) -> None:
    play(succeeds)
    run = make_run(namespace, models=2, parallelism=0)
    with OperatorProcess(tmp_path, control_plane.admin_kubeconfig, namespace):
        apply(api, run)
        body = wait_until(api, run, lambda body: bool(body.get("status", {}).get("requestDigest")))
        taken = body["status"]["rows"][0]
        foreign = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"run-{taken['id']}-1-1", "namespace": namespace, "labels": {LABEL_RUN: "run"}},
            "spec": {
                "suspend": True,
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "y"}]}},
            },
        }
        created = api.create(foreign)
        assert created.accepted, created.message
        assert api.merge_patch(run, {"spec": {"parallelism": 5}}).accepted
        body = wait_until(api, run, has_ended)
        outcomes = {row["id"]: (row["outcome"], row.get("reason")) for row in body["status"]["rows"]}
        assert outcomes.pop(taken["id"]) == ("Failed", "NameConflict")
        assert set(outcomes.values()) == {("Succeeded", None)}
        assert api.get(foreign).body["metadata"]["uid"] == created.body["metadata"]["uid"]


def test_quota_that_lets_no_pod_in_has_its_own_reason(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(succeeds)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    assert api.request("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota).accepted
    time.sleep(1)
    run = make_run(namespace, timeouts={"schedulingSeconds": 5})
    apply(api, run)
    waiting = wait_until(
        api,
        run,
        lambda body: body.get("status", {}).get("parallelism", {}).get("limitedBy") == "Quota" or has_ended(body),
    )
    assert not has_ended(waiting)
    body = wait_until(api, run, has_ended)
    assert body["status"]["rows"][0]["reason"] == "QuotaExceeded"
    assert condition(body, "Failed")["reason"] == "NoResult"


def test_selector_that_no_node_has_ends_within_its_limit(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(succeeds)
    hardware = [
        {"name": "cpu", "gpus": 0, "nodeSelector": {"vidbench.io/test-namespace": namespace}},
        {"name": "moon", "gpus": 0, "nodeSelector": {"vidbench.io/test-namespace": "moon"}},
    ]
    run = make_run(namespace, models=2, hardware=hardware, timeouts={"schedulingSeconds": 3})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    outcomes = {(row["hardware"], row["outcome"], row.get("reason")) for row in body["status"]["rows"]}
    assert outcomes == {("cpu", "Succeeded", None), ("moon", "Failed", "Unschedulable")}


def test_missing_class_is_waited_for_and_taken_when_it_comes(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(succeeds)
    run = make_run(namespace, runnerClassName=f"late-{namespace}")
    apply(api, run)
    body = wait_until(api, run, lambda body: condition(body, "Accepted").get("reason") == "RunnerClassNotFound")
    assert condition(body, "Reconciling")["status"] == "True"
    late = runner_class(
        f"late-{namespace}",
        image="played.invalid/runner:1",
        resources={"cpu": "10m", "memory": "16Mi", "cpuLimit": "None"},
    )
    assert api.create(late).accepted
    wait_until(api, run, has_ended)


def test_deleted_run_leaves_nothing_but_results(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(lambda pod: succeeds(pod) if model_of(pod) == "m0" else None)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("progress") == "1/3")
    assert api.delete(run).accepted
    deadline = time.monotonic() + WAIT_SECONDS
    base = f"/namespaces/{namespace}"
    paths = (f"/apis/batch/v1{base}/jobs", f"/api/v1{base}/pods", f"/api/v1{base}/configmaps")
    query = {"labelSelector": LABEL_RUN}
    while any(api.request("GET", path, query=query).body["items"] for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(results_of(api, run)) == 1


def test_finished_jobs_expire_once_the_ledger_has_their_results(
    api: KubeApi, namespace: str, operator: OperatorProcess, play: Callable[[Script], PlayedKubelet]
) -> None:
    play(succeeds)
    run = make_run(namespace, models=2, ttl={"jobsSeconds": 0, "runSeconds": 3})
    apply(api, run)
    wait_until(api, run, has_ended)
    deadline = time.monotonic() + WAIT_SECONDS
    while jobs_of(api, namespace) or api.get(run).status != 404:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(results_of(api, run)) == 2


def test_terminated_operator_ends_at_once_and_well(operator: OperatorProcess) -> None:
    assert operator.terminate() < 10
    assert operator.exit_code == 0


def test_steady_state_writes_nothing(
    api: KubeApi,
    namespace: str,
    operator: OperatorProcess,
    play: Callable[[Script], PlayedKubelet],
    control_plane: ControlPlane,
) -> None:
    play(lambda pod: None)
    run = make_run(namespace, models=3)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 3)
    time.sleep(2)
    before = api.get(run).body["metadata"]["resourceVersion"]
    written = operator.log.count('"mutation"')
    operator.kill()
    operator.start()
    time.sleep(4)
    assert operator.log.count('"mutation"') == written
    assert api.get(run).body["metadata"]["resourceVersion"] == before

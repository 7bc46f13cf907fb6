"""The operator on a real API server, with the pods' ends played: what a user sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from integration.live_runs import (
    WAIT_SECONDS,
    Manifest,
    apply,
    assert_one_result_a_shard,
    condition,
    create_class,
    create_namespaces,
    events_of,
    has_ended,
    jobs_of,
    make_run,
    results_of,
    running_pods,
    shards_of,
    wait_for_events,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.broken_runs import put_phase, without_phase_enum
from support.kube_api import KubeApi, wait_for
from support.played_kubelet import Ending, PlayedKubelet, Pod, Script, model_of, succeeds
from support.policies import MESSAGE, results_refused
from support.quotas import PODS, forbid

from localcluster.controlplane import ControlPlane
from vidbench_api.names import LABEL_RUN, ExitCode

Play = Callable[[str, Script], PlayedKubelet]
POOL = 19
"""Of 15 tests; four may be tried twice in a session."""


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


@pytest.fixture(scope="session")
def served(
    control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory, played_class: None
) -> Iterator[tuple[OperatorProcess, list[str]]]:
    """One operator for a pool of namespaces, as starting one takes longer than most tests."""
    names = [f"served-{number}" for number in range(POOL)]
    create_namespaces(api, names)
    directory = tmp_path_factory.mktemp("operator")
    settings = {"watch_namespaces": ",".join(names), "refusal_check_seconds": "1", "node_lost_seconds": "3"}
    settings |= {"node_breaker_seconds": "2", "model_breaker_seconds": "2"}
    with OperatorProcess(directory, control_plane.admin_kubeconfig, names[0], **settings) as operator:
        yield operator, names


@pytest.fixture
def served_namespace(served: tuple[OperatorProcess, list[str]]) -> str:
    """A namespace that the shared operator serves and no other test uses."""
    return served[1].pop()


def test_run_completes_with_one_result_a_shard(
    api: KubeApi, served_namespace: str, play: Play, served: tuple[OperatorProcess, list[str]]
) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
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
    assert served[0].get("/healthz") == (200, "ok")
    assert "vidbench_attempts_ended_total" in served[0].get("/metrics")[1]
    wait_for_events(api, run, "Accepted", "ShardFinished", "RunComplete")


def test_failures_end_as_their_own_reasons_and_leave_the_others_alone(
    api: KubeApi, served_namespace: str, play: Play
) -> None:
    namespace = served_namespace
    endings = {
        "m0": Ending(int(ExitCode.MODEL_LOAD_FAILED), None, "Error"),
        "m1": Ending(137, None, "OOMKilled"),
        "m2": Ending(0, None),
        "m3": Ending(0, "x" * 4000),
        "m4": Ending(1, None, "Error"),
    }
    play(namespace, lambda pod: endings.get(model_of(pod)) or succeeds(pod))
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


def test_pod_deleted_by_hand_after_exit_0_keeps_its_verdict(api: KubeApi, served_namespace: str, play: Play) -> None:
    """The pod's last state is only in the DELETED event."""
    namespace = served_namespace
    let_end = False

    def script(pod: Pod) -> Ending | None:
        return succeeds(pod) if let_end else None

    kubelet = play(namespace, script)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 1)
    let_end = True
    pod = kubelet.pods()[0]
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    assert api.request("DELETE", path).accepted
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    [result] = results_of(api, run)
    assert result["spec"]["origin"]["podUid"] == pod["metadata"]["uid"]


def test_pod_deleted_by_hand_while_it_runs_is_tried_again(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(pod["metadata"]["uid"])
        return None if pod["metadata"]["uid"] == first[0] else succeeds(pod)

    kubelet = play(namespace, script)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 1)
    pod = kubelet.pods()[0]
    assert api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}").accepted
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"], shard["retries"], shard["disruptions"]) == ("Succeeded", 2, 0, 1)
    assert_one_result_a_shard(api, run, body)


def test_job_deleted_by_hand_is_tried_again(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(pod["metadata"]["uid"])
        return None if pod["metadata"]["uid"] == first[0] else succeeds(pod)

    play(namespace, script)
    run = make_run(namespace)
    apply(api, run)
    body = wait_until(api, run, lambda body: running_pods(body) == 1)
    assert shards_of(body)[0]["jobUid"]
    [job] = jobs_of(api, namespace)
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}"
    assert api.request("DELETE", path, {"propagationPolicy": "Background"}).accepted
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"]) == ("Succeeded", 2)


def test_foreign_job_of_a_childs_name_costs_its_cell_only(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
    run = make_run(namespace, models=2, parallelism=0)
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


def test_quota_that_lets_no_pod_in_has_its_own_reason(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
    forbid(api, namespace, PODS)
    # Long enough for the Job controller to say why there is no pod.
    run = make_run(namespace, timeouts={"schedulingSeconds": 20})
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


def test_results_that_a_policy_keeps_out_are_stored_when_it_is_taken_back(
    api: KubeApi, served_namespace: str, play: Play
) -> None:
    """Until then what was measured stays in its pods, and an Event says what the run waits for."""
    namespace = served_namespace
    play(namespace, succeeds)
    run = make_run(namespace, models=2)
    with results_refused(api, namespace):
        apply(api, run)
        told = wait_until(
            api, run, lambda body: has_ended(body) or any(MESSAGE in event["message"] for event in events_of(api, run))
        )
        assert not has_ended(told)
        wait_until(
            api, run, lambda _: all(job.get("status", {}).get("completionTime") for job in jobs_of(api, namespace))
        )
        time.sleep(3)
        assert [job["spec"].get("ttlSecondsAfterFinished") for job in jobs_of(api, namespace)] == [None, None]
    body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert_one_result_a_shard(api, run, body)


def test_selector_that_no_node_has_ends_within_its_limit(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
    hardware = [
        {"name": "cpu", "gpus": 0, "nodeSelector": {"vidbench.io/test-namespace": namespace}},
        {"name": "moon", "gpus": 0, "nodeSelector": {"vidbench.io/test-namespace": "moon"}},
    ]
    # Long enough for the scheduler to find the node that there is.
    run = make_run(namespace, models=2, hardware=hardware, timeouts={"schedulingSeconds": 15})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    outcomes = {(row["hardware"], row["outcome"], row.get("reason")) for row in body["status"]["rows"]}
    assert outcomes == {("cpu", "Succeeded", None), ("moon", "Failed", "Unschedulable")}


def test_missing_class_is_waited_for_and_taken_when_it_comes(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
    run = make_run(namespace, runnerClassName=f"late-{namespace}")
    apply(api, run)
    body = wait_until(api, run, lambda body: condition(body, "Accepted").get("reason") == "RunnerClassNotFound")
    assert condition(body, "Reconciling")["status"] == "True"
    create_class(api, f"late-{namespace}")
    wait_until(api, run, has_ended)


def test_deleted_run_leaves_nothing_but_results(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    play(namespace, lambda pod: succeeds(pod) if model_of(pod) == "m0" else None)
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
    api: KubeApi, served_namespace: str, play: Play
) -> None:
    namespace = served_namespace
    play(namespace, succeeds)
    run = make_run(namespace, models=2, ttl={"jobsSeconds": 0, "runSeconds": 15})
    apply(api, run)
    wait_until(api, run, has_ended)
    deadline = time.monotonic() + WAIT_SECONDS
    while jobs_of(api, namespace) or api.get(run).status != 404:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(results_of(api, run)) == 2


def test_run_costs_three_calls_a_shard(
    api: KubeApi, served_namespace: str, play: Play, served: tuple[OperatorProcess, list[str]]
) -> None:
    """By the operator's own audit lines: Job, result and time to live; Events, and one status write a pass, apart."""
    operator, namespace = served[0], served_namespace
    play(namespace, lambda pod: succeeds(pod, after_seconds=2.0))
    run = make_run(namespace, models=10)
    apply(api, run)
    wait_until(api, run, has_ended)
    wait_until(api, run, lambda _: all("ttlSecondsAfterFinished" in job["spec"] for job in jobs_of(api, namespace)))

    def calls() -> list[Manifest]:
        about = f"/namespaces/{namespace}/"
        return [line for line in operator.mutations if about in line["path"] and "/events" not in line["path"]]

    def is_status(line: Manifest) -> bool:
        return bool(line["path"].endswith("/status"))

    wanted = 1 + 3 * 10
    wait_until(api, run, lambda _: sum(not is_status(line) for line in calls()) >= wanted)
    written = calls()
    status = sum(map(is_status, written))
    print(f"{len(written) - status} calls beside {status} status writes for 10 shards")
    assert {line["code"] for line in written} <= {200, 201}
    assert len(written) - status == wanted


def test_broken_objects_do_not_keep_the_operator_from_the_others(
    api: KubeApi, served_namespace: str, play: Play
) -> None:
    """Nonsense in labels, annotations and statuses of children, and a run that nobody can read."""
    namespace = served_namespace
    play(namespace, lambda pod: succeeds(pod) if pod["metadata"]["name"].startswith("good-") else None)
    nonsense = {"vidbench.io/run": "good", "vidbench.io/cell": "nonsense", "vidbench.io/shard": "x"}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "y"}]}}
    stray = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "good-ffffffff-9-9",
            "namespace": namespace,
            "labels": nonsense,
            "annotations": {"vidbench.io/request-digest": "\u0007" * 100},
        },
        "spec": {"suspend": True, "template": template},
    }
    assert api.create(stray).accepted
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stray", "namespace": namespace, "labels": nonsense},
        "spec": template["spec"],
    }
    deadline = time.monotonic() + WAIT_SECONDS
    while not api.create(pod).accepted:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    broken = make_run(namespace, "broken")
    apply(api, broken)
    wait_until(api, broken, lambda body: running_pods(body) == 1)
    with without_phase_enum(api):
        deadline = time.monotonic() + WAIT_SECONDS
        while not put_phase(api, broken, "Sleeping"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    # Any change of the spec asks for a pass over the broken run.
    wait_for(lambda: api.merge_patch(broken, {"spec": {"parallelism": 3}}), accepted=True)
    good = make_run(namespace, "good", models=2)
    apply(api, good)
    body = wait_until(api, good, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    body = wait_until(api, broken, lambda body: condition(body, "Stalled").get("status") == "True")
    assert "status.phase" in condition(body, "Stalled")["message"]
    told = wait_for_events(api, broken, "Refused")
    assert [event["count"] for event in told if event["reason"] == "Refused"] == [1]


def test_node_that_is_deleted_costs_an_attempt_and_no_more(api: KubeApi, served_namespace: str, play: Play) -> None:
    namespace = served_namespace
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(pod["metadata"]["uid"])
        return None if pod["metadata"]["uid"] == first[0] else succeeds(pod)

    kubelet = play(namespace, script)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: running_pods(body) == 1)
    kubelet.is_away = True
    kubelet.delete_node()
    # What the pod garbage collector does about a minute later, without the minute.
    [pod] = kubelet.pods()
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    lost = {
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}],
    }
    content_type = "application/strategic-merge-patch+json"
    assert api.request("PATCH", f"{path}/status", {"status": lost}, content_type=content_type).accepted
    assert api.request("DELETE", path, {"gracePeriodSeconds": 0}).accepted
    kubelet.restore_node()
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"], shard["retries"]) == ("Succeeded", 2, 1)
    assert_one_result_a_shard(api, run, body)

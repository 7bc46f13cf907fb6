"""Recovery on a real API server, with two played nodes: breakers of nodes and models, other nodes, late verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from integration.live_runs import (
    Manifest,
    apply,
    assert_one_result_a_shard,
    create_class,
    create_namespaces,
    has_ended,
    jobs_of,
    make_run,
    results_of,
    shards_of,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import STRATEGIC, Ending, PlayedKubelet, Pod, Script, model_of, succeeds

from localcluster.controlplane import ControlPlane
from vidbench_api.measured import ValidityVerdict
from vidbench_api.message import decode, encode
from vidbench_api.names import LABEL_ATTEMPT, LABEL_HARVEST, LABEL_RUNG, ExitCode, Outcome, Validity
from vidbench_api.rungs import Rung
from vidbench_api.verdict import Stage

NAMES = tuple(f"recovery-{number}" for number in range(13))
"""Of 9 tests; four may be tried twice in a session."""

NODE_COOL_DOWN = 8
MODEL_COOL_DOWN = 3
DEVICE_FAULT = Ending(int(ExitCode.DEVICE_FAULT), None, "Error")
LOAD_FAILED = Ending(int(ExitCode.MODEL_LOAD_FAILED), None, "Error")
Play = Callable[[str, str, Script], PlayedKubelet]


@pytest.fixture(scope="module")
def namespaces(
    control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Namespaces that an operator with short cool-downs serves."""
    create_class(api)
    create_namespaces(api, NAMES)
    settings = {
        "watch_namespaces": ",".join(NAMES),
        "node_lost_seconds": "2",
        "node_breaker_seconds": str(NODE_COOL_DOWN),
        "model_breaker_seconds": str(MODEL_COOL_DOWN),
    }
    directory = tmp_path_factory.mktemp("operator")
    with OperatorProcess(directory, control_plane.admin_kubeconfig, NAMES[0], **settings):
        yield list(NAMES)


@pytest.fixture
def namespace(namespaces: list[str]) -> str:
    return namespaces.pop()


@pytest.fixture
def play(api: KubeApi) -> Iterator[Play]:
    """Starts a played node of a namespace."""
    kubelets: list[PlayedKubelet] = []

    def start(namespace: str, name: str, script: Script) -> PlayedKubelet:
        kubelet = PlayedKubelet(api, namespace, script, node=f"{name}-{namespace}")
        kubelets.append(kubelet.__enter__())
        return kubelet

    yield start
    for kubelet in kubelets:
        kubelet.__exit__(None, None, None)
        assert kubelet.errors == []


def breakers_of(body: Manifest) -> list[tuple[str, str]]:
    return [(entry["kind"], entry["state"]) for entry in body.get("status", {}).get("breakers", [])]


def events_of(api: KubeApi, namespace: str, reason: str) -> list[str]:
    items = api.request("GET", f"/api/v1/namespaces/{namespace}/events").body["items"]
    return [item["message"] for item in items if item["reason"] == reason]


def pods_on(api: KubeApi, kubelet: PlayedKubelet) -> list[Pod]:
    return [pod for pod in kubelet.pods() if pod["spec"].get("nodeName") == kubelet.node]


def test_node_whose_pods_always_fail_is_left_alone_by_the_third_shard_and_recovers_half_open(
    api: KubeApi, namespace: str, play: Play
) -> None:
    repaired = False

    def bad_script(pod: Pod) -> Ending:
        return succeeds(pod) if repaired else DEVICE_FAULT

    bad = play(namespace, "bad", bad_script)
    run = make_run(namespace, models=14, parallelism=2)
    apply(api, run)
    body = wait_until(
        api,
        run,
        lambda body: (
            breakers_of(body) == [("Node", "Open")] and body["status"]["parallelism"]["limitedBy"] == "Breaker"
        ),
    )
    until = body["status"]["breakers"][0]["until"]
    failures = {pod["metadata"]["uid"] for pod in pods_on(api, bad)}
    failed = len(failures)
    repaired = True
    play(namespace, "good", lambda pod: succeeds(pod, after_seconds=1.0))
    body = wait_until(api, run, has_ended)
    later = [pod["metadata"] for pod in pods_on(api, bad) if pod["metadata"]["uid"] not in failures]
    # Creation times have whole seconds, cut off.
    assert all(pod["creationTimestamp"] >= until[:19] for pod in later), "a broken node is left alone"
    print(f"attempts on the broken node before it was left alone: {failed}, of {len(shards_of(body))} shards")
    assert failed <= 3
    assert body["status"]["phase"] == "Succeeded"
    assert breakers_of(body) == []
    assert any(shard["node"] == bad.node for shard in shards_of(body)), "it was probed, and trusted again"
    assert any(bad.node in text for text in events_of(api, namespace, "BreakerOpened"))
    assert_one_result_a_shard(api, run, body)


def variants(count: int) -> list[Manifest]:
    return [{"name": f"v{number}", "steps": number + 1} for number in range(count)]


def test_model_that_fails_everywhere_stops_at_its_breaker(api: KubeApi, namespace: str, play: Play) -> None:
    play(namespace, "node", lambda pod: LOAD_FAILED if model_of(pod) == "m0" else succeeds(pod))
    run = make_run(namespace, models=2, variants=variants(8), parallelism=1)
    apply(api, run)
    body = wait_until(api, run, has_ended)
    rows = [row for row in body["status"]["rows"] if row["model"] == "m0"]
    reasons = sorted(row["reason"] for row in rows)
    assert reasons == ["BreakerOpen"] * 3 + ["ModelLoadFailed"] * 5, "three, two probes, and no more"
    unmeasured = {row["id"] for row in rows if row["reason"] == "BreakerOpen"}
    assert not [job for job in jobs_of(api, namespace) if job["metadata"]["labels"]["vidbench.io/cell"] in unmeasured]
    assert {row["outcome"] for row in body["status"]["rows"] if row["model"] == "m1"} == {"Succeeded"}
    assert_one_result_a_shard(api, run, body)


def test_model_that_is_mended_recovers_half_open(api: KubeApi, namespace: str, play: Play) -> None:
    failed: set[str] = set()

    def script(pod: Pod) -> Ending:
        """Fail thrice: by the time that a test has seen the breaker open, it may be half open."""
        if pod["metadata"]["uid"] not in failed and len(failed) == 3:
            return succeeds(pod)
        failed.add(pod["metadata"]["uid"])
        return LOAD_FAILED

    play(namespace, "node", script)
    run = make_run(namespace, models=1, variants=variants(8), parallelism=1)
    apply(api, run)
    body = wait_until(api, run, has_ended)
    assert events_of(api, namespace, "BreakerOpened")
    outcomes = sorted(row["outcome"] for row in body["status"]["rows"])
    assert outcomes == ["Failed"] * 3 + ["Succeeded"] * 5
    assert breakers_of(body) == []


def test_verdict_that_comes_back_with_a_lost_node_is_refused(api: KubeApi, namespace: str, play: Play) -> None:
    back = released = False
    first = play(namespace, "lost", lambda pod: succeeds(pod) if back else None)
    run = make_run(namespace)
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
    [old] = pods_on(api, first)
    first.is_away = True
    silent = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}
    api.request("PATCH", f"/api/v1/nodes/{first.node}/status", silent, content_type=STRATEGIC)
    second = play(namespace, "other", lambda pod: succeeds(pod) if released else None)
    path = f"/api/v1/namespaces/{namespace}/pods/{old['metadata']['name']}"
    assert api.request("DELETE", path, {"gracePeriodSeconds": 1}).accepted
    body = wait_until(api, run, lambda body: shards_of(body)[0]["attempt"] == 2 and running_on(api, second))
    # The node's silence and the pod's deletion come by watches of their own, in either order.
    assert shards_of(body)[0]["failures"][0]["reason"] in ("NodeLost", "PodDeleted")
    assert shards_of(body)[0]["failures"][0]["node"] == first.node
    back, first.is_away = True, False
    wait_until(api, run, lambda _: api.request("GET", path).status == 404)
    [shard] = shards_of(api.get(run).body)
    assert (shard["phase"], shard["attempt"]) == ("Active", 2)
    assert results_of(api, run) == []
    released = True
    body = wait_until(api, run, has_ended)
    [result] = results_of(api, run)
    assert result["spec"]["origin"]["node"] == second.node
    assert result["spec"]["origin"]["podUid"] != old["metadata"]["uid"]
    assert_one_result_a_shard(api, run, body)


def test_pod_deleted_by_hand_is_replaced_at_once_and_charged_to_nobody(
    api: KubeApi, namespace: str, play: Play
) -> None:
    let_end = False
    kubelet = play(namespace, "node", lambda pod: succeeds(pod) if let_end else None)
    run = make_run(namespace, failurePolicy={"infrastructureRetries": 0})
    apply(api, run)
    wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
    [old] = pods_on(api, kubelet)
    path = f"/api/v1/namespaces/{namespace}/pods/{old['metadata']['name']}"
    assert api.request("DELETE", path).accepted
    wait_until(api, run, lambda _: api.request("GET", path).status == 404)
    ended = time.monotonic()
    wait_until(api, run, lambda _: bool(pods_on(api, kubelet)))
    seconds = time.monotonic() - ended
    print(f"the replacement was there {seconds:.2f} s after the deleted pod was gone")
    let_end = True
    body = wait_until(api, run, has_ended)
    [shard] = shards_of(body)
    assert (shard["outcome"], shard["attempt"], shard["disruptions"], shard["retries"]) == ("Succeeded", 2, 1, 0)
    assert_one_result_a_shard(api, run, body)


def of_attempt(pod: Pod, **changes: object) -> str:
    """The verdict of the attempt that a pod is labelled with, with some fields replaced."""
    message = succeeds(pod).message
    assert message is not None
    return encode(decode(message).model_copy(update=changes))


def test_cell_that_runs_out_in_the_decoder_is_measured_with_tiling_beside_it(
    api: KubeApi, namespace: str, play: Play
) -> None:
    def script(pod: Pod) -> Ending:
        if pod["metadata"]["labels"].get(LABEL_RUNG) == Rung.VAE_TILING:
            return succeeds(pod)
        out = {"outcome": Outcome.OUT_OF_MEMORY, "reason": "OutOfMemoryCuda", "phase": "vae_decode"}
        return Ending(int(ExitCode.OUT_OF_MEMORY_CUDA), of_attempt(pod, stage=Stage.SAMPLING, **out), "Error")

    play(namespace, "node", script)
    run = make_run(namespace, failurePolicy={"outOfMemory": "Fallback"})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    asked, rung = body["status"]["rows"]
    assert (asked.get("rung"), asked["outcome"]) == (None, "OutOfMemory")
    assert (rung["rung"], rung["outcome"], rung["variant"]) == ("VaeTiling", "Succeeded", asked["variant"])
    assert (body["status"]["phase"], body["status"]["progress"]) == ("Succeeded", "1/1")
    assert_one_result_a_shard(api, run, body)
    assert [text for text in events_of(api, namespace, "Fallback") if "VaeTiling is measured beside it" in text]


@pytest.fixture
def claim(api: KubeApi, namespace: str) -> Iterator[str]:
    """A bound claim; no kubelet mounts it here."""
    size = {"storage": "1Gi"}
    modes = {"accessModes": ["ReadWriteMany"], "storageClassName": namespace}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {**modes, "capacity": size, "hostPath": {"path": "/nowhere"}},
    }
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "videos", "namespace": namespace},
        "spec": {**modes, "volumeName": namespace, "resources": {"requests": size}},
    }
    assert api.create(volume).accepted
    assert api.create(wanted).accepted
    yield "videos"
    api.request("DELETE", f"/api/v1/persistentvolumes/{namespace}")


def test_what_an_attempt_stored_is_harvested_where_its_message_was_lost(
    api: KubeApi, namespace: str, play: Play, claim: str
) -> None:
    def script(pod: Pod) -> Ending:
        if LABEL_HARVEST not in pod["metadata"]["labels"]:
            return Ending(0, None)
        return succeeds(pod) if model_of(pod) == "m0" else Ending(int(ExitCode.NOTHING_STORED), None, "Error")

    kubelet = play(namespace, "node", script)
    policy = {"infrastructureRetries": 0}
    run = make_run(namespace, models=2, artifacts={"storageUri": f"claim://{claim}"}, failurePolicy=policy)
    apply(api, run)
    body = wait_until(api, run, has_ended)
    rows = {row["model"]: row for row in body["status"]["rows"]}
    assert [(rows[name]["outcome"], rows[name].get("reason")) for name in ("m0", "m1")] == [
        ("Succeeded", None), ("Failed", "ResultLost"),
    ]  # fmt: skip
    assert [shard["attempt"] for shard in shards_of(body)] == [1, 1]
    harvested = next(entry["spec"] for entry in results_of(api, run) if entry["spec"]["cell"]["model"] == "m0")
    assert harvested["origin"]["node"] == kubelet.node
    assert f"Job {harvested['origin']['jobName']}-h" in harvested["message"]
    assert_one_result_a_shard(api, run, body)
    jobs = jobs_of(api, namespace)
    assert len(jobs) == 4
    wait_until(api, run, lambda _: all("ttlSecondsAfterFinished" in job["spec"] for job in jobs_of(api, namespace)))


def throttled(pod: Pod, *attempts: str) -> Ending:
    """Succeed with a verdict that is Invalid, for what may be gone next time, in these attempts, and Valid in others."""
    state = (
        ValidityVerdict(state=Validity.INVALID, reasons=("CpuThrottled",))
        if pod["metadata"]["labels"][LABEL_ATTEMPT] in attempts
        else ValidityVerdict(state=Validity.VALID)
    )
    message = succeeds(pod).message
    assert message is not None
    return Ending(message=encode(decode(message).model_copy(update={"validity": state})))


def test_invalid_shard_is_measured_once_more_and_its_first_result_is_kept(
    api: KubeApi, namespace: str, play: Play
) -> None:
    play(namespace, "node", lambda pod: throttled(pod, *(("1",) if model_of(pod) == "m0" else ("1", "2"))))
    run = make_run(namespace, models=2, validity={"onInvalid": "Retry"})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    results = {entry["metadata"]["name"]: entry["spec"] for entry in results_of(api, run)}
    assert len(results) == 4
    for row, valid in zip(body["status"]["rows"], ("Valid", "Invalid"), strict=True):
        (shard,) = row["shards"]
        (first,) = shard["superseded"]
        assert (shard["attempt"], shard["outcome"]) == (2, "Succeeded")
        assert (results[first]["superseded"], results[first]["origin"]["attempt"]) == (True, 1)
        assert results[first]["validity"] == {"state": "Invalid", "reasons": ["CpuThrottled"], "notes": []}
        second = results[shard["result"]]
        assert (second.get("superseded", False), second["origin"]["attempt"]) == (False, 2)
        assert second["validity"]["state"] == valid
    assert body["status"]["phase"] == "Succeeded"


def test_invalid_shard_is_only_flagged_where_the_run_wants_that(api: KubeApi, namespace: str, play: Play) -> None:
    play(namespace, "node", lambda pod: throttled(pod, "1"))
    run = make_run(namespace, validity={"onInvalid": "Flag"})
    apply(api, run)
    body = wait_until(api, run, has_ended)
    assert [(shard["attempt"], shard.get("superseded", [])) for shard in shards_of(body)] == [(1, [])]
    assert_one_result_a_shard(api, run, body)


def running_on(api: KubeApi, kubelet: PlayedKubelet) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in pods_on(api, kubelet))

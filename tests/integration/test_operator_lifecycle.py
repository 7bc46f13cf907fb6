"""Suspend, resume, cancel, reuse and preflight on a real API server, with the pods' ends played."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

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
    results_of,
    running_pods,
    shards_of,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import Ending, PlayedKubelet, Pod, model_of, succeeds

from localcluster.controlplane import ControlPlane
from vidbench_api.measured import ValidityVerdict
from vidbench_api.message import decode, encode
from vidbench_api.names import LABEL_VARIANT, ExitCode, Validity

NAMESPACES = [f"lifecycle-{number}" for number in range(9)]
"""Of 5 tests; four may be tried twice in a session."""

VARIANTS = [{"name": f"v{number}", "steps": 2 + number} for number in range(3)]
INSTANCE_TYPE = {"node.kubernetes.io/instance-type": "played"}
GPUS = {"nvidia.com/gpu": "4"}


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Namespaces that one operator serves; each test takes one."""
    create_class(api)
    create_namespaces(api, NAMESPACES)
    directory = tmp_path_factory.mktemp("operator")
    settings = {"watch_namespaces": ",".join(NAMESPACES), "refusal_check_seconds": "1", "resync_seconds": "5"}
    with OperatorProcess(directory, control_plane.admin_kubeconfig, NAMESPACES[0], **settings):
        yield list(NAMESPACES)


@pytest.fixture
def namespace(served: list[str]) -> str:
    return served.pop()


def measured(pod: Pod) -> Ending:
    """End as a runner whose figures may be believed: this test is about what follows from that."""
    ending = succeeds(pod)
    verdict = decode(ending.message or "")
    valid = verdict.model_copy(update={"validity": ValidityVerdict(state=Validity.VALID)})
    return replace(ending, message=encode(valid))


def live_pods(kubelet: PlayedKubelet) -> list[Pod]:
    return [pod for pod in kubelet.pods() if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def test_a_suspended_run_holds_no_node_and_a_resumed_one_finishes(api: KubeApi, namespace: str) -> None:
    let_end = False
    with PlayedKubelet(
        api, namespace, lambda pod: succeeds(pod) if let_end or model_of(pod) == "m0" else None
    ) as kubelet:
        run = make_run(namespace, models=3)
        apply(api, run)
        wait_until(api, run, lambda body: running_pods(body) == 2 and body["status"]["progress"] == "1/3")
        assert api.merge_patch(run, {"spec": {"suspend": True}}).accepted
        held = wait_until(api, run, lambda body: condition(body, "Suspended").get("status") == "True")
        assert held["status"]["phase"] == "Suspended"
        # A suspended run holds no node, once the garbage collector has followed.
        wait_until(api, run, lambda _: not live_pods(kubelet))
        assert len(results_of(api, run)) == 1
        let_end = True
        assert api.merge_patch(run, {"spec": {"suspend": False}}).accepted
        body = wait_until(api, run, has_ended)
    assert condition(body, "Complete")["reason"] == "AllSucceeded"
    assert condition(body, "Suspended")["status"] == "False"
    assert sorted(shard["attempt"] for shard in shards_of(body)) == [1, 2, 2]
    assert {shard["retries"] + shard["disruptions"] for shard in shards_of(body)} == {0}
    assert_one_result_a_shard(api, run, body)


@pytest.mark.parametrize("how", ["Graceful", "Immediate"])
def test_cancel_keeps_what_is_measured(api: KubeApi, namespace: str, how: str) -> None:
    cancelled = False
    first: list[str] = []

    def script(pod: Pod) -> Ending | None:
        first.append(model_of(pod))
        return succeeds(pod) if model_of(pod) == first[0] or (cancelled and how == "Graceful") else None

    with PlayedKubelet(api, namespace, script) as kubelet:
        run = make_run(namespace, models=4, parallelism=2, autoscaling={"mode": "Off"}, measurement={"shards": 1})
        apply(api, run)
        wait_until(api, run, lambda body: running_pods(body) == 2 and body["status"].get("progress") == "1/4")
        assert api.merge_patch(run, {"spec": {"cancel": how}}).accepted
        cancelled = True
        body = wait_until(api, run, has_ended)
        assert not live_pods(kubelet) or how == "Immediate"
    assert condition(body, "Failed")["reason"] == "Cancelled"
    assert body["status"]["phase"] == "Cancelled"
    outcomes = sorted(row["outcome"] for row in body["status"]["rows"])
    expected = {"Graceful": ["Cancelled"] + ["Succeeded"] * 3, "Immediate": ["Cancelled"] * 3 + ["Succeeded"]}
    assert outcomes == expected[how]
    assert_one_result_a_shard(api, run, body)


def test_an_identical_run_is_reused_and_one_after_failures_measures_only_these(api: KubeApi, namespace: str) -> None:
    broken = True
    made: list[str] = []

    def script(pod: Pod) -> Ending | None:
        variant = pod["metadata"]["labels"][LABEL_VARIANT]
        made.append(variant)
        failing = broken and variant == "v2"
        return Ending(int(ExitCode.MODEL_LOAD_FAILED), None, "Error") if failing else measured(pod)

    with PlayedKubelet(api, namespace, script, allocatable=GPUS, labels=INSTANCE_TYPE):
        wait_until_node_is_known(api, namespace)
        first = make_run(namespace, "first", variants=VARIANTS)
        apply(api, first)
        body = wait_until(api, first, has_ended)
        assert sorted(row["outcome"] for row in body["status"]["rows"]) == ["Failed", "Succeeded", "Succeeded"]
        broken = False
        made.clear()
        second = make_run(namespace, "second", variants=VARIANTS, reuse={"policy": "IfIdentical"})
        apply(api, second)
        body = wait_until(api, second, has_ended)
        assert_only_measured(body, "v2", "first")
        assert set(made) == {"v2"}
        made.clear()
        started = time.monotonic()
        third = make_run(namespace, "third", variants=VARIANTS, reuse={"policy": "IfIdentical"})
        apply(api, third)
        body = wait_until(api, third, has_ended)
        seconds = time.monotonic() - started
    print(f"an identical run ended {seconds:.2f} s after it was applied")
    assert not made
    assert not [job for job in jobs_of(api, namespace) if job["metadata"]["name"].startswith("third-")]
    assert {row["source"] for row in body["status"]["rows"]} == {"Reused"}
    assert body["status"]["reuseMessage"] == "3 of 3 shards show results of earlier runs (first, second)"
    assert not results_of(api, third)


def assert_only_measured(body: Manifest, variant: str, of_run: str) -> None:
    """All rows but one variant's show the results of an earlier run."""
    sources = {
        row["variant"]: (row["source"], row["shards"][0]["result"].split("-")[0]) for row in body["status"]["rows"]
    }
    measured_here = sources.pop(variant)
    assert measured_here == ("Measured", body["metadata"]["name"])
    assert set(sources.values()) == {("Reused", of_run)}


def ask(api: KubeApi, namespace: str, name: str, **spec: Any) -> Manifest:
    """Apply a run of more GPUs than a node has; return what it says of being accepted."""
    hardware = [{"name": "h", "gpus": 8, "nodeSelector": {"vidbench.io/test-namespace": namespace}}]
    run = make_run(namespace, name, hardware=hardware, **spec)
    apply(api, run)
    return condition(wait_until(api, run, lambda body: bool(condition(body, "Accepted"))), "Accepted")


def wait_until_node_is_known(api: KubeApi, namespace: str) -> None:
    """Wait until the operator has heard of the node, its labels and GPUs: until then it takes a run, for nodes may come."""
    answers = (ask(api, namespace, f"asking-{number}", parallelism=0) for number in range(200))
    assert any("has more than 4" in answer.get("message", "") for answer in answers)


def test_more_gpus_than_a_node_has_are_a_reason_of_accepted(api: KubeApi, namespace: str) -> None:
    with PlayedKubelet(api, namespace, succeeds, allocatable=GPUS):
        wait_until_node_is_known(api, namespace)
        waiting = ask(api, namespace, "run", timeouts={"schedulingSeconds": 12})
        assert waiting["reason"] == "NotEnoughGpusOnANode"
        assert "has more than 4" in waiting["message"]
        body = wait_until(api, make_run(namespace), has_ended)
    assert condition(body, "Accepted")["reason"] == "NotEnoughGpusOnANode"
    assert condition(body, "Failed")["status"] == "True"
    assert not jobs_of(api, namespace)

"""Gates on a real API server, with the pods' ends played: what kubectl waits for, and what a baseline is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from integration.live_runs import (
    Manifest,
    apply,
    condition,
    create_class,
    create_namespaces,
    has_ended,
    make_run,
    results_of,
    wait_for_events,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import Ending, PlayedKubelet, Pod, succeeds

from localcluster.controlplane import ControlPlane
from localcluster.errors import LocalClusterError
from vidbench_api.measured import Environment, Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.message import decode, encode
from vidbench_api.names import LABEL_BASELINE, LABEL_SHARD, LABEL_VARIANT, Validity

NAMESPACES = [f"gates-{number}" for number in range(7)]
"""Of 3 tests; four may be tried twice in a session."""

VARIANTS = [{"name": "base", "steps": 2}, {"name": "same", "steps": 3}, {"name": "slow", "steps": 4}]
SECONDS = {"base": 1.0, "same": 1.0, "slow": 2.0}


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Namespaces that one operator serves; each test takes one."""
    create_class(api)
    create_namespaces(api, NAMESPACES)
    directory = tmp_path_factory.mktemp("operator")
    settings = {"watch_namespaces": ",".join(NAMESPACES)}
    with OperatorProcess(directory, control_plane.admin_kubeconfig, NAMESPACES[0], **settings):
        yield list(NAMESPACES)


@pytest.fixture
def namespace(served: list[str]) -> str:
    return served.pop()


def timed(pod: Pod) -> Ending:
    """End as a runner whose latency is that of its variant; shards differ by a thousandth."""
    labels = pod["metadata"]["labels"]
    ending = succeeds(pod)
    shard = int(labels[LABEL_SHARD])
    middle = SECONDS[labels[LABEL_VARIANT]] * 1e6 * (1 + shard / 1_000)
    values = tuple(round(middle + offset) for offset in (-500, 0, 500))
    latency = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
    verdict = decode(ending.message or "").model_copy(
        update={
            "validity": ValidityVerdict(state=Validity.VALID),
            "series": (latency,),
            "environment": Environment(device="played GPU", device_count=1, gpu_uuid=f"GPU-{pod['metadata']['uid']}"),
        }
    )
    return replace(ending, message=encode(verdict))


def gate(variant: str, **fields: Any) -> Manifest:
    given = {
        "name": f"{variant}-no-slower", "metric": "latency", "where": {"variants": [variant]},
        "against": {"variant": "base"}, "test": "NoWorseThan", "margin": "5%",
    }  # fmt: skip
    return given | fields


def run_of(namespace: str, name: str, *gates: Manifest, shards: int = 3, **spec: Any) -> Manifest:
    return make_run(namespace, name, variants=VARIANTS, measurement={"shards": shards}, gates=list(gates), **spec)


def states(body: Manifest) -> dict[str, tuple[str, str]]:
    kinds = ("GatesPassed", "Complete", "Ready", "Stalled")
    return {kind: (condition(body, kind)["status"], condition(body, kind)["reason"]) for kind in kinds}


def test_gates_pass_fail_and_cannot_tell(api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
    good = run_of(namespace, "good", gate("same"))
    bad = run_of(namespace, "bad", gate("same"), gate("slow"))
    alone = run_of(namespace, "alone", gate("same"), shards=1)
    with PlayedKubelet(api, namespace, timed):
        for run in (good, bad, alone):
            apply(api, run)
        bodies = {run["metadata"]["name"]: wait_until(api, run, has_ended) for run in (good, bad, alone)}
    assert states(bodies["good"]) == {
        "GatesPassed": ("True", "AllPassed"),
        "Complete": ("True", "AllSucceeded"),
        "Ready": ("True", "AllSucceeded"),
        "Stalled": ("False", "AllSucceeded"),
    }
    assert states(bodies["bad"]) == {
        "GatesPassed": ("False", "GateFailed"),
        "Complete": ("True", "AllSucceeded"),
        "Ready": ("False", "GateFailed"),
        "Stalled": ("True", "GateFailed"),
    }
    assert states(bodies["alone"])["GatesPassed"] == ("False", "GateInconclusive")
    assert states(bodies["alone"])["Stalled"] == ("True", "GateInconclusive")
    found = {entry["name"]: entry for entry in bodies["bad"]["status"]["gates"]}
    assert {name: entry["verdict"] for name, entry in found.items()} == {
        "same-no-slower": "Pass", "slow-no-slower": "Fail",
    }  # fmt: skip
    (evidence,) = found["slow-no-slower"]["evidence"]
    assert evidence["estimate"] == pytest.approx(1.0, abs=0.01)
    assert (evidence["shards"], evidence["againstShards"], evidence["gpus"]) == (3, 3, 6)
    assert bodies["alone"]["status"]["gates"][0]["reason"] == "OneShard"

    kubectl("wait", "--for=condition=GatesPassed", "br/good", "-n", namespace, "--timeout=5s")
    with pytest.raises(LocalClusterError, match="timed out"):
        kubectl("wait", "--for=condition=GatesPassed", "br/bad", "-n", namespace, "--timeout=5s")
    kubectl("wait", "--for=condition=GatesPassed=False", "br/bad", "-n", namespace, "--timeout=5s")
    header, *lines = kubectl("get", "br", "-n", namespace).splitlines()
    at = header.index("GATES")
    assert {line.split()[0]: line[at:].split()[0] for line in lines} == {"good": "1/1", "bad": "1/2", "alone": "0/1"}
    for run, reason in ((good, "GatesPassed"), (bad, "GatesNotPassed"), (alone, "GatesNotPassed")):
        wait_for_events(api, run, reason)


def test_while_it_runs_gates_are_unknown(api: KubeApi, namespace: str) -> None:
    may_end = False
    first = "base"

    def script(pod: Pod) -> Ending | None:
        return timed(pod) if may_end or pod["metadata"]["labels"][LABEL_VARIANT] == first else None

    run = run_of(namespace, "slowly", gate("same"))
    with PlayedKubelet(api, namespace, script):
        apply(api, run)
        body = wait_until(api, run, lambda body: body.get("status", {}).get("shards", {}).get("finished") == 3)
        assert condition(body, "GatesPassed")["status"] == "Unknown"
        assert body["status"]["gates"][0]["verdict"] == "Unknown"
        assert body["status"]["gatesText"] == "?/1"
        may_end = True
        body = wait_until(api, run, has_ended)
    assert condition(body, "GatesPassed")["status"] == "True"


def test_a_baseline_is_what_results_are_labelled(api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
    """Labelled by kubectl, as a user may; the result's content stays as it was."""
    against = {"against": {"baseline": "nightly"}}
    spec = {"baselines": [{"name": "nightly"}]}
    first, later = (run_of(namespace, name, gate("same", **against), **spec) for name in ("first", "later"))
    slower = run_of(namespace, "slower", gate("same", **against), **spec)
    with PlayedKubelet(api, namespace, timed):
        apply(api, first)
        body = wait_until(api, first, has_ended)
        assert states(body)["GatesPassed"] == ("False", "GateInconclusive")
        assert body["status"]["gates"][0]["reason"] == "NoBaseline"
        kubectl("label", "bres", "-n", namespace, "-l", "vidbench.io/run=first", f"{LABEL_BASELINE}=nightly")
        assert {entry["metadata"]["labels"][LABEL_BASELINE] for entry in results_of(api, first)} == {"nightly"}
        apply(api, later)
        body = wait_until(api, later, has_ended)
        assert states(body)["GatesPassed"] == ("True", "AllPassed")
        (evidence,) = body["status"]["gates"][0]["evidence"]
        assert (evidence["shards"], evidence["againstShards"]) == (3, 3)
        SECONDS["same"] = 1.5
        try:
            apply(api, slower)
            body = wait_until(api, slower, has_ended)
        finally:
            SECONDS["same"] = 1.0
    assert states(body)["GatesPassed"] == ("False", "GateFailed")

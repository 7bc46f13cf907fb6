"""What is well and what is not: each state from what was seen, and a remedy for whatever is not OK."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from support.manifests import runner_class

from vidbench_api.crdgen import crd_of
from vidbench_api.kinds import KINDS, RunnerClassSpec
from vidbench_cli import health
from vidbench_cli.health import Check, Right
from vidbench_cli.installation import CrdState, OperatorState, differences
from vidbench_operator.core.observed import ObservedNode

NOW = 1_800_000_000.0
OPERATOR = OperatorState(
    "vidbench-operator", "vidbench-system", "0.1.0", "operator:0.1.0", 2, 2, "pod-a", "2027-01-15T07:59:58.000000Z"
)
GPU = {"nvidia.com/gpu": "8", "cpu": "64"}
LABELS = {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068"}


def classes(**spec: Any) -> dict[str, RunnerClassSpec | str]:
    return {
        "default": RunnerClassSpec.model_validate(runner_class(**({"image": "r@sha256:" + "0" * 64} | spec))["spec"])
    }


def states(checks: list[Check]) -> dict[str, str]:
    return {check.part: check.state for check in checks}


def test_operator_scaled_to_nothing_is_started_by_the_remedy() -> None:
    stopped = replace(OPERATOR, wanted=0, ready=0, holder=None, renewed=None)
    failed = [check for check in health.check_operators([stopped], "0.1.0", NOW) if check.state == "Failed"]
    assert [check.part for check in failed] == ["operator", "leader"]
    assert {check.remedy for check in failed} == {
        "kubectl -n vidbench-system scale deployment vidbench-operator --replicas=1"
    }


@pytest.mark.parametrize(
    ("checks", "part", "state"),
    [
        ([health.check_kubernetes("v1.34.2", "s")], "cluster", "OK"),
        ([health.check_kubernetes("v1.32.0-eks-1", "s")], "cluster", "OK"),
        ([health.check_kubernetes("v1.31.9+k3s1", "s")], "cluster", "Failed"),
        (health.check_crds([CrdState("BenchmarkRun", True)]), "CRD BenchmarkRun", "OK"),
        (
            health.check_crds([CrdState("BenchmarkRun", False, "is another version's; upgrade it")]),
            "CRD BenchmarkRun",
            "Failed",
        ),
        (health.check_crds([CrdState("BenchmarkRun", None, "you may not")]), "CRD BenchmarkRun", "Unknown"),
        (health.check_operators([], "0.1.0", NOW), "operator", "Failed"),
        (health.check_operators([OPERATOR], "0.1.0", NOW), "operator", "OK"),
        (health.check_operators([OPERATOR], "0.1.0", NOW), "leader", "OK"),
        (health.check_operators([OPERATOR], "0.1.0", NOW + 90), "leader", "Failed"),
        (health.check_operators([OPERATOR], "0.2.0", NOW), "operator version", "Warning"),
        ([health.check_metrics("vidbench_last_success_age_seconds 3.0\n", "", "")], "metrics", "OK"),
        ([health.check_metrics("vidbench_last_success_age_seconds 901\n", "", "")], "metrics", "Failed"),
        ([health.check_metrics("up 1\n", "", "")], "metrics", "Warning"),
        ([health.check_metrics(None, "you may not", "forward")], "metrics", "Unknown"),
        (health.check_rights([(Right("create", "r", "p"), True)], "lab"), "rights", "OK"),
        (health.check_rights([(Right("create", "r", "p"), False)], "lab"), "rights", "Failed"),
        (health.check_rights([(Right("list", "r", "p", needed=False), False)], "lab"), "rights", "Warning"),
        (health.check_quotas([]), "quota", "OK"),
        (health.check_nodes({}), "nodes", "Failed"),
        (health.check_nodes({"a": ObservedNode("a", {}, ready=True, allocatable={"cpu": "4"})}), "GPUs", "Warning"),
        (health.check_nodes({"a": ObservedNode("a", LABELS, ready=True, allocatable=GPU)}), "GPUs", "OK"),
        (health.check_nodes({"a": ObservedNode("a", {}, ready=True, allocatable=GPU)}), "GPU labels", "Warning"),
        (health.check_nodes({"a": ObservedNode("a", LABELS, ready=False, allocatable=GPU)}), "nodes", "Failed"),
        (health.check_classes({}, {}, "lab"), "runner classes", "Failed"),
        (health.check_classes(classes(), {}, "lab"), "runner classes", "OK"),
        (health.check_classes({"gpu": classes()["default"]}, {}, "lab"), "runner classes", "Warning"),
        (health.check_classes(classes(allowedNamespaces=["other"]), {}, "lab"), "runner classes", "Failed"),
        (health.check_classes(classes(image="r:latest"), {}, "lab"), "runner class default", "Warning"),
        (health.check_classes({"old": "spec.image: Field required"}, {}, "lab"), "runner class old", "Failed"),
        ([health.check_store("SQLite x", 7)], "store", "OK"),
        ([health.check_store("SQLite x", None)], "store", "OK"),
        ([health.check_store("", None, "cannot connect")], "store", "Warning"),
        *(
            (
                health.check_classes(classes(claims=[{"claimName": "w", "mountPath": "/w"}]), claims, "lab"),
                "claim w",
                state,
            )
            for claims, state in (
                ({"w": "Bound"}, "OK"),
                ({"w": "Pending"}, "Warning"),
                ({"w": "Lost"}, "Failed"),
                ({}, "Failed"),
                (None, "Unknown"),
            )
        ),
    ],
)
def test_states(checks: list[Check], part: str, state: str) -> None:
    assert states(checks)[part] == state, checks
    assert all(check.remedy for check in checks if check.state != "OK"), checks


def test_each_label_that_a_node_lacks_is_named_with_what_it_is_for() -> None:
    nodes = {"a": ObservedNode("a", {"nvidia.com/gpu.product": "H100"}, ready=True, allocatable=GPU)}
    (found,) = [check for check in health.check_nodes(nodes) if check.part == "GPU labels"]
    assert found.detail == "nodes without the label nvidia.com/gpu.memory: 1, e.g. a: no check of memory ahead"


def test_no_replica_leads() -> None:
    lone = replace(OPERATOR, ready=0, holder="", renewed=None)
    assert states(health.check_operators([lone], "0.1.0", NOW)) == {
        "operator": "Failed", "operator version": "OK", "leader": "Failed",
    }  # fmt: skip
    hidden = replace(OPERATOR, holder=None, renewed=None, lease_note="you may not get leases")
    assert states(health.check_operators([hidden], "0.1.0", NOW))["leader"] == "Unknown"


@pytest.mark.parametrize(("used", "warns"), [("7", False), ("8", True), ("9", True)])
def test_quota_that_is_used_up(used: str, warns: bool) -> None:
    quota = {
        "metadata": {"name": "gpus"},
        "status": {"hard": {"requests.nvidia.com/gpu": "8"}, "used": {"requests.nvidia.com/gpu": used}},
    }
    checks = health.check_quotas([quota])
    assert (checks[0].state == "Warning") is warns
    assert not warns or f"requests.nvidia.com/gpu is {used} of 8" in checks[0].detail


def test_worst_is_failed_before_warning_and_unknown_is_none() -> None:
    def checks(*given: Any) -> list[Check]:
        return [Check("a", state, "") for state in given]

    assert health.worst(checks("OK", "Unknown")) == "OK"
    assert health.worst(checks("OK", "Warning")) == "Warning"
    assert health.worst(checks("Warning", "Failed")) == "Failed"


def test_a_crd_of_another_version_is_told_by_field() -> None:
    kind = KINDS[0]
    crd = crd_of(kind)
    assert differences(crd, kind) == []
    older = copy.deepcopy(crd)
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["reuse"]
    spec["properties"]["parallelism"]["maximum"] = 5
    found = differences(older, kind)
    assert "+spec.reuse.policy" in found
    assert "~spec.parallelism" in found
    older["spec"]["versions"][0]["name"] = "v1"
    assert differences(older, kind) == ["+v1alpha1"]

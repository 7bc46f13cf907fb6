"""Gates for real: tiny pipelines on the cluster, one variant with twice the steps of the other, and `kubectl wait`."""

from __future__ import annotations

from typing import Any

import pytest
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_runs import folder_model, real_run

from vidbench_api.run_status import BenchmarkRunStatus

WAN = {"clip": {"height": 64, "width": 64, "frames": 9}, "arguments": {"max_sequence_length": "64"}}
SPEC: dict[str, Any] = {
    "models": [{"name": "mid-wan"}],
    "variants": [{"name": "once", "steps": 4} | WAN, {"name": "twice", "steps": 8} | WAN],
    "workload": {"prompts": [{"id": "cat", "text": "A cat walks over wet grass."}], "seeds": {"count": 3}},
    "measurement": {"shards": 3, "warmup": {"min": 1}},
}
MARGIN = "10%"
"""Wide: two noisy cores. Twice the steps are some 100 % more denoising."""


def gate(name: str, variant: str, other: str) -> dict[str, Any]:
    return {
        "name": name, "metric": "denoise", "where": {"variants": [variant]}, "against": {"variant": other},
        "test": "NoWorseThan", "margin": MARGIN,
    }  # fmt: skip


def status_of(cluster: E2ECluster, namespace: str, name: str) -> BenchmarkRunStatus:
    """Not `E2ECluster.run`: these runs have three results a cell."""
    body: Manifest | None = cluster.find("BenchmarkRun", name, namespace)
    assert body is not None
    return BenchmarkRunStatus.model_validate(body["status"])


def states(status: BenchmarkRunStatus) -> dict[str, tuple[str, str]]:
    return {entry.type: (entry.status, entry.reason) for entry in status.conditions}


def test_half_the_steps_are_no_slower_than_all(cluster: E2ECluster, namespace: str) -> None:
    few = gate("half-is-no-slower", "once", "twice")
    bound = {"name": "in-minutes", "metric": "latency", "against": {"bound": "300s"}, "test": "AtMost"}
    good = real_run(namespace, "good", "cpu", **SPEC, gates=[few, bound])
    cluster.apply(folder_model(namespace, "mid-wan", "/models/mid-wan"), good)
    cluster.kubectl("wait", "br/good", "-n", namespace, "--for=condition=GatesPassed", "--timeout=380s")
    status = status_of(cluster, namespace, "good")
    assert states(status)["Ready"][0] == "True"
    assert status.gates_text == "2/2"
    measured = next(entry for entry in status.gates if entry.name == "half-is-no-slower")
    print(f"half the steps: {measured.message}")
    assert (measured.verdict, measured.evidence[0].shards) == ("Pass", 3)


def test_the_opposite_gate_fails_as_kubectl_wait_sees(cluster: E2ECluster, namespace: str) -> None:
    many = gate("twice-is-no-slower", "twice", "once")
    bad = real_run(namespace, "bad", "cpu", **SPEC, gates=[many])
    cluster.apply(folder_model(namespace, "mid-wan", "/models/mid-wan"), bad)
    cluster.kubectl("wait", "br/bad", "-n", namespace, "--for=condition=Complete", "--timeout=380s")
    with pytest.raises(AssertionError, match="timed out"):
        cluster.kubectl("wait", "br/bad", "-n", namespace, "--for=condition=GatesPassed", "--timeout=2s")
    cluster.kubectl("wait", "br/bad", "-n", namespace, "--for=condition=GatesPassed=False", "--timeout=5s")
    status = status_of(cluster, namespace, "bad")
    found = states(status)
    assert found["GatesPassed"] == ("False", "GateFailed")
    assert (found["Ready"], found["Stalled"]) == (("False", "GateFailed"), ("True", "GateFailed"))
    (failed,) = status.gates
    print(f"twice the steps: {failed.message}")
    evidence = failed.evidence[0]
    assert failed.verdict == "Fail"
    assert evidence.low is not None
    assert evidence.low > 0.10
    assert "0/1" in cluster.kubectl("get", "br", "bad", "-n", namespace)

"""Gates for real: tiny pipelines on the cluster, one variant with twice the steps of the other, and `kubectl wait`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from bench.suite_figures import Figures
from support.documented_pipelines import github_script, gitlab_script
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_runs import folder_model, real_run

from vidbench_api.run_status import BenchmarkRunStatus

WAN = {"clip": {"height": 64, "width": 64, "frames": 9}, "arguments": {"max_sequence_length": "64"}}
SPEC: dict[str, Any] = {
    "models": [{"name": "mid-wan"}],
    "variants": [{"name": "once", "steps": 4} | WAN, {"name": "twice", "steps": 8} | WAN],
    "workload": {"prompts": [{"id": "cat", "text": "A cat walks over wet grass."}], "seeds": {"count": 3}},
    "measurement": {"shards": 3, "warmup": {"min": 1}},
    # Only Valid shards count: one that another process disturbed is measured again.
    "validity": {"onInvalid": "Retry"},
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


def run_script(cluster: E2ECluster, namespace: str, folder: Path, script: str, run: Manifest) -> tuple[int, str, str]:
    """Run a pipeline's script as its runner would: from a checkout, with a kubeconfig of the namespace."""
    (folder / "examples").mkdir(parents=True)
    (folder / "examples" / "gates.yaml").write_text(yaml.safe_dump(run, sort_keys=False))
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
    told = os.environ | {
        "KUBECONFIG": str(kubeconfig), "GITHUB_STEP_SUMMARY": str(folder / "summary"), "CI_PIPELINE_ID": "7",
    }  # fmt: skip
    script = f"set -eo pipefail\nkubectl config set-context --current --namespace={namespace}\n{script}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=told, capture_output=True, text=True, check=False, timeout=500
    )
    return done.returncode, done.stdout, done.stderr


def test_gates_decide_as_the_pipelines_of_the_docs_see(
    cluster: E2ECluster, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """Half the steps are no slower, by docs/gates.md's step for GitHub Actions; the opposite fails, by its GitLab job.

    The second pipeline judges what the first one measured.
    """
    cluster.apply(folder_model(namespace, "mid-wan", "/models/mid-wan"))
    few = gate("half-is-no-slower", "once", "twice")
    bound = {"name": "in-minutes", "metric": "latency", "against": {"bound": "300s"}, "test": "AtMost"}
    run = real_run(namespace, "gated", "cpu", **SPEC, gates=[few, bound])
    passes_on_github(cluster, namespace, tmp_path / "github", run, figures)
    many = gate("twice-is-no-slower", "twice", "once")
    run = real_run(namespace, "gated", "cpu", **SPEC, gates=[many], reuse={"policy": "IfIdentical"})
    fails_on_gitlab(cluster, namespace, tmp_path / "gitlab", run, figures)


def passes_on_github(cluster: E2ECluster, namespace: str, folder: Path, run: Manifest, figures: Figures) -> None:
    code, said, error = run_script(cluster, namespace, folder, github_script(), run)
    assert code == 0, error
    assert "benchmarkrun.vidbench.io/ci-1-1 condition met" in said
    summary = (folder / "summary").read_text().splitlines()
    assert [line.partition("\t")[0] for line in summary] == ["Pass", "Pass"]
    status = status_of(cluster, namespace, "ci-1-1")
    assert states(status)["Ready"][0] == "True"
    assert status.gates_text == "2/2"
    measured = next(entry for entry in status.gates if entry.name == "half-is-no-slower")
    figures.put("gates", halfTheSteps=measured.message)
    assert (measured.verdict, measured.evidence[0].shards) == ("Pass", 3)


def fails_on_gitlab(cluster: E2ECluster, namespace: str, folder: Path, run: Manifest, figures: Figures) -> None:
    script, _, after = gitlab_script().rpartition("\n")
    code, _, error = run_script(cluster, namespace, folder, script, run)
    assert (code, "condition not met" in error) == (1, True), error
    assert after == "kubectl get br/ci-$CI_PIPELINE_ID -o yaml > run.yaml"
    cluster.kubectl("wait", "br/ci-7", "-n", namespace, "--for=condition=Complete", "--timeout=5s")
    cluster.kubectl("wait", "br/ci-7", "-n", namespace, "--for=condition=GatesPassed=False", "--timeout=5s")
    status = status_of(cluster, namespace, "ci-7")
    assert "6 of 6 shards show results of earlier runs" in str(status.reuse_message)
    found = states(status)
    assert found["GatesPassed"] == ("False", "GateFailed")
    assert (found["Ready"], found["Stalled"]) == (("False", "GateFailed"), ("True", "GateFailed"))
    (failed,) = status.gates
    figures.put("gates", twiceTheSteps=failed.message)
    evidence = failed.evidence[0]
    assert failed.verdict == "Fail"
    assert evidence.low is not None
    assert evidence.low > 0.10
    assert "0/1" in cluster.kubectl("get", "br", "ci-7", "-n", namespace)

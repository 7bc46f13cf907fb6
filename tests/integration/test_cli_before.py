"""The commands before a run on a real API server: what they find, and what they say to somebody who may not."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.simulated_verdict import simulated_verdict
from integration.live_runs import CLASS, apply, create_class, has_ended, make_run, results_of, wait_until
from integration.operator_process import OperatorProcess
from scipy import stats
from support.kube_api import KubeApi, collection, wait_for
from support.manifests import benchmark_run, runner_class
from support.played_kubelet import Ending, PlayedKubelet, Pod, succeeds
from typer.testing import CliRunner, Result

from localcluster.controlplane import ControlPlane
from vidbench_api.measured import ClipFacts, ValidityVerdict
from vidbench_api.message import encode
from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    ANNOTATION_SECONDS,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_SHARD,
    ExitCode,
    Validity,
)
from vidbench_cli.app import app
from vidbench_cli.errors import Exit

Vidbench = Callable[..., Result]
NAMESPACED = ("benchmarkruns", "benchmarkresults", "videomodels")


def command(kubeconfig: Path, namespace: str) -> Vidbench:
    def run(*arguments: str) -> Result:
        scope = [] if arguments[0] == "version" else ["-n", namespace]
        return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(kubeconfig), *scope], catch_exceptions=False)

    return run


@pytest.fixture
def vidbench(control_plane: ControlPlane, namespace: str) -> Vidbench:
    """The command as admin, in a namespace of its own."""
    return command(control_plane.admin_kubeconfig, namespace)


@pytest.fixture
def nobody(control_plane: ControlPlane, namespace: str) -> Vidbench:
    """The command of somebody without any right."""
    return command(control_plane.kubeconfig_for("nobody"), namespace)


@pytest.fixture
def tenant(control_plane: ControlPlane, namespace: str, api: KubeApi) -> Vidbench:
    """The command of a user of one namespace, who sees neither nodes nor runner classes."""
    rules = [{"apiGroups": ["vidbench.io"], "resources": [*NAMESPACED], "verbs": ["*"]}]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    assert api.request("POST", f"{path}/roles", {"metadata": {"name": "tenant"}, "rules": rules}).accepted
    binding = {
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}],
    }
    assert api.request("POST", f"{path}/rolebindings", binding).accepted
    known = api.impersonate("tenant")
    wait_for(lambda: known.request("GET", collection("VideoModel", namespace)), accepted=True)
    known.close()
    return command(control_plane.kubeconfig_for("tenant"), namespace)


def stored(tmp_path: Path, *bodies: dict[str, Any], name: str = "run.yaml") -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def succeeds_validly(pod: Pod) -> Ending:
    """End after two seconds with a verdict that says of its made-up figures that they are Valid, of a tiny model's clip."""
    labels = pod["metadata"]["labels"]
    verdict = simulated_verdict(
        labels[LABEL_CELL], int(labels[LABEL_SHARD]), int(labels[LABEL_ATTEMPT]),
        pod["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST], samples=4,
    )  # fmt: skip
    clip = ClipFacts(height=32, width=32, frames_requested=9, frames_delivered=9, steps=4)
    valid = verdict.model_copy(
        update={"validity": ValidityVerdict(state=Validity.VALID), "clip": clip, "unmeasured": {}}
    )
    return Ending(message=encode(valid), after_seconds=2.0)


@pytest.fixture
def operated(control_plane: ControlPlane, api: KubeApi, namespace: str, tmp_path: Path) -> Iterator[PlayedKubelet]:
    """An operator for the namespace, and a node with eight GPUs on which every pod succeeds within two seconds."""
    create_class(api)
    gpus = {"nvidia.com/gpu": "8"}
    with (
        PlayedKubelet(api, namespace, succeeds_validly, allocatable=gpus) as kubelet,
        OperatorProcess(tmp_path, control_plane.admin_kubeconfig, namespace),
    ):
        yield kubelet
    assert kubelet.errors == []


def measured_run(namespace: str, name: str) -> dict[str, Any]:
    selector = {"vidbench.io/test-namespace": namespace}
    return make_run(
        namespace, name, models=2, measurement={"shards": 3},
        hardware=[{"name": "gpu", "gpus": 1, "nodeSelector": selector}],
        workload={"prompts": [{"id": "cat", "text": "A cat walks."}], "seeds": {"count": 4}},
    )  # fmt: skip


def test_plan_is_what_the_ledger_says_and_near_what_it_then_takes(
    api: KubeApi, vidbench: Vidbench, operated: PlayedKubelet, namespace: str, tmp_path: Path
) -> None:
    first = measured_run(namespace, "first")
    apply(api, first)
    file = stored(tmp_path, measured_run(namespace, "again"))
    wait_until(api, first, has_ended)
    answer = vidbench("plan", "-f", file, "-o", "json")
    assert answer.exit_code == 0, answer.output
    plan = json.loads(answer.stdout)
    results = results_of(api, first)
    assert len(results) == 6
    expected = 0.0
    for cell in plan["cells"]:
        mine = [entry for entry in results if entry["spec"]["cell"]["model"] == cell["model"]]
        seconds = [int(entry["metadata"]["annotations"][ANNOTATION_SECONDS]) for entry in mine]
        assert cell["secondsPerShard"]["value"] == max(1, round(statistics.median(seconds)))
        assert cell["secondsPerShard"]["source"].startswith("ledger: median of 3 results of the same names")
        starts = [entry["spec"]["figures"]["startSeconds"] for entry in mine]
        expected += 3 * (cell["secondsPerShard"]["value"] + statistics.median(starts)) / 3600
        means = [
            column["statistics"]["mean"]
            for entry in mine
            for column in entry["spec"]["series"]
            if column["name"] == "latency"
        ]
        half = stats.t.ppf(0.975, 2) * statistics.stdev(means) / statistics.fmean(means) / 3**0.5
        assert cell["halfWidth"]["value"] == pytest.approx(half), cell["halfWidth"]
    assert plan["gpuHours"]["value"] == pytest.approx(expected)
    assert plan["gpuHours"]["source"] == "ledger"
    assert plan["hardware"][0]["nodes"] == [operated.node]
    again = measured_run(namespace, "again")
    apply(api, again)
    wait_until(api, again, has_ended)
    took = sum(entry["spec"]["origin"]["gpuSeconds"] for entry in results_of(api, again)) / 3600
    assert took > 0
    print(f"\nplan: {expected:.5f} GPU-hours expected, {took:.5f} taken: ratio {expected / took:.3f}")
    assert 1 / 3 < expected / took < 3, "the same pods on the same node: something else was estimated"


def test_validate_asks_the_api_server(api: KubeApi, vidbench: Vidbench, namespace: str, tmp_path: Path) -> None:
    create_class(api)
    run = benchmark_run("nightly", namespace, runnerClassName=CLASS, models=[{"name": "tiny-wan"}])
    answer = vidbench("validate", "-f", stored(tmp_path, run))
    assert answer.exit_code == 0, answer.output
    assert "the API server at https://" in answer.stdout
    assert api.create(run).accepted
    run["spec"]["models"] = [{"name": "tiny-ltx"}]
    answer = vidbench("validate", "-f", stored(tmp_path, run), "-o", "json")
    assert answer.exit_code == Exit.USAGE
    assert [entry["field"] for entry in json.loads(answer.stdout)["findings"]] == ["spec.models"]


def test_validate_finds_what_names_lead_to_nothing(vidbench: Vidbench, namespace: str, tmp_path: Path) -> None:
    run = benchmark_run("nightly", namespace, runnerClassName="nowhere", models=[{"name": "tiny-wan"}])
    answer = vidbench("validate", "-f", stored(tmp_path, run))
    assert answer.exit_code == Exit.USAGE
    assert "kubectl get runnerclasses" in answer.stdout


def test_validate_holds_each_run_against_its_own_class(
    api: KubeApi, vidbench: Vidbench, namespace: str, tmp_path: Path
) -> None:
    """A class that no namespace may use comes first by name; the other run's is open to all."""
    create_class(api)
    closed = f"a-closed-{namespace}"
    assert api.create(runner_class(closed, allowedNamespaces=["elsewhere"])).accepted
    models = [{"name": "tiny-wan"}]
    first = benchmark_run("shut-out", namespace, runnerClassName=closed, models=models)
    second = benchmark_run("let-in", namespace, runnerClassName=CLASS, models=models)
    answer = vidbench("validate", "-f", stored(tmp_path, first, second), "-o", "json")
    assert answer.exit_code == Exit.USAGE
    wrong = [entry["object"] for entry in json.loads(answer.stdout)["findings"] if entry["level"] == "Error"]
    assert wrong == ["BenchmarkRun/shut-out"]


def test_plan_knows_prices_quota_and_queue(api: KubeApi, vidbench: Vidbench, namespace: str, tmp_path: Path) -> None:
    name = f"priced-{namespace}"
    price = {"device": "*", "perGpuHour": "2.00", "currency": "EUR", "source": "list"}
    assert api.create(runner_class(name, accounting={"prices": [price]})).accepted
    run = benchmark_run(
        "nightly", namespace, runnerClassName=name, models=[{"name": "tiny-wan"}], scheduling={"queueName": "none"}
    )
    answer = vidbench("plan", "-f", stored(tmp_path, run), "-o", "json")
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    assert data["obstacle"]["reason"] == "QueueNotFound"
    assert data["cells"][0]["cost"] == {
        "value": None,
        "reason": data["cells"][0]["gpuHours"]["reason"],
        "currency": "EUR",
    }
    assert data["disk"][1]["bytes"]["value"] == 10 * 2**30


def test_list_models_shows_those_of_the_namespace(api: KubeApi, vidbench: Vidbench, namespace: str) -> None:
    model = {
        "apiVersion": "vidbench.io/v1alpha1", "kind": "VideoModel", "metadata": {"name": "wan21-1-3b", "namespace": namespace},
        "spec": {
            "source": {"path": "/weights/wan"}, "pipelineClass": "WanPipeline", "estimatedMemoryMebibytes": 9000,
            "defaults": {"height": 480, "width": 832, "frames": 33, "steps": 30},
        },
    }  # fmt: skip
    assert api.create(model).accepted
    answer = vidbench("list-models", "-o", "json", "--runnable")
    models = [entry for entry in json.loads(answer.stdout)["models"] if entry["name"] == "wan21-1-3b"]
    assert [(entry["origin"], entry["gpuMemoryMebibytes"], entry["source"]) for entry in models] == [
        ("VideoModel*", 9000, "/weights/wan")
    ]


def test_health_check_of_a_cluster_without_operator(vidbench: Vidbench, api: KubeApi, namespace: str) -> None:
    create_class(api)
    answer = vidbench("health-check", "-o", "json")
    assert answer.exit_code == Exit.CLUSTER
    data = json.loads(answer.stdout)
    by_part = {entry["part"]: entry for entry in data["checks"]}
    assert by_part["cluster"]["state"] == "OK"
    for kind in ("BenchmarkRun", "VideoModel", "RunnerClass", "BenchmarkResult"):
        assert by_part[f"CRD {kind}"]["state"] == "OK", by_part[f"CRD {kind}"]
    assert by_part["operator"]["state"] == "Failed"
    assert "helm install" in by_part["operator"]["remedy"]
    assert by_part["rights"]["state"] == "OK"
    assert all(entry["remedy"] for entry in data["checks"] if entry["state"] != "OK")


def test_health_check_sees_a_used_up_quota(vidbench: Vidbench, api: KubeApi, namespace: str) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": "1"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    assert api.request("POST", path, quota).accepted

    def seen() -> list[dict[str, Any]]:
        checks = json.loads(vidbench("health-check", "-o", "json").stdout)["checks"]
        return [entry for entry in checks if entry["part"] == "quota" and entry["state"] == "Warning"]

    deadline = time.monotonic() + 60
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "few: count/configmaps is 1 of 1" in found[0]["detail"]


def test_version_names_cluster_and_crds(vidbench: Vidbench) -> None:
    answer = vidbench("version", "-o", "json")
    assert answer.exit_code == 0
    parts = {entry["part"]: entry for entry in json.loads(answer.stdout)}
    assert parts["Kubernetes"]["version"].startswith("v1.")
    assert parts["operator"]["version"] is None
    assert parts["CRD BenchmarkRun"]["note"] == "this version's"


class TestWithoutRights:
    def test_plan_names_the_right(self, nobody: Vidbench, namespace: str, tmp_path: Path) -> None:
        answer = nobody("plan", "-f", stored(tmp_path, benchmark_run("a", namespace)))
        assert answer.exit_code == Exit.CLUSTER
        assert f"you may not list videomodels.vidbench.io in namespace '{namespace}'" in answer.stderr
        assert "kubectl auth can-i list videomodels.vidbench.io" in answer.stderr

    def test_validate_names_the_right(self, nobody: Vidbench, namespace: str, tmp_path: Path) -> None:
        answer = nobody("validate", "-f", stored(tmp_path, benchmark_run("a", namespace)))
        assert answer.exit_code == Exit.CLUSTER
        assert "kubectl auth can-i" in answer.stderr

    def test_test_model_names_the_right(self, nobody: Vidbench) -> None:
        answer = nobody("test-model", "tiny-wan")
        assert answer.exit_code == Exit.CLUSTER
        assert "kubectl auth can-i create benchmarkruns.vidbench.io" in answer.stderr

    def test_list_models_shows_the_catalogue_and_why_not_more(self, nobody: Vidbench) -> None:
        answer = nobody("list-models", "-o", "json")
        assert answer.exit_code == 0
        data = json.loads(answer.stdout)
        assert "you may not list videomodels" in data["notes"][0]
        assert len(data["models"]) > 32

    def test_health_check_says_whom_to_ask(self, nobody: Vidbench, namespace: str) -> None:
        answer = nobody("health-check", "-o", "json")
        assert answer.exit_code == Exit.CLUSTER
        data = json.loads(answer.stdout)
        rights = [entry for entry in data["checks"] if entry["part"] == "rights"]
        assert {entry["state"] for entry in rights} == {"Failed", "Warning"}
        assert all(f"-n {namespace}" in entry["remedy"] for entry in rights)
        assert {entry["part"] for entry in data["checks"] if entry["state"] == "Unknown"} >= {
            "operator",
            "nodes",
            "runner classes",
        }

    def test_plan_of_a_tenant_leaves_out_what_he_may_not_see(
        self, tenant: Vidbench, namespace: str, tmp_path: Path
    ) -> None:
        answer = tenant(
            "plan", "-f", stored(tmp_path, benchmark_run("a", namespace, models=[{"name": "tiny-wan"}])), "-o", "json"
        )
        assert answer.exit_code == 0, answer.output
        data = json.loads(answer.stdout)
        assert "you may not list nodes" in data["hardware"][0]["note"]
        assert "you may not get runnerclasses" in data["cells"][0]["cost"]["reason"]
        assert "no earlier result" in data["cells"][0]["gpuHours"]["reason"]

    def test_validate_of_a_tenant_notes_what_was_not_looked_at(
        self, tenant: Vidbench, namespace: str, tmp_path: Path
    ) -> None:
        answer = tenant(
            "validate",
            "-f",
            stored(tmp_path, benchmark_run("a", namespace, models=[{"name": "tiny-wan"}])),
            "-o",
            "json",
        )
        assert answer.exit_code == 0, answer.output
        data = json.loads(answer.stdout)
        assert data["server"]
        assert [(entry["level"], entry["field"]) for entry in data["findings"]] == [("Note", "spec.runnerClassName")]


def test_plan_of_a_namespace_that_is_not_there(control_plane: ControlPlane, tmp_path: Path, namespace: str) -> None:
    file = stored(tmp_path, benchmark_run("a"))
    answer = command(control_plane.admin_kubeconfig, f"{namespace}x")("plan", "-f", file)
    assert answer.exit_code == Exit.CLUSTER
    assert f"there is no namespace '{namespace}x'" in answer.stderr
    assert f"kubectl create namespace {namespace}x" in answer.stderr


def test_plan_without_its_class_goes_as_far_as_it_can(vidbench: Vidbench, tmp_path: Path, namespace: str) -> None:
    body = benchmark_run("a", namespace, runnerClassName="not-yet", models=[{"name": "tiny-wan"}])
    file = stored(tmp_path, body)
    answer = vidbench("plan", "-f", file, "-o", "json")
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    assert (data["obstacle"]["reason"], data["obstacle"]["waits"]) == ("RunnerClassNotFound", True)
    assert len(data["cells"]) == data["shards"] == 1


def test_a_run_that_has_ended_is_not_measured_again(
    api: KubeApi, vidbench: Vidbench, operated: PlayedKubelet, namespace: str, tmp_path: Path
) -> None:
    run = measured_run(namespace, "nightly")
    file = stored(tmp_path, run)
    assert "has ended" not in vidbench("validate", "-f", file).stdout
    apply(api, run)
    wait_until(api, run, has_ended)
    answer = vidbench("validate", "-f", file, "-o", "json")
    assert answer.exit_code == 0, answer.output
    (found,) = [entry for entry in json.loads(answer.stdout)["findings"] if entry["level"] == "Warning"]
    assert "a run of this name that has ended" in found["message"]
    assert "kubectl delete br nightly" in found["remedy"]


class TestTestModel:
    def test_told_to_end_it_takes_its_run_along(
        self, api: KubeApi, control_plane: ControlPlane, namespace: str
    ) -> None:
        create_class(api)
        path = f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/benchmarkruns"

        def runs() -> list[dict[str, Any]]:
            return list(api.request("GET", path).body["items"])

        words = ["test-model", "tiny-wan", "--runner-class", CLASS, "-n", namespace]
        kubeconfig = ["--kubeconfig", str(control_plane.admin_kubeconfig)]
        with subprocess.Popen([sys.executable, "-m", "vidbench_cli", *words, *kubeconfig]) as process:
            deadline = time.monotonic() + 60
            while not runs():
                assert time.monotonic() < deadline
                time.sleep(0.2)
            process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM
        assert runs() == []

    def test_a_clip_is_made_and_the_run_is_gone(
        self, api: KubeApi, vidbench: Vidbench, operated: PlayedKubelet, namespace: str
    ) -> None:
        operated.script = lambda pod: succeeds(pod, samples=1)
        answer = vidbench(
            "test-model",
            "tiny-wan",
            "--runner-class",
            CLASS,
            "--node-selector",
            f"vidbench.io/test-namespace={namespace}",
        )
        assert answer.exit_code == 0, answer.output
        assert "tiny-wan/test-model/default" in answer.stdout
        runs = api.request("GET", f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/benchmarkruns").body["items"]
        assert [entry for entry in runs if not entry["metadata"].get("deletionTimestamp")] == []

    def test_a_failure_says_what_to_do(
        self, vidbench: Vidbench, operated: PlayedKubelet, api: KubeApi, namespace: str
    ) -> None:
        operated.script = lambda pod: Ending(exit_code=int(ExitCode.GENERATION_FAILED), reason="Error")
        answer = vidbench("test-model", "tiny-wan", "--runner-class", CLASS, "--keep")
        assert answer.exit_code == Exit.RUN_FAILED, answer.output
        assert "made no clip: GenerationFailed" in answer.stderr
        assert "vidbench logs" in answer.stderr
        runs = api.request("GET", f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/benchmarkruns").body["items"]
        assert len(runs) == 1

    def test_a_model_that_nobody_knows(self, vidbench: Vidbench, operated: PlayedKubelet) -> None:
        answer = vidbench("test-model", "no-such-model", "--runner-class", CLASS)
        assert answer.exit_code == Exit.USAGE, answer.output
        assert "list-models" in answer.stderr
        answer = vidbench("test-model", "tiny-wn", "--runner-class", CLASS)
        assert answer.exit_code == Exit.USAGE, answer.output
        assert "did you mean tiny-wan" in answer.stderr

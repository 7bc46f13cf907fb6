"""The command line on a real API server, with the operator as a process and the pods' ends played."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.live_runs import (
    apply,
    create_class,
    create_namespaces,
    has_ended,
    make_run,
    wait_for_events,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.kubeconfigs import closed_port, write_kubeconfig
from support.played_kubelet import STRATEGIC, Ending, PlayedKubelet, Pod, Script, model_of, succeeds
from support.played_logs import PlayedLogs
from typer.testing import CliRunner

from localcluster import binaries
from localcluster.controlplane import ControlPlane
from vidbench_api.names import ExitCode
from vidbench_cli.app import app

Play = Callable[[str, Script], PlayedKubelet]
NAMESPACES = [f"cli-{number}" for number in range(9)]
"""Of 5 tests; four may be tried twice in a session."""

NONSENSE = "{apiVersion: v1, kind: Nonsense, metadata: {name: y}}"
BROKEN = Ending(int(ExitCode.MODEL_LOAD_FAILED), None, "Error")


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """An operator for a pool of namespaces."""
    create_class(api)
    create_namespaces(api, NAMESPACES)
    directory = tmp_path_factory.mktemp("operator")
    with OperatorProcess(
        directory, control_plane.admin_kubeconfig, NAMESPACES[0], watch_namespaces=",".join(NAMESPACES)
    ):
        yield list(NAMESPACES)


@pytest.fixture
def lab(served: list[str]) -> str:
    """A namespace of the test's own."""
    return served.pop()


@pytest.fixture
def play(api: KubeApi) -> Iterator[Play]:
    """Starts a played kubelet of a namespace."""
    kubelets: list[PlayedKubelet] = []

    def start(namespace: str, script: Script) -> PlayedKubelet:
        kubelets.append(PlayedKubelet(api, namespace, script).__enter__())
        return kubelets[-1]

    yield start
    for kubelet in kubelets:
        kubelet.__exit__(None, None, None)
        assert kubelet.errors == []


@pytest.fixture
def vidbench(control_plane: ControlPlane) -> Callable[..., Any]:
    """The command as admin; returns exit code, standard output and standard error."""

    def call(*words: str, stdin: str = "") -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*words, "--kubeconfig", str(control_plane.admin_kubeconfig)], input=stdin)
        return done.exit_code, done.stdout, done.stderr

    return call


@pytest.fixture
def stranger(control_plane: ControlPlane) -> str:
    """The kubeconfig of a user without any right."""
    return str(control_plane.kubeconfig_for("stranger"))


def _end_of_m1(pod: Pod) -> Ending | None:
    return BROKEN if model_of(pod) == "m1" else succeeds(pod)


def test_get_and_describe_tell_of_an_ended_run(
    api: KubeApi, lab: str, play: Play, vidbench: Callable[..., Any]
) -> None:
    play(lab, _end_of_m1)
    run = make_run(lab, models=2, measurement={"shards": 2})
    apply(api, run)
    wait_until(api, run, has_ended)
    wait_for_events(api, run, "ShardFinished", "AttemptFailed", "RunComplete")

    code, shown, _ = vidbench("get", "-n", lab)
    assert code == 0
    assert [line.split()[:3] for line in shown.splitlines()] == [
        ["NAME", "PHASE", "PROGRESS"],
        ["run", "PartiallySucceeded", "2/2"],
    ]
    code, shown, _ = vidbench("get", "-A", "-o", "json")
    assert {"namespace": lab, "name": "run"}.items() <= next(
        row for row in json.loads(shown) if row["namespace"] == lab
    ).items()
    code, shown, _ = vidbench("get", "run", "-n", lab, "-o", "csv")
    rows = {row["cell"]: row for row in csv.DictReader(io.StringIO(shown))}
    assert rows["m0/cpu/default"]["state"].startswith("Succeeded")
    assert float(rows["m0/cpu/default"]["videosPerHour"]) > 0
    assert rows["m1/cpu/default"]["reason"] == "ModelLoadFailed"
    data = yaml.safe_load(vidbench("get", "run", "-n", lab, "-o", "yaml")[1])
    assert len(data["results"]) == 4
    assert "managedFields" not in data["run"]["metadata"]

    code, shown, _ = vidbench("describe", "run", "-n", lab)
    assert code == 0
    for words in ("CONDITION", "SomeCellsFailed", "ShardFinished", "RunComplete", "No samples or videos are stored"):
        assert words in shown
    code, shown, _ = vidbench("describe", "run", "m1", "-n", lab)
    assert code == 0
    assert "Failed (ModelLoadFailed)" in shown
    assert f"node-{lab}" in shown
    assert "AttemptFailed" in shown
    assert "m0/cpu" not in shown
    attempts = json.loads(vidbench("describe", "run", "m1", "-n", lab, "-o", "json")[1])["attempts"]
    assert [(entry["shard"], entry["attempt"]) for entry in attempts] == [(1, 1), (2, 1)]
    assert all(entry["pod"] and entry["ended"] for entry in attempts)

    for pod in api.request("GET", f"/api/v1/namespaces/{lab}/pods").body["items"]:
        api.delete({"kind": "Job", "metadata": {"name": pod["metadata"]["labels"]["job-name"], "namespace": lab}})
    wait_until(api, run, lambda _: not api.request("GET", f"/api/v1/namespaces/{lab}/pods").body["items"])
    code, shown, said = vidbench("logs", "run", "m1", "-n", lab)
    assert code == 3
    assert "is gone" in said
    assert f"vidbench.io/run=run, node node-{lab}" in said
    assert not shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["get", "rum"], 3, "did you mean run?"),
        (["describe", "rum"], 3, "did you mean run?"),
        (["logs", "rum"], 3, "did you mean run?"),
        (["cancel", "rum", "--yes"], 3, "did you mean run?"),
        (["suspend", "rum"], 3, "did you mean run?"),
        (["resume", "rum"], 3, "did you mean run?"),
        (["describe", "run", "m7"], 2, "m0/cpu/default"),
        (["logs", "run", "m7"], 2, "m0/cpu/default"),
        (["logs", "run"], 2, "the run has 2 cells: which one?"),
        (["logs", "run", "m0", "--shard", "9"], 2, "it has: 1"),
        (["logs", "run", "m0", "--attempt", "9"], 2, "it has had 1"),
        (["resume", "run"], 0, ""),
    ],
)
def test_wrong_words_are_answered_with_right_ones(
    api: KubeApi, standing: str, vidbench: Callable[..., Any], words: list[str], code: int, said: str
) -> None:
    found, _, error = vidbench(*words, "-n", standing)
    assert found == code, error
    assert said in error


@pytest.fixture(scope="module")
def standing(api: KubeApi, served: list[str]) -> Iterator[str]:
    """A namespace with a run of two cells that go on and on."""
    lab = served.pop()
    with PlayedKubelet(api, lab, lambda _: None):
        run = make_run(lab, models=2)
        apply(api, run)
        wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 2)
        yield lab


COMMANDS = [
    ["get"], ["get", "run"], ["describe", "run"], ["logs", "run"], ["cancel", "run", "--yes"], ["suspend", "run"],
    ["resume", "run"],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_who_has_no_rights_learns_which_are_missing(stranger: str, namespace: str, words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "-n", namespace, "--kubeconfig", stranger])
    assert done.exit_code == 3
    verb = "list" if words == ["get"] else "get"
    assert f"you may not {verb} benchmarkruns.vidbench.io in namespace '{namespace}'" in done.stderr
    assert f"kubectl auth can-i {verb} benchmarkruns.vidbench.io -n {namespace}" in done.stderr
    assert not done.stdout


def test_who_may_not_apply_learns_it(stranger: str, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(make_run(namespace)))
    done = CliRunner().invoke(app, ["benchmark", "-f", str(file), "-n", namespace, "--kubeconfig", stranger])
    assert done.exit_code == 3
    assert "you may not list benchmarkruns.vidbench.io" in done.stderr


OF_RESULTS = [
    ["compare", "a", "b"], ["baseline", "list"], ["baseline", "set", "june", "a"], ["self-test", "--run", "a"],
    ["research", "frontier", "a"], ["research", "fleet", "a"], ["research", "report", "a"], ["research", "plan", "a"],
    ["erase", "a", "--yes"], ["export", "--from-cluster"],
]  # fmt: skip


@pytest.mark.parametrize("words", OF_RESULTS, ids=" ".join)
def test_who_may_not_read_results_learns_which_right_is_missing(
    stranger: str, namespace: str, words: list[str]
) -> None:
    done = CliRunner().invoke(app, [*words, "-n", namespace, "--kubeconfig", stranger])
    assert done.exit_code == 3, done.output
    assert "vidbench: you may not " in done.stderr
    assert ".vidbench.io" in done.stderr
    assert f"-n {namespace}" in done.stderr.partition("kubectl auth can-i ")[2]
    assert not done.stdout


@pytest.mark.parametrize("words", [*COMMANDS, *OF_RESULTS], ids=" ".join)
def test_no_cluster_is_said_to_be_none(words: list[str], tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", f"https://127.0.0.1:{closed_port()}")
    done = CliRunner().invoke(app, [*words, "--kubeconfig", kubeconfig])
    assert done.exit_code == 3
    assert "no cluster answers at https://127.0.0.1" in done.stderr
    assert "kubectl config get-contexts" in done.stderr


def test_describe_says_what_is_not_visible(api: KubeApi, standing: str, stranger: str) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reader", "namespace": standing}}
    rules = [{"apiGroups": ["vidbench.io"], "resources": ["*"], "verbs": ["get", "list"]}]
    subject = {"kind": "User", "name": "stranger", "apiGroup": "rbac.authorization.k8s.io"}
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{standing}"
    # A first try of this test may have left them.
    assert api.request("POST", f"{path}/roles", role | {"kind": "Role", "rules": rules}).status in (201, 409)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    binding = role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    assert api.request("POST", f"{path}/rolebindings", binding).status in (201, 409)
    deadline = time.monotonic() + 60
    while True:
        done = CliRunner().invoke(app, ["describe", "run", "-n", standing, "--kubeconfig", stranger])
        if done.exit_code == 0 or time.monotonic() > deadline:
            break
    assert done.exit_code == 0, done.stderr
    assert "Not shown: you may not list pods" in done.stdout
    assert "m0/cpu/default" in done.stdout


def test_benchmark_follows_to_the_end_and_exits_by_it(
    api: KubeApi, lab: str, play: Play, vidbench: Callable[..., Any], tmp_path: Path
) -> None:
    kubelet = play(lab, succeeds)
    run = make_run(lab, name="good")
    model = {
        "apiVersion": run["apiVersion"], "kind": "VideoModel", "metadata": {"name": "tiny-wan"},
        "spec": {"source": {"tiny": "wan"}, "defaults": {"dtype": "float32", "height": 32, "width": 32, "frames": 9, "steps": 4}},
    }  # fmt: skip
    del run["metadata"]["namespace"]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump_all([run, model]))
    code, shown, said = vidbench("benchmark", "-f", str(file), "-n", lab, "--dry-run")
    assert (code, shown) == (0, "good would be accepted by the API server\n"), said
    assert said == "VideoModel tiny-wan would be applied\n"
    assert not api.request("GET", f"/apis/vidbench.io/v1alpha1/namespaces/{lab}/benchmarkruns").body["items"]

    code, shown, said = vidbench("benchmark", "-f", str(file), "-n", lab, "--follow")
    assert code == 0, said
    assert re.search(r"^m0/cpu/default .*Succeeded", shown, re.MULTILINE)
    assert "VideoModel tiny-wan applied" in said
    assert f"{lab}/good  Succeeded  1/1 cells" in said

    code, _, said = vidbench("benchmark", "-f", str(file), "-n", lab)
    assert code == 2
    assert "has ended" in said
    assert "--name good-2" in said

    kubelet.script = lambda _: BROKEN
    code, shown, said = vidbench("benchmark", "-f", "-", "-n", lab, "--follow", "--name", "bad", stdin=file.read_text())
    assert code == 4
    assert "ModelLoadFailed" in shown


def test_ctrl_c_leaves_the_run_going(
    control_plane: ControlPlane, api: KubeApi, lab: str, play: Play, vidbench: Callable[..., Any], tmp_path: Path
) -> None:
    play(lab, lambda _: None)
    run = make_run(lab)
    apply(api, make_run(lab, name="other"))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(run))
    words = [sys.executable, "-m", "vidbench_cli", "benchmark", "-f", str(file), "--follow"]
    with subprocess.Popen(
        [*words, "--kubeconfig", str(control_plane.admin_kubeconfig)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stderr is not None
        said = ""
        while "Running" not in said:
            line = following.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        following.send_signal(signal.SIGINT)
        shown, rest = following.communicate(timeout=60)
        said += rest
    assert following.returncode == 130
    assert "The run goes on" in said
    assert f"vidbench cancel run -n {lab}" in said
    assert "Traceback" not in said
    assert not shown
    assert not has_ended(api.get(run).body)

    assert vidbench("suspend", "run", "-n", lab)[0] == 0
    wait_until(api, run, lambda body: body["status"]["phase"] == "Suspended")
    assert "it is suspended: vidbench resume run" in vidbench("describe", "run", "-n", lab)[1]
    assert vidbench("resume", "run", "-n", lab)[0] == 0
    wait_until(api, run, lambda body: body["status"]["phase"] == "Running")
    code, shown, _ = vidbench("cancel", "run", "--immediate", "--yes", "-n", lab)
    assert code == 0
    assert "shards that run are stopped" in shown
    wait_until(api, run, has_ended)
    assert vidbench("get", "run", "-n", lab)[0] == 4
    for words in (["cancel", "run", "--yes"], ["suspend", "run"]):
        code, shown, _ = vidbench(*words, "-n", lab)
        assert code == 0
        assert "ended as Cancelled" in shown
    code, _, said = vidbench("resume", "run", "-n", lab)
    assert code == 2
    assert "ended as Cancelled: it cannot go on" in said


def test_logs_are_followed_to_the_end_of_the_pod_each_line_once(
    control_plane: ControlPlane, api: KubeApi, lab: str, play: Play, vidbench: Callable[..., Any]
) -> None:
    pair = control_plane.issue_certificate("played-logs", "system:node:played", ("127.0.0.1",))
    with PlayedLogs(pair.certificate, pair.key) as logs:
        kubelet = play(lab, lambda _: None)
        status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
        status |= {"daemonEndpoints": {"kubeletEndpoint": {"Port": logs.port}}}
        patched = api.request(
            "PATCH", f"/api/v1/nodes/{kubelet.node}/status", {"status": status}, content_type=STRATEGIC
        )
        assert patched.accepted, patched.message
        run = make_run(lab)
        apply(api, run)
        wait_until(api, run, lambda body: body.get("status", {}).get("parallelism", {}).get("running") == 1)
        code, shown, said = vidbench("logs", "run", "-n", lab)
        assert (code, shown) == (3, "")
        assert "says nothing yet" in said
        assert "ContainerCreating" in said
        assert "--follow" in said

        logs.lines = [f"line {number}" for number in range(10)]
        code, shown, said = vidbench("logs", "run", "-n", lab, "--tail", "2")
        assert (code, shown.splitlines()) == (0, ["line 8", "line 9"]), said
        assert "m0/cpu/default shard 1 attempt 1, pod run-" in said

        logs.requests.clear()
        logs.breaks_after = [3, 2, 4]

        def end_the_pod_once_it_was_asked_four_times() -> None:
            while len(logs.requests) < 4:
                time.sleep(0.1)
            kubelet.script = succeeds

        ending = threading.Thread(target=end_the_pod_once_it_was_asked_four_times, daemon=True)
        ending.start()
        code, shown, said = vidbench("logs", "run", "m0", "-n", lab, "--follow")
        ending.join(timeout=10)
        assert (code, shown.splitlines()) == (0, logs.lines), said
        assert "sinceTime" in logs.requests[-1]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("a: [", 2, "is not YAML"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", 2, "0 BenchmarkRuns"),
        ("{apiVersion: vidbench.io/v1alpha1, kind: BenchmarkRun, spec: {}}", 2, "lacks kind, apiVersion or metadata.name"),
        ("{apiVersion: vidbench.io/v1alpha1, kind: BenchmarkRun, metadata: {name: x}, spec: {models: []}}", 2, "spec.models"),
        ("{apiVersion: vidbench.io/v1alpha1, kind: BenchmarkRun, metadata: {name: x}, spec: {modles: []}}", 2, "modles"),
        (f"{NONSENSE}\n---\n{{apiVersion: vidbench.io/v1alpha1, kind: BenchmarkRun, metadata: {{name: x}}}}", 2, "no kind 'Nonsense'"),
    ],
)  # fmt: skip
def test_benchmark_says_what_is_wrong_with_a_file(
    vidbench: Callable[..., Any], namespace: str, tmp_path: Path, text: str, code: int, said: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    found, _, error = vidbench("benchmark", "-f", str(file), "-n", namespace)
    assert found == code, error
    assert said in error


def test_names_are_completed(control_plane: ControlPlane, standing: str) -> None:
    environment = {**os.environ, "_VIDBENCH_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    for words, offered in (("vidbench get -n {lab} r", "run"), ("vidbench -n", "")):
        line = words.format(lab=standing)
        environment |= {"COMP_WORDS": line, "KUBECONFIG": str(control_plane.admin_kubeconfig)}
        environment["COMP_CWORD"] = str(len(line.split()) - 1)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("vidbench"))],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert offered in done.stdout, done.stderr


def test_kubectl_finds_the_plug_in(control_plane: ControlPlane, standing: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(control_plane.admin_kubeconfig)}
    words = [str(binaries.ensure("control-plane") / "kubectl"), "vidbench"]
    done = subprocess.run([*words, "get", "-n", standing], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
    done = subprocess.run([*words, "get", "--help"], env=environment, capture_output=True, text=True, check=True)
    assert "Usage: kubectl vidbench get" in done.stdout

"""`vidbench erase` as a user calls it: what goes, in which order, what stays, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.kubeconfigs import write_kubeconfig
from support.ledger_documents import document
from support.object_server import ObjectServer, serving
from typer.testing import CliRunner

from vidbench_cli.app import app
from vidbench_store.location import parse_location
from vidbench_store.store import Store

RUN = "vidbench.io/run"


def run_of(name: str, prompt: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "lab", "uid": f"uid-{name}", "labels": {"subject": name}},
        "spec": {
            "workload": {"prompts": [{"id": "p", "text": prompt}]},
            "artifacts": {"storageUri": "claim://videos"},
        },
        "status": {
            "requestName": f"{name}-request",
            "rows": [{"id": "aaaaaaaa"}],
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    }


def result_of(name: str) -> dict[str, Any]:
    return document(run=name, run_uid=f"uid-{name}", labels={RUN: name})


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    objects = {
        "benchmarkruns": [run_of("alice", "Alice walks"), run_of("bob", "Bob runs")],
        "configmaps": [{"metadata": {"name": f"{name}-request", "namespace": "lab"}} for name in ("alice", "bob")],
        "pods": [],
        "benchmarkresults": [result_of("alice"), result_of("bob")],
    }
    with serving(objects) as running:
        yield running


@pytest.fixture
def erase(server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VIDBENCH_STORE_URL", str(tmp_path / "ledger.sqlite"))
    kubeconfig = write_kubeconfig(tmp_path / "config", server.url)
    assert CliRunner().invoke(app, ["init-db"]).exit_code == 0
    with Store.open(parse_location(str(tmp_path / "ledger.sqlite"))) as store:
        store.write("only", [result_of("alice"), result_of("bob")])

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, ["erase", *words, "--kubeconfig", kubeconfig, "-o", "json"])

    return call


def endings(done: Result) -> dict[str, str]:
    return {entry["where"].split(" ")[0]: entry["ending"] for entry in json.loads(done.stdout)}


def left_in_store(tmp_path: Path) -> set[str]:
    with Store.open(parse_location(str(tmp_path / "ledger.sqlite"))) as store:
        return {entry["spec"]["run"]["name"] for entry in store.find_documents()}


def test_rehearsal_deletes_nothing(erase: Any, server: ObjectServer, tmp_path: Path) -> None:
    done = erase("alice", "--results", "--dry-run")
    assert done.exit_code == 0, done.stderr
    found = endings(done)
    assert found["BenchmarkRun"] == found["ConfigMap"] == found["BenchmarkResult"] == "WouldBeErased"
    assert server.deleted == []
    assert left_in_store(tmp_path) == {"alice", "bob"}


def test_prompts_go_and_results_stay_unless_asked(erase: Any, server: ObjectServer, tmp_path: Path) -> None:
    done = erase("alice", "--yes")
    assert done.exit_code == 0, done.stderr
    # The run first: while it is there, the operator writes its document anew.
    assert server.deleted == ["benchmarkruns/alice", "configmaps/alice-request"]
    assert endings(done)["lab:"] == "Kept"
    assert left_in_store(tmp_path) == {"alice", "bob"}


def test_all_of_a_run_goes_and_nothing_of_another(erase: Any, server: ObjectServer, tmp_path: Path) -> None:
    done = erase("--containing", "ALICE", "--results", "--yes")
    assert done.exit_code == 0, done.stderr
    assert server.names("benchmarkruns") == ["bob"]
    assert server.names("configmaps") == ["bob-request"]
    assert [entry["spec"]["run"]["name"] for entry in server.objects["benchmarkresults"]] == ["bob"]
    assert left_in_store(tmp_path) == {"bob"}
    entries = json.loads(done.stdout)
    (claim,) = [entry for entry in entries if entry["where"] == "claim://videos/alice"]
    assert claim["ending"] == "NotReached"
    assert "/claim/alice/aaaaaaaa" in claim["remedy"]


def test_a_result_that_comes_while_its_run_goes_is_erased_too(erase: Any, server: ObjectServer) -> None:
    late = result_of("alice")
    late["metadata"]["name"] = "alice-late"
    late["metadata"]["labels"]["vidbench.io/run-uid"] = "uid-alice"
    results = server.objects["benchmarkresults"]
    server.before_deleting = lambda plural: results.append(late) if plural == "benchmarkruns" else None
    assert erase("alice", "--results", "--yes").exit_code == 0
    assert [entry["spec"]["run"]["name"] for entry in results] == ["bob"]


def test_selector(erase: Any, server: ObjectServer) -> None:
    assert erase("-l", "subject=bob", "--yes").exit_code == 0
    assert server.names("benchmarkruns") == ["alice"]


def test_a_run_that_is_gone_is_erased_by_its_results(erase: Any, server: ObjectServer, tmp_path: Path) -> None:
    server.objects["benchmarkruns"] = []
    done = erase("alice", "--results", "--yes")
    assert done.exit_code == 0, done.stderr
    assert endings(done)["BenchmarkRun"] == "NotThere"
    assert left_in_store(tmp_path) == {"bob"}


def test_what_may_not_be_deleted_is_said_and_the_exit_code_too(erase: Any, server: ObjectServer) -> None:
    server.refused = {"benchmarkruns"}
    done = erase("alice", "--yes")
    assert done.exit_code == 3
    assert "you may not delete benchmarkruns.vidbench.io" in done.stderr
    # The operator would write it anew.
    assert endings(done)["ConfigMap"] == "Failed"


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ([], "name them, or use --selector or --containing", 2),
        (["alice"], "add --yes", 2),
        (["nobody", "--yes"], "Nothing was erased", 3),
        (["alice", "nobody", "--yes"], "nobody", 3),
        (["--containing", "Carol", "--yes"], "Nothing was erased", 3),
    ],
)
def test_wrong_input_erases_nothing(erase: Any, server: ObjectServer, words: list[str], said: str, code: int) -> None:
    done = erase(*words)
    assert done.exit_code == code
    assert said in done.stderr
    assert server.deleted == []


def test_storage_is_erased_by_a_pod_that_is_gone_afterwards(erase: Any, server: ObjectServer) -> None:
    server.becomes["pods"] = {"phase": "Succeeded"}
    done = erase("alice", "--storage", "--image", "registry/rm:1", "--yes")
    assert done.exit_code == 0, done.stderr
    (pod,) = server.created
    (container,) = pod["spec"]["containers"]
    assert (container["image"], container["command"]) == (
        "registry/rm:1", ["rm", "-rf", "--", "/claim/alice/97c00728", "/claim/alice/aaaaaaaa"],
    )  # fmt: skip
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] > 0
    assert endings(done)["claim://videos/alice"] == "Erased"
    assert server.names("pods") == []
    assert server.deleted[-1] == f"pods/{pod['metadata']['name']}"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]}, "Error, 1"),
        ({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, "ImagePullBackOff"),
        ({"phase": "Pending", "conditions": [{"status": "False", "message": "claim not found"}]}, "claim not found"),
    ],
)  # fmt: skip
def test_storage_that_could_not_be_erased_is_said_with_the_reason(
    erase: Any, server: ObjectServer, status: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidbench_cli.storage_eraser.POD_SECONDS", 2.0)
    server.becomes["pods"] = status
    done = erase("alice", "--storage", "--yes")
    assert done.exit_code == 3
    assert endings(done)["claim://videos/alice"] == "Failed"
    assert why in done.stderr
    assert server.names("pods") == []


def test_rehearsal_makes_no_pod(erase: Any, server: ObjectServer) -> None:
    assert endings(erase("alice", "--storage", "--dry-run"))["claim://videos/alice"] == "WouldBeErased"
    assert server.created == []


def test_an_image_is_of_the_pod_of_storage(erase: Any, server: ObjectServer) -> None:
    done = erase("alice", "--image", "registry/rm:1", "--yes")
    assert (done.exit_code, server.deleted) == (2, [])
    assert "--storage" in done.stderr


def test_a_pod_that_may_not_be_deleted_does_not_hide_what_it_erased(erase: Any, server: ObjectServer) -> None:
    server.becomes["pods"] = {"phase": "Succeeded"}
    server.refused = {"pods"}
    done = erase("alice", "--storage", "--yes")
    assert done.exit_code == 0, done.stderr
    (found,) = [entry for entry in json.loads(done.stdout) if entry["where"] == "claim://videos/alice"]
    assert found["ending"] == "Erased"
    assert f"its pod {server.created[0]['metadata']['name']} is still there" in found["why"]

"""A cluster that cannot be asked, and what its refusals mean for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.kubeconfigs import closed_port, write_kubeconfig
from typer.testing import CliRunner

from vidbench_cli.app import app
from vidbench_cli.cluster import NODES, PODS, RUNS, Cluster, Where, ask_patiently, list_contexts
from vidbench_cli.cluster_answers import Ask, explain_refusal, explain_silence, not_found_near
from vidbench_cli.errors import ClusterAwayError, ClusterError, Exit, NotFoundError, UsageError

ASK = Ask("get", RUNS, "lab", "nightly")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A kubeconfig of a server that nobody listens for."""
    return write_kubeconfig(tmp_path / "config", f"https://127.0.0.1:{closed_port()}")


def test_cluster_that_is_away_says_so(kubeconfig: str) -> None:
    cluster = Cluster(Where(kubeconfig))
    assert cluster.namespace == "lab"
    with pytest.raises(ClusterAwayError, match="Connection refused") as caught:
        cluster.get(RUNS, "nightly")
    assert "kubectl cluster-info" in caught.value.remedy


def test_get_without_a_kubeconfig_names_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["get", "nightly", "--kubeconfig", str(tmp_path / "none")])
    assert result.exit_code == Exit.CLUSTER
    assert "--kubeconfig" in result.stderr
    assert not result.stdout


def test_unknown_context_names_those_that_there_are(kubeconfig: str) -> None:
    assert list_contexts(kubeconfig) == ["only"]
    with pytest.raises(ClusterError, match="no context 'other'") as caught:
        Cluster(Where(kubeconfig, "other"))
    assert "only" in caught.value.remedy


def test_namespace_of_the_option_goes_before_that_of_the_context(kubeconfig: str) -> None:
    assert Cluster(Where(kubeconfig, namespace="mine")).namespace == "mine"


@pytest.mark.parametrize(
    ("resource", "namespace", "path"),
    [
        (RUNS, "lab", "/apis/vidbench.io/v1alpha1/namespaces/lab/benchmarkruns/x"),
        (RUNS, None, "/apis/vidbench.io/v1alpha1/benchmarkruns/x"),
        (PODS, "lab", "/api/v1/namespaces/lab/pods/x"),
        (NODES, "lab", "/api/v1/nodes/x"),
    ],
)
def test_paths(resource: Any, namespace: str | None, path: str) -> None:
    assert resource.path(namespace, "x") == path


FORBIDDEN = {"message": 'benchmarkruns.vidbench.io "nightly" is forbidden: User "me" cannot get resource ...'}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words", "remedy"),
    [
        (401, {}, ClusterError, "does not know you", "log in again"),
        (403, FORBIDDEN, ClusterError, "you may not get benchmarkruns.vidbench.io in namespace 'lab'",
         "kubectl auth can-i get benchmarkruns.vidbench.io -n lab"),
        (403, {"message": "quota exceeded"}, ClusterError, "quota exceeded", ""),
        (404, {"message": "the server could not find the requested resource", "details": {}}, ClusterError,
         "the CRDs of vidbench are missing", "helm install"),
        (404, {"details": {"name": "nightly"}}, NotFoundError, "no BenchmarkRun 'nightly' in namespace 'lab'", ""),
        (409, {"message": "object was modified"}, ClusterError, "object was modified", ""),
        (422, {"details": {"causes": [{"field": "spec.models", "message": "Required value"}]}}, UsageError,
         "1 fields are wrong", "spec.models: Required value"),
        (400, {"message": "strict decoding error"}, UsageError, "strict decoding error", ""),
        (429, {"message": "storage is (re)initializing"}, ClusterAwayError, "at the moment (429)", "again"),
        (503, {}, ClusterAwayError, "(503)", "again"),
        (418, {"message": "teapot"}, ClusterError, "418: teapot", ""),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(status: int, body: Any, kind: type[ClusterError], words: str, remedy: str) -> None:
    error = explain_refusal(ASK, status, body)
    assert type(error) is kind
    assert words in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("here", "elsewhere", "remedy"),
    [
        (["nightly2", "other"], [], "did you mean nightly2?"),
        (["nightly2"], ["prod"], "add -n prod"),
        (["zzz"], [], "there are: zzz"),
        ([], [], "none at all"),
    ],
)
def test_missing_names_lead_to_those_near_them(here: list[str], elsewhere: list[str], remedy: str) -> None:
    assert remedy in not_found_near(ASK, here, elsewhere).remedy


def test_refusal_names_the_context_that_was_asked() -> None:
    error = explain_refusal(Ask("list", RUNS, None, context="prod"), 403, FORBIDDEN)
    assert error.remedy.endswith("kubectl auth can-i list benchmarkruns.vidbench.io -A --context prod")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("certificate verify failed: self-signed", "is not trusted"),
        ("[Errno -2] Name or service not known", "leads nowhere"),
        ("Connection refused", "no cluster answers at https://x (context c)"),
    ],
)
def test_silence_is_told_apart(said: str, words: str) -> None:
    assert words in explain_silence("https://x", said, "c").message


def test_patience_outlasts_silence_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidbench_cli.cluster.time.sleep", lambda _: None)
    answers: list[str | Exception] = [ClusterAwayError("away"), ClusterAwayError("away"), "here"]

    def ask() -> str:
        answer = answers.pop(0) if answers else ClusterAwayError("gone for good")
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask_patiently(ask) == "here"
    with pytest.raises(ClusterAwayError, match="gone for good"):
        ask_patiently(ask, patience_seconds=0)
    with pytest.raises(NotFoundError):
        ask_patiently(_raise_not_found)


def _raise_not_found() -> None:
    raise NotFoundError("no")

"""A cluster that cannot be asked, and what its refusals mean for people."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.kubeconfigs import closed_port, write_kubeconfig
from typer.testing import CliRunner

from vidbench_cli.app import app
from vidbench_cli.cluster import JOBS, NODES, PODS, RUNS, Cluster, Where, ask_patiently, list_contexts
from vidbench_cli.cluster_answers import Ask, explain_refusal, explain_silence, not_found_near
from vidbench_cli.errors import (
    ClusterAwayError,
    ClusterError,
    Exit,
    ListExpiredError,
    NotFoundError,
    NotServedError,
    UsageError,
)
from vidbench_cli.ledger_source import cluster_name

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


@pytest.mark.parametrize("text", ["[]", "foo", "a: [", "contexts: [{}]", "contexts: 1\ncurrent-context: x"])
def test_kubeconfig_that_is_none_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    for words in (["get", "nightly"], ["sync", "--all-contexts", "--store", f"sqlite:///{tmp_path}/s.db"]):
        done = CliRunner().invoke(app, [*words, "--kubeconfig", str(path)])
        assert done.exit_code == Exit.CLUSTER, done.output
        assert "no usable kubeconfig" in done.stderr
        assert "--kubeconfig" in done.stderr
    assert cluster_name(str(path), None) is None


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
        (404, {"message": "the server could not find the requested resource", "details": {}}, NotServedError,
         "the CRDs of vidbench are missing", "helm install"),
        (404, {"details": {"name": "lab", "kind": "namespaces"}}, ClusterError, "no namespace 'lab'", "kubectl create namespace lab"),
        (404, {"details": {"name": "nightly"}}, NotFoundError, "no BenchmarkRun 'nightly' in namespace 'lab'", ""),
        (409, {"message": "object was modified"}, ClusterError, "object was modified", ""),
        (422, {"details": {"causes": [{"field": "spec.models", "message": "Required value"}]}}, UsageError,
         "1 field is wrong", "spec.models: Required value"),
        (500, {"message": "failed to create typed patch object (...): .spec.source.hub: expected map, got &{a/b}"}, UsageError,
         "expected map, got", "kubectl explain"),
        (400, {"message": "strict decoding error"}, UsageError, "strict decoding error", ""),
        (500, {"message": "failed to create typed patch object (...): .spec.modles: field not declared in schema"}, UsageError,
         ".spec.modles: field not declared", "kubectl explain"),
        (410, {"message": "continue parameter is too old"}, ListExpiredError, "forgotten where the list", "begin again"),
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


class Answers:
    """A server that gives the answers put in, one after another, and keeps what it was asked."""

    def __init__(self) -> None:
        self.given: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                answers.asked.append((self.command, self.path, json.loads(self.rfile.read(length)) if length else None))
                status, body = answers.given.pop(0)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[tuple[Answers, Cluster]]:
    """Such a server, and a cluster that asks it."""
    played = Answers()
    thread = threading.Thread(target=played.server.serve_forever, daemon=True)
    thread.start()
    host, port = played.server.server_address[:2]
    yield played, Cluster(Where(write_kubeconfig(tmp_path / "config", f"http://{host!s}:{port}", {"token": "secret"})))
    played.server.shutdown()
    played.server.server_close()
    thread.join(timeout=10)
    assert played.given == []


def _named(*names: str, more: str = "") -> dict[str, Any]:
    metadata = {"continue": more} if more else {}
    return {"metadata": metadata, "items": [{"metadata": {"name": name, "namespace": "lab"}} for name in names]}


def test_long_lists_are_read_in_chunks(answers: tuple[Answers, Cluster]) -> None:
    played, cluster = answers
    played.given = [(200, _named("a", more="next page")), (200, _named("b"))]
    assert cluster.names(RUNS) == ["a", "b"]
    assert [path.partition("?")[2] for _, path, _ in played.asked] == ["limit=200", "limit=200&continue=next+page"]


def test_missing_object_is_looked_for_nearby_and_elsewhere(answers: tuple[Answers, Cluster]) -> None:
    played, cluster = answers
    missing = (404, {"details": {"name": "nightly"}})
    played.given = [missing, (200, _named("nigthly")), (403, FORBIDDEN)]
    with pytest.raises(NotFoundError, match="no BenchmarkRun 'nightly'") as caught:
        cluster.get(RUNS, "nightly")
    assert caught.value.remedy == "did you mean nigthly?"
    played.given = [missing, (403, FORBIDDEN)]
    with pytest.raises(NotFoundError, match="no BenchmarkRun 'nightly'"):
        cluster.get(RUNS, "nightly")


def test_names_cannot_leave_their_path(answers: tuple[Answers, Cluster]) -> None:
    played, cluster = answers
    played.given = [(200, {})]
    cluster.get(RUNS, "../../secrets/x?y")
    assert played.asked[0][1].endswith("/namespaces/lab/benchmarkruns/..%2F..%2Fsecrets%2Fx%3Fy")


def test_deletes_are_in_the_background_and_of_that_object_alone(answers: tuple[Answers, Cluster]) -> None:
    played, cluster = answers
    played.given = [(200, {})]
    cluster.delete(RUNS, "x", uid="u-1")
    assert played.asked[0][2] == {"propagationPolicy": "Background", "preconditions": {"uid": "u-1"}}


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (200, b"<html>Log in</html>", "is no Kubernetes API server"),
        (500, b"upstream died", "upstream died"),
        (200, b"[]", "no Kube"),
    ],
)
def test_what_is_no_api_server_is_said_to_be_none(
    answers: tuple[Answers, Cluster], status: int, content: bytes, words: str
) -> None:
    played, cluster = answers
    played.given = [(status, content)]
    with pytest.raises(ClusterError, match=words):
        cluster.get(RUNS, "x")


def test_kinds_are_found_as_they_are_served(answers: tuple[Answers, Cluster]) -> None:
    played, cluster = answers
    served = {"resources": [{"kind": "Job", "name": "jobs/status", "namespaced": True},
                            {"kind": "Job", "name": "jobs", "namespaced": True}]}  # fmt: skip
    played.given = [(200, served), (200, served), (404, {}), (403, {"message": "x is forbidden: User"})]
    assert cluster.discover("batch/v1", "Job") == JOBS
    with pytest.raises(UsageError, match="no kind 'Jib'") as caught:
        cluster.discover("batch/v1", "Jib")
    assert "Job" in caught.value.remedy
    with pytest.raises(NotServedError, match=r"does not serve vidbench.io/v1alpha1"):
        cluster.discover("vidbench.io/v1alpha1", "BenchmarkRun")
    with pytest.raises(ClusterError, match="you may not get"):
        cluster.discover("vidbench.io/v1alpha1", "BenchmarkRun")


@pytest.mark.parametrize("allowed", [True, False])
def test_review_of_access(answers: tuple[Answers, Cluster], allowed: bool) -> None:
    played, cluster = answers
    played.given = [(201, {"status": {"allowed": allowed}})]
    assert cluster.review_access("list", RUNS) is allowed
    attributes = played.asked[0][2]["spec"]["resourceAttributes"]
    assert attributes["namespace"] == "lab"
    assert attributes["group"] == "vidbench.io"

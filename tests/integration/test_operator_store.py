"""The ledger's way into PostgreSQL on a real API server: by the operator, by sync, and out again by erase."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.live_runs import apply, create_class, has_ended, make_run, results_of, wait_until
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import PlayedKubelet, succeeds
from support.postgresql import PASSWORD, PostgresServer
from typer.testing import CliRunner

from localcluster.controlplane import ControlPlane
from vidbench_cli.app import app
from vidbench_cli.commands import ledger

CELLS = 4


@pytest.fixture
def postgresql() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_results_reach_the_store_and_leave_it(
    api: KubeApi,
    namespace: str,
    control_plane: ControlPlane,
    tmp_path: Path,
    postgresql: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgresql.make_database("ledger")
    monkeypatch.setenv("VIDBENCH_STORE_URL", url)
    # Not by KUBECONFIG: the client reads that when it is imported.
    cluster = ["-n", namespace, "--kubeconfig", str(control_plane.admin_kubeconfig)]
    monkeypatch.setattr(ledger, "_CHUNK", 3)
    create_class(api)
    run = make_run(namespace, models=CELLS)
    with (
        PlayedKubelet(api, namespace, succeeds),
        OperatorProcess(
            tmp_path, control_plane.admin_kubeconfig, namespace, store_url=url, store_cluster="prod", resync_seconds="2"
        ) as operator,
    ):
        apply(api, run)
        # There are no tables yet: nothing waits for them.
        wait_until(api, run, has_ended)
        assert len(results_of(api, run)) == CELLS
        until(lambda: figure(operator, "vidbench_store_up") == 0)
        assert vidbench("init-db").startswith("made the tables")
        until(lambda: figure(operator, "vidbench_store_complete") == 1)
        assert figure(operator, 'vidbench_store_results_total{result="added"}') == CELLS

        second = make_run(namespace, models=1, name="second")
        apply(api, second)
        wait_until(api, second, has_ended)
        until(lambda: figure(operator, 'vidbench_store_results_total{result="added"}') == CELLS + 1)

        row = json.loads(vidbench("sync", *cluster, "-o", "json"))[0]
        assert (row["listed"], row["added"], row["updated"], row["unchanged"]) == (CELLS + 1, 0, 0, CELLS + 1)
        whole = {entry["metadata"]["uid"]: entry for entry in json.loads(vidbench("export"))}
        assert {entry["cluster"] for entry in whole.values()} == {"prod"}
        for result in [*results_of(api, run), *results_of(api, second)]:
            assert whole[result["metadata"]["uid"]]["spec"] == result["spec"]
        log = operator.log
        assert PASSWORD not in log
        assert url.split(":")[2].split("@")[0] not in log

        name = run["metadata"]["name"]
        planned = findings(vidbench("erase", name, *cluster, "--results", "--dry-run", "-o", "json"))
        assert planned["BenchmarkRun"] == "WouldBeErased"
        assert api.get(run).accepted
        done = findings(vidbench("erase", name, *cluster, "--results", "--yes", "-o", "json"))
        assert done["BenchmarkRun"] == done["BenchmarkResult"] == "Erased"
        # The garbage collector may have been there before: the run owns its request document.
        assert done["ConfigMap"] in {"Erased", "NotThere"}
        assert api.get(run).status == 404
        text = json.dumps([listed(api, namespace, kind) for kind in ("benchmarkruns", "benchmarkresults")])
        text += json.dumps(api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps").body)
        assert name not in {entry["spec"]["run"]["name"] for entry in listed(api, namespace, "benchmarkresults")}
        assert run["metadata"]["name"] + "-request" not in text
        rest = json.loads(vidbench("export"))
        assert {entry["spec"]["run"]["name"] for entry in rest} == {"second"}


def vidbench(*words: str) -> str:
    """Call a command that succeeds; returns what it wrote."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def findings(text: str) -> dict[str, str]:
    """Return what became of things, by the first word of where they are."""
    return {entry["where"].split(" ")[0]: entry["ending"] for entry in json.loads(text)}


def listed(api: KubeApi, namespace: str, plural: str) -> list[dict[str, Any]]:
    path = f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/{plural}"
    items: list[dict[str, Any]] = api.request("GET", path).body["items"]
    return items


def figure(operator: OperatorProcess, name: str) -> float | None:
    """Return a figure of the operator's metrics."""
    _status, text = operator.get("/metrics")
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")), None)


def until(holds: Any) -> None:
    deadline = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)

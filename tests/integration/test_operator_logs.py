"""What an operator says on a real API server at its most talkative: who wrote what, and nothing that is a user's own."""

from __future__ import annotations

import json
from pathlib import Path

from integration.live_runs import apply, create_class, has_ended, jobs_of, make_run, wait_until
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.played_kubelet import Ending, PlayedKubelet, model_of, succeeds

from localcluster.controlplane import ControlPlane
from vidbench_api.names import FIELD_MANAGER

PROMPT = "a heron at dawn that nobody else may read of"


def test_every_write_is_audited_and_no_prompt_is_logged(
    api: KubeApi, namespace: str, control_plane: ControlPlane, tmp_path: Path
) -> None:
    create_class(api)
    run = make_run(namespace, models=3, workload={"prompts": [{"id": "heron", "text": PROMPT}], "seeds": {"count": 1}})
    refused = make_run(namespace, "refused", runnerClassName="nobody", workload=run["spec"]["workload"])
    with (
        PlayedKubelet(api, namespace, lambda pod: Ending(81) if model_of(pod) == "m2" else succeeds(pod)),
        OperatorProcess(
            tmp_path, control_plane.admin_kubeconfig, namespace, log_level="DEBUG", identity="pod-1"
        ) as operator,
    ):
        apply(api, run)
        apply(api, refused)
        wait_until(api, run, has_ended)
        wait_until(api, run, lambda _: all("ttlSecondsAfterFinished" in job["spec"] for job in jobs_of(api, namespace)))
    log = operator.log
    assert "heron" not in log
    assert "Bearer" not in log
    assert "PRIVATE KEY" not in log
    entries = [json.loads(line) for line in log.splitlines()]
    assert {entry["level"] for entry in entries} <= {"debug", "info", "warning", "error"}
    assert all(entry["event"] and entry["timestamp"] and entry["logger"] for entry in entries)
    mutations = [entry for entry in entries if entry["event"] == "mutation"]
    assert {(entry["verb"], _resource(entry["path"])) for entry in mutations} >= {
        ("POST", "configmaps"),
        ("POST", "jobs"),
        ("POST", "benchmarkresults"),
        ("POST", "events"),
        ("PUT", "benchmarkruns/status"),
        ("PATCH", "jobs"),
    }
    for entry in mutations:
        assert entry["run"] in (f"{namespace}/run", f"{namespace}/refused")
        assert entry["writer"] == "pod-1"
        assert isinstance(entry["code"], int)
        assert entry["name"] or entry["verb"] in ("PATCH", "DELETE")
    _assert_complete(control_plane, namespace, mutations)


def _assert_complete(control_plane: ControlPlane, namespace: str, mutations: list[dict[str, object]]) -> None:
    """The API server's own audit log knows of no write by the operator beside those."""
    lines = control_plane.audit_log.read_text().splitlines()
    seen = [
        entry
        for entry in map(json.loads, lines)
        if entry["stage"] == "ResponseComplete"
        and entry.get("objectRef", {}).get("namespace") == namespace
        and entry["verb"] in ("create", "update", "patch", "delete")
        and entry.get("userAgent") == FIELD_MANAGER
    ]
    assert len(seen) == len(mutations)


def _resource(path: object) -> str:
    parts = str(path).split("/namespaces/")[1].split("/")[1:]
    return "/".join([parts[0], *parts[2:3]])

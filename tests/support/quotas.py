"""Quotas that hold from when they were set: the API server hears of one a moment after it was stored."""

from __future__ import annotations

import time
from typing import Any

from support.kube_api import MERGE_PATCH, KubeApi

PODS, JOBS = "pods", "count/jobs.batch"
_SECONDS = 60.0
_POD_SPEC: dict[str, Any] = {
    "restartPolicy": "Never",
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "probe",
            "image": "probe.invalid/probe:1",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
_PROBES: dict[str, dict[str, Any]] = {
    PODS: {"apiVersion": "v1", "kind": "Pod", "spec": _POD_SPEC},
    JOBS: {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": _POD_SPEC}}},
}


def forbid(api: KubeApi, namespace: str, resource: str) -> None:
    """Allow none of PODS or JOBS in a namespace, and wait until the API server holds to it."""
    quota = {"metadata": {"name": "limit"}, "spec": {"hard": {resource: "0"}}}
    answer = api.request("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    assert answer.accepted, answer.message
    probe = _PROBES[resource] | {"metadata": {"name": "probe", "namespace": namespace}}
    deadline = time.monotonic() + _SECONDS
    while "exceeded quota" not in (answer := api.create(probe, dry_run=True)).message:
        assert time.monotonic() < deadline, f"the quota does not hold: {answer}"
        time.sleep(0.1)


def allow(api: KubeApi, namespace: str, resource: str, count: int) -> None:
    """Allow so many of what was forbidden."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/limit"
    patch = {"spec": {"hard": {resource: str(count)}}}
    answer = api.request("PATCH", path, patch, content_type=MERGE_PATCH)
    assert answer.accepted, answer.message

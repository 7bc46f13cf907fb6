"""The operator's own pods: how many, and away with them."""

from __future__ import annotations

import json
from typing import Any

from support.e2e_cluster import OPERATOR_NAMESPACE, E2ECluster, Manifest

OPERATOR = "deployment/vidbench-operator"


def operator_pods(cluster: E2ECluster) -> list[Manifest]:
    """Return the operator's pods."""
    return cluster.objects("Pod", OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator")


def restarts(cluster: E2ECluster) -> int:
    """Return how often containers of the operator that is there were restarted."""
    pods = operator_pods(cluster)
    return sum(entry["restartCount"] for pod in pods for entry in pod["status"].get("containerStatuses", ()))


def log_lines(cluster: E2ECluster, since: str) -> list[dict[str, Any]]:
    """Return what every replica of the operator has logged since a time (RFC 3339), a dictionary a line.

    Of all replicas: a Deployment's own log is that of one pod, which need not be the one that leads.
    """
    lines: list[dict[str, Any]] = []
    for pod in operator_pods(cluster):
        text = cluster.kubectl("logs", "-n", OPERATOR_NAMESPACE, pod["metadata"]["name"], f"--since-time={since}")
        lines.extend(json.loads(line) for line in text.splitlines())
    return lines


def scale_operator(cluster: E2ECluster, namespace: str, replicas: int) -> int:
    """Set the number of the operator's pods and wait for it; returns what it was before."""
    before = json.loads(cluster.kubectl("get", OPERATOR, "-n", OPERATOR_NAMESPACE, "-o", "json"))["spec"]["replicas"]
    cluster.kubectl("scale", OPERATOR, "-n", OPERATOR_NAMESPACE, f"--replicas={replicas}")
    wanted = bool(replicas)
    cluster.wait_for(
        f"the operator to have {replicas} replicas",
        lambda: bool(cluster.operator_pod()) is wanted and (wanted or not operator_pods(cluster)),
        90,
        namespace,
    )
    return int(before)

"""The operator's own pods: how many, and away with them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
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


@contextlib.contextmanager
def operator_replicas(cluster: E2ECluster, namespace: str, replicas: int) -> Iterator[None]:
    """Have so many operator pods for a while, and then as many as before, whatever came between."""
    before = json.loads(cluster.kubectl("get", OPERATOR, "-n", OPERATOR_NAMESPACE, "-o", "json"))["spec"]["replicas"]
    try:
        _scale(cluster, namespace, replicas)
        yield
    finally:
        _scale(cluster, namespace, before)


def _scale(cluster: E2ECluster, namespace: str, replicas: int) -> None:
    """Set the number of the operator's pods and wait until they are there and ready, and no others."""

    def are_there() -> bool:
        live = [pod for pod in operator_pods(cluster) if pod["status"].get("phase") not in ("Succeeded", "Failed")]
        return len(live) == replicas and all(map(is_ready, live))

    cluster.kubectl("scale", OPERATOR, "-n", OPERATOR_NAMESPACE, f"--replicas={replicas}")
    cluster.wait_for(f"the operator to have {replicas} replicas", are_there, 90, namespace)


def is_ready(pod: Manifest) -> bool:
    """Whether a pod says of itself that it is ready."""
    conditions = pod["status"].get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

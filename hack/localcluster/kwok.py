"""Nodes that do not exist, by kwok: for tests and benches of scale. Knows the control plane's credentials, nothing of results."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import binaries
from .console import say
from .controlplane import ControlPlane
from .errors import LocalClusterError
from .layout import GPU_RESOURCE, NODE_LABELS
from .ports import pick_free
from .process import Daemon
from .readiness import http_status

STAGES = tuple(sorted((Path(__file__).parent / "stages").glob("*.yaml")))
"""Our own life of nodes and pods; each file says what it does, pod-complete.yaml which annotations steer it."""
FAKE_NODE_ANNOTATION = ("kwok.x-k8s.io/node", "fake")
FAKE_NODE_TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
LEASE_SECONDS = 40


def start_kwok(
    control_plane: ControlPlane,
    stages: Sequence[Path] = STAGES,
    *,
    die_with_parent: bool = True,
    lease_seconds: int = LEASE_SECONDS,
    timeout_seconds: float = 30,
) -> Daemon:
    """Start kwok against a control plane and return it; `stop()` ends it. It manages the annotated nodes only.

    Each node's lease is renewed about four times in `lease_seconds`: with a thousand nodes, short ones are most of what
    the API server does. Longer ones need a controller manager whose `--node-monitor-grace-period` is longer still.
    """
    daemon = Daemon("kwok", control_plane.directory / "run", die_with_parent=die_with_parent)
    port = pick_free(1)[0]
    key, value = FAKE_NODE_ANNOTATION
    daemon.start(
        [
            binaries.ensure("kwok") / "kwok",
            f"--kubeconfig={control_plane.admin_kubeconfig}",
            f"--manage-nodes-with-annotation-selector={key}={value}",
            f"--node-lease-duration-seconds={lease_seconds}",
            f"--server-address=127.0.0.1:{port}",
            *(f"--config={stage}" for stage in stages),
        ]
    )
    deadline = time.monotonic() + timeout_seconds
    while http_status(port, "/healthz") != 200:  # OK
        if not daemon.is_running or time.monotonic() > deadline:
            daemon.stop()
            raise LocalClusterError(f"kwok does not get ready; see {daemon.log_path}:\n{daemon.last_words()}")
        time.sleep(0.1)
    return daemon


def create_fake_nodes(
    control_plane: ControlPlane,
    count: int,
    gpus_each: int,
    *,
    name_prefix: str = "fake",
    tainted: bool = False,
    timeout_seconds: float = 120,
) -> list[str]:
    """Make nodes and wait until they are ready; return their names. A taint keeps pods away that do not tolerate it."""
    nodes = [fake_node(f"{name_prefix}-{number:04d}", gpus_each, tainted=tainted) for number in range(count)]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    control_plane.kubectl("create", "-f", "-", stdin=document)
    names = [str(node["metadata"]["name"]) for node in nodes]
    started = time.monotonic()
    control_plane.kubectl("wait", "--for=condition=Ready", f"--timeout={timeout_seconds:g}s", "node", *names)
    say(f"{count} fake nodes were ready after {time.monotonic() - started:.1f} s")
    return names


def fake_node(name: str, gpus: int, *, tainted: bool) -> dict[str, Any]:
    """A node object as kwok wants it."""
    resources = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110", GPU_RESOURCE: str(gpus)}
    key, value = FAKE_NODE_ANNOTATION
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {key: value, "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                **NODE_LABELS,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "spec": {"taints": [FAKE_NODE_TAINT] if tainted else []},
        "status": {"capacity": resources, "allocatable": resources},
    }

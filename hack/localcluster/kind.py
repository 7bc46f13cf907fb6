"""The same cluster by kind, for machines with a container engine. Written from kind's documentation; see the package's README.

Not run where this was written: that machine has no container engine.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import binaries, layout
from .console import run, say, succeeds

_CLUSTER = "vidbench"
_NODE = f"{_CLUSTER}-control-plane"


def answering_engine() -> str | None:
    """Return `docker` or `podman` if it is installed and its service answers."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) and succeeds([engine, "info"], timeout_seconds=15):
            return engine
    return None


class KindCluster:
    """One kind node that pretends to have GPUs."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._environment = {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": engine}

    @property
    def exists(self) -> bool:
        """Whether kind knows our cluster."""
        return _CLUSTER in self._kind("get", "clusters").split()

    def up(self) -> Path:
        """Make the cluster unless it is there, and return the administrator's kubeconfig."""
        path = layout.kubeconfig_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.exists:
            self._kind("export", "kubeconfig", "--name", _CLUSTER, "--kubeconfig", str(path))
        else:
            self._kind("create", "cluster", "--name", _CLUSTER, "--kubeconfig", str(path), "--wait", "180s")
        self._pretend_gpus(path)
        say("the cluster is up (kind)")
        return path

    def down(self) -> None:
        """Remove the cluster."""
        self._kind("delete", "cluster", "--name", _CLUSTER)
        layout.kubeconfig_path().unlink(missing_ok=True)

    def load_image(self, reference: str, archive: Path | None) -> None:
        """Put an image into the node, from the engine or from an archive."""
        if archive is None:
            self._kind("load", "docker-image", reference, "--name", _CLUSTER)
        else:
            self._kind("load", "image-archive", str(archive), "--name", _CLUSTER)

    def describe(self) -> str:
        """What kubectl says of the node."""
        return self._kubectl(layout.kubeconfig_path(), "get", "nodes", "-o", "wide")

    def _pretend_gpus(self, path: Path) -> None:
        pointer = layout.GPU_RESOURCE.replace("/", "~1")
        patch = [
            {"op": "add", "path": f"/status/{field}/{pointer}", "value": str(layout.GPU_COUNT)}
            for field in ("capacity", "allocatable")
        ]
        self._kubectl(path, "patch", "node", _NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch))
        self._kubectl(path, "label", "node", _NODE, "--overwrite", *(f"{k}={v}" for k, v in layout.NODE_LABELS.items()))

    def _kind(self, *arguments: str) -> str:
        program = shutil.which("kind") or binaries.ensure("kind") / "kind"
        return run([program, *arguments], doing=f"kind {' '.join(arguments[:2])}", environment=self._environment)

    def _kubectl(self, path: Path, *arguments: str) -> str:
        program = shutil.which("kubectl") or binaries.ensure("control-plane") / "kubectl"
        return run([program, f"--kubeconfig={path}", *arguments], doing=f"kubectl {arguments[0]}")

"""What root on the node's own machine can see and do: processes of a container, its termination message while it is written,
requests in the audit log. For the cluster that runs on this machine without a container engine."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

from demo import steps
from localcluster import sweep
from localcluster.cluster import SingleNodeCluster

Manifest = dict[str, Any]


class NodeAccess:
    """The node under the kubelet's feet."""

    def __init__(self, cluster: SingleNodeCluster) -> None:
        self._cluster = cluster

    def processes(self, pod: Manifest) -> list[int]:
        """Return the pids of all containers of a pod, each container's first process first; [] once they have ended."""
        ids = {entry["containerID"].rpartition("/")[2] for entry in _containers(pod) if entry.get("containerID")}
        pids = {
            int(pid)
            for group in sweep.pod_cgroups()
            if group.name in ids
            for pid in (group / "cgroup.procs").read_text().split()
        }
        return sorted(pids)

    def kill(self, pod: Manifest) -> list[int]:
        """SIGKILL every process of a pod's containers at once, as the kernel does on a cgroup v2 node; return the pids.

        All are stopped before the first one dies, so that none can react to another's death.
        """
        pids = self.processes(pod)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                _send(pid, number)
        return pids

    def termination_message(self, pod: Manifest, container: str) -> str:
        """Return what a running container has written so far; empty if there is nothing yet."""
        directory = self._cluster.places.kubelet / "pods" / pod["metadata"]["uid"] / "containers" / container
        files = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime) if directory.is_dir() else []
        return files[-1].read_text(errors="replace") if files else ""

    def created(self, resource: str, namespace: str) -> Counter[str]:
        """Count by name the objects whose creation the API server has accepted, out of its audit log."""
        return Counter(
            entry["objectRef"]["name"]
            for entry in self._audit_entries()
            if entry["verb"] == "create"
            and entry["objectRef"].get("resource") == resource
            and entry["objectRef"].get("namespace") == namespace
            and "subresource" not in entry["objectRef"]
            and entry["responseStatus"].get("code") == 201
        )

    def stop_kubelet(self) -> None:
        """Stop the kubelet; containers go on."""
        steps.localcluster("stop-kubelet")

    def start_kubelet(self) -> None:
        """Start the kubelet and wait until the node is registered, ready and has its pretended GPUs.

        By a command, because a child of the test's own process would end with that.
        """
        steps.localcluster("start-kubelet")

    def _audit_entries(self) -> Iterator[Manifest]:
        with self._cluster.control_plane.audit_log.open() as lines:
            for line in lines:
                # The last line may be in the middle of being written.
                if line.endswith("\n"):
                    entry = json.loads(line)
                    if "objectRef" in entry and "responseStatus" in entry:
                        yield entry


def _containers(pod: Manifest) -> list[Manifest]:
    return list(pod["status"].get("containerStatuses", ()))


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

"""Control planes of the bench's own, with nodes that do not exist and the chart's account for the operator."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.chart_account import OPERATOR_NAMESPACE, install_account

from bench.async_api import AsyncApi
from bench.workload import runner_class_manifest
from localcluster import versions
from localcluster.components import CONTROLLER_MANAGER, SCHEDULER, ControlPlaneOptions
from localcluster.console import say
from localcluster.controlplane import ControlPlane
from localcluster.kwok import fake_node, start_kwok
from vidbench_api.kinds import KINDS
from vidbench_api.names import API_VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
CREATOR, POD_ENDER = "bench-creator", "bench-pod-ender"
IN_FLIGHT = 32
KINDS_SERVED_SECONDS = 60.0
NODES_READY_SECONDS = 180.0
GO_GC_PERCENT = 400
"""GOGC of the cluster's own programs: fewer collections for more memory, or these take a third of the two cores."""
LEASE_SECONDS = 600
"""Long, so that a thousand nodes renew a few leases a second and not a hundred."""


@dataclass(frozen=True)
class ClusterSetting:
    """What the cluster of a bench is like; part of its report."""

    nodes: int
    gpus_per_node: int = 8
    client_qps: int = 200
    """Requests a second that each controller, and the scheduler, may make; bursts are twice as large."""
    job_syncs: int = 5
    """Jobs that the Job controller works on at the same time; 5 is the default of Kubernetes."""

    @property
    def options(self) -> ControlPlaneOptions:
        """Return it for the control plane."""
        qps, burst = self.client_qps, 2 * self.client_qps
        return ControlPlaneOptions(
            controller_manager_qps=qps,
            controller_manager_burst=burst,
            audit_log=True,
            audit_users=(CREATOR, POD_ENDER, operator_user()),
            extra_arguments={
                CONTROLLER_MANAGER: [
                    f"--concurrent-job-syncs={self.job_syncs}",
                    f"--node-monitor-grace-period={2 * LEASE_SECONDS}s",
                ],
                SCHEDULER: [f"--kube-api-qps={qps}", f"--kube-api-burst={burst}"],
            },
        )

    def report(self) -> dict[str, Any]:
        """Return it as figures."""
        return {
            "kubernetes": versions.KUBERNETES,
            "etcd": versions.ETCD,
            "kwok": versions.KWOK,
            "clientQps": self.client_qps,
            "clientBurst": 2 * self.client_qps,
            "jobSyncs": self.job_syncs,
            "goGcPercent": GO_GC_PERCENT,
            "nodes": self.nodes,
            "gpusPerNode": self.gpus_per_node,
            "inFlight": IN_FLIGHT,
            "operatorUser": operator_user(),
        }


@dataclass(frozen=True)
class ScaleCluster:
    """A cluster that runs, who the operator is in it, and the bench's two clients."""

    control_plane: ControlPlane
    operator_kubeconfig: Path
    api: AsyncApi
    """Creates, as a user of its own."""
    ender_api: AsyncApi
    """Ends pods, as another user."""


def operator_user() -> str:
    """Return the user that the operator's calls are counted by."""
    return f"system:serviceaccount:{OPERATOR_NAMESPACE}:vidbench-operator"


@asynccontextmanager
async def started_cluster(directory: Path, setting: ClusterSetting) -> AsyncIterator[ScaleCluster]:
    """Start a control plane with an audit log, CRDs, kwok and its nodes; leave nothing of it but logs."""
    os.environ["GOGC"] = str(GO_GC_PERCENT)
    with ControlPlane(directory, setting.options) as control_plane:
        await asyncio.to_thread(_install_kinds, control_plane)
        kwok = await asyncio.to_thread(start_kwok, control_plane, lease_seconds=LEASE_SECONDS)
        try:
            kubeconfig = await asyncio.to_thread(_install_account, control_plane)
            async with (
                AsyncApi(control_plane, CREATOR, in_flight=IN_FLIGHT) as api,
                AsyncApi(control_plane, POD_ENDER, in_flight=IN_FLIGHT) as ender_api,
            ):
                await _create_class(api)
                await _create_nodes(api, setting)
                yield ScaleCluster(control_plane, kubeconfig, api, ender_api)
        finally:
            kwok.stop()


async def _create_class(api: AsyncApi) -> None:
    """Wait until all our kinds are served, and make the class."""
    path = f"/apis/{API_VERSION}"
    wanted = {kind.plural for kind in KINDS}
    async with asyncio.timeout(KINDS_SERVED_SECONDS):
        while True:
            served = await api.request("GET", path) if await api.exists(path) else {"resources": []}
            if wanted <= {entry["name"] for entry in served["resources"]}:
                break
            await asyncio.sleep(0.2)
    await api.request("POST", f"{path}/runnerclasses", runner_class_manifest())


async def _create_nodes(api: AsyncApi, setting: ClusterSetting) -> None:
    """Make the nodes and wait until all are ready, which shows in the scheduler's taint going away."""
    started = time.monotonic()
    nodes = [fake_node(f"fake-{number:04d}", setting.gpus_per_node, tainted=False) for number in range(setting.nodes)]
    await api.post_all("/api/v1/nodes", nodes)
    while time.monotonic() < started + NODES_READY_SECONDS:
        stored = [node async for node in api.items("/api/v1/nodes")]
        if len(stored) == setting.nodes and not any(node["spec"].get("taints") for node in stored):
            say(f"{setting.nodes} fake nodes were ready after {time.monotonic() - started:.1f} s")
            return
        await asyncio.sleep(1.0)
    raise AssertionError(f"the fake nodes were not ready after {NODES_READY_SECONDS:.0f} s")


def _install_kinds(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))


def _install_account(control_plane: ControlPlane) -> Path:
    account = install_account(control_plane)
    if operator_user() != account.user:
        raise AssertionError(f"the chart's account is {account.user}: the audit log would not hold its calls")
    return account.kubeconfig()

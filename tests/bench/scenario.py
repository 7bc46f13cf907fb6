"""The steps of which every bench is made: namespaces, an operator that starts and restarts, runs, and the end of their pods.

Phases are parted by waiting until nothing happens any more. Nobody watches pods or ends them while creation is timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from bench.async_api import AsyncApi
from bench.audit import AuditLog, Call, seconds_of
from bench.cluster import ScaleCluster, operator_user
from bench.figures import Restart
from bench.ledger import ended
from bench.operator_process import OperatorProcess
from bench.pod_ender import Pod, PodEnder
from bench.workload import Manifest, Workload

Value = TypeVar("Value")

QUIET_SECONDS = 3.0
"""The operator is at rest when it wrote nothing for so long; longer than its status writes are apart."""

RESTART_WATCH_SECONDS = 30.0
"""How long a restarted operator is watched for writes, after it was ready."""

STEP_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class Bench:
    """What a scenario works with."""

    api: AsyncApi
    ender_api: AsyncApi
    operator: OperatorProcess
    audit: AuditLog

    @classmethod
    def on(cls, cluster: ScaleCluster) -> Bench:
        """Return the bench of a cluster; its operator does not run yet."""
        control_plane = cluster.control_plane
        operator = OperatorProcess(control_plane.directory / "run", cluster.operator_kubeconfig)
        return cls(cluster.api, cluster.ender_api, operator, AuditLog(control_plane.audit_log))

    def operator_calls(self, mark: int) -> list[Call]:
        """Return what the operator asked for since the mark."""
        return self.audit.calls_since(mark, operator_user())

    async def prepare(self, workload: Workload) -> None:
        """Make the namespace, wait for its account, and make the models."""
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": workload.namespace}}
        await self.api.request("POST", "/api/v1/namespaces", manifest)
        account = f"/api/v1/namespaces/{workload.namespace}/serviceaccounts/default"
        await wait_until(lambda: self.api.exists(account), "for the namespace's account")
        await self.api.post_all(workload.path("videomodels"), workload.model_manifests())

    async def create_raw(self, workload: Workload, manifests: list[Manifest]) -> float:
        """Create the Jobs of these runs as fast as one client can, without an operator; return the seconds."""
        runs = await self.api.post_all(workload.path("benchmarkruns"), manifests)
        jobs = [job for run in runs for job in workload.job_manifests(run)]
        mark = self.audit.mark()
        await self.api.post_all(workload.path("jobs"), jobs)
        created = accepted(self.audit.calls_since(mark, self.api.user), "create jobs")
        assert len(created) == len(jobs)
        return seconds_of(created)

    async def apply(self, workload: Workload, manifests: list[Manifest], jobs: int) -> None:
        """Apply runs, and wait until so many Jobs are there in all."""
        await self.api.post_all(workload.path("benchmarkruns"), manifests)

        async def created() -> bool:
            return await self.api.count(workload.path("jobs")) >= jobs

        await wait_until(created, "until all Jobs are there")

    async def wait_running(self, workload: Workload, count: int) -> None:
        """Wait until so many pods are there and none of them is pending."""
        path = workload.path("pods")

        async def running() -> bool:
            if await self.api.count(path) < count:
                return False
            pending = await self.api.request("GET", f"{path}?limit=1&fieldSelector=status.phase%3DPending")
            return not pending["items"]

        await wait_until(running, "until all pods run", pause=1.0)

    async def end_all(self, workload: Workload, ender: PodEnder, seconds: float) -> None:
        """End all pods evenly over so many seconds, and wait until the runs have ended."""
        await self.wait_running(workload, workload.shards)
        pods: list[Pod] = [pod async for pod in self.ender_api.items(workload.path("pods"))]
        await ender.end(pods, seconds)
        del pods
        await wait_until(lambda: self._all_ended(workload), "until all runs have ended", pause=2.0)

    async def start_operator(self) -> None:
        """Start it and wait until it is at rest."""
        mark = self.audit.mark()
        await self.operator.start()
        await self.wait_quiet(mark)

    async def restart(self, shards_running: int) -> Restart:
        """Stop the operator, which is at rest, start it again, and see what it does."""
        await self.wait_quiet(self.audit.mark())
        await self.operator.stop()
        mark = self.audit.mark()
        started = time.monotonic()
        await self.operator.start()
        ready_seconds = time.monotonic() - started
        await asyncio.sleep(RESTART_WATCH_SECONDS)
        calls = tuple(self.operator_calls(mark))
        return Restart(shards_running, calls, ready_seconds, self.operator.figures())

    async def wait_quiet(self, mark: int) -> None:
        """Wait until the operator has written nothing but Leases for a while."""
        started, latest = time.monotonic(), 0.0

        async def quiet() -> bool:
            nonlocal mark, latest
            calls, mark = await asyncio.to_thread(self.audit.read, mark, operator_user())
            written = [call.answered.timestamp() for call in calls if call.mutates and call.resource != "leases"]
            latest = max(latest, *written) if written else latest
            return min(time.time() - latest, time.monotonic() - started) >= QUIET_SECONDS

        await wait_until(quiet, "until the operator is at rest", pause=0.5)

    async def remove(self, workload: Workload) -> None:
        """Delete the namespace and wait until it and all that it held are gone.

        Its content goes first: a namespace that finds pods waits for the grace periods in their specs.
        """
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        for resource in ("benchmarkruns", "jobs", "pods"):
            await self.api.request("DELETE", workload.path(resource), {**options, "gracePeriodSeconds": 0})

        async def emptied() -> bool:
            counts = [await self.api.count(workload.path(resource)) for resource in ("jobs", "pods")]
            return not any(counts)

        await wait_until(emptied, f"until the Jobs and pods of {workload.namespace} are gone", pause=0.5)
        path = f"/api/v1/namespaces/{workload.namespace}"
        await self.api.request("DELETE", path)

        async def gone() -> bool:
            return not await self.api.exists(path)

        await wait_until(gone, f"until namespace {workload.namespace} is gone", pause=0.5)

    async def _all_ended(self, workload: Workload) -> bool:
        """Look at the last run to end first: as long as one is under way, the others need not be read."""
        async for run in self.api.items(workload.path("benchmarkruns")):
            if not ended(run):
                return False
        return True


def accepted(calls: Iterable[Call], kind: str) -> list[Call]:
    """Return the calls of a kind that the server carried out."""
    return [call for call in calls if call.kind == kind and call.code < 300]


async def wait_until(condition: Callable[[], Awaitable[bool]], what: str, *, pause: float = 0.1) -> None:
    """Wait until a condition of another process holds; fail after a time in which everything here is long over."""
    try:
        async with asyncio.timeout(STEP_LIMIT_SECONDS):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"waited {STEP_LIMIT_SECONDS:.0f} s {what}") from None

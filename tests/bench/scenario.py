"""The rounds: the same Jobs created raw and by the operator, one after the other on an otherwise idle cluster.

Phases are parted by waiting until nothing happens any more. Nobody watches pods or ends them while creation is timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from bench.async_api import ApiError, AsyncApi
from bench.audit import AuditLog, Call, seconds_of
from bench.figures import Restart, Round
from bench.ledger import check_ledger, ended
from bench.operator_process import OperatorProcess
from bench.pod_ender import PodEnder
from bench.workload import Workload

Value = TypeVar("Value")

QUIET_SECONDS = 3.0
"""The operator is at rest when it wrote nothing for so long; longer than its status writes are apart."""

RESTART_WATCH_SECONDS = 15.0
"""How long a restarted operator is watched for writes."""

STEP_LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Bench:
    """What a scenario works with."""

    api: AsyncApi
    """Creates, as a user of its own."""

    ender_api: AsyncApi
    """Ends pods, as another user."""

    operator: OperatorProcess
    operator_user: str
    audit: AuditLog
    runs: int
    end_seconds: float
    """The simulated runners end evenly over so many seconds."""

    async def measure_raw(self, namespace: str) -> float:
        """Create the Jobs of all runs as fast as one client can, without an operator; return the seconds."""
        workload = await self._prepare(namespace)
        runs = await self.api.post_all(workload.path("benchmarkruns"), workload.run_manifests())
        jobs = [job for run in runs for job in workload.job_manifests(run)]
        mark = self.audit.mark()
        await self.api.post_all(workload.path("jobs"), jobs)
        created = accepted(self.audit.calls_since(mark, self.api.user), "create jobs")
        assert len(created) == workload.shards
        await self._remove(workload)
        return seconds_of(created)

    async def measure_operator(self, namespace: str, raw_seconds: float) -> Round:
        """Start an operator, apply all runs, let them end, check every result, stop the operator."""
        workload = await self._prepare(namespace)
        await self._start_operator()
        before, passes_before = self.operator.figures(), await self.operator.passes()
        mark = self.audit.mark()
        await self._apply(workload)
        created_at = self.operator.figures()
        ender = PodEnder(self.ender_api, workload.path("pods"))
        await self._end_all(workload, ender)
        await self._wait_quiet(mark)
        calls = self.audit.calls_since(mark, self.operator_user)
        after, passes = self.operator.figures(), await self.operator.passes() - passes_before
        await self.operator.stop()
        applied = accepted(self.audit.calls_since(mark, self.api.user), "create benchmarkruns")
        created = accepted(calls, "create jobs")
        await check_ledger(self.api, workload, ender.verdicts, created)
        await self._remove(workload)
        return Round(
            raw_seconds=raw_seconds,
            operator_seconds=seconds_of([*applied, *created]),
            finished_seconds=seconds_of([*applied, *(call for call in calls if call.is_status)]),
            calls=tuple(calls),
            passes=passes,
            idle_mebibytes=before.resident_mebibytes,
            peak_mebibytes=after.peak_mebibytes,
            end_mebibytes=after.resident_mebibytes,
            start_cpu_seconds=before.cpu_seconds,
            creation_cpu_seconds=created_at.cpu_seconds - before.cpu_seconds,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        )

    async def measure_restarts(self, namespace: str) -> tuple[Restart, Restart]:
        """Restart the operator while every shard runs, and again after every run has ended."""
        workload = await self._prepare(namespace)
        await self._start_operator()
        await self._apply(workload)
        ender = PodEnder(self.ender_api, workload.path("pods"))
        await _limited(ender.wait_running(workload.shards), "until all pods run")
        while_running = await self._restart(workload.shards)
        await self._end_all(workload, ender)
        after_end = await self._restart(0)
        await self.operator.stop()
        await self._remove(workload)
        return while_running, after_end

    async def _restart(self, shards_running: int) -> Restart:
        await self._wait_quiet(self.audit.mark())
        await self.operator.stop()
        mark = self.audit.mark()
        await self.operator.start()
        await asyncio.sleep(RESTART_WATCH_SECONDS)
        return Restart(shards_running, tuple(self.audit.calls_since(mark, self.operator_user)))

    async def _prepare(self, namespace: str) -> Workload:
        workload = Workload(namespace, self.runs)
        await self.api.request(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
        await _wait_until(
            lambda: self._exists(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"), "its account"
        )
        await self.api.post_all(workload.path("videomodels"), workload.model_manifests())
        return workload

    async def _remove(self, workload: Workload) -> None:
        """Delete the namespace and wait until it and all that it held are gone.

        Its content goes first: a namespace that finds pods waits for the grace periods in their specs.
        """
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        for resource in ("benchmarkruns", "jobs", "pods"):
            await self.api.request("DELETE", workload.path(resource), {**options, "gracePeriodSeconds": 0})

        async def emptied() -> bool:
            counts = [await self.api.count(workload.path(resource)) for resource in ("jobs", "pods")]
            return not any(counts)

        await _wait_until(emptied, f"until the Jobs and pods of {workload.namespace} are gone", pause=0.5)
        path = f"/api/v1/namespaces/{workload.namespace}"
        await self.api.request("DELETE", path)

        async def gone() -> bool:
            return not await self._exists(path)

        await _wait_until(gone, f"until namespace {workload.namespace} is gone", pause=0.5)

    async def _start_operator(self) -> None:
        mark = self.audit.mark()
        await self.operator.start()
        await self._wait_quiet(mark)

    async def _apply(self, workload: Workload) -> None:
        await self.api.post_all(workload.path("benchmarkruns"), workload.run_manifests())

        async def created() -> bool:
            return await self.api.count(workload.path("jobs")) >= workload.shards

        await _wait_until(created, "until all Jobs are there")

    async def _end_all(self, workload: Workload, ender: PodEnder) -> None:
        pods = await _limited(ender.wait_running(workload.shards), "until all pods run")
        await ender.end(pods, self.end_seconds)

        async def all_ended() -> bool:
            return all(ended(run) for run in await self.api.list_items(workload.path("benchmarkruns")))

        await _wait_until(all_ended, "until all runs have ended", pause=1.0)

    async def _wait_quiet(self, mark: int) -> None:
        """Wait until the operator has written nothing but Leases for a while."""
        started = time.monotonic()

        async def quiet() -> bool:
            calls = await asyncio.to_thread(self.audit.calls_since, mark, self.operator_user)
            written = [call.answered.timestamp() for call in calls if call.mutates and call.resource != "leases"]
            since = max(written, default=0.0)
            return min(time.time() - since, time.monotonic() - started) >= QUIET_SECONDS

        await _wait_until(quiet, "until the operator is at rest", pause=0.5)

    async def _exists(self, path: str) -> bool:
        try:
            await self.api.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True


def accepted(calls: Iterable[Call], kind: str) -> list[Call]:
    """Return the calls of a kind that the server carried out."""
    return [call for call in calls if call.kind == kind and call.code < 300]


async def _wait_until(condition: Callable[[], Awaitable[bool]], what: str, *, pause: float = 0.1) -> None:
    async def wait() -> None:
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(pause)

    await _limited(wait(), what)


async def _limited(awaitable: Awaitable[Value], what: str) -> Value:
    try:
        async with asyncio.timeout(STEP_LIMIT_SECONDS):
            return await awaitable
    except TimeoutError:
        raise AssertionError(f"waited {STEP_LIMIT_SECONDS:.0f} s {what}") from None

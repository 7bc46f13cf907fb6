"""Operators with a mistake in them, on purpose: the simulator has to find each, else it proves nothing of the real one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.observed import Observed, ObservedRun
from vidbench_operator.core.plan import Plan
from vidbench_operator.ports import RunKey
from vidbench_operator.reconciler import Reconciler

from .connection import Connection
from .simulation import Code


class ForgetsToWriteAhead(Reconciler):
    """Creates the Job of an attempt before the status names it."""

    async def _apply(self, run: ObservedRun, observed: Observed, plan: Plan) -> Any:
        await self._create_jobs(run, observed, plan.creates)
        return await super()._apply(run, observed, plan)


class LetsJobsExpireFirst(Reconciler):
    """Sets the time to live of a finished Job before its result is stored."""

    async def _apply(self, run: ObservedRun, observed: Observed, plan: Plan) -> Any:
        for job in observed.jobs:
            if job.finished is not None and job.ttl_seconds is None and job.owner_uid == run.uid:
                await self._cluster.patch_ttl(run, job.name, job.uid, 0)
        return await super()._apply(run, observed, plan)


class BelievesTheIndex(Reconciler):
    """Takes what the watches do not show for what is not there."""

    def _observe(self, run: ObservedRun, document: Any) -> Observed:
        return replace(super()._observe(run, document), live=True)


class DeletesByName(Connection):
    """Deletes whatever has the name, without a precondition on the UID."""

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        def do() -> None:
            self._watcher.job_goes(self, run, name, None)
            self.server.delete_job(name, None)

        await self._write("delete job", name, do)

    async def delete_run(self, run: ObservedRun) -> None:
        def do() -> None:
            key = RunKey(run.namespace, run.name)
            self._watcher.run_goes(key, None)
            stored = self.server.runs.get(key)
            if stored is not None:
                self.server.delete_run(key, stored.seen.uid)

        await self._write("delete run", run.name, do)


class OverwritesTheStatus(Connection):
    """Writes the status at whatever version the run has by then: the last writer wins."""

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        stored = self.server.runs.get(RunKey(run.namespace, run.name))
        if stored is not None and stored.seen.uid == run.uid:
            run = replace(run, resource_version=stored.seen.resource_version, status=stored.seen.status)
        return await super().write_status(run, status)


MUTANTS: dict[str, Code] = {
    "forgets to write ahead": Code(reconciler=ForgetsToWriteAhead),
    "lets Jobs expire before the result is stored": Code(reconciler=LetsJobsExpireFirst),
    "believes an index that a Job is gone": Code(reconciler=BelievesTheIndex),
    "deletes without a UID precondition": Code(connection=DeletesByName),
    "overwrites a status that changed meanwhile": Code(connection=OverwritesTheStatus),
}

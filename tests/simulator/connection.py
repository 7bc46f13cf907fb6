"""The reconciler's `Cluster` port on the simulated server, for one operator process, with what goes wrong in between.

A call may be the last one of its process, before or after the server did it; may be answered by an error, before or
after; may take its time, in which the world moves on; and may find that somebody else wrote first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, TypeVar

from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import (
    CreationRefusal,
    ObservedJob,
    ObservedNode,
    ObservedPod,
    ObservedRun,
    References,
)
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.ports import AlreadyExists, Refused, RunKey, Unavailable

from .eventloop import Turn
from .server import Manifest, Server

if TYPE_CHECKING:
    from .invariants import Invariants

Answer = TypeVar("Answer")
FaultKind = Literal[
    "crash before", "crash after", "unavailable before", "unavailable after", "throttled", "slow", "edited before",
    "replaced before", "refused",
]  # fmt: skip
CALL_FAULTS: tuple[FaultKind, ...] = (
    "crash before", "crash after", "unavailable before", "unavailable after", "throttled", "slow", "edited before",
    "replaced before", "refused",
)  # fmt: skip


class CrashError(Exception):
    """The operator's process is dead."""


@dataclass
class CallFault:
    """Something that is to go wrong at the n-th call from now on."""

    kind: FaultKind
    calls: int
    verb: str = ""
    """How the verbs of the calls begin that count; empty: all."""


@dataclass(frozen=True)
class Call:
    """One call and what came of it, for the trace."""

    at: float
    process: int
    verb: str
    subject: str
    answer: str


class Connection:
    """One process' client. `advance` lets time pass for everybody else; `meddle` lets somebody write in between."""

    def __init__(
        self,
        number: int,
        server: Server,
        watcher: Invariants,
        chance: Random,
        advance: Callable[[float], None],
        meddle: Callable[[str, str, str], bool],
        record: Callable[[Call], None],
        count: Callable[[str], None],
    ) -> None:
        self.number = number
        self.server = server
        self._watcher = watcher
        self._chance = chance
        self._advance = advance
        self._meddle = meddle
        self._record = record
        self._count = count
        self.faults: list[CallFault] = []
        self.dead = False
        self.cut_off = False
        """Whether the API server is away for this process."""

        self.skew = 0.0
        self.looked_at: dict[RunKey, int] = {}
        """The server's version when a run's children were listed in the present pass."""

    def now(self) -> float:
        return self.server.clock.api + self.skew

    # Reading

    async def get_run(self, key: RunKey) -> ObservedRun | None:
        self.looked_at.pop(key, None)
        return await self._read("get run", key.name, lambda: self.server.get_run(key))

    async def get_references(self, run: ObservedRun) -> References:
        key = RunKey(run.namespace, run.name)
        return await self._read("get references", run.name, lambda: self.server.get_references(key))

    async def get_request(self, run: ObservedRun, name: str) -> str | None:
        return await self._read("get configmap", name, lambda: self.server.get_request(run, name))

    async def list_children(self, run: ObservedRun) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        key = RunKey(run.namespace, run.name)
        version = self.server.version
        jobs, _ = await self._read("list jobs", run.name, lambda: self.server.list_children(key))
        _, pods = await self._read("list pods", run.name, lambda: self.server.list_children(key))
        self.looked_at[key] = version
        return jobs, pods

    async def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        return await self._read("list results", run.name, lambda: self.server.list_results(run))

    async def get_result(self, run: ObservedRun, name: str) -> BenchmarkResultSpec | None:
        return await self._read("get result", name, lambda: self.server.results.get(name))

    async def list_ledger_heads(self, run: ObservedRun) -> tuple[LedgerHead, ...]:
        return await self._read("list result heads", run.name, lambda: self.server.ledger_heads)

    async def list_identical(self, run: ObservedRun, generations: frozenset[str]) -> dict[str, BenchmarkResultSpec]:
        def do() -> dict[str, BenchmarkResultSpec]:
            results = self.server.results.items()
            return {name: spec for name, spec in results if spec.generation_hash in generations}

        return await self._read("list identical results", run.name, do)

    async def list_selected(self, run: ObservedRun, selector: str, most: int) -> tuple[BenchmarkResultSpec, ...]:
        # No run of the simulator names a baseline.
        return await self._read("list selected results", run.name, tuple)

    async def queue_exists(self, run: ObservedRun, name: str) -> bool | None:
        return await self._read("get queue", name, lambda: True)

    async def list_refusals(self, run: ObservedRun, job_uids: frozenset[str]) -> tuple[CreationRefusal, ...]:
        def do() -> tuple[CreationRefusal, ...]:
            jobs = [job for job in self.server.jobs.values() if job.seen.uid in job_uids]
            return tuple(CreationRefusal(job.seen.uid, job.refusal) for job in jobs if job.refusal is not None)

        return await self._read("list events", run.name, do)

    # Writing

    async def create_request(self, run: ObservedRun, name: str, text: str) -> None:
        await self._write("create configmap", name, lambda: self.server.post_configmap(run, name, text))

    async def create_result(
        self, run: ObservedRun, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]
    ) -> None:
        def do() -> None:
            if name not in self.server.results:
                self._watcher.result_comes(self, name, spec)
            self.server.post_result(name, spec, labels)

        await self._write("create result", name, do)

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        def do() -> ObservedRun:
            stored = self.server.runs.get(RunKey(run.namespace, run.name))
            if stored is not None and stored.seen.resource_version == run.resource_version:
                self._watcher.status_comes(self, run, status)
            return self.server.put_status(run, status)

        return await self._write("write status", run.name, do)

    async def create_job(self, run: ObservedRun, manifest: Manifest) -> ObservedJob:
        name = manifest["metadata"]["name"]

        def do() -> ObservedJob:
            if name not in self.server.jobs:
                self._watcher.job_comes(self, run, manifest)
            job = self.server.post_job(run, manifest)
            self._watcher.job_made(self, run, self.server.jobs[name])
            return job

        try:
            return await self._write("create job", name, do)
        except AlreadyExists:
            existing = await self._read("get job", name, lambda: self.server.get_job(name))
            if existing is None:
                raise Unavailable("the Job whose name was taken is gone by now", 0.1) from None
            if existing.owner_uid != run.uid:
                raise
            return existing

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        def do() -> None:
            self._watcher.job_goes(self, run, name, uid)
            self.server.delete_job(name, uid)

        await self._write("delete job", name, do)

    async def patch_ttl(self, run: ObservedRun, name: str, uid: str, seconds: int) -> None:
        def do() -> None:
            self._watcher.job_may_expire(self, run, name, uid)
            self.server.patch_ttl(name, uid, seconds)

        await self._write("patch job", name, do)

    async def delete_run(self, run: ObservedRun) -> None:
        key = RunKey(run.namespace, run.name)

        def do() -> None:
            self._watcher.run_goes(key, run.uid)
            self.server.delete_run(key, run.uid)

        await self._write("delete run", run.name, do)

    async def report_broken(self, run: RunIdentity, message: str) -> None:
        await self._write("report broken", run.name, lambda: self.server.report_broken(run, message))

    async def emit(self, run: ObservedRun, event: EmitEvent) -> None:
        try:
            await self._write("create event", run.name, lambda: self.server.post_event(run.name, event.reason.value))
        except (Unavailable, Refused):
            return

    # What a resync lists

    async def list_run_keys(self) -> list[RunKey]:
        return await self._read("list runs", "*", lambda: list(self.server.runs))

    async def list_all_jobs(self) -> list[tuple[RunKey, ObservedJob]]:
        return await self._read("list jobs", "*", lambda: [(job.key, job.seen) for job in self.server.jobs.values()])

    async def list_all_pods(self) -> list[tuple[RunKey, ObservedPod]]:
        return await self._read("list pods", "*", lambda: [(pod.key, pod.seen) for pod in self.server.pods.values()])

    async def list_nodes(self) -> dict[str, ObservedNode]:
        return await self._read("list nodes", "*", lambda: dict(self.server.nodes))

    # Inside

    async def _read(self, verb: str, subject: str, do: Callable[[], Answer]) -> Answer:
        return await self._call(verb, subject, do)

    async def _write(self, verb: str, subject: str, do: Callable[[], Answer]) -> Answer:
        self._count(f"call: {verb}")
        return await self._call(verb, subject, do)

    async def _call(self, verb: str, subject: str, do: Callable[[], Answer]) -> Answer:
        await Turn()
        fault = self._next_fault(verb)
        answer = "ok"
        try:
            self._before(fault, verb, subject)
            result = self.server.by("operator", do)
            self._after(fault, verb)
        except Exception as error:
            answer = type(error).__name__
            self._count(f"answer: {answer}")
            raise
        else:
            return result
        finally:
            self._record(Call(self.server.clock.monotonic, self.number, verb, subject, answer))

    def _next_fault(self, verb: str) -> FaultKind | None:
        if self.dead:
            return None
        for fault in self.faults:
            if not verb.startswith(fault.verb):
                continue
            fault.calls -= 1
            if fault.calls <= 0:
                self.faults.remove(fault)
                self._count(f"fault: {fault.kind}")
                return fault.kind
        return None

    def _before(self, fault: FaultKind | None, verb: str, subject: str) -> None:
        if fault == "slow":
            self._advance(self._chance.choice((0.5, 3.0, 20.0)))
        if self.dead:
            raise CrashError
        if self.cut_off:
            raise Unavailable("connection refused")
        match fault:
            case "crash before":
                self.dead = True
                raise CrashError
            case "unavailable before":
                raise Unavailable("HTTP 503")
            case "throttled":
                raise Unavailable("HTTP 429", self._chance.choice((1.0, 7.0)))
            case "refused" if verb.startswith("create"):
                raise Refused("admission webhook denied the request")
            case "edited before" | "replaced before":
                self._meddle(fault, verb, subject)

    def _after(self, fault: FaultKind | None, verb: str) -> None:
        if fault == "crash after":
            self.dead = True
            raise CrashError
        if fault == "unavailable after":
            raise Unavailable(f"{verb}: connection reset")

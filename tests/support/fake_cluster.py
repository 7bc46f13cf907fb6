"""The reconciler's `Cluster` port in memory: UIDs, versions and refusals as the API server has them, and crashes.

A crash is the death of the operator's process: from then on every call fails, until a new process is made. What the
Job controller and the kubelet do happens between passes, when a test asks for it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from support.builders import NOW, references
from support.published_schemas import problems_of_result
from vidbench_api.measured import Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.message import encode
from vidbench_api.names import ANNOTATION_REQUEST_DIGEST, LABEL_ATTEMPT, LABEL_CELL, LABEL_SHARD, Outcome, Validity
from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_api.verdict import Verdict
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
from vidbench_operator.ports import AlreadyExists, BrokenRun, Conflict, Gone, Refused, RunKey

Manifest = dict[str, Any]


class CrashError(Exception):
    """The process is dead."""


@dataclass
class StoredJob:
    """A Job as the server holds it."""

    job: ObservedJob
    manifest: Manifest


@dataclass
class FakeCluster:
    """One namespace with one run."""

    run: ObservedRun | None
    references: References = field(default_factory=references)
    time: float = NOW
    broken: BrokenRun | None = None
    jobs: dict[str, StoredJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    results: dict[str, BenchmarkResultSpec] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of results, by their names."""

    configmaps: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Owner's UID and text, by name."""

    refusing: dict[str, str] = field(default_factory=dict)
    """What the server says to creations, by the method's name."""

    refusals: dict[str, str] = field(default_factory=dict)
    heads: tuple[LedgerHead, ...] = ()
    queues: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    """All mutating calls in their order, Events apart."""

    reads: list[str] = field(default_factory=list)
    events: list[EmitEvent] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)
    jobs_created: list[str] = field(default_factory=list)
    crash_at: tuple[int, str] | None = None
    """Number of the mutating call, and whether it dies before or after the server has done it."""

    dead: bool = False
    before_status: Callable[[], None] | None = None
    """What happens just before a status write: another writer, say."""

    _serials: Any = field(default_factory=itertools.count)

    # Reading

    def now(self) -> float:
        return self.time

    async def get_run(self, key: RunKey) -> ObservedRun | None:
        self._read("get_run")
        if self.broken is not None:
            raise self.broken
        return self.run

    async def get_references(self, run: ObservedRun) -> References:
        self._read("get_references")
        return self.references

    async def get_request(self, run: ObservedRun, name: str) -> str | None:
        self._read("get_request")
        owner, text = self.configmaps.get(name, ("", ""))
        return text if owner == run.uid else None

    async def list_children(self, run: ObservedRun) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        self._read("list_children")
        return tuple(stored.job for stored in self.jobs.values()), tuple(self.pods.values())

    async def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        self._read("list_results")
        return {name: spec for name, spec in self.results.items() if spec.run.uid == run.uid}

    async def get_result(self, run: ObservedRun, name: str) -> BenchmarkResultSpec | None:
        self._read("get_result")
        return self.results.get(name)

    async def list_ledger_heads(self, run: ObservedRun) -> tuple[LedgerHead, ...]:
        self._read("list ledger heads")
        return self.heads

    async def list_identical(self, run: ObservedRun, generations: frozenset[str]) -> dict[str, BenchmarkResultSpec]:
        self._read("list identical")
        return {name: spec for name, spec in self.results.items() if spec.generation_hash in generations}

    async def list_selected(self, run: ObservedRun, selector: str, most: int) -> tuple[BenchmarkResultSpec, ...]:
        self._read("list selected")
        names = [name for name in self.results if matches(selector, self.labels.get(name, {}))]
        return tuple(self.results[name] for name in names[: most + 1])

    async def queue_exists(self, run: ObservedRun, name: str) -> bool | None:
        return name in self.queues

    async def list_refusals(self, run: ObservedRun, job_uids: frozenset[str]) -> tuple[CreationRefusal, ...]:
        self._read("list_refusals")
        return tuple(CreationRefusal(uid, text) for uid, text in self.refusals.items() if uid in job_uids)

    # Writing

    async def create_request(self, run: ObservedRun, name: str, text: str) -> None:
        def do() -> None:
            self._refuse("create_request")
            if self.configmaps.setdefault(name, (run.uid, text)) != (run.uid, text):
                raise AlreadyExists(name)

        self._mutate(f"create configmap {name}", do)

    async def create_result(
        self, run: ObservedRun, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]
    ) -> None:
        def do() -> None:
            self._refuse("create_result")
            if name in self.results:
                raise AlreadyExists(name)
            assert problems_of_result(spec) == [], "every result holds to the published schema"
            self.results[name] = BenchmarkResultSpec.model_validate(spec.to_wire())
            self.labels[name] = labels

        self._mutate(f"create result {name}", do)

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        def do() -> ObservedRun:
            if self.before_status is not None:
                self.before_status()
            if self.run is None:
                raise Gone(run.name)
            if self.run.resource_version != run.resource_version:
                raise Conflict(run.name)
            stored = BenchmarkRunStatus.model_validate(status.to_wire())
            self.run = replace(self.run, status=stored, resource_version=self._serial())
            return self.run

        written: ObservedRun = self._mutate("write status", do)
        return written

    async def create_job(self, run: ObservedRun, manifest: dict[str, Any]) -> ObservedJob:
        name = manifest["metadata"]["name"]

        def do() -> ObservedJob:
            self._refuse("create_job")
            existing = self.jobs.get(name)
            if existing is not None:
                if existing.job.owner_uid != run.uid:
                    raise AlreadyExists(name)
                return existing.job
            labels = manifest["metadata"]["labels"]
            job = ObservedJob(
                name, f"job-{self._serial()}", run.uid, labels[LABEL_CELL], int(labels[LABEL_SHARD]),
                int(labels[LABEL_ATTEMPT]), self.time,
            )  # fmt: skip
            self.jobs[name] = StoredJob(job, manifest)
            self.jobs_created.append(name)
            return job

        job: ObservedJob = self._mutate(f"create job {name}", do)
        return job

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        def do() -> None:
            stored = self.jobs.get(name)
            if stored is not None and stored.job.uid == uid:
                del self.jobs[name]
                self.pods = {key: pod for key, pod in self.pods.items() if pod.job_uid != uid}

        self._mutate(f"delete job {name}", do)

    async def patch_ttl(self, run: ObservedRun, name: str, uid: str, seconds: int) -> None:
        def do() -> None:
            stored = self.jobs.get(name)
            if stored is not None and stored.job.uid == uid:
                stored.job = replace(stored.job, ttl_seconds=seconds)

        self._mutate(f"patch job {name}", do)

    async def delete_run(self, run: ObservedRun) -> None:
        def do() -> None:
            self.run = None

        self._mutate("delete run", do)

    async def report_broken(self, run: RunIdentity, message: str) -> None:
        self.reported.append(message)

    async def emit(self, run: ObservedRun, event: EmitEvent) -> None:
        if self.dead:
            raise CrashError
        self.events.append(event)

    # What the rest of the cluster does

    def start_pods(self) -> None:
        """Give every Job without one a running pod."""
        for stored in self.jobs.values():
            uid = f"pod-of-{stored.job.uid}"
            if stored.job.finished is None and stored.job.owner_uid and uid not in self.pods:
                self.pods[uid] = ObservedPod(
                    uid, uid, stored.job.uid, "Running", self.time, "node-1", self.time, started_at=self.time
                )

    def end_pods(self, message_of: Callable[[StoredJob], str] | None = None) -> None:
        """End every running pod with the verdict of its attempt, and its Job with it."""
        for uid, pod in list(self.pods.items()):
            if pod.ended:
                continue
            stored = next(entry for entry in self.jobs.values() if entry.job.uid == pod.job_uid)
            message = (message_of or verdict_of)(stored)
            self.pods[uid] = replace(
                pod,
                phase="Succeeded",
                exit_code=0,
                finished_at=self.time,
                container_reason="Completed",
                message=message,
            )
            stored.job = replace(stored.job, finished="Complete", finished_at=self.time)

    def restart_operator(self) -> None:
        """Let a new process call."""
        self.dead = False
        self.crash_at = None

    # Inside

    def _serial(self) -> str:
        return f"{next(self._serials) + 100}"

    def _read(self, what: str) -> None:
        if self.dead:
            raise CrashError
        self.reads.append(what)

    def _refuse(self, method: str) -> None:
        if method in self.refusing:
            raise Refused(self.refusing[method])

    def _mutate(self, what: str, do: Callable[[], Any]) -> Any:
        if self.dead:
            raise CrashError
        number, moment = self.crash_at or (-1, "")
        due = number == len(self.calls)
        self.calls.append(what)
        if due and moment == "before":
            self.dead = True
            raise CrashError
        answer = do()
        if due:
            self.dead = True
            raise CrashError
        return answer


def matches(selector: str, labels: dict[str, str]) -> bool:
    """Whether labels hold to a selector of `key=value` and `key in (a,b)`."""
    parts = re.findall(r"([^,=\s]+)(?:=([^,]*)| in \(([^)]*)\))", selector)
    return all(labels.get(key) in (several.split(",") if several else [value]) for key, value, several in parts)


def verdict_of(stored: StoredJob) -> str:
    """Return the message of a runner that measured three samples."""
    labels = stored.manifest["metadata"]["labels"]
    values = (1_000_000, 1_100_000, 1_200_000)
    series = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
    return encode(
        Verdict(
            request_digest=stored.manifest["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST][:16],
            cell=labels[LABEL_CELL],
            shard=int(labels[LABEL_SHARD]),
            attempt=int(labels[LABEL_ATTEMPT]),
            final=True,
            outcome=Outcome.SUCCEEDED,
            validity=ValidityVerdict(state=Validity.VALID),
            samples_done=3,
            series=(series,),
        )
    )


class FakeChildren:
    """What the watches show of a fake cluster: everything at once, or nothing new while `blind`."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.blind = False
        self._jobs: dict[str, ObservedJob] = {}
        self._pods: dict[str, ObservedPod] = {}
        self.forgotten: set[str] = set()
        self.node_table: dict[str, ObservedNode] | None = None

    def see(self) -> None:
        """Let the watches catch up; pods that vanished are remembered."""
        if self.blind:
            return
        self._jobs = {stored.job.uid: stored.job for stored in self._cluster.jobs.values()}
        gone = {uid: replace(pod, gone=True) for uid, pod in self._pods.items() if uid not in self._cluster.pods}
        self._pods = {**gone, **self._cluster.pods}

    def jobs_of(self, run: ObservedRun) -> tuple[ObservedJob, ...]:
        return tuple(self._jobs.values())

    def pods_of(self, run: ObservedRun) -> tuple[ObservedPod, ...]:
        return tuple(self._pods.values())

    def nodes(self) -> dict[str, ObservedNode] | None:
        return self.node_table

    def remember_job(self, run: ObservedRun, job: ObservedJob) -> None:
        self._jobs[job.uid] = job

    def remember_deleting(self, run: ObservedRun, uid: str) -> None:
        if uid in self._jobs:
            self._jobs[uid] = replace(self._jobs[uid], deleting=True)

    def remember_ttl(self, run: ObservedRun, uid: str, seconds: int) -> None:
        if uid in self._jobs:
            self._jobs[uid] = replace(self._jobs[uid], ttl_seconds=seconds)

    def forget_pods(self, run: ObservedRun, job_uids: frozenset[str]) -> None:
        self.forgotten |= job_uids
        self._pods = {uid: pod for uid, pod in self._pods.items() if not (pod.gone and pod.job_uid in job_uids)}

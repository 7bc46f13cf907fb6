"""The API server of the simulator: one namespace, what it stores, and what it answers.

It does what the real one does where the operator can tell the difference: resourceVersions, names that are taken, UID
preconditions, a status subresource, deletion with and without finalizers, label selectors, quota. Objects are kept as
the operator's projections of them, which is all that can be told apart. Controllers and kubelets live elsewhere, and
change objects through it; every change is told to who subscribed. `test_simulator_honesty` compares it to a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from vidbench_api.identity import digest_of
from vidbench_api.names import LABEL_ATTEMPT, LABEL_CELL, LABEL_HARVEST, LABEL_RUN, LABEL_SHARD, RunPhase
from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod, ObservedRun, References
from vidbench_operator.core.projections import project_ledger_head
from vidbench_operator.manifests import result_manifest
from vidbench_operator.ports import AlreadyExists, BrokenRun, Conflict, Gone, Refused, RunKey

from .clock import Clock

NAMESPACE = "lab"
Manifest = dict[str, Any]
Kind = Literal["run", "job", "pod", "node"]
Actor = Literal["controllers", "kubelet", "operator", "people"]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Change:
    """An event of a watch."""

    kind: Kind
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: RunKey | None
    """The run that the object is labelled with."""

    value: Any
    """The projection; of a deleted object, its last state."""


@dataclass
class StoredRun:
    """A run, with what keeps it from being readable or there."""

    seen: ObservedRun
    broken: str | None = None
    deleting: bool = False


@dataclass
class StoredJob:
    """A Job with what the Job controller keeps in its status."""

    seen: ObservedJob
    key: RunKey
    manifest: Manifest = field(repr=False)
    version: int = 0
    begins: bool = True
    """Whether the Job controller has to write down that it makes pods from now on."""

    refusal: str | None = None
    """What the latest FailedCreate Event says."""

    refused_times: int = 0
    counted: set[str] = field(default_factory=set)
    """UIDs of ended pods that are in its counts."""


@dataclass
class StoredPod:
    """A pod with its finalizer and what its node says of it."""

    seen: ObservedPod
    key: RunKey
    job_name: str
    gpus: int
    template: Manifest = field(repr=False)
    """The spec that it was made with."""

    version: int = 0
    tracked: bool = True
    """The Job controller's finalizer."""

    released: bool = False
    """Its node, or nobody if it has none, holds nothing of it any more."""

    suspended_away: bool = False


class Server:
    """Objects by name. Methods whose name says what a client calls raise the ports' exceptions."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.version = 100
        self.runs: dict[RunKey, StoredRun] = {}
        self.references: dict[RunKey, References] = {}
        self.configmaps: dict[str, tuple[str, str]] = {}
        """Owner's UID and text, by name."""

        self.jobs: dict[str, StoredJob] = {}
        self.pods: dict[str, StoredPod] = {}
        """By UID."""

        self.nodes: dict[str, ObservedNode] = {}
        self.results: dict[str, BenchmarkResultSpec] = {}
        self.ledger_heads: tuple[LedgerHead, ...] = ()
        self.reported: dict[str, str] = {}
        """What Stalled conditions say of runs that cannot be read, by UID."""

        self.events: list[tuple[str, str]] = []
        self.pod_quota: int | None = None
        self.job_quota: int | None = None
        self.writes = 0
        """Mutating calls of operators that the server has carried out, Events included."""

        self.actor: Actor = "controllers"
        """Who it is that changes objects just now."""

        self._serial = 0
        self._listeners: list[Callable[[Change], None]] = []

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Tell somebody of every change."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[Change], None]) -> None:
        """Tell somebody of nothing more."""
        self._listeners.remove(listener)

    def by(self, actor: Actor, do: Callable[[], Answer]) -> Answer:
        """Let somebody do something."""
        before, self.actor = self.actor, actor
        try:
            return do()
        finally:
            self.actor = before

    # What an operator reads

    def get_run(self, key: RunKey) -> ObservedRun | None:
        stored = self.runs.get(key)
        if stored is None or stored.deleting:
            return None
        if stored.broken is not None:
            identity = RunIdentity(namespace=key.namespace, name=key.name, uid=stored.seen.uid)
            raise BrokenRun(stored.broken, identity)
        return stored.seen

    def get_references(self, key: RunKey) -> References:
        return self.references.get(key, References(None, {}))

    def get_request(self, run: ObservedRun, name: str) -> str | None:
        owner, text = self.configmaps.get(name, ("", ""))
        return text if owner == run.uid else None

    def list_children(self, key: RunKey) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        return (
            tuple(job.seen for job in self.jobs.values() if job.key == key),
            tuple(pod.seen for pod in self.pods.values() if pod.key == key),
        )

    def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        return {name: spec for name, spec in self.results.items() if spec.run.uid == run.uid}

    # What an operator writes

    def post_configmap(self, run: ObservedRun, name: str, text: str) -> None:
        if name in self.configmaps:
            owner, stored = self.configmaps[name]
            if owner != run.uid or digest_of(stored) != digest_of(text):
                raise AlreadyExists(name)
            return
        self._count_write()
        self.configmaps[name] = (run.uid, text)

    def post_result(self, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]) -> None:
        if name in self.results:
            raise AlreadyExists(name)
        self._count_write()
        head = project_ledger_head(result_manifest(NAMESPACE, name, spec, labels))
        self.ledger_heads += (head,) if head is not None else ()
        self.results[name] = BenchmarkResultSpec.model_validate(spec.to_wire())

    def put_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        key = RunKey(run.namespace, run.name)
        stored = self.runs.get(key)
        if stored is None:
            raise Gone(run.name)
        if stored.seen.uid != run.uid or stored.seen.resource_version != run.resource_version:
            raise Conflict(run.name)
        self._count_write()
        kept = BenchmarkRunStatus.model_validate(status.to_wire())
        if kept != status:
            raise ValueError("the status does not survive the wire")
        self._put_run(key, replace(stored.seen, status=kept), "MODIFIED")
        return stored.seen

    def post_job(self, run: ObservedRun, manifest: Manifest) -> ObservedJob:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            raise AlreadyExists(name)
        if self.job_quota is not None and len(self.jobs) >= self.job_quota:
            raise Refused(f'jobs.batch "{name}" is forbidden: exceeded quota: compute')
        self._count_write()
        return self.add_job(manifest, run.uid).seen

    def get_job(self, name: str) -> ObservedJob | None:
        job = self.jobs.get(name)
        return job.seen if job is not None else None

    def delete_job(self, name: str, uid: str | None) -> None:
        """DELETE in the background; without a UID, whatever has that name."""
        job = self.jobs.get(name)
        if job is None or uid not in (None, job.seen.uid):
            return
        self._count_write()
        self.remove_job(name)

    def patch_ttl(self, name: str, uid: str, seconds: int) -> None:
        job = self.jobs.get(name)
        if job is None or job.seen.uid != uid:
            return
        self._count_write()
        self.change_job(name, ttl_seconds=seconds)

    def delete_run(self, key: RunKey, uid: str) -> None:
        stored = self.runs.get(key)
        if stored is not None and stored.seen.uid == uid:
            self._count_write()
            self.remove_run(key)

    def report_broken(self, run: RunIdentity, message: str) -> None:
        """Set a condition, unless it says so already."""
        if self.reported.get(run.uid) != message:
            self._count_write()
            self.reported[run.uid] = message

    def post_event(self, name: str, text: str) -> None:
        self._count_write()
        self.events.append((name, text))

    # What others do to objects

    def add_run(self, run: ObservedRun, references: References, broken: str | None = None) -> RunKey:
        key = RunKey(run.namespace, run.name)
        self.references[key] = references
        self.runs[key] = StoredRun(replace(run, resource_version=self._next_version()), broken)
        self._tell_run(key, "ADDED")
        return key

    def edit_run(self, key: RunKey, **changes: Any) -> bool:
        """Change the spec by wire names, as kubectl does, or without any a label; returns whether something changed."""
        stored = self.runs[key]
        run = stored.seen
        if changes:
            spec = BenchmarkRunSpec.model_validate(run.spec.to_wire() | changes)
            if spec == run.spec:
                return False
            run = replace(run, spec=spec, generation=run.generation + 1)
        self._put_run(key, run, "MODIFIED")
        return True

    def mark_run_deleting(self, key: RunKey) -> None:
        """Delete in the foreground: the run stays until its children are gone."""
        self.runs[key].deleting = True
        self._put_run(key, self.runs[key].seen, "MODIFIED")

    def remove_run(self, key: RunKey) -> None:
        self._tell_run(key, "DELETED")
        del self.runs[key]

    def add_job(self, manifest: Manifest, owner_uid: str | None) -> StoredJob:
        labels = manifest["metadata"]["labels"]
        name = manifest["metadata"]["name"]
        seen = ObservedJob(
            name=name,
            uid=self.next_uid("job"),
            owner_uid=owner_uid,
            cell=labels[LABEL_CELL],
            shard=int(labels[LABEL_SHARD]),
            attempt=int(labels[LABEL_ATTEMPT]),
            created_at=self.clock.stamp,
            suspended=bool(manifest["spec"].get("suspend", False)),
            harvests=LABEL_HARVEST in labels,
        )
        job = StoredJob(seen, RunKey(NAMESPACE, labels[LABEL_RUN]), manifest, self._bump())
        self.jobs[name] = job
        self._tell(Change("job", "ADDED", job.key, job.seen))
        return job

    def change_job(self, name: str, **changes: Any) -> None:
        job = self.jobs[name]
        job.seen = replace(job.seen, **changes)
        job.version = self._bump()
        self._tell(Change("job", "MODIFIED", job.key, job.seen))

    def suspend_job(self, name: str, *, suspended: bool) -> None:
        """Set `spec.suspend`, as a queue does."""
        self.jobs[name].begins = self.jobs[name].begins or not suspended
        self.change_job(name, suspended=suspended)

    def remove_job(self, name: str) -> None:
        job = self.jobs.pop(name)
        self._bump()
        self._tell(Change("job", "DELETED", job.key, job.seen))

    def add_pod(self, pod: StoredPod) -> None:
        pod.version = self._bump()
        self.pods[pod.seen.uid] = pod
        self._tell(Change("pod", "ADDED", pod.key, pod.seen))

    def change_pod(self, uid: str, **changes: Any) -> None:
        pod = self.pods[uid]
        pod.seen = replace(pod.seen, **changes)
        pod.version = self._bump()
        self._tell(Change("pod", "MODIFIED", pod.key, pod.seen))
        self._remove_pod_if_free(pod)

    def delete_pod(self, uid: str, grace: float = 30.0) -> None:
        """DELETE a pod: one that runs on a node has its grace period; the finalizer keeps every pod for a while."""
        pod = self.pods.get(uid)
        if pod is None or pod.seen.deleting:
            return
        idle = pod.seen.node is None or pod.seen.phase in ("Succeeded", "Failed")
        pod.released = pod.released or idle
        self.change_pod(uid, deleting=True, deletes_at=self.clock.stamp + (0.0 if idle else grace))

    def release_pod(self, uid: str) -> None:
        """Let the node be done with a pod that is deleted."""
        pod = self.pods.get(uid)
        if pod is not None:
            pod.released = True
            self._remove_pod_if_free(pod)

    def untrack_pod(self, uid: str) -> None:
        """Take the Job controller's finalizer away."""
        pod = self.pods.get(uid)
        if pod is not None and pod.tracked:
            pod.tracked = False
            self._bump()
            self._remove_pod_if_free(pod)

    def put_node(self, node: ObservedNode) -> None:
        kind: Literal["ADDED", "MODIFIED"] = "MODIFIED" if node.name in self.nodes else "ADDED"
        self.nodes[node.name] = node
        self._bump()
        self._tell(Change("node", kind, None, node))

    def remove_node(self, name: str) -> None:
        node = self.nodes.pop(name)
        self._bump()
        self._tell(Change("node", "DELETED", None, node))

    def next_uid(self, what: str) -> str:
        self._serial += 1
        return f"{what}-{self._serial}"

    def everything(self, kind: Kind) -> list[Change]:
        """Return what a list of a kind shows, as events."""
        if kind == "run":
            return [Change("run", "ADDED", key, self.head_of(key)) for key in self.runs]
        if kind == "job":
            return [Change("job", "ADDED", job.key, job.seen) for job in self.jobs.values()]
        if kind == "pod":
            return [Change("pod", "ADDED", pod.key, pod.seen) for pod in self.pods.values()]
        return [Change("node", "ADDED", None, node) for node in self.nodes.values()]

    def head_of(self, key: RunKey) -> RunHead:
        stored = self.runs[key]
        status = stored.seen.status
        phase = status.phase.value if status.phase else RunPhase.PENDING.value
        accepted = status.request_digest is not None
        waits = status.completion_time is None and bool(status.parallelism and status.parallelism.waiting)
        return RunHead(stored.seen.uid, stored.seen.generation, stored.deleting, accepted, phase, waits=waits)

    # Inside

    def _remove_pod_if_free(self, pod: StoredPod) -> None:
        if pod.seen.deleting and pod.released and not pod.tracked and pod.seen.uid in self.pods:
            del self.pods[pod.seen.uid]
            self._bump()
            self._tell(Change("pod", "DELETED", pod.key, pod.seen))

    def _put_run(self, key: RunKey, run: ObservedRun, kind: Literal["MODIFIED"]) -> None:
        self.runs[key].seen = replace(run, resource_version=self._next_version())
        self._tell_run(key, kind)

    def _tell_run(self, key: RunKey, kind: Literal["ADDED", "MODIFIED", "DELETED"]) -> None:
        self._tell(Change("run", kind, key, self.head_of(key)))

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    def _count_write(self) -> None:
        self.writes += 1

    def _bump(self) -> int:
        self.version += 1
        return self.version

    def _next_version(self) -> str:
        return str(self._bump())

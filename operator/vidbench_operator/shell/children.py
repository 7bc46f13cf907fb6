"""What the watches have shown of runs, Jobs, pods and nodes: the `Children` port, as projections in memory.

Watches lag, repeat themselves and lose deletions, so nothing here proves an absence; a sweep with a list from the
server puts right what they missed. A pod that is deleted stays, marked as gone, with the verdict of its last event,
until its attempt is settled. Not thread-safe: the event loop's thread alone calls it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Protocol, TypeVar

from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod, ObservedRun
from vidbench_operator.ports import RunKey

_REMEMBERED_DELETIONS: Final = 20_000

Value = TypeVar("Value")


class _HasUid(Protocol):
    @property
    def uid(self) -> str: ...


Child = TypeVar("Child", bound=_HasUid)


@dataclass(frozen=True)
class Listed:
    """What the server listed of everything that the operator watches."""

    runs: frozenset[RunKey]
    jobs: Sequence[tuple[RunKey, ObservedJob]]
    pods: Sequence[tuple[RunKey, ObservedPod]]
    nodes: Mapping[str, ObservedNode] | None


class _Shelf(Generic[Value]):
    """Values by key, each with the tick at which it was last touched."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self._ticks: dict[str, int] = {}

    def put(self, key: str, value: Value, tick: int) -> bool:
        """Keep a value; returns whether it is another than before."""
        before = self.values.get(key)
        self.values[key] = value
        self._ticks[key] = tick
        return before != value

    def drop(self, key: str) -> bool:
        """Forget a value; returns whether there was one."""
        self._ticks.pop(key, None)
        return self.values.pop(key, None) is not None

    def is_newer(self, key: str, mark: int) -> bool:
        """Whether the value was touched after the mark."""
        return self._ticks.get(key, 0) > mark


@dataclass
class _Family:
    """The children of one run."""

    jobs: _Shelf[ObservedJob] = field(default_factory=_Shelf)
    pods: _Shelf[ObservedPod] = field(default_factory=_Shelf)
    settled: set[str] = field(default_factory=set)
    """UIDs of Jobs whose verdict is in the ledger: their pods' messages need no room any more."""

    @property
    def is_empty(self) -> bool:
        return not self.jobs.values and not self.pods.values


class ChildStore:
    """Jobs and pods by run, nodes by name, heads of runs by key."""

    def __init__(self) -> None:
        self._families: dict[RunKey, _Family] = {}
        self._heads: dict[RunKey, RunHead] = {}
        self._head_ticks: dict[RunKey, int] = {}
        self._nodes: _Shelf[ObservedNode] | None = None
        self._tick = 0
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._unconfirmed: set[str] = set()
        self._missed: frozenset[str] = frozenset()

    # The port

    def jobs_of(self, run: ObservedRun) -> tuple[ObservedJob, ...]:
        """Return the Jobs labelled with the run's name."""
        family = self._families.get(RunKey(run.namespace, run.name))
        return tuple(family.jobs.values.values()) if family else ()

    def pods_of(self, run: ObservedRun) -> tuple[ObservedPod, ...]:
        """Return the pods labelled with the run's name, remembered ones included."""
        family = self._families.get(RunKey(run.namespace, run.name))
        return tuple(family.pods.values.values()) if family else ()

    def nodes(self) -> dict[str, ObservedNode] | None:
        """Return the nodes by name; None if they are not visible, or were not listed yet."""
        return None if self._nodes is None else dict(self._nodes.values)

    def remember_job(self, run: ObservedRun, job: ObservedJob) -> None:
        """Keep a Job that was just created, unless the watch was faster."""
        key = RunKey(run.namespace, run.name)
        if job.uid not in self._family(key).jobs.values:
            self.put_job(key, job)

    def remember_deleting(self, run: ObservedRun, uid: str) -> None:
        """Mark a Job that was just deleted, so that no other pass deletes it again."""
        jobs = self._family(RunKey(run.namespace, run.name)).jobs.values
        if uid in jobs:
            jobs[uid] = replace(jobs[uid], deleting=True)

    def remember_ttl(self, run: ObservedRun, uid: str, seconds: int) -> None:
        """Mark a Job that was just given a time to live, so that no other pass gives it one again."""
        jobs = self._family(RunKey(run.namespace, run.name)).jobs.values
        if uid in jobs:
            jobs[uid] = replace(jobs[uid], ttl_seconds=seconds)

    def forget_pods(self, run: ObservedRun, job_uids: frozenset[str]) -> None:
        """Drop remembered pods of these Jobs, and the messages of pods that are still there."""
        family = self._families.get(RunKey(run.namespace, run.name))
        if family is None:
            return
        for pod in [pod for pod in family.pods.values.values() if pod.job_uid in job_uids]:
            family.settled.add(pod.job_uid)
            if pod.gone:
                family.pods.drop(pod.uid)
            else:
                family.pods.values[pod.uid] = replace(pod, message=None)
        self._drop_if_empty(RunKey(run.namespace, run.name))

    # What the watches say. Each returns the runs to look at, or whether its run is to be looked at.

    def put_run(self, key: RunKey, head: RunHead) -> bool:
        """Note a run. Its status is written by us alone, so a change of that is no news."""
        before = self._heads.get(key)
        self._heads[key] = head
        self._head_ticks[key] = self._next_tick()
        return (
            before is None
            or replace(head, uid=before.uid, generation=before.generation, deleting=before.deleting) != head
        )

    def drop_run(self, key: RunKey) -> bool:
        """Note that a run is gone."""
        self._head_ticks.pop(key, None)
        return self._heads.pop(key, None) is not None

    def put_job(self, key: RunKey, job: ObservedJob) -> bool:
        """Note a Job as it is now."""
        self._unconfirmed.discard(job.uid)
        if job.uid in self._deleted:
            return False
        jobs = self._family(key).jobs
        return jobs.put(job.uid, _with_known_changes(job, jobs.values.get(job.uid)), self._next_tick())

    def drop_job(self, key: RunKey, uid: str) -> bool:
        """Note that a Job is gone."""
        self._unconfirmed.discard(uid)
        self._remember_deletion(uid)
        dropped = self._family(key).jobs.drop(uid)
        self._drop_if_empty(key)
        return dropped

    def put_pod(self, key: RunKey, pod: ObservedPod) -> bool:
        """Note a pod as it is now."""
        self._unconfirmed.discard(pod.uid)
        if pod.uid in self._deleted:
            return False
        family = self._family(key)
        kept = replace(pod, message=None) if pod.job_uid in family.settled else pod
        return family.pods.put(pod.uid, kept, self._next_tick())

    def end_pod(self, key: RunKey, pod: ObservedPod) -> bool:
        """Note a pod's last state: it is gone, its verdict stays until its attempt is settled."""
        self._unconfirmed.discard(pod.uid)
        self._remember_deletion(pod.uid)
        family = self._family(key)
        if pod.job_uid in family.settled:
            dropped = family.pods.drop(pod.uid)
            self._drop_if_empty(key)
            return dropped
        return family.pods.put(pod.uid, replace(pod, gone=True), self._next_tick())

    def put_node(self, node: ObservedNode) -> frozenset[RunKey]:
        """Note a node; returns the runs that its change concerns: those with a pod on it, and those that wait for a place."""
        if self._nodes is None:
            return frozenset()
        before = self._nodes.values.get(node.name)
        self._nodes.put(node.name, node, self._next_tick())
        if before is None or _as_a_place(before) != _as_a_place(node):
            return self._runs_on(node.name) | self._waiting()
        return frozenset() if before.not_ready_since == node.not_ready_since else self._runs_on(node.name)

    def drop_node(self, name: str) -> frozenset[RunKey]:
        """Note that a node is gone; returns the runs that have a pod on it, or wait for a place."""
        if self._nodes is not None:
            self._nodes.drop(name)
        return self._runs_on(name) | self._waiting()

    # Questions of the shell

    def unaccepted(self, namespace: str | None) -> frozenset[RunKey]:
        """Return the runs that wait for something they name, of one namespace or (None) of all."""
        return frozenset(
            key for key, head in self._heads.items() if not head.accepted and namespace in (None, key.namespace)
        )

    def run_keys(self) -> frozenset[RunKey]:
        """Return the runs that the watches have shown."""
        return frozenset(self._heads)

    def remembering(self) -> frozenset[RunKey]:
        """Return the runs of which last words are kept: of pods that are gone, or that ended and left a message."""
        return frozenset(
            key
            for key, family in self._families.items()
            if any(pod.gone or (pod.ended and pod.message is not None) for pod in family.pods.values.values())
        )

    def ended_uids(self) -> frozenset[str]:
        """Return the UIDs of the runs that have ended; they have for ever, so that a late view of it is right."""
        return frozenset(head.uid for head in self._heads.values() if head.ended)

    def phases(self) -> dict[str, int]:
        """Count the runs by phase."""
        return dict(Counter(head.phase for head in self._heads.values()))

    def breakers(self) -> dict[str, int]:
        """Count the circuit breakers that are not closed, of all runs, by kind."""
        return dict(Counter(kind for head in self._heads.values() for kind in head.breakers))

    # Sweeps

    def begin_sweep(self) -> int:
        """Return a mark: what the watches touch from now on is newer than the list that is about to be read."""
        return self._tick

    def finish_sweep(self, mark: int, listed: Listed) -> frozenset[RunKey]:
        """Make the store agree with a list, where the watches have said nothing newer; returns the runs that changed."""
        changed: list[tuple[RunKey, str, str]] = []
        for key, job in listed.jobs:
            if not self._family(key).jobs.is_newer(job.uid, mark) and self.put_job(key, job):
                changed.append((key, "jobs", job.uid))
        for key, pod in listed.pods:
            if not self._family(key).pods.is_newer(pod.uid, mark) and self.put_pod(key, pod):
                changed.append((key, "pods", pod.uid))
        uids = {job.uid for _, job in listed.jobs} | {pod.uid for _, pod in listed.pods}
        for key, family in list(self._families.items()):
            vanished = self._drop_vanished(family, uids, mark, run_exists=key in listed.runs)
            changed += [(key, kind, uid) for kind, uid in vanished]
            family.settled &= {pod.job_uid for pod in family.pods.values.values()} | family.jobs.values.keys()
            self._drop_if_empty(key)
        missed = {kind for _, kind, _ in changed}
        if listed.runs - self._heads.keys():
            missed.add(BENCHMARK_RUN.plural)
        for key in [key for key in self._heads if key not in listed.runs and self._head_ticks[key] <= mark]:
            self.drop_run(key)
            missed.add(BENCHMARK_RUN.plural)
        if self._sweep_nodes(mark, listed.nodes):
            missed.add("nodes")
        self._missed = frozenset(missed)
        self._unconfirmed = {uid for _, _, uid in changed}
        return frozenset(key for key, _, _ in changed)

    @property
    def missed(self) -> frozenset[str]:
        """The kinds of which the last sweep found something that no watch had told by then."""
        return self._missed

    @property
    def unconfirmed(self) -> int:
        """How many Jobs and pods the last sweep put right that no watch has told of since."""
        return len(self._unconfirmed)

    def _drop_vanished(self, family: _Family, uids: set[str], mark: int, *, run_exists: bool) -> list[tuple[str, str]]:
        """Drop Jobs and mark pods that the list does not have; returns their kinds and UIDs.

        A list may be as wrong as a watch: what a watch still tells of one of them is believed.
        """
        vanished = []
        for uid in [uid for uid in family.jobs.values if uid not in uids and not family.jobs.is_newer(uid, mark)]:
            family.jobs.drop(uid)
            vanished.append(("jobs", uid))
        for uid, pod in list(family.pods.values.items()):
            if uid in uids or family.pods.is_newer(uid, mark):
                continue
            if not pod.gone:
                family.pods.put(uid, replace(pod, gone=True), self._next_tick())
                vanished.append(("pods", uid))
            elif not run_exists:
                family.pods.drop(uid)
        return vanished

    def _sweep_nodes(self, mark: int, listed: Mapping[str, ObservedNode] | None) -> bool:
        """Make the nodes agree with a list; returns whether they did not."""
        if listed is None:
            self._nodes = None
            return False
        nodes = self._nodes = self._nodes or _Shelf()
        changed = False
        for name in [name for name in nodes.values if name not in listed and not nodes.is_newer(name, mark)]:
            changed = nodes.drop(name) or changed
        for name, node in listed.items():
            if not nodes.is_newer(name, mark):
                changed = nodes.put(name, node, self._next_tick()) or changed
        return changed

    # Inside

    def _family(self, key: RunKey) -> _Family:
        return self._families.setdefault(key, _Family())

    def _drop_if_empty(self, key: RunKey) -> None:
        """Forget a family of which nothing is left; runs that come and go would else pile up until the next sweep."""
        family = self._families.get(key)
        if family is not None and family.is_empty:
            del self._families[key]

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick

    def _remember_deletion(self, uid: str) -> None:
        self._deleted[uid] = None
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _waiting(self) -> frozenset[RunKey]:
        return frozenset(key for key, head in self._heads.items() if head.waits)

    def _runs_on(self, node: str) -> frozenset[RunKey]:
        return frozenset(
            key
            for key, family in self._families.items()
            if any(pod.node == node and not pod.gone for pod in family.pods.values.values())
        )


def _as_a_place(node: ObservedNode) -> tuple[object, ...]:
    """Return what decides whether a pod may go there."""
    return node.ready, node.unschedulable, node.allocatable, node.taints, node.labels


def _with_known_changes(job: ObservedJob, before: ObservedJob | None) -> ObservedJob:
    """Return the Job with what we changed about it ourselves: a watch may tell of a time before that."""
    if before is None or (job.deleting, job.ttl_seconds) == (before.deleting, before.ttl_seconds):
        return job
    ttl = before.ttl_seconds if job.ttl_seconds is None else job.ttl_seconds
    return replace(job, deleting=job.deleting or before.deleting, ttl_seconds=ttl)

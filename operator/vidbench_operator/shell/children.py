"""What the watches have shown of runs, Jobs, pods and nodes: the `Children` port, as projections in memory.

Watches lag, repeat themselves and lose deletions, so nothing here proves an absence; a sweep with a list from the
server puts right what they missed. A pod that is deleted stays, marked as gone, with the verdict of its last event,
until its attempt is settled. Not thread-safe: the event loop's thread alone calls it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod, ObservedRun
from vidbench_operator.ports import RunKey

_REMEMBERED_DELETIONS: Final = 20_000


class _Named(Protocol):
    @property
    def uid(self) -> str: ...


Child = TypeVar("Child", bound=_Named)


@dataclass(frozen=True)
class RunHead:
    """What the watch of runs is good for: to notice that a run came, went or was changed by somebody."""

    uid: str
    generation: int
    deleting: bool
    accepted: bool
    phase: str


@dataclass(frozen=True)
class Swept:
    """What a sweep put right."""

    changed: frozenset[RunKey]
    missed: int
    """Entries that the watches should have shown or dropped by then, and did not."""


@dataclass
class _Entry:
    """A child, the run that it is labelled with, and when it was last touched."""

    key: RunKey
    child: ObservedJob | ObservedPod
    touched: int


@dataclass
class _Family:
    jobs: dict[str, ObservedJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)


class ChildStore:
    """Jobs and pods by run, nodes by name, heads of runs by key."""

    def __init__(self) -> None:
        self._families: dict[RunKey, _Family] = {}
        self._heads: dict[RunKey, RunHead] = {}
        self._nodes: dict[str, ObservedNode] | None = None
        self._touched: dict[str, int] = {}
        self._tick = 0
        self._deleted: OrderedDict[str, None] = OrderedDict()

    # The port

    def jobs_of(self, run: ObservedRun) -> tuple[ObservedJob, ...]:
        """Return the Jobs labelled with the run's name."""
        family = self._families.get(RunKey(run.namespace, run.name))
        return tuple(family.jobs.values()) if family else ()

    def pods_of(self, run: ObservedRun) -> tuple[ObservedPod, ...]:
        """Return the pods labelled with the run's name, remembered ones included."""
        family = self._families.get(RunKey(run.namespace, run.name))
        return tuple(family.pods.values()) if family else ()

    def nodes(self) -> dict[str, ObservedNode] | None:
        """Return the nodes by name; None if they are not visible."""
        return None if self._nodes is None else dict(self._nodes)

    def remember_job(self, run: ObservedRun, job: ObservedJob) -> None:
        """Keep a Job that was just created, unless the watch was faster."""
        key = RunKey(run.namespace, run.name)
        if job.uid not in self._family(key).jobs:
            self.put_job(key, job)

    def forget_pods(self, job_uids: frozenset[str]) -> None:
        """Drop remembered pods of these Jobs, and the messages of pods that are still there."""
        for family in self._families.values():
            for uid, pod in list(family.pods.items()):
                if pod.job_uid not in job_uids:
                    continue
                if pod.gone:
                    del family.pods[uid]
                elif pod.message is not None:
                    family.pods[uid] = replace(pod, message=None)

    # What the watches say; each returns whether the run should be looked at

    def put_run(self, key: RunKey, head: RunHead) -> bool:
        """Note a run."""
        before = self._heads.get(key)
        self._heads[key] = head
        return before is None or (before.uid, before.generation, before.deleting) != (
            head.uid,
            head.generation,
            head.deleting,
        )

    def drop_run(self, key: RunKey) -> bool:
        """Note that a run is gone."""
        return self._heads.pop(key, None) is not None

    def put_job(self, key: RunKey, job: ObservedJob) -> bool:
        """Note a Job as it is now."""
        return job.uid not in self._deleted and self._put(self._family(key).jobs, job)

    def drop_job(self, key: RunKey, uid: str) -> bool:
        """Note that a Job is gone."""
        self._remember_deletion(uid)
        return self._family(key).jobs.pop(uid, None) is not None

    def put_pod(self, key: RunKey, pod: ObservedPod) -> bool:
        """Note a pod as it is now."""
        return pod.uid not in self._deleted and self._put(self._family(key).pods, pod)

    def end_pod(self, key: RunKey, pod: ObservedPod) -> bool:
        """Note a pod's last state: it is gone, its verdict stays."""
        self._remember_deletion(pod.uid)
        return self._put(self._family(key).pods, replace(pod, gone=True))

    def put_node(self, node: ObservedNode) -> frozenset[RunKey]:
        """Note a node; returns the runs that have a pod on it, if its readiness changed."""
        nodes = self._nodes = {} if self._nodes is None else self._nodes
        before = nodes.get(node.name)
        nodes[node.name] = node
        same = before is not None and (before.ready, before.not_ready_since) == (node.ready, node.not_ready_since)
        return frozenset() if same else self._runs_on(node.name)

    def drop_node(self, name: str) -> frozenset[RunKey]:
        """Note that a node is gone; returns the runs that have a pod on it."""
        if self._nodes is not None:
            self._nodes.pop(name, None)
        return self._runs_on(name)

    def set_nodes(self, nodes: Mapping[str, ObservedNode] | None) -> None:
        """Replace the nodes by a list from the server; None: they are not visible."""
        self._nodes = None if nodes is None else dict(nodes)

    # Questions of the shell

    def unaccepted(self, namespace: str | None) -> frozenset[RunKey]:
        """Return the runs that wait for something they name, of one namespace or (None) of all."""
        return frozenset(
            key for key, head in self._heads.items() if not head.accepted and namespace in (None, key.namespace)
        )

    def phases(self) -> Counter[str]:
        """Count the runs by phase."""
        return Counter(head.phase or "Pending" for head in self._heads.values())

    # Sweeps

    def begin_sweep(self) -> int:
        """Return a mark: what the watches touch from now on is newer than the list that is about to be read."""
        return self._tick

    def finish_sweep(
        self,
        mark: int,
        runs: Iterable[RunKey],
        jobs: Iterable[tuple[RunKey, ObservedJob]],
        pods: Iterable[tuple[RunKey, ObservedPod]],
    ) -> Swept:
        """Make the store agree with a list, where the watches have said nothing newer."""
        changed: set[RunKey] = set()
        missed = 0
        listed = {job.uid for _, job in (jobs := list(jobs))} | {pod.uid for _, pod in (pods := list(pods))}
        for key, job in jobs:
            if self._touched.get(job.uid, 0) <= mark and self.put_job(key, job):
                changed.add(key)
                missed += 1
        for key, pod in pods:
            if self._touched.get(pod.uid, 0) <= mark and self.put_pod(key, pod):
                changed.add(key)
                missed += 1
        known = set(runs)
        for key, family in list(self._families.items()):
            vanished = self._drop_vanished(family, listed, mark, keep_gone=key in known)
            missed += vanished
            if vanished:
                changed.add(key)
            if not family.jobs and not family.pods:
                del self._families[key]
        for key in [key for key in self._heads if key not in known]:
            del self._heads[key]
        return Swept(frozenset(changed), missed)

    def _drop_vanished(self, family: _Family, listed: set[str], mark: int, *, keep_gone: bool) -> int:
        vanished = 0
        for uid in list(family.jobs):
            if uid not in listed and self._touched.get(uid, 0) <= mark:
                self._remember_deletion(uid)
                del family.jobs[uid]
                vanished += 1
        for uid, pod in list(family.pods.items()):
            if uid in listed or self._touched.get(uid, 0) > mark:
                continue
            if not pod.gone:
                self._remember_deletion(uid)
                family.pods[uid] = replace(pod, gone=True)
                vanished += 1
            elif not keep_gone:
                del family.pods[uid]
                self._touched.pop(uid, None)
        return vanished

    # Inside

    def _family(self, key: RunKey) -> _Family:
        return self._families.setdefault(key, _Family())

    def _put(self, children: dict[str, Child], child: Child) -> bool:
        self._tick += 1
        self._touched[child.uid] = self._tick
        before = children.get(child.uid)
        children[child.uid] = child
        return before != child

    def _remember_deletion(self, uid: str) -> None:
        self._tick += 1
        self._touched.pop(uid, None)
        self._deleted[uid] = None
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _runs_on(self, node: str) -> frozenset[RunKey]:
        return frozenset(
            key
            for key, family in self._families.items()
            if any(pod.node == node and not pod.gone for pod in family.pods.values())
        )

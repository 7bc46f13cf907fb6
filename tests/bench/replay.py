"""A day of runs on a GPU fleet, replayed on a virtual clock: the real `decide` against a cluster that is a model.

What is modelled: Jobs that get a pod at once, a scheduler that honours placements, runners that take as long as the trace
says and leave a real verdict, and a node pool that reacts to pods for which there is no room as cluster-autoscaler and
Karpenter do: it asks for as many nodes as hold them, they take a while to appear, and go when they were empty for a
while. Nothing fails. The operator looks a second after something happened, as the watches and the queue would let it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from support.builders import NOW, Scene, latencies

from vidbench_api.message import encode
from vidbench_api.names import RowPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_operator.core.decide import decide
from vidbench_operator.core.observed import Observed, ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.core.plan import CreateJob, Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal

LOOKS = 4
REACTION_SECONDS = 1.0
START_SECONDS = 2.0
SCAN_SECONDS = 10.0
"""How often the pool looks for pods without a node."""

_LABELS = {"pool": "gpu"}


@dataclass(frozen=True)
class Pool:
    """The fleet."""

    most_nodes: int
    gpus_per_node: int = 8
    delay_seconds: float = 90.0
    idle_seconds: float = 120.0
    fixed: bool = False
    """All nodes are there from the start, for ever."""


@dataclass(frozen=True)
class Arrival:
    """A run of the trace."""

    at: float
    scene: Scene
    seconds: Mapping[tuple[str, int], float]
    """How long each shard's runner takes, by cell and number."""


@dataclass
class _Node:
    launched_at: float
    pods: set[str] = field(default_factory=set)
    empty_since: float = 0.0


@dataclass
class _Run:
    arrival: Arrival
    scene: Scene
    jobs: dict[str, ObservedJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    placed: dict[str, CreateJob] = field(default_factory=dict)
    results: dict[str, BenchmarkResultSpec] = field(default_factory=dict)
    looks_at: float = math.inf
    ended_at: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a replay came to."""

    provisioned_seconds: float
    """GPUs x seconds of all nodes, from when they were asked for until they went (or the last run ended)."""

    busy_seconds: float
    """GPUs x seconds that pods held."""

    most_gpus: int
    most_pending: int
    makespans: tuple[float, ...]
    """Of each run, in the order of the trace."""

    finished_at: float
    passes: int
    unfinished: int
    """Shards without a result: 0, or the replay says nothing."""


class Replay:
    """Plays a trace to its end."""

    def __init__(self, pool: Pool, arrivals: list[Arrival]) -> None:
        self._pool = pool
        self._runs = [_Run(arrival, arrival.scene) for arrival in arrivals]
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._nodes: dict[str, _Node] = {}
        self._booting = 0
        self._provisioned = self._busy = 0.0
        self._most_nodes = self._most_pending = self._passes = 0

    def play(self) -> Outcome:
        """Return what came of it. A run that never ends shows as unfinished."""
        for _ in range(self._pool.most_nodes if self._pool.fixed else 0):
            self._add_node(0.0)
        for run in self._runs:
            self._look_later(run, run.arrival.at)
        self._at(0.0, self._scan)
        while self._events and any(run.ended_at is None for run in self._runs):
            self._now, _, event = heapq.heappop(self._events)
            event()
        for name in list(self._nodes):
            self._remove_node(name)
        shards = sum(len(run.arrival.seconds) for run in self._runs)
        return Outcome(
            provisioned_seconds=self._provisioned,
            busy_seconds=self._busy,
            most_gpus=self._most_nodes * self._pool.gpus_per_node,
            most_pending=self._most_pending,
            makespans=tuple((run.ended_at or math.inf) - run.arrival.at for run in self._runs),
            finished_at=self._now,
            passes=self._passes,
            unfinished=shards - sum(len(run.results) for run in self._runs),
        )

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._serial), event))

    # The operator

    def _look_later(self, run: _Run, moment: float) -> None:
        if moment < run.looks_at:
            run.looks_at = moment
            self._at(moment, lambda: self._look(run, moment))

    def _look(self, run: _Run, moment: float) -> None:
        if run.looks_at != moment or run.ended_at is not None:
            return
        run.looks_at = math.inf
        plan = self._decide(run)
        self._passes += 1
        run.results.update({entry.name: entry.spec for entry in plan.results})
        run.scene = run.scene.with_status(plan.status)
        for create in plan.creates:
            self._create(run, create)
        for entry in plan.deletes:
            raise AssertionError(f"nothing fails here, and {entry.name} is deleted: {entry.why}")
        self._schedule()
        if is_terminal(run.scene.run.status):
            run.ended_at = self._now
        elif plan.requeue_after is not None:
            self._look_later(run, self._now + max(REACTION_SECONDS, plan.requeue_after))

    def _decide(self, run: _Run) -> Plan:
        observed = Observed(
            jobs=tuple(run.jobs.values()),
            pods=tuple(run.pods.values()),
            nodes=self._observed_nodes(),
            document=run.scene.document,
        )
        for _ in range(LOOKS):
            plan = decide(run.scene.run, observed, NOW + self._now, Policy())
            if not plan.needs_live and not plan.needs_refusals:
                return plan
            observed = replace(observed, live=True, results=dict(run.results), refusals_read=plan.needs_refusals)
        raise AssertionError("deciding asks and asks")

    def _observed_nodes(self) -> dict[str, ObservedNode]:
        allocatable = {"cpu": "1000", "memory": "10000Gi", "nvidia.com/gpu": str(self._pool.gpus_per_node)}
        return {name: ObservedNode(name, _LABELS, ready=True, allocatable=allocatable) for name in self._nodes}

    # The cluster

    def _create(self, run: _Run, create: CreateJob) -> None:
        job = ObservedJob(
            create.name, f"job-{next(self._serial)}", run.scene.run.uid, create.cell, create.shard, create.attempt,
            NOW + self._now,
        )  # fmt: skip
        run.jobs[job.name] = job
        run.placed[job.name] = create
        run.pods[job.name] = ObservedPod(f"{job.name}-x", f"pod-of-{job.uid}", job.uid, "Pending", job.created_at)

    def _schedule(self) -> None:
        """Give nodes to the pods that wait, the first created first; say of the others that there is none."""
        waiting = [
            (pod.created_at, name, run) for run in self._runs for name, pod in run.pods.items() if pod.node is None
        ]
        for _, name, run in sorted(waiting, key=lambda entry: entry[:2]):
            node = self._node_for(run.placed[name])
            if node is not None:
                self._bind(run, name, node)
            elif run.pods[name].unschedulable_message is None:
                run.pods[name] = replace(run.pods[name], unschedulable_message="0 nodes are available")
            else:
                continue
            self._look_later(run, self._now + REACTION_SECONDS)
        self._most_pending = max(self._most_pending, len(self._pending()))

    def _node_for(self, create: CreateJob) -> str | None:
        place = create.placement
        free = [
            name
            for name, node in self._nodes.items()
            if len(node.pods) < self._pool.gpus_per_node and name not in place.avoid and place.require in (None, name)
        ]
        return min(
            free,
            key=lambda name: (name in place.avoid_if_possible, name not in place.prefer, -len(self._nodes[name].pods), name),
            default=None,
        )  # fmt: skip

    def _bind(self, run: _Run, name: str, node: str) -> None:
        create = run.placed[name]
        self._nodes[node].pods.add(name)
        now = NOW + self._now
        run.pods[name] = replace(
            run.pods[name], phase="Running", node=node, scheduled_at=now, started_at=now + START_SECONDS, unschedulable_message=None
        )  # fmt: skip
        seconds = START_SECONDS + run.arrival.seconds[(create.cell, create.shard)]
        self._at(self._now + seconds, lambda: self._end(run, name, node, seconds))

    def _end(self, run: _Run, name: str, node: str, seconds: float) -> None:
        create, pod = run.placed[name], run.pods[name]
        cell = run.scene.document.find_cell(create.cell)
        sample = int(run.arrival.seconds[(create.cell, create.shard)] * 1e6 / 4)
        verdict = run.scene.verdict(cell, create.shard, create.attempt, series=(latencies(sample, sample, sample),))
        now = NOW + self._now
        run.pods[name] = replace(
            pod, phase="Succeeded", exit_code=0, finished_at=now, container_reason="Completed", message=encode(verdict)
        )
        run.jobs[name] = replace(run.jobs[name], finished="Complete", finished_at=now)
        self._busy += seconds
        holder = self._nodes[node]
        holder.pods.discard(name)
        if not holder.pods:
            self._empty(node, holder)
        self._schedule()
        self._look_later(run, self._now + REACTION_SECONDS)

    # The node pool

    def _pending(self) -> list[CreateJob]:
        return [run.placed[name] for run in self._runs for name, pod in run.pods.items() if pod.node is None]

    def _scan(self) -> None:
        """Ask for as many nodes as hold what waits, beside those that are asked for already."""
        waiting = sum(create.placement.require is None for create in self._pending())
        wanted = math.ceil(waiting / self._pool.gpus_per_node) - self._booting
        for _ in range(
            0 if self._pool.fixed else min(wanted, self._pool.most_nodes - len(self._nodes) - self._booting)
        ):
            self._booting += 1
            launched_at = self._now
            self._at(self._now + self._pool.delay_seconds, lambda launched_at=launched_at: self._appear(launched_at))  # type: ignore[misc]
        self._at(self._now + SCAN_SECONDS, self._scan)

    def _appear(self, launched_at: float) -> None:
        self._booting -= 1
        name = self._add_node(launched_at)
        self._schedule()
        if not self._nodes[name].pods:
            self._empty(name, self._nodes[name])
        for run in self._runs:
            if run.arrival.at <= self._now and any(
                row.phase is not RowPhase.FINISHED for row in run.scene.run.status.rows
            ):
                self._look_later(run, self._now + REACTION_SECONDS)  # fmt: skip

    def _add_node(self, launched_at: float) -> str:
        name = f"node-{next(self._serial)}"
        self._nodes[name] = _Node(launched_at)
        self._most_nodes = max(self._most_nodes, len(self._nodes))
        return name

    def _empty(self, name: str, node: _Node) -> None:
        node.empty_since = since = self._now

        def go() -> None:
            if not node.pods and node.empty_since == since and name in self._nodes:
                self._remove_node(name)

        if not self._pool.fixed:
            self._at(self._now + self._pool.idle_seconds, go)

    def _remove_node(self, name: str) -> None:
        node = self._nodes.pop(name)
        self._provisioned += (self._now - node.launched_at) * self._pool.gpus_per_node

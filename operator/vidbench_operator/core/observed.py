"""What was seen of a run and its children: the input of deciding, as frozen values.

Times are seconds since the epoch in API time. Projections are slim on purpose: indexes keep thousands of them.
Unknown phases and missing fields are values here, never exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.request import RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus


@dataclass(frozen=True)
class ObservedRun:
    """A run as the API server holds it now."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_at: float
    spec: BenchmarkRunSpec
    status: BenchmarkRunStatus


@dataclass(frozen=True, slots=True)
class ObservedJob:
    """A Job that carries the run's label. Whether it is ours is told by `owner_uid` alone."""

    name: str
    uid: str
    owner_uid: str | None
    cell: str
    shard: int
    attempt: int
    created_at: float
    finished: Literal["Complete", "Failed"] | None = None
    finished_at: float | None = None
    finished_reason: str = ""
    finished_message: str = ""
    ttl_seconds: int | None = None
    suspended: bool = False
    """Somebody, a queue say, holds it: it has no pod, or loses the one that it has."""

    started_at: float | None = None
    """When it began to make pods; anew each time that it is let go on after having been held."""

    required_node: str | None = None
    """The one node that its pod may run on, if it names one."""

    deleting: bool = False
    harvests: bool = False
    """It measures nothing: it reads what the attempt has stored."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A pod of one of the run's Jobs; `gone` if it was deleted and is only remembered by its last event."""

    name: str
    uid: str
    job_uid: str
    phase: str
    created_at: float
    node: str | None = None
    scheduled_at: float | None = None
    unschedulable_message: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    container_reason: str | None = None
    """`reason` of the terminated runner container, e.g. OOMKilled, Error, Completed."""

    waiting_reason: str | None = None
    waiting_message: str | None = None
    pod_reason: str | None = None
    """`status.reason` of the pod, e.g. Evicted, DeadlineExceeded, NodeLost."""

    pod_message: str | None = None
    """`status.message` of the pod: which limit was passed, or what a node has not got."""

    disruption: str | None = None
    """`reason` of a True DisruptionTarget condition, e.g. EvictionByEvictionAPI, PreemptionByScheduler, DeletionByPodGC."""

    image_id: str | None = None
    message: str | None = None
    """Termination message of the runner container, at most 4,096 bytes."""

    deleting: bool = False
    deletes_at: float | None = None
    """deletionTimestamp: when the grace period of its deletion is over."""

    gone: bool = False

    @property
    def ended(self) -> bool:
        """Whether the runner container, or the whole pod, has ended."""
        return self.gone or self.exit_code is not None or self.phase in {"Succeeded", "Failed"}

    @property
    def succeeded(self) -> bool:
        """Whether the runner ended well."""
        return self.phase == "Succeeded" and self.exit_code == 0

    @property
    def completes_its_job(self) -> bool:
        """Whether its Job is Complete as soon as the Job controller gets to it, whatever happens meanwhile."""
        return self.succeeded and not self.deleting and not self.gone


def latest_pod(pods: Iterable[ObservedPod], job_uid: str) -> ObservedPod | None:
    """Return the pod that a Job had last. Of one that was seen twice, its ended and then its last state counts.

    One that lives is the last one: a Job gets another pod only when the one before has ended. Creation times come after
    that, as they have whole seconds, and the clock that they are of may have been set back: one that succeeded completes
    its Job, so nothing came after it.
    """
    mine: dict[str, ObservedPod] = {}
    for pod in pods:
        if pod.job_uid == job_uid:
            known = mine.get(pod.uid, pod)
            mine[pod.uid] = max(known, pod, key=lambda state: (state.ended, state.gone))
    return max(mine.values(), key=_lateness, default=None)


def _lateness(pod: ObservedPod) -> tuple[bool, bool, float, bool, str]:
    return (not pod.ended, pod.succeeded, pod.created_at, not pod.gone, pod.uid)


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """A condition of a node, of whoever wrote it."""

    type: str
    status: str


@dataclass(frozen=True, slots=True)
class NodeTaint:
    """A taint of a node."""

    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class ObservedNode:
    """A node, as far as a decision needs it."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    not_ready_since: float | None = None
    unschedulable: bool = False
    allocatable: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)
    """Of nodeInfo: architecture, kernelVersion, machineID."""
    conditions: tuple[NodeCondition, ...] = ()
    """All but Ready."""

    taints: tuple[NodeTaint, ...] = ()


@dataclass(frozen=True, slots=True)
class CreationRefusal:
    """What the Job controller says, by an Event, about a Job that it can make no pod for."""

    job_uid: str
    message: str


@dataclass(frozen=True)
class References:
    """What a run's names resolve to now; None or absent: there is no such object."""

    runner_class: RunnerClassSpec | None
    models: Mapping[str, VideoModelSpec]
    """VideoModels of the run's namespace, by object name."""

    broken: Mapping[str, str] = field(default_factory=dict)
    """Objects that exist but cannot be read, with what is wrong."""


@dataclass(frozen=True)
class Ledger:
    """What the ledger holds for the gates of a run that has ended.

    `results` are those that its shards name, reused ones included, by object name; `baselines` those that each baseline's
    labels select. `unread` names baselines of which not all was read, with TooManyResults or NotReadable.
    """

    results: Mapping[str, BenchmarkResultSpec]
    baselines: Mapping[str, tuple[BenchmarkResultSpec, ...]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """All that a pass knows of a run's children.

    `live` says that jobs, pods and results were listed from the API server in this pass; only then does the absence
    of one prove anything.
    """

    jobs: tuple[ObservedJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()
    nodes: Mapping[str, ObservedNode] | None = None
    """None: nodes are not visible to the operator."""

    results: Mapping[str, BenchmarkResultSpec] = field(default_factory=dict)
    """Results that are known to exist, by object name."""

    refusals: tuple[CreationRefusal, ...] = ()
    refusals_read: frozenset[str] = frozenset()
    """UIDs of the Jobs whose Events were read in this pass."""

    conflicts: frozenset[str] = frozenset()
    """Names of Jobs that exist but belong to somebody else."""

    refused_jobs: Mapping[str, str] = field(default_factory=dict)
    """Names of Jobs that the API server would not have, in this pass or lately, with what it said."""

    refused_until: float = 0.0
    """When the first of these is to be tried again."""

    due_jobs: frozenset[str] = frozenset()
    """Those of them that are to be tried again in this pass."""

    refused_results: frozenset[str] = frozenset()
    """Names of results that the API server would not have, and that are not to be tried again in this pass."""

    results_retry_at: float = 0.0
    """When the first of these is to be tried again."""

    document: RequestDocument | None = None
    live: bool = False
    ledger: Ledger | None = None
    """Read only when a run ends that has gates or hypotheses."""

    def jobs_named(self, name: str) -> Sequence[ObservedJob]:
        """Return the Jobs of a name, whoever owns them."""
        return self._jobs_by_name.get(name, ())

    def pods_of(self, job_uid: str) -> Sequence[ObservedPod]:
        """Return the pods of a Job."""
        return self._pods_by_job.get(job_uid, ())

    @cached_property
    def _jobs_by_name(self) -> Mapping[str, Sequence[ObservedJob]]:
        jobs: dict[str, list[ObservedJob]] = {}
        for job in self.jobs:
            jobs.setdefault(job.name, []).append(job)
        return jobs

    @cached_property
    def _pods_by_job(self) -> Mapping[str, Sequence[ObservedPod]]:
        pods: dict[str, list[ObservedPod]] = {}
        for pod in self.pods:
            pods.setdefault(pod.job_uid, []).append(pod)
        return pods

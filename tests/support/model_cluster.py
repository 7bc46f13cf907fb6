"""A cluster in memory, with an operator that applies plans to it: what the property tests let things happen to.

The cluster does what an API server and the Job controller do to the objects that the core knows. The operator is as
thin as it can be: read, decide, write in the plan's order, and it may crash between any two writes. What must hold
after each write is asserted in the write itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from support.builders import NOW, Scene
from vidbench_api.identity import attempt_name, harvest_name, result_name
from vidbench_api.measured import Series
from vidbench_api.message import MessageError, decode
from vidbench_api.names import Reason, RowPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, ShardStatus
from vidbench_operator.core.decide import decide
from vidbench_operator.core.observed import (
    CreationRefusal,
    Observed,
    ObservedJob,
    ObservedNode,
    ObservedPod,
    ObservedRun,
    latest_pod,
)
from vidbench_operator.core.plan import CreateJob, CreateResult, DeleteJob, PatchTtl, Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal

POLICY = Policy(
    refusal_check_seconds=20.0,
    retry_base_seconds=10.0,
    retry_cap_seconds=20.0,
    node_breaker_seconds=40.0,
    breaker_cap_seconds=100.0,
)
LOOKS = 4


@dataclass(frozen=True)
class View:
    """What a watch shows: Jobs and pods at some moment, perhaps of the past."""

    jobs: tuple[ObservedJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()


@dataclass
class ModelCluster:
    """The objects of one run, and what has ever been."""

    scene: Scene
    now: float = NOW
    version: int = 0
    jobs: dict[str, ObservedJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    results: dict[str, BenchmarkResultSpec] = field(default_factory=dict)
    nodes: dict[str, ObservedNode] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    """Names of Jobs that are somebody else's."""

    refusing: dict[str, str] = field(default_factory=dict)
    """Names of Jobs that the server will not have, with what it says."""

    refusals: dict[str, str] = field(default_factory=dict)
    """UIDs of Jobs for which no pod is made, with what their Events say."""

    remembered: dict[str, ObservedPod] = field(default_factory=dict)
    """Last states of deleted pods, in the operator's memory."""

    pods_ever: dict[str, ObservedPod] = field(default_factory=dict)
    jobs_created: dict[str, list[str]] = field(default_factory=dict)
    """UIDs of the Jobs that were ever created, by name."""

    deleted_by_hand: set[str] = field(default_factory=set)
    """UIDs."""

    requeued: set[str] = field(default_factory=set)
    """UIDs of Jobs that lost their pod to a queue and get another one."""

    queue_is_open: bool = False
    """Whether the run's queue, if it has one, lets every Job in at once."""

    writes: int = 0
    serial: int = 0
    views: list[View] = field(default_factory=lambda: [View()])

    @property
    def status(self) -> BenchmarkRunStatus:
        return self.scene.run.status

    @property
    def ended(self) -> bool:
        return is_terminal(self.status)

    def see(self) -> None:
        """Let the watches show what there is."""
        self.views.append(View(tuple(self.jobs.values()), tuple(self.pods.values())))

    def put_pod(self, pod: ObservedPod) -> None:
        self.pods[pod.uid] = self.pods_ever[pod.uid] = pod

    def drop_pod(self, uid: str, *, seen: bool) -> None:
        """Delete a pod; `seen`: the operator got the DELETED event."""
        pod = self.pods.pop(uid)
        if seen:
            self.remembered[uid] = replace(pod, gone=True)

    def drop_job(self, name: str, *, seen: bool) -> None:
        """Delete a Job with its pods, in the background."""
        job = self.jobs.pop(name)
        for pod in [pod for pod in self.pods.values() if pod.job_uid == job.uid]:
            self.drop_pod(pod.uid, seen=seen)

    def let_go(self, job: ObservedJob) -> None:
        """Let a Job make a pod that its queue held."""
        self.jobs[job.name] = replace(job, suspended=False, started_at=self.now)

    def open_queue(self) -> None:
        """Let every Job go, also those to come."""
        self.queue_is_open = True
        for job in list(self.jobs.values()):
            if job.suspended:
                self.let_go(job)

    # What the operator may call.

    def create_result(self, entry: CreateResult) -> BenchmarkResultSpec | None:
        """POST a result; returns the one that is there already, if there is one."""
        self.writes += 1
        if entry.name in self.results:
            return self.results[entry.name]
        self._check_origin(entry.spec)
        if entry.spec.origin.pod_uid is not None or entry.spec.reason != Reason.UNSCHEDULABLE:  # else: not tried
            self._check_end(entry.spec.origin.job_uid, entry.spec.reason)
        self.results[entry.name] = BenchmarkResultSpec.model_validate(entry.spec.to_wire())
        return None

    def _check_origin(self, spec: BenchmarkResultSpec) -> None:
        """A figure comes from the verdict of the right pod: of this attempt's Job, and the last one that it had."""
        if not spec.series:
            return
        name = attempt_name(self.scene.run.name, spec.cell.id, spec.shard, spec.origin.attempt)
        if "read from the artifacts" in (spec.message or ""):
            pod = self._harvester_of(name, spec)
        else:
            pod = self.pods_ever[spec.origin.pod_uid or ""]
            assert pod.job_uid == spec.origin.job_uid, "measured by a pod of another Job"
            assert pod.job_uid in self.jobs_created[name], "measured by a Job of another attempt"
        verdict = decode(pod.message or "")
        assert (verdict.cell, verdict.shard, verdict.attempt) == (spec.cell.id, spec.shard, spec.origin.attempt)
        assert verdict.series == spec.series
        last = latest_pod(self.pods_ever.values(), pod.job_uid)
        assert last == pod or (last is not None and last.uid not in self.pods), "measured by a pod before the last one"

    def _harvester_of(self, attempt: str, spec: BenchmarkResultSpec) -> ObservedPod:
        """The pod of the attempt's harvest that said what the result says."""
        jobs = self.jobs_created[harvest_name(attempt)]
        pods = [pod for pod in self.pods_ever.values() if pod.job_uid in jobs and pod.message]
        return next(pod for pod in pods if _series_of(pod) == spec.series)

    def write_status(self, status: BenchmarkRunStatus, version: int) -> bool:
        """Replace the status, as it survives the wire; False is a conflict."""
        self.writes += 1
        if version != self.version:
            return False
        assert not self.ended, "an ended run's status was written"
        stored = BenchmarkRunStatus.model_validate(status.to_wire())
        assert stored == status, "the status does not survive the wire"
        self._check_step(status)
        self.version += 1
        self.scene = self.scene.with_status(stored)
        return True

    def _check_step(self, status: BenchmarkRunStatus) -> None:
        before = {(row.id, shard.index): shard for row in self.status.rows for shard in row.shards}
        active = sum(shard.phase is RowPhase.ACTIVE for shard in before.values())
        started = 0
        for row in status.rows:
            for shard in row.shards:
                old = before.get((row.id, shard.index)) or ShardStatus(index=shard.index)
                assert row.rung is not None or (row.id, shard.index) in before, "a row that nobody asked for"
                assert shard.attempt - old.attempt in (0, 1), "an attempt was left out"
                assert old.phase is not RowPhase.FINISHED or shard == old, "a finished shard changed"
                self._check_result_of(row.id, shard)
                assert shard.attempt > old.attempt or old.job_uid in (None, shard.job_uid), "an attempt got another Job"
                again = shard.attempt > old.attempt or shard.phase is RowPhase.PENDING
                taken_back = self.scene.run.spec.suspend and not shard.attempt > old.attempt
                if old.phase is RowPhase.ACTIVE and again and not taken_back:
                    self._check_end(old.job_uid, shard.reason)
                started += shard.attempt > old.attempt
                active -= old.phase is RowPhase.ACTIVE and (
                    shard.phase is not RowPhase.ACTIVE or shard.attempt > old.attempt
                )
        assert started <= max(0, self.scene.run.spec.parallelism - active), "more Jobs than parallelism"

    def _check_end(self, job_uid: str | None, reason: str | None) -> None:
        """An attempt ends for what is so, and not for what a watch has missed."""
        job = next((job for job in self.jobs.values() if job.uid == job_uid), None)
        pod = latest_pod(self.pods.values(), job_uid or "")
        if job is None or reason in (Reason.RUN_DEADLINE, Reason.RUN_CANCELLED, Reason.NAME_CONFLICT):
            return
        assert reason != Reason.JOB_DELETED, "its Job is there"
        if pod is None:
            return
        if reason == Reason.UNSCHEDULABLE:
            assert pod.node is None, "its pod has a node"
        elif reason in (Reason.IMAGE_PULL, Reason.CONTAINER_CONFIG):
            assert pod.started_at is None, "its runner runs"
        elif reason in (Reason.ADMISSION_REFUSED, Reason.QUOTA_EXCEEDED):
            raise AssertionError("it has a pod")
        elif reason in (Reason.NODE_LOST, Reason.SHARD_DEADLINE):
            assert not pod.ended, "its runner has ended"
        else:
            assert pod.ended, "its runner runs"
            assert reason != Reason.RESULT_LOST or not pod.message, "there is a verdict"

    def _check_result_of(self, cell: str, shard: ShardStatus) -> None:
        if shard.phase is not RowPhase.FINISHED:
            return
        assert shard.result == result_name(self.scene.run.name, cell, shard.index)
        result = self.results[shard.result]
        assert (shard.outcome, shard.validity, shard.reason) == (
            result.outcome, result.validity.state, result.reason,
        ), "the status says something else than the ledger"  # fmt: skip

    def create_job(self, entry: CreateJob) -> Literal["Created", "Exists", "Foreign", "Refused"]:
        self.writes += 1
        if entry.name in self.foreign:
            return "Foreign"
        if entry.name in self.refusing:
            return "Refused"
        if entry.name in self.jobs:
            return "Exists"
        row = next(row for row in self.status.rows if row.id == entry.cell)
        shard = next(shard for shard in row.shards if shard.index == entry.shard)
        assert (shard.phase, shard.attempt) == (RowPhase.ACTIVE, entry.attempt), "a Job that no status names"
        before = self.jobs_created.setdefault(entry.name, [])
        assert set(before) <= self.deleted_by_hand, "the same attempt was made twice"
        self.serial += 1
        job = ObservedJob(
            entry.name, f"job-{self.serial}", self.scene.run.uid, entry.cell, entry.shard, entry.attempt, self.now,
            harvests=entry.harvests,
        )  # fmt: skip
        before.append(job.uid)
        queued = bool(self.scene.run.spec.scheduling.queue_name) and not self.queue_is_open
        self.jobs[job.name] = replace(job, suspended=queued, started_at=None if queued else self.now)
        return "Created"

    def delete_job(self, entry: DeleteJob) -> None:
        self.writes += 1
        job = self.jobs.get(entry.name)
        if job is None or job.uid != entry.uid:
            return
        row = next(row for row in self.status.rows if row.id == job.cell)
        shard = next(shard for shard in row.shards if shard.index == job.shard)
        wanted = (shard.phase, shard.attempt, shard.job_uid) == (RowPhase.ACTIVE, job.attempt, job.uid)
        assert not wanted or self.ended, "the Job of a current attempt is deleted"
        self.drop_job(entry.name, seen=True)

    def patch_ttl(self, entry: PatchTtl) -> None:
        self.writes += 1
        job = self.jobs.get(entry.name)
        if job is None or job.uid != entry.uid:
            return
        row = next(row for row in self.status.rows if row.id == job.cell)
        shard = next(shard for shard in row.shards if shard.index == job.shard)
        settled = shard.phase is RowPhase.FINISHED or shard.attempt > job.attempt or shard.phase is RowPhase.PENDING
        assert settled, "a Job may expire whose verdict is not in the ledger"
        self.jobs[job.name] = replace(job, ttl_seconds=entry.seconds)


def _series_of(pod: ObservedPod) -> tuple[Series, ...] | None:
    try:
        return decode(pod.message or "").series
    except MessageError:
        return None


class CrashError(Exception):
    """The operator's process ended."""


@dataclass
class OperatorPass:
    """One pass over the model cluster: read, decide, write in the plan's order; perhaps not to the end.

    `rival` is what happens between deciding and writing: another replica's pass, say. `create_before_status` is the
    mistake that writing ahead is there against; for the test that proves that it would be seen.
    """

    cluster: ModelCluster
    view: View
    crash_after: int | None = None
    rival: Callable[[], object] | None = None
    create_before_status: bool = False

    def run(self) -> float | None:
        """Return the seconds until the next pass; None if only an event can bring anything new."""
        cluster = self.cluster
        run, version = cluster.scene.run, cluster.version
        observed = self._observe()
        for _ in range(LOOKS):
            plan, observed = self._decide(run, observed)
            if self.rival is not None:
                self.rival()
                self.rival = None
            known = self._create_results(plan)
            if known:
                observed = replace(observed, results={**observed.results, **known})
                continue
            learned = self._create_jobs(plan) if self.create_before_status else {}
            if plan.status is not None:
                self._step()
                if not cluster.write_status(plan.status, version):
                    return 0.0
                run, version = cluster.scene.run, cluster.version
            learned |= {} if self.create_before_status else self._create_jobs(plan)
            self._clean_up(plan)
            if not learned:
                return plan.requeue_after
            conflicts = frozenset(name for name, text in learned.items() if text is None)
            refused = {name: text for name, text in learned.items() if text is not None}
            observed = replace(self._observe(), conflicts=conflicts, refused_jobs=refused)
        return 0.0

    def _step(self) -> None:
        if self.crash_after == 0:
            self.cluster.remembered.clear()
            raise CrashError
        if self.crash_after is not None:
            self.crash_after -= 1

    def _observe(self) -> Observed:
        cluster = self.cluster
        return Observed(
            jobs=self.view.jobs,
            pods=(*self.view.pods, *cluster.remembered.values()),
            nodes=dict(cluster.nodes),
            document=cluster.scene.document,
        )

    def _decide(self, run: ObservedRun, observed: Observed) -> tuple[Plan, Observed]:
        cluster = self.cluster
        for _ in range(LOOKS):
            plan = decide(run, observed, cluster.now, POLICY)
            assert plan == decide(run, _disordered(observed), cluster.now, POLICY), "the order of children matters"
            if not plan.needs_live and not plan.needs_refusals:
                return plan, observed
            if plan.needs_live:
                observed = replace(
                    observed,
                    jobs=tuple(cluster.jobs.values()),
                    pods=(*cluster.pods.values(), *cluster.remembered.values()),
                    results=dict(cluster.results),
                    live=True,
                )
            events = [
                CreationRefusal(uid, cluster.refusals[uid]) for uid in plan.needs_refusals & cluster.refusals.keys()
            ]
            observed = replace(
                observed, refusals=tuple(events), refusals_read=observed.refusals_read | plan.needs_refusals
            )
        raise AssertionError("deciding asks and asks")

    def _create_results(self, plan: Plan) -> dict[str, BenchmarkResultSpec]:
        known = {}
        for entry in plan.results:
            self._step()
            existing = self.cluster.create_result(entry)
            if existing is not None:
                known[entry.name] = existing
        return known

    def _create_jobs(self, plan: Plan) -> dict[str, str | None]:
        """Return the names that cannot be had: with what the server says, or None for somebody else's."""
        learned: dict[str, str | None] = {}
        for entry in plan.creates:
            self._step()
            match self.cluster.create_job(entry):
                case "Foreign":
                    learned[entry.name] = None
                case "Refused":
                    learned[entry.name] = self.cluster.refusing[entry.name]
        return learned

    def _clean_up(self, plan: Plan) -> None:
        for delete in plan.deletes:
            self._step()
            self.cluster.delete_job(delete)
        for patch in plan.ttls:
            self._step()
            self.cluster.patch_ttl(patch)


def _disordered(observed: Observed) -> Observed:
    """Return the same observation with Jobs and pods in another order, each of them twice."""
    return replace(observed, jobs=observed.jobs[::-1] + observed.jobs, pods=observed.pods[::-1] + observed.pods)

"""What must hold at every write and after every step, whatever happens: the nine invariants of reliability.

I1 one live pod an attempt. I2 a result that was accepted stays, and so does what the status says of it. I3 a figure
counts only from the pod that ended the attempt's own Job. I4 attempts stay within their budgets. I5 nothing is left of
a run that was deleted. I6 conditions never contradict each other or the rows. I7 at rest nothing is written. I8 a run
that cannot be read delays no other. I9 no pod holds a GPU for nothing. And two by which these are kept: an attempt is
written down before its Job is made, and ends only for what is so. I5, I7, I8 and I9 need time: `ending` checks them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from vidbench_api.identity import attempt_name, harvest_name, result_name
from vidbench_api.message import MessageError, decode
from vidbench_api.names import LABEL_ATTEMPT, LABEL_HARVEST, ConditionType, Outcome, Reason, RowPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, ShardStatus
from vidbench_operator.core.observed import ObservedRun, latest_pod
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.ports import RunKey

from .connection import Connection
from .server import NAMESPACE, Manifest, Server, StoredJob, StoredPod

OURS_TO_SAY: Final = frozenset(
    {
        Reason.RUN_DEADLINE, Reason.NAME_CONFLICT, Reason.RUN_CANCELLED, Reason.SUSPENDED, Reason.TOO_MANY_FAILED,
        Reason.BREAKER_OPEN, Reason.RUNG_SKIPPED,
    }
)  # fmt: skip
"""Reasons that an attempt ends for by decision, whatever its pod does."""


class Violation(AssertionError):  # noqa: N818 - what was found
    """An invariant does not hold."""


class Invariants:
    """Looks at every mutating call before it is carried out, and at the whole server after every step."""

    def __init__(self, server: Server, policy: Policy) -> None:
        self._server = server
        self._policy = policy
        self._results: dict[str, BenchmarkResultSpec] = {}
        self._pods_ever: dict[str, StoredPod] = {}
        self.jobs_made: dict[str, list[str]] = {}
        """UIDs of the Jobs that operators made, by name."""

        self.excused: set[str] = set()
        """UIDs of Jobs that people deleted, restored or made, or that a replica made from a view that was old by then."""

        self._taken_back: Counter[tuple[str, int]] = Counter()
        """How often attempts of a shard were taken back by a suspension, by cell and index."""

        server.subscribe(self._on_change)

    def _on_change(self, change: object) -> None:
        kind, value = getattr(change, "kind", ""), getattr(change, "value", None)
        if kind == "pod" and value is not None and value.uid in self._server.pods:
            self._pods_ever[value.uid] = self._server.pods[value.uid]

    # Before a call is carried out

    def result_comes(self, connection: Connection, name: str, spec: BenchmarkResultSpec) -> None:
        """I3, and the truth of how the attempt ended."""
        self._check_origin(spec)
        key = RunKey(NAMESPACE, spec.run.name)
        stored = self._server.runs.get(key)
        name = attempt_name(spec.run.name, spec.cell.id, spec.shard, spec.origin.attempt)
        shard = _shard_of_job(stored.seen.status, spec.run.name, name) if stored is not None else None
        # A shard that waits for its next attempt may end without one: that says nothing of the attempt before.
        if shard is not None and shard.phase is RowPhase.ACTIVE:
            self._check_end(connection, key, spec.origin.job_uid, spec.reason)

    def status_comes(self, connection: Connection, run: ObservedRun, status: BenchmarkRunStatus) -> None:
        """I2, I4, I6, and the truth of how attempts ended."""
        _require(not is_terminal(run.status), "I2: the status of a run that has ended is written")
        check_conditions(run, status)
        before = {(row.id, row.rung, shard.index): shard for row in run.status.rows for shard in row.shards}
        active, started = sum(shard.phase is RowPhase.ACTIVE for shard in before.values()), 0
        for row in status.rows:
            for shard in row.shards:
                old = before.get((row.id, row.rung, shard.index))
                self._check_shard(run, row, shard)
                if old is None:
                    started += shard.phase is RowPhase.ACTIVE
                    continue
                self._check_step(connection, run, old, shard)
                back = old.phase is RowPhase.ACTIVE and shard.phase is RowPhase.PENDING
                self._taken_back[row.id, shard.index] += back and run.spec.suspend
                over = old.phase is RowPhase.ACTIVE and (
                    shard.phase is not RowPhase.ACTIVE or shard.attempt > old.attempt
                )
                started += shard.attempt > old.attempt
                active -= over
        _require(started <= max(0, run.spec.parallelism - active), f"more Jobs than parallelism: {started} start")

    def job_comes(self, connection: Connection, run: ObservedRun, manifest: Manifest) -> None:
        """An attempt is written down before its Job is made, and made once."""
        stored = self._server.runs.get(RunKey(run.namespace, run.name))
        name = manifest["metadata"]["name"]
        made = self.jobs_made.get(name, [])
        fresh = stored is not None and stored.seen.resource_version == run.resource_version
        if stored is not None and stored.seen.uid == run.uid:
            named = self._is_named(stored.seen.status, run.name, manifest)
            _require(named, f"write ahead: Job {name} is made, and no status names it")
        if fresh:
            _require(set(made) <= self.excused, f"I1: the attempt of Job {name} is made twice")

    def job_made(self, connection: Connection, run: ObservedRun, job: StoredJob) -> None:
        """Note the UID of a Job that was made."""
        self.jobs_made.setdefault(job.seen.name, []).append(job.seen.uid)
        stored = self._server.runs.get(RunKey(run.namespace, run.name))
        if stored is None or stored.seen.resource_version != run.resource_version:
            self.excused.add(job.seen.uid)

    def job_goes(self, connection: Connection, run: ObservedRun, name: str, uid: str | None) -> None:
        """A Job is deleted only if it is the run's own and its attempt is over."""
        job = self._server.jobs.get(name)
        if job is None or uid not in (None, job.seen.uid):
            return
        _require(job.seen.owner_uid == run.uid, f"Job {name} is somebody else's, and is deleted")
        stored = self._server.runs.get(job.key)
        if stored is None or is_terminal(stored.seen.status):
            return
        shard = _shard_of_job(stored.seen.status, run.name, name)
        wanted = shard is not None and (shard.phase, shard.job_uid) == (RowPhase.ACTIVE, job.seen.uid)
        _require(not wanted, f"Job {name} is that of a current attempt, and is deleted")

    def job_may_expire(self, connection: Connection, run: ObservedRun, name: str, uid: str | None) -> None:
        """I2: a Job may expire only when the stored status says how its attempt ended."""
        job = self._server.jobs.get(name)
        stored = self._server.runs.get(RunKey(run.namespace, run.name))
        if job is None or uid not in (None, job.seen.uid) or stored is None or stored.seen.uid != run.uid:
            return
        shard = _shard_of_job(stored.seen.status, run.name, name)
        settled = shard is None or is_terminal(stored.seen.status) or shard.phase is not RowPhase.ACTIVE
        later = shard is not None and shard.attempt > job.seen.attempt
        other = shard is not None and shard.job_uid not in (None, job.seen.uid)
        _require(settled or later or other, f"I2: Job {name} may expire before its verdict is in the ledger")

    def run_goes(self, key: RunKey, uid: str | None) -> None:
        """Only a run that has ended is deleted by an operator."""
        stored = self._server.runs.get(key)
        if stored is not None and uid in (None, stored.seen.uid):
            _require(is_terminal(stored.seen.status), f"run {key.name} has not ended, and is deleted")

    # After every step

    def check(self) -> None:
        """I1 and I2, on what the server holds."""
        for name, spec in self._results.items():
            _require(self._server.results.get(name) is spec, f"I2: result {name} changed or vanished")
        if len(self._results) != len(self._server.results):
            self._results = dict(self._server.results)
        live: dict[str, str] = {}
        for pod in self._server.pods.values():
            if pod.seen.deleting or pod.seen.ended or pod.seen.job_uid in self.excused:
                continue
            other = live.setdefault(pod.job_name, pod.seen.uid)
            _require(other == pod.seen.uid, f"I1: two live pods of Job {pod.job_name}: {other} and {pod.seen.uid}")

    # Inside

    def _is_named(self, status: BenchmarkRunStatus, run: str, manifest: Manifest) -> bool:
        """Whether the status has come to the attempt of a Job, or to the harvest of one."""
        name, labels = manifest["metadata"]["name"], manifest["metadata"]["labels"]
        shard = _shard_of_job(status, run, name)
        if shard is None or shard.attempt < int(labels[LABEL_ATTEMPT]):
            return False
        return LABEL_HARVEST not in labels or shard.attempt > int(labels[LABEL_ATTEMPT]) or _was_harvested(shard)

    def _check_origin(self, spec: BenchmarkResultSpec) -> None:
        if not spec.series:
            return
        name = attempt_name(spec.run.name, spec.cell.id, spec.shard, spec.origin.attempt)
        pod = self._pods_ever.get(spec.origin.pod_uid or "")
        harvests = [each for each in self._pods_ever.values() if each.job_name == harvest_name(name)]
        _require(pod is not None or bool(harvests), f"I3: figures of {name} from a pod that never was")
        if pod is not None:
            _require(pod.job_name == name, f"I3: figures of {name} from a pod of {pod.job_name}")
            _require(pod.seen.job_uid == spec.origin.job_uid, f"I3: figures of {name} from a pod of another Job")
        told = [_figures(each) for each in (pod, *harvests) if each is not None]
        who = (spec.cell.id, spec.shard, spec.origin.attempt)
        _require((who, spec.series) in told, f"I3: figures of {name} that its pod did not report")

    def _check_shard(self, run: ObservedRun, row: CellRow, shard: ShardStatus) -> None:
        failure = run.spec.failure_policy
        _require(shard.retries <= failure.infrastructure_retries, f"I4: {shard.retries} infrastructure retries")
        _require(shard.unknown_failures <= failure.unknown_retries, f"I4: {shard.unknown_failures} unknown failures")
        _require(shard.lost_results <= self._policy.lost_result_retries, f"I4: {shard.lost_results} lost results")
        again = len(shard.superseded)
        allowed = self._policy.invalid_retries if run.spec.validity.on_invalid == "Retry" else 0
        _require(again <= allowed, f"I4: measured again {again} times")
        for name in shard.superseded:
            kept = self._server.results.get(name)
            _require(kept is not None and kept.superseded, f"I2: the Invalid result {name} was not kept")
        charged = 1 + shard.retries + shard.unknown_failures + shard.lost_results + again
        free = shard.disruptions + self._taken_back[row.id, shard.index]
        _require(
            shard.attempt <= charged + free,
            f"I4: attempt {shard.attempt} of {row.id}/{shard.index} with {charged} charged and {free} not",
        )
        if shard.phase is not RowPhase.FINISHED or shard.result is None or row.source == "Reused":
            return
        result = self._server.results.get(shard.result)
        _require(result is not None, f"I2: the status names result {shard.result}, and there is none")
        assert result is not None
        said = (shard.outcome, shard.validity, shard.reason)
        _require(
            said == (result.outcome, result.validity.state, result.reason),
            f"I2: the status says {said} of {shard.result}, and the ledger something else",
        )

    def _check_step(self, connection: Connection, run: ObservedRun, old: ShardStatus, new: ShardStatus) -> None:
        _require(new.attempt - old.attempt in (0, 1), f"an attempt was left out: {old.attempt} to {new.attempt}")
        _require(old.phase is not RowPhase.FINISHED or new == old, "I2: a finished shard changed")
        same = new.attempt == old.attempt and new.phase is not RowPhase.PENDING
        _require(not same or old.job_uid in (None, new.job_uid), "an attempt got another Job")
        over = new.attempt > old.attempt or new.phase is RowPhase.PENDING
        if old.phase is RowPhase.ACTIVE and over and not run.spec.suspend:
            self._check_end(connection, RunKey(run.namespace, run.name), old.job_uid, new.reason)

    def _check_end(self, connection: Connection, key: RunKey, job_uid: str | None, reason: str | None) -> None:
        """An attempt ends for what is so, and not for what a watch has missed.

        What has changed since the pass listed the children is not held against it; that it did not list them is.
        """
        looked = connection.looked_at.get(key, self._server.version)
        job = next((job for job in self._server.jobs.values() if job.seen.uid == job_uid), None)
        if job is None or reason is None or reason in OURS_TO_SAY:
            return
        _require(reason != Reason.JOB_DELETED, f"Job {job.seen.name} is there, and its attempt ends as JobDeleted")
        mine = [pod.seen for pod in self._server.pods.values() if pod.seen.job_uid == job_uid]
        last = latest_pod(mine, job_uid or "")
        if last is None or self._server.pods[last.uid].version > looked:
            return
        harvests = [pod for pod in self._pods_ever.values() if pod.job_name == harvest_name(job.seen.name)]
        messages = (last.message, *(pod.seen.message for pod in harvests))
        said = {_reason_of(message, job.seen.attempt) for message in messages}
        where = f"the attempt of Job {job.seen.name} ends as {reason}, and"
        if reason == Reason.UNSCHEDULABLE:
            _require(last.node is None, f"{where} its pod has a node")
        elif reason in (Reason.IMAGE_PULL, Reason.CONTAINER_CONFIG):
            _require(last.started_at is None, f"{where} its runner runs")
        elif reason in (Reason.ADMISSION_REFUSED, Reason.QUOTA_EXCEEDED):
            raise Violation(f"{where} it has a pod")
        elif reason in (Reason.NODE_LOST, Reason.SHARD_DEADLINE):
            _require(not last.ended or reason in said or said == {""}, f"{where} its runner says otherwise")
        else:
            _require(last.ended, f"{where} its runner runs")
            lost = reason == Reason.RESULT_LOST
            _require(not lost or reason in said or said == {""}, f"{where} there is a verdict")


def check_conditions(run: ObservedRun, status: BenchmarkRunStatus) -> None:
    """I6: conditions, counts, rows and times say the same."""
    states = {condition.type: condition.status for condition in status.conditions}
    complete, failed = (states.get(kind) == "True" for kind in (ConditionType.COMPLETE, ConditionType.FAILED))
    ended = complete or failed
    _require(not (complete and failed), "I6: Complete and Failed")
    _require(ended == (status.completion_time is not None), "I6: an end without its time, or a time without an end")
    _require(
        (states.get(ConditionType.RECONCILING) == "True") is not ended, "I6: Reconciling after the end, or not before"
    )
    _require(complete or states.get(ConditionType.READY) != "True", "I6: Ready before Complete")
    _require(failed or complete or states.get(ConditionType.STALLED) != "True", "I6: Stalled before the end")
    _require(status.observed_generation == run.generation, "I6: observedGeneration is not what was observed")
    for condition in status.conditions:
        _require((condition.observed_generation or 0) <= run.generation, "I6: a condition of the future")
    if status.rows and status.shards is not None:
        shards = [shard for row in status.rows for shard in row.shards]
        finished = sum(shard.phase is RowPhase.FINISHED for shard in shards)
        _require((status.shards.total, status.shards.finished) == (len(shards), finished), "I6: counts of shards")
        _require(not ended or finished == len(shards), "I6: an end with shards that are not finished")
    for row in status.rows:
        for shard in row.shards:
            over = shard.phase is RowPhase.FINISHED
            _require(
                over == (shard.outcome is not None),
                f"I6: {row.id}/{shard.index} has an outcome and no end, or the reverse",
            )
            good = shard.outcome is Outcome.SUCCEEDED
            _require(not (good and shard.reason), f"I6: {row.id}/{shard.index} succeeded, with reason {shard.reason}")


def _shard_of_job(status: BenchmarkRunStatus, run: str, name: str) -> ShardStatus | None:
    """Return the shard that a Job's name belongs to."""
    for row in status.rows:
        for shard in row.shards:
            if name.removesuffix("-h").rsplit("-", 1)[0] == result_name(run, row.id, shard.index):
                return shard
    return None


def _was_harvested(shard: ShardStatus) -> bool:
    return shard.harvest_at is not None or shard.phase is not RowPhase.ACTIVE


def _figures(pod: StoredPod) -> object:
    """Return whose figures a pod has reported, and which."""
    try:
        verdict = decode(pod.seen.message or "")
    except MessageError:
        return None
    return (verdict.cell, verdict.shard, verdict.attempt), verdict.series


def _reason_of(message: str | None, attempt: int) -> str | None:
    """Return the reason in a final verdict of this attempt, None for a success; empty if there is none to read."""
    try:
        verdict = decode(message or "")
    except MessageError:
        return ""
    return verdict.reason if verdict.final and verdict.attempt == attempt else ""


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise Violation(text)

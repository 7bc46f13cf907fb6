"""What must hold of every recording, whatever went wrong meanwhile (I1 to I9). Pure: a recording in, violations out.

The order of the observations is that of the API server's writes, so a check sees every state that there ever was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from faults.recording import Body, Observation, Recording

from vidbench_api.names import LABEL_ATTEMPT, LABEL_CELL, LABEL_RUN_UID, LABEL_SHARD

DELETION_SECONDS: Final = 30.0
HELD_SECONDS: Final = 60.0
INVALID_RETRIES: Final = 1
"""As in the operator's policy: an Invalid shard is measured again once."""

RUN, RESULT, JOB, POD = "BenchmarkRun", "BenchmarkResult", "Job", "Pod"
CHILDREN = (JOB, POD, "ConfigMap")
_LIVE_PHASES = ("Pending", "Running", "Unknown")

ShardKey = tuple[str, str, str]
"""UID of the run, id of the cell, index of the shard."""


@dataclass(frozen=True)
class Violation:
    """What does not hold, of which object."""

    invariant: str
    subject: str
    text: str


Check = Callable[[Recording], Iterator[Violation]]


def violations(recording: Recording) -> list[Violation]:
    """Return everything that is wrong with a recording."""
    return [violation for check in CHECKS.values() for violation in check(recording)]


def one_live_pod_a_shard(recording: Recording) -> Iterator[Violation]:
    """I1: never two live pods for one attempt. No node is lost here, so not for one shard either."""
    live: dict[ShardKey, set[str]] = defaultdict(set)
    for pod in recording.each(POD):
        key = shard_key(pod)
        if _is_live(pod):
            live[key].add(pod.name)
            if len(live[key]) > 1:
                yield Violation("I1", "/".join(key), f"two live pods of one shard: {sorted(live[key])}")
        else:
            live[key].discard(pod.name)


def results_stay(recording: Recording) -> Iterator[Violation]:
    """I2: a result never changes or vanishes, is there before the status names it, and stays in the status."""
    specs: dict[str, Any] = {}
    settled: dict[ShardKey, Body] = {}
    digests: dict[str, str] = {}
    for entry in recording.observations:
        if entry.kind == RESULT:
            if entry.deleted or specs.setdefault(entry.name, entry.body["spec"]) != entry.body["spec"]:
                yield Violation("I2", entry.name, "the result was changed or deleted")
        elif entry.kind == RUN:
            digest = _status(entry).get("requestDigest")
            if digests.setdefault(entry.uid, digest or "") not in ("", digest):
                yield Violation("I2", entry.name, "the request's digest was changed")
            digests[entry.uid] = digest or ""
            yield from _settled_stay(entry, settled, specs)


def _settled_stay(run: Observation, settled: dict[ShardKey, Body], specs: dict[str, Any]) -> Iterator[Violation]:
    for key, shard in _shards(run):
        before = settled.get(key)
        if before is not None and shard != before:
            yield Violation("I2", "/".join(key), f"a settled shard was changed: {before} became {shard}")
        if before is None and shard.get("outcome"):
            settled[key] = shard
            if shard.get("result") and shard["result"] not in specs:
                yield Violation("I2", "/".join(key), f"the status names {shard['result']} before it is in the ledger")


def results_come_from_their_pods(recording: Recording) -> Iterator[Violation]:
    """I3: a result counts only from the pod of a Job that the operator created for this very attempt."""
    pods, jobs = recording.latest(POD), recording.latest(JOB)
    created = {call.name for call in recording.calls if call.kind == "create jobs"}
    for result in recording.latest(RESULT).values():
        spec = result.body["spec"]
        origin = spec["origin"]
        wanted = (spec["run"]["uid"], spec["cell"]["id"], str(spec["shard"]))
        job = jobs.get(origin.get("jobUid") or "")
        if job is None or job.owner != spec["run"]["uid"] or job.name not in created:
            yield Violation("I3", result.name, f"its Job {origin.get('jobName')} is not one that the operator created")
            continue
        pod = pods.get(origin.get("podUid") or "")
        if pod is None or pod.owner != job.uid:
            yield Violation("I3", result.name, f"its pod {origin.get('podName')} is not one of the Job's")
        elif shard_key(pod) != wanted or pod.label(LABEL_ATTEMPT) != str(origin["attempt"]):
            yield Violation("I3", result.name, f"its pod {pod.name} belongs to another attempt")


def attempts_are_within_limits(recording: Recording) -> Iterator[Violation]:
    """I4: no more attempts than failures allow, and none but the first without an attempt that ended badly.

    One whose result was Invalid counts as such, where the run wants that measured again: once, and its result is kept.
    """
    jobs: dict[ShardKey, set[str]] = defaultdict(set)
    for uid, job in recording.latest(JOB).items():
        if job.label(LABEL_CELL) and job.owner == job.label(LABEL_RUN_UID):
            jobs[shard_key(job)].add(uid)
    bad = _ended_badly(recording) | {job for _, job in _superseded(recording)}
    for key, uids in jobs.items():
        if len(uids - bad) > 1:
            yield Violation("I4", "/".join(key), f"{len(uids)} Jobs, of which only {len(uids & bad)} ended badly")
    for run in recording.latest(RUN).values():
        limit = run.body["spec"].get("failurePolicy", {}).get("infrastructureRetries", 0)
        again = INVALID_RETRIES if run.body["spec"].get("validity", {}).get("onInvalid", "Retry") == "Retry" else 0
        kept = {name for name, _ in _superseded(recording)}
        for key, shard in _shards(run):
            names = shard.get("superseded", [])
            if len(names) > again or not kept.issuperset(names):
                yield Violation(
                    "I4", "/".join(key), f"measured again without leave, or its first result is not kept: {shard}"
                )
            failures = len(names) + sum(shard.get(name, 0) for name in ("retries", "lostResults", "unknownFailures"))
            if shard.get("retries", 0) > limit or shard.get("attempt", 0) > 1 + failures:
                yield Violation("I4", "/".join(key), f"more attempts than its failures allow: {shard}")


def _superseded(recording: Recording) -> set[tuple[str, str]]:
    """Return the names of results that were measured again, and the UIDs of the Jobs that they came from."""
    results = recording.latest(RESULT).values()
    return {
        (result.name, result.body["spec"]["origin"]["jobUid"])
        for result in results
        if result.body["spec"].get("superseded")
    }


def _ended_badly(recording: Recording) -> set[str]:
    """Return the UIDs of Jobs that failed, or were deleted while their run was there, or whose pod was."""
    bad: set[str] = set()
    ended: set[str] = set()
    for entry in recording.observations:
        if entry.kind == RUN and (entry.deleted or ending_of(entry)):
            ended.add(entry.uid)
        elif entry.kind == JOB:
            failed = any(
                condition["type"] == "Failed" and condition["status"] == "True"
                for condition in _status(entry).get("conditions", [])
            )
            if failed or (entry.deleted and entry.owner not in ended):
                bad.add(entry.uid)
        elif entry.kind == POD:
            phase = _status(entry).get("phase")
            if phase == "Failed" or (entry.deleted and phase != "Succeeded"):
                bad.add(entry.owner)
    return bad


def nothing_outlives_its_run(recording: Recording) -> Iterator[Violation]:
    """I5: what a deleted run owned is gone within 30 s."""
    deleted = {run.uid: run for run in recording.each(RUN) if run.deleted}
    for kind in CHILDREN:
        for child in recording.latest(kind).values():
            run = deleted.get(child.label(LABEL_RUN_UID))
            if run is None:
                continue
            limit = run.at + DELETION_SECONDS
            late = child.at > limit if child.deleted else recording.ended_at > limit
            if late:
                yield Violation("I5", f"{kind} {child.name}", f"outlived its run {run.name} by more than 30 s")


def conditions_agree(recording: Recording) -> Iterator[Violation]:
    """I6: conditions never contradict each other or an end that was reached; observedGeneration never runs ahead or back."""
    observed: dict[str, int] = {}
    endings: dict[str, str] = {}
    for run in recording.each(RUN):
        truth = {entry["type"]: entry["status"] for entry in _status(run).get("conditions", [])}
        is_true = {kind for kind, status in truth.items() if status == "True"}
        for pair in (
            {"Complete", "Failed"},
            {"Ready", "Stalled"},
            {"Reconciling", "Ready"},
            {"Reconciling", "Stalled"},
        ):
            if pair <= is_true:
                yield Violation("I6", run.name, f"{' and '.join(sorted(pair))} at the same time")
        if is_true & {"Complete", "Failed"} and "Reconciling" in is_true:
            yield Violation("I6", run.name, "ended, and still reconciling")
        generation = _status(run).get("observedGeneration") or 0
        if generation > run.body["metadata"]["generation"] or generation < observed.get(run.uid, 0):
            yield Violation("I6", run.name, f"observedGeneration {generation} runs ahead or back")
        observed[run.uid] = generation
        before, ending = endings.get(run.uid, ""), ending_of(run)
        if before and ending != before:
            yield Violation("I6", run.name, f"it had ended as {before}, and then was {ending or 'running'}")
        endings[run.uid] = before or ending


def steady_state_writes_nothing(recording: Recording) -> Iterator[Violation]:
    """I7: while nothing was left to do, the operator changed nothing."""
    for start, end in recording.quiet:
        for call in recording.calls:
            if call.mutates and not call.is_aside and start <= call.received <= end:
                yield Violation("I7", f"{call.namespace}/{call.name}", f"{call.kind} while nothing was left to do")


def every_run_ends(recording: Recording) -> Iterator[Violation]:
    """I8 and liveness: every run that is there has come to its end, a broken one beside it or not."""
    for run in recording.latest(RUN).values():
        if not run.deleted and not ending_of(run) and run.name not in recording.broken:
            yield Violation("I8", run.name, f"it has not ended: {_status(run).get('message')!r}")


def gpus_are_let_go(recording: Recording) -> Iterator[Violation]:
    """I9: no pod lives longer than 60 s after its shard was settled."""
    settled: dict[ShardKey, float] = {}
    for run in recording.each(RUN):
        for key, shard in _shards(run):
            if shard.get("outcome"):
                settled.setdefault(key, run.at)
    ended: dict[str, float] = {}
    for pod in recording.each(POD):
        if not _is_live(pod):
            ended.setdefault(pod.uid, pod.at)
    for uid, pod in recording.latest(POD).items():
        since = settled.get(shard_key(pod))
        if since is not None and ended.get(uid, recording.ended_at) - since > HELD_SECONDS:
            yield Violation("I9", pod.name, "it held its GPU for more than 60 s after its shard was settled")


def no_result_is_lost_or_double(recording: Recording) -> Iterator[Violation]:
    """Every settled shard has exactly one result, and every result its shard; one that was measured again is beside it."""
    count = Counter(
        (spec["run"]["uid"], spec["cell"]["id"], str(spec["shard"]))
        for spec in (entry.body["spec"] for entry in recording.latest(RESULT).values())
        if not spec.get("superseded")
    )
    for key, number in count.items():
        if number > 1:
            yield Violation("results", "/".join(key), f"{number} results of one shard")
    for run in recording.latest(RUN).values():
        for key, shard in _shards(run):
            if shard.get("outcome") in ("Succeeded", "OutOfMemory") and not count[key]:
                yield Violation("results", "/".join(key), "settled without a result in the ledger")


CHECKS: Final[dict[str, Check]] = {
    "I1": one_live_pod_a_shard,
    "I2": results_stay,
    "I3": results_come_from_their_pods,
    "I4": attempts_are_within_limits,
    "I5": nothing_outlives_its_run,
    "I6": conditions_agree,
    "I7": steady_state_writes_nothing,
    "I8": every_run_ends,
    "I9": gpus_are_let_go,
    "results": no_result_is_lost_or_double,
}


def shard_key(child: Observation) -> ShardKey:
    """Return which shard a Job or a pod is labelled with."""
    return child.label(LABEL_RUN_UID), child.label(LABEL_CELL), child.label(LABEL_SHARD)


def ending_of(run: Observation) -> str:
    """Return `Complete` or `Failed`; empty while the run goes on."""
    conditions = _status(run).get("conditions", [])
    ended = (entry["type"] for entry in conditions if entry["status"] == "True")
    return next((kind for kind in ended if kind in ("Complete", "Failed")), "")


def _status(entry: Observation) -> Body:
    status = entry.body.get("status")
    return status if isinstance(status, dict) else {}


def _shards(run: Observation) -> Iterator[tuple[ShardKey, Body]]:
    for row in _status(run).get("rows", []):
        for shard in row.get("shards", []):
            yield (run.uid, row["id"], str(shard["index"])), shard


def _is_live(pod: Observation) -> bool:
    return not pod.deleted and _status(pod).get("phase", "Pending") in _LIVE_PHASES

"""Every invariant finds its violation in a recording made bad on purpose, and none in a good one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bench.audit import Call
from faults.invariants import CHECKS, violations
from faults.recording import Body, Observation, Recording

RUN_UID, CELL = "run-uid", "0badcafe"
START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"vidbench.io/run": "run", "vidbench.io/run-uid": RUN_UID, "vidbench.io/cell": CELL}
ATTEMPT = LABELS | {"vidbench.io/shard": "1", "vidbench.io/attempt": "1"}


class Story:
    """A run of one shard that goes well, as a list of observations to be spoilt."""

    def __init__(self) -> None:
        self.entries: list[Observation] = []
        self.calls = [call("create", "jobs", "run-0badcafe-1-1", 1)]
        self.quiet = ((START + timedelta(seconds=50), START + timedelta(seconds=60)),)
        self.broken: frozenset[str] = frozenset()
        self._versions = itertools.count(1)
        self.see("BenchmarkRun", "run", RUN_UID, spec={"failurePolicy": {"infrastructureRetries": 3}})
        self.see_status(shard(attempt=1), "Reconciling")
        self.see("Job", "run-0badcafe-1-1", "job-uid", ATTEMPT, owner=RUN_UID)
        self.see("Pod", "run-0badcafe-1-1-x", "pod-uid", ATTEMPT, owner="job-uid", status={"phase": "Pending"})
        self.see("Pod", "run-0badcafe-1-1-x", "pod-uid", ATTEMPT, owner="job-uid", status={"phase": "Running"})
        self.see("Pod", "run-0badcafe-1-1-x", "pod-uid", ATTEMPT, owner="job-uid", status={"phase": "Succeeded"})
        self.see_result()
        self.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Ready")

    def see(
        self, kind: str, name: str, uid: str, labels: dict[str, str] | None = None, *, owner: str = "",
        status: Body | None = None, spec: Body | None = None, type_: str = "MODIFIED", at: float | None = None,
    ) -> None:  # fmt: skip
        """Add an observation, a second after the one before."""
        version = next(self._versions)
        metadata: Body = {"name": name, "uid": uid, "resourceVersion": str(version), "generation": 1}
        metadata |= {"labels": dict(labels or {})} | ({"ownerReferences": [{"uid": owner}]} if owner else {})
        body = {"kind": kind, "metadata": metadata, "status": status or {}, "spec": spec or {}}
        self.entries.append(Observation(float(version) if at is None else at, type_, body))

    def see_status(
        self, entry: Body, *true: str, generation: int = 1, digest: str = "d", on_invalid: str = "Retry"
    ) -> None:
        """Add a version of the run."""
        conditions = [{"type": kind, "status": "True"} for kind in true]
        status = {"conditions": conditions, "observedGeneration": generation, "requestDigest": digest}
        status["rows"] = [{"id": CELL, "shards": [entry]}]
        spec = {"failurePolicy": {"infrastructureRetries": 3}, "validity": {"onInvalid": on_invalid}}
        self.see("BenchmarkRun", "run", RUN_UID, status=status, spec=spec)

    def see_result(
        self, name: str = "result-1", type_: str = "ADDED", *, superseded: bool = False, **origin: Any
    ) -> None:
        """Add a result of the shard."""
        spec = {
            "run": {"uid": RUN_UID, "name": "run"},
            "cell": {"id": CELL},
            "shard": 1,
            "superseded": superseded,
            "origin": {"jobUid": "job-uid", "podUid": "pod-uid", "attempt": 1} | origin,
        }
        self.see("BenchmarkResult", name, f"{name}-uid", spec=spec, type_=type_)

    def change_origin(self, **origin: Any) -> None:
        """Let the result come from elsewhere."""
        result = next(entry for entry in self.entries if entry.kind == "BenchmarkResult")
        result.body["spec"]["origin"] |= origin

    def see_deletion(self, at: float) -> None:
        """Add the end of the run's object, as it was last."""
        last = [entry for entry in self.entries if entry.kind == "BenchmarkRun"][-1].body
        self.see("BenchmarkRun", "run", RUN_UID, status=last["status"], spec=last["spec"], type_="DELETED", at=at)

    def recording(self) -> Recording:
        return Recording.of(
            self.entries,
            calls=tuple(self.calls),
            quiet=self.quiet,
            broken=self.broken,
            ended_at=max(entry.at for entry in self.entries) + 1,
        )


def shard(**fields: Any) -> Body:
    return {"index": 1, "attempt": 1} | fields


def call(verb: str, resource: str, name: str, seconds: float) -> Call:
    moment = START + timedelta(seconds=seconds)
    return Call("operator", verb, resource, "namespace", name, 201, moment, moment)


def two_live_pods(story: Story) -> None:
    story.see("Pod", "a", "pod-a", ATTEMPT, owner="job-uid", status={"phase": "Running"})
    story.see("Pod", "b", "pod-b", ATTEMPT, owner="job-uid", status={"phase": "Pending"})
    story.see("Pod", "a", "pod-a", ATTEMPT, owner="job-uid", status={"phase": "Succeeded"})
    story.see("Pod", "b", "pod-b", ATTEMPT, owner="job-uid", status={"phase": "Succeeded"})


def result_that_changes(story: Story) -> None:
    story.see_result(type_="MODIFIED", node="another")


def result_that_vanishes(story: Story) -> None:
    story.see_result(type_="DELETED")


def settled_shard_that_changes(story: Story) -> None:
    changed = shard(attempt=1, outcome="Succeeded", result="result-1", latencyMicroseconds=1)
    story.see_status(changed, "Complete", "Ready")


def status_ahead_of_the_ledger(story: Story) -> None:
    story.entries = [entry for entry in story.entries if entry.kind != "BenchmarkResult"]
    story.see_result()


def digest_that_changes(story: Story) -> None:
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Ready", digest="e")


AGAIN = ATTEMPT | {"vidbench.io/attempt": "2"}


def measured_again(story: Story, on_invalid: str = "Retry", *, kept: bool = True, times: int = 1) -> None:
    """The shard's first result was Invalid, and it was measured once more."""
    story.entries = [entry for entry in story.entries if entry.kind != "BenchmarkResult" and entry.uid != RUN_UID]
    story.see_result("first", superseded=kept)
    story.calls.append(call("create", "jobs", "run-0badcafe-1-2", 10))
    story.see("Job", "run-0badcafe-1-2", "job-2", AGAIN, owner=RUN_UID)
    story.see("Pod", "run-0badcafe-1-2-x", "pod-2", AGAIN, owner="job-2", status={"phase": "Succeeded"})
    story.see_result(jobUid="job-2", podUid="pod-2", attempt=2)
    names = [f"first{number or ''}" for number in range(times)]
    entry = shard(attempt=1 + times, superseded=names, outcome="Succeeded", result="result-1")
    story.see_status(entry, "Complete", "Ready", on_invalid=on_invalid)


def measured_again_against_its_spec(story: Story) -> None:
    measured_again(story, "Flag")


def measured_again_twice(story: Story) -> None:
    measured_again(story, times=2)


def result_of_an_unknown_pod(story: Story) -> None:
    story.change_origin(podUid="somebody")


def result_of_another_attempt(story: Story) -> None:
    story.change_origin(attempt=2)


def result_of_a_job_that_somebody_else_made(story: Story) -> None:
    story.calls = []


def second_job_without_a_failure(story: Story) -> None:
    story.see("Job", "run-0badcafe-1-2", "job-2", ATTEMPT | {"vidbench.io/attempt": "2"}, owner=RUN_UID)


def attempts_beyond_failures(story: Story) -> None:
    story.entries = [entry for entry in story.entries if entry.kind != "BenchmarkRun"]
    story.see_status(shard(attempt=3, retries=1, outcome="Succeeded", result="result-1"), "Complete", "Ready")


def retries_beyond_the_limit(story: Story) -> None:
    story.entries = [entry for entry in story.entries if entry.kind != "BenchmarkRun"]
    story.see_status(shard(attempt=5, retries=4, outcome="Succeeded", result="result-1"), "Complete", "Ready")


def job_that_outlives_its_run(story: Story) -> None:
    story.see_deletion(at=100.0)
    story.see("Pod", "run-0badcafe-1-1-x", "pod-uid", ATTEMPT, owner="job-uid", type_="DELETED", at=101.0)
    story.see("Job", "run-0badcafe-1-1", "job-uid", ATTEMPT, owner=RUN_UID, type_="DELETED", at=131.0)


def orphan(story: Story) -> None:
    story.see_deletion(at=20.0)
    story.see("Pod", "run-0badcafe-1-1-x", "pod-uid", ATTEMPT, owner="job-uid", type_="DELETED", at=60.0)


def two_endings(story: Story) -> None:
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Failed")


def ended_and_reconciling(story: Story) -> None:
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Reconciling")


def ending_that_is_taken_back(story: Story) -> None:
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Reconciling")
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Ready")


def generation_ahead(story: Story) -> None:
    story.see_status(shard(attempt=1, outcome="Succeeded", result="result-1"), "Complete", "Ready", generation=2)


def write_in_steady_state(story: Story) -> None:
    story.calls.append(call("update", "benchmarkruns/status", "run", 55))


def run_that_hangs(story: Story) -> None:
    story.see("BenchmarkRun", "other", "other-uid", status={"message": "waiting"})


def pod_that_stays(story: Story) -> None:
    story.entries = [entry for entry in story.entries if entry.body.get("status", {}).get("phase") != "Succeeded"]
    story.see("ConfigMap", "later", "later-uid", at=100.0)


def second_result(story: Story) -> None:
    story.see_result("result-2")


def lost_result(story: Story) -> None:
    story.entries = [entry for entry in story.entries if entry.kind not in ("BenchmarkResult", "BenchmarkRun")]
    story.see_status(shard(attempt=1, outcome="Succeeded"), "Complete", "Ready")


BAD: list[tuple[str, Callable[[Story], None]]] = [
    ("I1", two_live_pods),
    ("I2", result_that_changes),
    ("I2", result_that_vanishes),
    ("I2", settled_shard_that_changes),
    ("I2", status_ahead_of_the_ledger),
    ("I2", digest_that_changes),
    ("I3", result_of_an_unknown_pod),
    ("I3", result_of_another_attempt),
    ("I3", result_of_a_job_that_somebody_else_made),
    ("I4", second_job_without_a_failure),
    ("I4", attempts_beyond_failures),
    ("I4", retries_beyond_the_limit),
    ("I4", measured_again_against_its_spec),
    ("I4", measured_again_twice),
    ("I5", job_that_outlives_its_run),
    ("I5", orphan),
    ("I6", two_endings),
    ("I6", ended_and_reconciling),
    ("I6", ending_that_is_taken_back),
    ("I6", generation_ahead),
    ("I7", write_in_steady_state),
    ("I8", run_that_hangs),
    ("I9", pod_that_stays),
    ("results", second_result),
    ("results", lost_result),
]


def test_good_recording_violates_nothing() -> None:
    assert violations(Story().recording()) == []


@pytest.mark.parametrize(("invariant", "spoil"), BAD, ids=[spoil.__name__ for _, spoil in BAD])
def test_bad_recording_is_found(invariant: str, spoil: Callable[[Story], None]) -> None:
    story = Story()
    spoil(story)
    found = violations(story.recording())
    assert {violation.invariant for violation in found} == {invariant}, found


def test_every_invariant_has_a_bad_recording() -> None:
    assert {invariant for invariant, _ in BAD} == set(CHECKS)


def test_broken_run_may_hang_and_a_deleted_one_needs_no_end() -> None:
    story = Story()
    story.broken = frozenset({"other"})
    story.see("BenchmarkRun", "other", "other-uid", status={})
    story.see("BenchmarkRun", "gone", "gone-uid", status={})
    story.see("BenchmarkRun", "gone", "gone-uid", status={}, type_="DELETED")
    assert violations(story.recording()) == []


def test_second_attempt_after_a_failed_pod_is_allowed() -> None:
    story = Story()
    story.see("Pod", "x", "pod-x", ATTEMPT, owner="job-uid", status={"phase": "Failed"})
    story.see("Job", "run-0badcafe-1-2", "job-2", ATTEMPT | {"vidbench.io/attempt": "2"}, owner=RUN_UID)
    assert violations(story.recording()) == []


def test_shard_that_was_invalid_may_be_measured_again() -> None:
    story = Story()
    measured_again(story)
    assert violations(story.recording()) == []


def test_second_attempt_without_a_result_that_was_kept_is_found() -> None:
    story = Story()
    measured_again(story, kept=False)
    assert {violation.invariant for violation in violations(story.recording())} == {"I4", "results"}


def test_observations_are_ordered_by_version_whatever_came_first() -> None:
    story = Story()
    assert Recording.of(reversed(story.entries)).observations == story.recording().observations

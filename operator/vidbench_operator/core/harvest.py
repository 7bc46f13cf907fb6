"""A look into an attempt's artifacts where its termination message does not tell how it ended: when, and what came of it.

A small Job without a GPU reads the verdict that the attempt stored and reports it as its own message. It is no attempt:
it is counted and charged to nothing, and where it brings nothing in time the attempt ends as it would have without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidbench_api.identity import harvest_name
from vidbench_api.names import Reason
from vidbench_api.request import RequestDocument
from vidbench_api.verdict import Verdict

from .evidence import AttemptEnd, Expected, ending_pod, outcome_of, read_verdict, reason_of
from .observed import Observed, ObservedJob
from .policy import Policy

_UNTOLD = frozenset({Reason.RESULT_LOST, Reason.RESULT_GARBAGE, Reason.KILLED})
"""Ends of a runner that may have stored more than it got to say."""


@dataclass(frozen=True)
class Harvest:
    """Where the look stands: it goes on until `wait_until`, or it is over with or without a verdict."""

    wait_until: float | None = None
    verdict: Verdict | None = None


def is_worthwhile(document: RequestDocument, end: AttemptEnd) -> bool:
    """Whether the attempt may have stored what its message does not tell."""
    return bool(document.artifacts.storage_uri) and end.reason in _UNTOLD


def look(
    observed: Observed, owner_uid: str, attempt: str, begun_at: float, expected: Expected, now: float, policy: Policy
) -> Harvest:
    """Return where the harvest of an attempt, of which this is the Job's name, stands."""
    name = harvest_name(attempt)
    limit = begun_at + policy.harvest_seconds
    if now >= limit or name in observed.conflicts:
        return Harvest()
    jobs = [job for job in observed.jobs_named(name) if job.owner_uid == owner_uid]
    job = max(jobs, key=lambda job: (job.created_at, job.uid, job.finished is not None), default=None)
    if job is None or job.finished is None:
        return Harvest(wait_until=limit)
    return _read(observed, job, expected, now, policy)


def _read(observed: Observed, job: ObservedJob, expected: Expected, now: float, policy: Policy) -> Harvest:
    """Return what a finished harvest brought; its pod's last event may come a little later than its Job's end."""
    pod = ending_pod(job, observed.pods_of(job.uid))
    late = (job.finished_at or job.created_at) + policy.late_pod_seconds
    if pod is None and now < late:
        return Harvest(wait_until=late)
    return Harvest(verdict=read_verdict(pod, expected)[0] if pod is not None else None)


def told_by(end: AttemptEnd, verdict: Verdict, attempt: str) -> AttemptEnd:
    """Return the end as the stored verdict tells it; one that is not final adds what was measured, and changes no reason.

    Node, times and GPU seconds stay those of the attempt's own pod: the harvest measured nothing.
    """
    source = f"read from the artifacts by Job {harvest_name(attempt)}"
    if not verdict.final or verdict.outcome is None:
        message = f"{end.message}; {verdict.samples_done} samples were {source}"
        return replace(end, verdict=verdict, message=message)
    reason = reason_of(verdict)
    message = f"{verdict.message}; {source}" if verdict.message else source
    return replace(end, outcome=outcome_of(reason), reason=reason, message=message, verdict=verdict)

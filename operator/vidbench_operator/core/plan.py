"""What a pass is to do: the output of deciding, as frozen values, in the order in which it is applied.

Results first, then one status write, then creates, deletes and time-to-live patches, then Events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vidbench_api.names import EventReason
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus


@dataclass(frozen=True)
class CreateResult:
    """POST a BenchmarkResult; if the name is taken by this run's own, that one counts."""

    name: str
    spec: BenchmarkResultSpec
    labels: dict[str, str]


@dataclass(frozen=True)
class Placement:
    """Where the pod of an attempt may run beside what its hardware entry selects, by names of nodes."""

    avoid: tuple[str, ...] = ()
    """Never there, even if that means that the pod waits."""

    avoid_if_possible: tuple[str, ...] = ()
    """There only if no other node has room."""

    prefer: tuple[str, ...] = ()
    """There rather than on another node that has room."""

    require: str | None = None
    """There and nowhere else."""


@dataclass(frozen=True)
class CreateJob:
    """POST the Job of an attempt that the status already names."""

    name: str
    cell: str
    shard: int
    attempt: int
    placement: Placement = Placement()
    harvests: bool = False
    """It reads what the attempt has stored, instead of making another one."""


@dataclass(frozen=True)
class DeleteJob:
    """DELETE a Job in the background, with its UID as precondition."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class PatchTtl:
    """Set ttlSecondsAfterFinished on a finished Job whose attempt is settled in the status."""

    name: str
    uid: str
    seconds: int


@dataclass(frozen=True)
class EmitEvent:
    """Write an Event about the run, after the status write went through."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str


@dataclass(frozen=True)
class Plan:
    """One pass. A plan that needs to see more carries nothing else, but results: look again, live, and decide anew."""

    results: tuple[CreateResult, ...] = ()
    status: BenchmarkRunStatus | None = None
    """The whole new status, or None if the one on the server is right."""

    creates: tuple[CreateJob, ...] = ()
    deletes: tuple[DeleteJob, ...] = ()
    ttls: tuple[PatchTtl, ...] = ()
    delete_run: bool = False
    events: tuple[EmitEvent, ...] = ()
    requeue_after: float | None = None
    """Seconds until something falls due without an event; None: nothing will."""

    needs_live: bool = False
    """A decision hangs on the absence of something: list jobs, pods and results from the API server."""

    needs_refusals: frozenset[str] = field(default_factory=frozenset)
    """UIDs of Jobs without a pod, whose Events are to be read."""

    needs_ledger: bool = False
    """The run has ended, and its gates and hypotheses are to be held against results: store `results`, and read them all."""

    urgent: bool = False
    """The status must be written at once: a creation waits for it, or the run ended."""

    @property
    def writes_nothing(self) -> bool:
        """Whether applying it makes no mutating call."""
        return not (
            self.results or self.status or self.creates or self.deletes or self.ttls or self.delete_run or self.events
        )

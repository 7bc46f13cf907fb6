"""What the reconciler needs of the world: the cluster and a clock, as protocols. Implemented in `adapters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import (
    CreationRefusal,
    ObservedJob,
    ObservedNode,
    ObservedPod,
    ObservedRun,
    References,
)
from vidbench_operator.core.plan import EmitEvent

MOST_LEDGER_HEADS: Final = 2_000
"""Results by which the length of shards is expected, in the order of their names: more would say the same."""


@dataclass(frozen=True, order=True)
class RunKey:
    """Namespace and name of a run: the key of the work queue."""

    namespace: str
    name: str


class Conflict(Exception):  # noqa: N818 - names what the server said
    """The object changed since it was read (HTTP 409 on an update): look again."""


class AlreadyExists(Exception):  # noqa: N818 - names what the server said
    """The name is taken (HTTP 409 on a create)."""


class Gone(Exception):  # noqa: N818 - names what the server said
    """The object, or the namespace, is not there (HTTP 404), or a UID precondition failed."""


class Refused(Exception):  # noqa: N818 - names what the server said
    """The server will not have it, and will not the next time either (HTTP 400, 403, 422). The text says why."""


class Unavailable(Exception):  # noqa: N818 - names what the server said
    """The server cannot now (connection, timeout, 429, 5xx); `retry_after` seconds if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotLeading(Unavailable):
    """Another operator leads, or ours was not confirmed in time: the call was not made."""


class BrokenRun(Exception):  # noqa: N818 - a finding about an object
    """The stored run does not fit its schema (written before a rule, or by force). The text says where."""

    def __init__(self, message: str, run: RunIdentity | None = None) -> None:
        super().__init__(message)
        self.run = run


class StoreUnavailable(Exception):  # noqa: N818 - names what the store said
    """The results store cannot now; the text says why, without credentials."""


@dataclass(frozen=True)
class ResultsWritten:
    """What a write to the results store did. `known`: it had them, or is not to have them any more."""

    added: int
    known: int
    unreadable: tuple[str, ...] = ()


class ResultsStore(Protocol):
    """The results store. Writing a result again changes nothing."""

    async def write(self, documents: Sequence[Mapping[str, Any]]) -> ResultsWritten:
        """Store BenchmarkResult objects, all or none of them. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Close the connections; the next write opens them again."""
        ...


class Cluster(Protocol):
    """The API server. Every method raises Unavailable besides what its docstring names."""

    async def get_run(self, key: RunKey) -> ObservedRun | None:
        """Read a run now; None if there is none or it is being deleted. Raises BrokenRun."""
        ...

    async def get_references(self, run: ObservedRun) -> References:
        """Read the run's RunnerClass and the VideoModels that it names."""
        ...

    async def create_request(self, run: ObservedRun, name: str, text: str) -> None:
        """POST the immutable ConfigMap; equal content that this run owns counts as created. Raises AlreadyExists, Refused."""
        ...

    async def get_request(self, run: ObservedRun, name: str) -> str | None:
        """Read the request document's text; None if it is not there or not this run's."""
        ...

    async def list_children(self, run: ObservedRun) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        """List the Jobs and pods with the run's label, from the server."""
        ...

    async def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        """List the run's results by its UID label."""
        ...

    async def get_result(self, run: ObservedRun, name: str) -> BenchmarkResultSpec | None:
        """Read one result."""
        ...

    async def list_ledger_heads(self, run: ObservedRun) -> tuple[LedgerHead, ...]:
        """Read the metadata of results of the run's models in its namespace that succeeded, of MOST_LEDGER_HEADS at most."""
        ...

    async def list_identical(self, run: ObservedRun, generations: frozenset[str]) -> dict[str, BenchmarkResultSpec]:
        """List the results of the run's namespace that have one of these generation hashes, by name."""
        ...

    async def list_selected(self, run: ObservedRun, selector: str, most: int) -> tuple[BenchmarkResultSpec, ...]:
        """List results of the run's namespace by labels; more than `most` of them tell that there are more, and no how many."""
        ...

    async def queue_exists(self, run: ObservedRun, name: str) -> bool | None:
        """Whether the namespace has a LocalQueue of that name; None if queues are not visible."""
        ...

    async def list_refusals(self, run: ObservedRun, job_uids: frozenset[str]) -> tuple[CreationRefusal, ...]:
        """Read the latest FailedCreate Event of each of these Jobs."""
        ...

    async def create_result(
        self, run: ObservedRun, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]
    ) -> None:
        """POST a result. Raises AlreadyExists, Refused."""
        ...

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        """Replace the status at the run's resourceVersion; returns the run as it is then. Raises Conflict, Gone, Refused."""
        ...

    async def create_job(self, run: ObservedRun, manifest: dict[str, Any]) -> ObservedJob:
        """POST a Job. One of that name with the run as its owner counts as created and is returned.

        Raises AlreadyExists (somebody else's), Refused, Gone (namespace).
        """
        ...

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        """DELETE in the background with a UID precondition; gone already is success."""
        ...

    async def patch_ttl(self, run: ObservedRun, name: str, uid: str, seconds: int) -> None:
        """Set a Job's ttlSecondsAfterFinished if it still has that UID; gone already is success."""
        ...

    async def delete_run(self, run: ObservedRun) -> None:
        """DELETE the run in the background with a UID precondition; gone already is success."""
        ...

    async def report_broken(self, run: RunIdentity, message: str) -> None:
        """Say on a run that cannot be served why: an Event, and a Stalled condition if the server takes it."""
        ...

    async def emit(self, run: ObservedRun, event: EmitEvent) -> None:
        """Write an Event; a failure is logged, never raised: Events are news, not state."""
        ...

    def now(self) -> float:
        """API time in seconds since the epoch: a monotonic clock plus the offset from the server's Date header."""
        ...


class Children(Protocol):
    """What the watches know of a run's children; may lag, so an absence here proves nothing."""

    def jobs_of(self, run: ObservedRun) -> tuple[ObservedJob, ...]:
        """Return the Jobs with the run's label, those just created by this process included."""
        ...

    def pods_of(self, run: ObservedRun) -> tuple[ObservedPod, ...]:
        """Return the run's pods, ended ones that were deleted since (gone) included."""
        ...

    def nodes(self) -> dict[str, ObservedNode] | None:
        """Return the nodes by name; None if they are not visible."""
        ...

    def remember_job(self, run: ObservedRun, job: ObservedJob) -> None:
        """Keep a Job that was just created, until the watch shows it."""
        ...

    def remember_deleting(self, run: ObservedRun, uid: str) -> None:
        """Keep in mind that a Job is being deleted, until the watch shows it."""
        ...

    def remember_ttl(self, run: ObservedRun, uid: str, seconds: int) -> None:
        """Keep in mind a Job's time to live, until the watch shows it."""
        ...

    def forget_pods(self, run: ObservedRun, job_uids: frozenset[str]) -> None:
        """Drop remembered pods of Jobs whose attempts are settled in the status."""
        ...

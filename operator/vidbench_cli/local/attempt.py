"""One attempt on this machine: a Job, its pod and the process that stands for both, as a value that outlives us in a file.

Says what a kubelet would report of it. Starts nothing and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from vidbench_api.message import MessageError, decode
from vidbench_api.names import (
    ARTIFACTS_MOUNT,
    ENV_SERVICE_API_KEY,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_HARVEST,
    LABEL_SHARD,
    REQUEST_KEY,
    REQUEST_MOUNT,
    TERMINATION_MESSAGE_PATH,
    Outcome,
    Reason,
)
from vidbench_api.verdict import Verdict
from vidbench_operator.core.observed import ObservedJob, ObservedPod
from vidbench_operator.manifests import SCRATCH_MOUNT, TEMPORARY_MOUNT

from .machine import GPU_RESOURCE, VISIBLE

Manifest = dict[str, Any]
_OURS: Final = "VIDBENCH_"
_SHUTDOWN: Final = "NodeShutdown"
"""What a kubelet writes into the pods that it ends because its machine goes down: nothing is charged for it."""

_PAST_DEADLINE: Final = "DeadlineExceeded"
_SIGNALLED: Final = 128


@dataclass(frozen=True)
class Attempt:
    """What there is to know of an attempt. Times are seconds since the epoch."""

    name: str
    uid: str
    owner_uid: str
    cell: str
    shard: int
    attempt: int
    created_at: float
    gpus: int
    deadline_seconds: int
    grace_seconds: int
    manifest: Manifest
    harvests: bool = False
    unschedulable: str | None = None
    """Why this machine cannot be its node."""

    waits_for: str | None = None
    """What of this machine others of the run hold: it has no pod until they let go."""

    started_at: float | None = None
    pid: int | None = None
    devices: tuple[str, ...] = ()
    finished_at: float | None = None
    exit_code: int | None = None
    """None for a process whose end nobody saw."""

    message: str | None = None
    succeeded: bool = False
    pod_reason: str | None = None
    pod_message: str | None = None
    deleted_at: float | None = None
    ttl_seconds: int | None = None

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self.finished_at is not None

    @property
    def runs(self) -> bool:
        """Whether it has a process."""
        return self.started_at is not None and not self.ended

    def to_state(self) -> dict[str, Any]:
        """Return what `from_state` reads."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Read an attempt. Raises TypeError for what is none."""
        return cls(**{**state, "devices": tuple(state.get("devices", ()))})

    @classmethod
    def of_job(cls, manifest: Manifest, uid: str, owner_uid: str, now: float) -> Self:
        """Return the attempt of a Job that is being created."""
        metadata, pod = manifest["metadata"], manifest["spec"]["template"]["spec"]
        labels = metadata["labels"]
        limits = pod["containers"][0]["resources"]["limits"]
        return cls(
            name=metadata["name"],
            uid=uid,
            owner_uid=owner_uid,
            cell=labels[LABEL_CELL],
            shard=int(labels[LABEL_SHARD]),
            attempt=int(labels[LABEL_ATTEMPT]),
            created_at=now,
            gpus=int(limits.get(GPU_RESOURCE, 0)),
            deadline_seconds=pod["activeDeadlineSeconds"],
            grace_seconds=pod["terminationGracePeriodSeconds"],
            manifest=manifest,
            harvests=labels.get(LABEL_HARVEST) == "true",
        )

    def job(self) -> ObservedJob:
        """Return the Job as an API server would show it."""
        finished: Literal["Complete", "Failed"] | None = None
        if self.ended:
            finished = "Complete" if self.succeeded else "Failed"
        return ObservedJob(
            name=self.name,
            uid=self.uid,
            owner_uid=self.owner_uid,
            cell=self.cell,
            shard=self.shard,
            attempt=self.attempt,
            created_at=self.created_at,
            finished=finished,
            finished_at=self.finished_at,
            ttl_seconds=self.ttl_seconds,
            deleting=self.deleted_at is not None,
            harvests=self.harvests,
        )

    def pod(self, node: str) -> ObservedPod | None:
        """Return its pod as an API server would show it; None while it may have none."""
        if self.waits_for is not None:
            return None
        started = self.started_at is not None
        phase = ("Succeeded" if self.succeeded else "Failed") if self.ended else "Running" if started else "Pending"
        return ObservedPod(
            name=self.name,
            uid=self.pod_uid,
            job_uid=self.uid,
            phase=phase,
            created_at=self.created_at,
            node=node if started else None,
            scheduled_at=self.started_at,
            unschedulable_message=self.unschedulable,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            pod_reason=self.pod_reason,
            pod_message=self.pod_message,
            message=self.message,
            deleting=self.deleted_at is not None,
        )

    @property
    def pod_uid(self) -> str:
        """A Job has one pod here, so its UID follows from the Job's."""
        return f"{self.uid}-pod"

    def with_end(self, exit_code: int, message: str, now: float) -> Self:
        """Return it ended as its process did; signals become exit codes as container runtimes write them."""
        code = exit_code if exit_code >= 0 else _SIGNALLED - exit_code
        succeeded = code == 0 and self.pod_reason is None
        return replace(self, finished_at=now, exit_code=code, message=message or None, succeeded=succeeded)

    def with_unseen_end(self, message: str, when: float) -> Self:
        """Return it ended while nobody looked, at about `when`: a final verdict stands, all else was a shutdown of the machine."""
        verdict = verdict_in(message)
        if verdict is not None and verdict.final and verdict.reason != Reason.INTERRUPTED.value:
            succeeded = verdict.outcome is Outcome.SUCCEEDED
            return replace(self, finished_at=when, message=message, succeeded=succeeded)
        shut = self.shutting_down("vidbench ended before the attempt did")
        return replace(shut, finished_at=when, message=message or None)

    def shutting_down(self, why: str) -> Self:
        """Return it about to end because we do."""
        return replace(self, pod_reason=_SHUTDOWN, pod_message=why)

    def past_deadline(self) -> Self:
        """Return it about to end at the limit of its pod."""
        text = f"Pod was active on the node longer than the specified deadline ({self.deadline_seconds} s)"
        return replace(self, pod_reason=_PAST_DEADLINE, pod_message=text)


def verdict_in(message: str | None) -> Verdict | None:
    """Return the verdict of a termination message, final or written ahead; None for none."""
    try:
        return decode(message) if message and message.strip() else None
    except MessageError:
        return None


@dataclass(frozen=True)
class Places:
    """Where on this machine the mounts of a pod are."""

    request: Path
    artifacts: Path
    message: Path


def environment_of(attempt: Attempt, places: Places, node: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the attempt's process: this machine's, with what its container is told over it.

    Folders that only a pod has (HOME, TMPDIR, caches) stay this user's. A key for a service is handed on only where the
    runner class ties one to the endpoint.
    """
    environment = {name: value for name, value in inherited.items() if not name.startswith(_OURS)}
    fields = {"spec.nodeName": node, "metadata.name": attempt.name, "metadata.uid": attempt.pod_uid}
    moved = {
        f"{REQUEST_MOUNT}/{REQUEST_KEY}": str(places.request),
        f"file://{ARTIFACTS_MOUNT}": places.artifacts.as_uri(),
        TERMINATION_MESSAGE_PATH: str(places.message),
    }
    container = attempt.manifest["spec"]["template"]["spec"]["containers"][0]
    for entry in container["env"]:
        name, source = entry["name"], entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            if ENV_SERVICE_API_KEY in inherited:
                environment[name] = inherited[ENV_SERVICE_API_KEY]
        elif "fieldRef" in source:
            environment[name] = fields[source["fieldRef"]["fieldPath"]]
        elif not _is_scratch(entry["value"]):
            environment[name] = moved.get(entry["value"], entry["value"])
    environment[VISIBLE] = ",".join(attempt.devices)
    return environment


def _is_scratch(value: str) -> bool:
    return value in (TEMPORARY_MOUNT, SCRATCH_MOUNT) or value.startswith(f"{SCRATCH_MOUNT}/")

"""A server that writes down what was asked of it and what it answered, and what changed by whose doing.

The record is what `tests/integration/test_simulator_honesty.py` plays to the real control plane, to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.observed import ObservedJob, ObservedPod, ObservedRun
from vidbench_operator.ports import RunKey

from .clock import Clock
from .server import Actor, Change, Manifest, Server

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Asked:
    """A call of an operator that reached the server."""

    call: str
    arguments: tuple[Any, ...]
    answer: str
    """`ok`, or the name of the exception."""

    result: Any = None


@dataclass(frozen=True)
class Changed:
    """A change that was not an operator's doing, with what the object was then."""

    actor: Actor
    change: Change
    detail: Any = None
    """Of a run, the run; of a Job, its manifest; of a pod, its Job's name."""


@dataclass(frozen=True)
class Released:
    """A node is done with a pod that is deleted."""

    pod_uid: str


Entry = Asked | Changed | Released


class RecordingServer(Server):
    """Does what its base does, and remembers it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.record: list[Entry] = []
        self.subscribe(self._note)

    def list_children(self, key: RunKey) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        return self._ask("list_children", (key,), lambda: Server.list_children(self, key))

    def post_configmap(self, run: ObservedRun, name: str, text: str) -> None:
        self._ask("post_configmap", (run, name, text), lambda: Server.post_configmap(self, run, name, text))

    def post_result(self, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]) -> None:
        self._ask("post_result", (name, spec, labels), lambda: Server.post_result(self, name, spec, labels))

    def put_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        return self._ask("put_status", (run, status), lambda: Server.put_status(self, run, status))

    def post_job(self, run: ObservedRun, manifest: Manifest) -> ObservedJob:
        return self._ask("post_job", (run, manifest), lambda: Server.post_job(self, run, manifest))

    def delete_job(self, name: str, uid: str | None) -> None:
        self._ask("delete_job", (name, uid), lambda: Server.delete_job(self, name, uid))

    def patch_ttl(self, name: str, uid: str, seconds: int) -> None:
        self._ask("patch_ttl", (name, uid, seconds), lambda: Server.patch_ttl(self, name, uid, seconds))

    def delete_run(self, key: RunKey, uid: str) -> None:
        self._ask("delete_run", (key, uid), lambda: Server.delete_run(self, key, uid))

    def release_pod(self, uid: str) -> None:
        if uid in self.pods and self.actor == "kubelet":
            self.record.append(Released(uid))
        super().release_pod(uid)

    def _ask(self, call: str, arguments: tuple[Any, ...], do: Callable[[], Answer]) -> Answer:
        try:
            result = do()
        except Exception as error:
            self.record.append(Asked(call, arguments, type(error).__name__))
            raise
        self.record.append(Asked(call, arguments, "ok", result))
        return result

    def _note(self, change: Change) -> None:
        if self.actor == "operator":
            return
        detail: Any = None
        if change.kind == "run" and change.key is not None:
            detail = self.runs[change.key].seen
        elif change.kind == "job" and change.value.name in self.jobs:
            job = self.jobs[change.value.name]
            detail = job.manifest
        elif change.kind == "pod":
            pod = self.pods.get(change.value.uid)
            detail = pod.job_name if pod is not None else None
        self.record.append(Changed(self.actor, change, detail))

"""One namespace of a fault test: its operator behind the proxy, the ends of its pods, and the recording of it all."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.audit import AuditLog
from faults.forked_operator import ForkedOperator, Nursery
from faults.invariants import Violation, violations
from faults.proxy import FaultProxy, Seen, mutating
from faults.recorder import Recorder
from faults.recording import Recording
from integration.live_runs import Manifest, apply, has_ended, make_run, running_pods
from support.broken_runs import put_phase, without_phase_enum
from support.kube_api import KubeApi, wait_for
from support.played_kubelet import PlayedKubelet, Script

POLL_SECONDS = 0.05
SETTLE_SECONDS = 0.6


@dataclass(frozen=True)
class Plane:
    """What all scenes share."""

    api: KubeApi
    admin_kubeconfig: Path
    url: str
    context: ssl.SSLContext
    audit: AuditLog
    proxy: FaultProxy
    operator_user: str
    nursery: Nursery


class Scene:
    """Use as a context manager; the operator is started by whoever opens it, and killed at the end."""

    def __init__(self, plane: Plane, namespace: str, directory: Path, script: Script, settings: dict[str, str]) -> None:
        self.api = plane.api
        self.proxy = plane.proxy
        self.namespace = namespace
        self._manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        assert self.api.create(self._manifest).accepted
        # The kubelet plays in a thread of its own, and a client's connections are one thread's.
        self._kubelet_api = KubeApi(plane.admin_kubeconfig)
        self.kubelet = PlayedKubelet(self._kubelet_api, namespace, script)
        self.recorder = Recorder(plane.url, plane.context, namespace, plane.audit, plane.operator_user)
        self.operator = ForkedOperator(plane.nursery, directory, namespace, **settings)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.proxy.obey()
        self.proxy.kill = self.operator.kill
        self._stack.callback(self.api.delete, self._manifest)
        self._stack.callback(self._kubelet_api.close)
        self._stack.enter_context(self.recorder)
        self._stack.enter_context(self.kubelet)
        self._stack.push(self.operator.__exit__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.proxy.kill = lambda: None
        self._stack.__exit__(kind, error, trace)
        self.proxy.obey()
        assert self.kubelet.errors == []

    def run(self, name: str, shards: int = 1, **spec: object) -> Manifest:
        """Apply a run of so many cells."""
        run = make_run(self.namespace, name, models=shards, **spec)
        apply(self.api, run)
        return run

    def delete(self, run: Manifest) -> None:
        """Delete a run; what it owns goes with it."""
        assert self.api.delete(run).accepted

    def wait_for(
        self, holds: Callable[[], object], what: str, seconds: float = 60.0, *, restart: bool = False
    ) -> float:
        """Wait until something holds, and start the operator again whenever it is dead, if told so; returns the seconds."""
        started = time.monotonic()
        while not holds():
            waited = time.monotonic() - started
            assert waited < seconds, f"{what}: not within {seconds:g} s\n{self.operator.log[-6000:]}"
            if restart:
                self.operator.start()
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def has_ended(self, run: Manifest) -> bool:
        """Whether a run has come to its end."""
        return has_ended(self.api.get(run).body)

    def settle(self) -> int:
        """Wait until the operator changes nothing any more, restarted if it is dead; returns its changes since the rules."""
        changes = -1
        while changes != (changes := len(self.changes)) or not self.operator.is_alive:
            self.operator.start()
            time.sleep(SETTLE_SECONDS)
        return changes

    @property
    def changes(self) -> list[Seen]:
        """The mutating calls in this namespace since the rules were last changed."""
        return [entry for entry in mutating(self.proxy.seen) if f"/namespaces/{self.namespace}/" in entry.call.target]

    def running(self, run: Manifest) -> int:
        """How many pods of a run its status says are running."""
        return running_pods(self.api.get(run).body)

    def is_served(self, run: Manifest) -> bool:
        """Whether a run was accepted and its first Jobs were created."""
        status = self.api.get(run).body.get("status", {})
        if not status.get("requestDigest"):
            return False
        return bool(self.jobs(run["metadata"]["name"]))

    def break_run(self, name: str) -> Manifest:
        """Let a run that goes on become one that nobody can read; a change of its spec asks for a pass over it."""
        run = self.run(name)
        self.wait_for(lambda: self.running(run) == 1, "its pod runs")
        with without_phase_enum(self.api):
            self.wait_for(lambda: put_phase(self.api, run, "Sleeping"), "the server takes a phase that does not exist")
        self.recorder.broken.add(name)
        wait_for(lambda: self.api.merge_patch(run, {"spec": {"parallelism": 3}}), accepted=True)
        return run

    def poison(self, run: str) -> None:
        """Store a Job that says that it is a run's, with labels and annotations that mean nothing."""
        labels = {"vidbench.io/run": run, "vidbench.io/cell": "nonsense", "vidbench.io/shard": "x"}
        metadata = {"name": f"{run}-ffffffff-9-9", "namespace": self.namespace, "labels": labels}
        metadata["annotations"] = {"vidbench.io/request-digest": "\u0007" * 100}
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "y"}]}}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
        assert self.api.create(job | {"spec": {"suspend": True, "template": template}}).accepted

    def jobs(self, run: str = "") -> list[Manifest]:
        """The Jobs of a run, or of all runs."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        selector = f"vidbench.io/run={run}" if run else "vidbench.io/run"
        return list(self.api.request("GET", path, query={"labelSelector": selector}).body["items"])

    def has_times_to_live(self, run: str = "") -> bool:
        """Whether every Job has its time to live but those that cannot end: of broken runs, and what is no run's."""
        broken = self.recorder.broken
        jobs = [job for job in self.jobs(run) if job["metadata"]["labels"]["vidbench.io/run"] not in broken]
        return all("ttlSecondsAfterFinished" in job["spec"] for job in jobs if not job["spec"].get("suspend"))

    def rest(self, seconds: float = 2.0) -> None:
        """Wait until nothing is left to do, and watch that nothing is done then."""
        self.wait_for(self.has_times_to_live, "finished Jobs get a time to live")
        self.settle()
        self.recorder.rest(seconds)

    def violations(self) -> tuple[Recording, list[Violation]]:
        """Return what was recorded up to now and what is wrong with it."""
        recording = self.recorder.recording()
        return recording, violations(recording)

"""The nodes of the simulated cluster: what really becomes of containers, and when the API server hears of it.

A container lives on while its node does not answer; what became of it is told when the node is back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from .controllers import NodeController
from .fates import Ending, Fate, ending_of, ending_on_signal
from .server import Change, Manifest, Server

_TROUBLE = {
    "image cannot be pulled": ("ImagePullBackOff", "Back-off pulling image"),
    "image is pulled late": ("ErrImagePull", "connection reset by peer"),
    "container cannot be configured": ("CreateContainerConfigError", 'secret "hub" not found'),
    "container never starts": ("ContainerCreating", ""),
}
_TURNED_AWAY = {
    "refused by the device plugin": "UnexpectedAdmissionError",
    "turned away by the node": "OutOfnvidia.com/gpu",
}


@dataclass
class Container:
    """What is so on a node, told or not."""

    fate: Fate
    manifest: Manifest
    node: str
    waiting: tuple[str, str] | None = None
    started_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None


class Kubelets:
    """All nodes' agents. `fate_of` says what is to become of a pod; `happened` is told of every fate that came true."""

    def __init__(
        self,
        server: Server,
        nodes: NodeController,
        chance: Random,
        fate_of: Callable[[str, Manifest, str], Fate],
        happened: Callable[[str], None],
    ) -> None:
        self._server = server
        self._nodes = nodes
        self._chance = chance
        self._fate_of = fate_of
        self._happened = happened
        self.containers: dict[str, Container] = {}
        self.skew: dict[str, float] = {}
        """By how much the clocks of nodes are wrong."""

        server.subscribe(self._on)

    def come_back(self, node: str) -> None:
        """Let a node answer again and tell what became of its pods."""
        self._nodes.answer(node)
        for uid, container in list(self.containers.items()):
            if container.node == node:
                self._report(uid)
                pod = self._server.pods.get(uid)
                if pod is not None and pod.seen.deleting:
                    self._stop_later(uid)

    def _on(self, change: Change) -> None:
        if change.kind == "node" and change.type == "DELETED":
            for uid in [uid for uid, entry in self.containers.items() if entry.node == change.value.name]:
                del self.containers[uid]
        if change.kind != "pod":
            return
        pod = change.value
        if change.type == "DELETED":
            self.containers.pop(pod.uid, None)
        elif pod.node is not None and pod.uid not in self.containers and pod.phase == "Pending":
            self._take_in(pod.uid, pod.node)
        elif pod.deleting and pod.uid in self.containers:
            self._stop_later(pod.uid)

    def _take_in(self, uid: str, node: str) -> None:
        pod = self._server.pods[uid]
        job = self._server.jobs.get(pod.job_name)
        if job is None:
            return
        fate = self._fate_of(uid, job.manifest, node)
        self.containers[uid] = Container(fate, job.manifest, node)
        clock = self._server.clock
        if fate.word in _TURNED_AWAY:
            clock.after(0.2, lambda: self._end(uid, Ending(None, pod_reason=_TURNED_AWAY[fate.word])))
            return
        if fate.word in _TROUBLE:
            clock.after(1.0, lambda: self._wait(uid, _TROUBLE[fate.word]))
            if fate.word == "image is pulled late":
                clock.after(30.0 + fate.pull_seconds, lambda: self._start(uid))
        else:
            clock.after(fate.pull_seconds, lambda: self._start(uid))
        deadline = job.manifest["spec"]["template"]["spec"]["activeDeadlineSeconds"]
        clock.after(deadline, lambda: self._end(uid, Ending(137, "Error", pod_reason="DeadlineExceeded")))

    def _wait(self, uid: str, trouble: tuple[str, str]) -> None:
        container = self.containers.get(uid)
        if container is not None and container.ending is None:
            container.waiting = trouble
            self._happened(container.fate.word)
            self._report(uid)

    def _start(self, uid: str) -> None:
        container = self.containers.get(uid)
        pod = self._server.pods.get(uid)
        if container is None or container.ending is not None or pod is None:
            return
        if pod.seen.deleting and container.node not in self._nodes.silent:
            return
        container.started_at = float(int(self._server.clock.api + self.skew.get(container.node, 0.0)))
        self._report(uid)
        if container.fate.word == "hangs":
            self._happened("hangs")
            return
        self._server.clock.after(container.fate.run_seconds, lambda: self._finish(uid))

    def _finish(self, uid: str) -> None:
        container = self.containers.get(uid)
        if container is not None:
            self._end(uid, ending_of(container.fate, container.manifest, uid))

    def _end(self, uid: str, ending: Ending) -> None:
        container = self.containers.get(uid)
        if container is None or container.ending is not None:
            return
        container.ending = ending
        container.ended_at = float(int(self._server.clock.api + self.skew.get(container.node, 0.0)))
        if ending.pod_reason != "DeadlineExceeded":
            self._happened(container.fate.word)
        self._report(uid)

    def _stop_later(self, uid: str) -> None:
        """End a container that is to go, within its grace period, and let the pod go after it."""
        self._server.clock.after(self._chance.uniform(0.1, 5.0), lambda: self._stop(uid))

    def _stop(self, uid: str) -> None:
        container = self.containers.get(uid)
        if container is None or container.node in self._nodes.silent:
            return
        if container.ending is None:
            started = container.started_at is not None
            container.ending = ending_on_signal(container.fate, container.manifest, uid, started=started)
            container.ended_at = float(int(self._server.clock.api + self.skew.get(container.node, 0.0)))
            self._happened(f"told to go: {container.fate.on_signal if started else 'not started'}")
            self._report(uid)
        self._server.by("kubelet", lambda: self._server.release_pod(uid))

    def _report(self, uid: str) -> None:
        """Write what is so into the pod's status, if the node answers and it is not said yet."""
        container, pod = self.containers.get(uid), self._server.pods.get(uid)
        if container is None or pod is None or container.node in self._nodes.silent:
            return
        if pod.seen.phase in ("Succeeded", "Failed"):
            return
        seen = pod.seen
        if container.waiting is not None:
            seen = replace(seen, waiting_reason=container.waiting[0], waiting_message=container.waiting[1])
        if container.started_at is not None:
            seen = replace(seen, phase="Running", started_at=container.started_at, waiting_reason=None)
        ending = container.ending
        if ending is not None:
            seen = replace(
                seen,
                phase=ending.phase,
                exit_code=ending.exit_code,
                container_reason=ending.reason,
                message=ending.message,
                pod_reason=ending.pod_reason,
                disruption=seen.disruption or ending.disruption,
                finished_at=container.ended_at if ending.exit_code is not None else None,
            )
        if seen != pod.seen:
            changes = {name: getattr(seen, name) for name in _TOLD if getattr(seen, name) != getattr(pod.seen, name)}
            self._server.by("kubelet", lambda: self._server.change_pod(uid, **changes))


_TOLD = (
    "phase", "started_at", "waiting_reason", "waiting_message", "exit_code", "container_reason", "message", "pod_reason",
    "disruption", "finished_at",
)  # fmt: skip

"""Plays a node's kubelet on a control plane without one: pods run and end as a test's script says, nothing is started.

It writes the status that a kubelet writes, in the order in which a kubelet does, and ends deleted pods.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from bench.simulated_verdict import simulated_verdict

from support.kube_api import KubeApi
from vidbench_api.message import encode
from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_MODEL,
    LABEL_RUN,
    LABEL_SHARD,
    RUNNER_CONTAINER,
)

Pod = dict[str, Any]
STRATEGIC = "application/strategic-merge-patch+json"
_HEARTBEAT_SECONDS = 8.0


@dataclass(frozen=True)
class Ending:
    """How a runner ends."""

    exit_code: int = 0
    message: str | None = None
    reason: str = "Completed"
    after_seconds: float = 0.0
    """From the start of the container to its end."""


Script = Callable[[Pod], Ending | None]
"""What becomes of a pod; None: it runs on."""


def succeeds(pod: Pod, samples: int = 3, after_seconds: float = 0.0) -> Ending:
    """End with a verdict of the attempt that the pod is labelled with; its figures are random and say so."""
    labels = pod["metadata"]["labels"]
    digest = pod["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST]
    verdict = simulated_verdict(
        labels[LABEL_CELL], int(labels[LABEL_SHARD]), int(labels[LABEL_ATTEMPT]), digest, samples=samples
    )
    return Ending(message=encode(verdict), after_seconds=after_seconds)


def model_of(pod: Pod) -> str:
    """Return the name of the model that the pod measures."""
    return str(pod["metadata"]["labels"][LABEL_MODEL])


class PlayedKubelet:
    """One ready node of a namespace's own, and the ends of the pods on it. Use as a context manager.

    A namespace that needs more nodes gives each a name of its own.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        script: Script,
        *,
        allocatable: dict[str, str] | None = None,
        node: str | None = None,
        labels: dict[str, str] | None = None,
    ):
        self._api = api
        self._namespace = namespace
        self.node = node or f"node-{namespace}"
        self.script = script
        self._is_away = False
        self._round = threading.Lock()
        self._labels = {"vidbench.io/test-namespace": namespace} | (labels or {})
        self._allocatable = {"cpu": "1000", "memory": "1000Gi", "pods": "1000"} | (allocatable or {})
        self._started: dict[str, float] = {}
        self._over: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._create_node()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self.delete_node()

    @property
    def is_away(self) -> bool:
        """Whether the node's pods are let be: nothing starts, nothing ends. Once it is set, nothing is under way any more."""
        return self._is_away

    @is_away.setter
    def is_away(self, is_away: bool) -> None:
        with self._round:
            self._is_away = is_away

    def delete_node(self) -> None:
        """Delete the node's object, as a cloud does when the machine is gone."""
        self._api.request("DELETE", f"/api/v1/nodes/{self.node}")

    def restore_node(self) -> None:
        """Bring the node back, and tend to its pods again."""
        self._create_node()
        self.is_away = False

    def _create_node(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node, "labels": self._labels}}
        answer = self._api.request("POST", "/api/v1/nodes", node)
        assert answer.accepted, answer.message
        self._beat()

    def pods(self) -> list[Pod]:
        """Return the runner pods of the namespace."""
        answer = self._api.request(
            "GET", f"/api/v1/namespaces/{self._namespace}/pods", query={"labelSelector": LABEL_RUN}
        )
        return list(answer.body["items"])

    def _live(self) -> None:
        beaten = 0.0
        while not self._stop.is_set():
            with self._round:
                if not self._is_away and time.monotonic() - beaten > _HEARTBEAT_SECONDS:
                    self._beat()
                    beaten = time.monotonic()
                for pod in () if self._is_away else self.pods():
                    self._tend(pod)
            self._stop.wait(0.1)

    def _beat(self) -> None:
        moment = _now()
        conditions = [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": moment}
            | {"lastTransitionTime": moment, "message": "played"}
        ]
        status = {"status": {"conditions": conditions, "capacity": self._allocatable, "allocatable": self._allocatable}}
        self._api.request("PATCH", f"/api/v1/nodes/{self.node}/status", status, content_type=STRATEGIC)

    def _tend(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if pod["spec"].get("nodeName") != self.node or uid in self._over:
            return
        if pod["metadata"].get("deletionTimestamp"):
            if pod["status"].get("phase") not in ("Succeeded", "Failed"):
                self._end(pod, self._ending_of_deleted(pod))
            self._remove(pod)
            self._over.add(uid)
        elif pod["status"].get("phase") in ("Succeeded", "Failed"):
            self._over.add(uid)
        elif uid not in self._started:
            self._started[uid] = time.monotonic()
            self._patch(
                pod, {"phase": "Running", "startTime": _now(), "containerStatuses": [_container(pod, _running())]}
            )
        else:
            ending = self.script(pod)
            if ending is not None and time.monotonic() - self._started[uid] >= ending.after_seconds:
                self._end(pod, ending)

    def _ending_of_deleted(self, pod: Pod) -> Ending:
        """A runner that is told to go ends as the script says if that is right now, else by the signal."""
        ending = self.script(pod)
        return ending if ending is not None and ending.after_seconds == 0 else Ending(143, None, "Error")

    def _end(self, pod: Pod, ending: Ending) -> None:
        ended = _now()
        terminated = {
            "exitCode": ending.exit_code,
            "reason": ending.reason,
            "startedAt": _start_of(pod) or ended,
            "finishedAt": ended,
        }
        if ending.message is not None:
            terminated["message"] = ending.message
        phase = "Succeeded" if ending.exit_code == 0 else "Failed"
        self._patch(pod, {"phase": phase, "containerStatuses": [_container(pod, {"terminated": terminated})]})

    def _remove(self, pod: Pod) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}"
        self._api.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})

    def _patch(self, pod: Pod, status: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}/status"
        answer = self._api.request("PATCH", path, {"status": status}, content_type=STRATEGIC)
        if not answer.accepted and answer.status != 404:
            self.errors.append(answer.message)


def _container(pod: Pod, state: dict[str, Any]) -> dict[str, Any]:
    image = pod["spec"]["containers"][0]["image"]
    base = {"name": RUNNER_CONTAINER, "image": image, "imageID": "played@sha256:0", "restartCount": 0}
    return {**base, "ready": "running" in state, "state": state}


def _start_of(pod: Pod) -> str | None:
    """Return when the container started, as its status says; None for one that never ran."""
    for status in pod["status"].get("containerStatuses", []):
        if "running" in status["state"]:
            return str(status["state"]["running"]["startedAt"])
    return None


def _running() -> dict[str, Any]:
    return {"running": {"startedAt": _now()}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

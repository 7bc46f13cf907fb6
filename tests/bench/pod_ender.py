"""Ends runner pods in the place of a kubelet: writes the status that a runner with a verdict would leave.

kwok starts the pods. It cannot end them: a verdict names cell, shard, attempt and digest, which stand in the pod that
the Job controller makes, and a stage's template cannot encode a message from them. So the bench writes the last
status, once a pod and as a user of its own, and remembers what it wrote.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

from bench.async_api import STRATEGIC_PATCH, AsyncApi
from bench.continuity import Attempt
from bench.simulated_verdict import simulated_verdict
from bench.workload import SEEDS
from vidbench_api.message import encode
from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_RUN,
    LABEL_SHARD,
    RUNNER_CONTAINER,
)
from vidbench_api.verdict import Verdict

Pod = dict[str, Any]


def verdict_for(pod: Pod) -> Verdict:
    """Return the verdict of the attempt that the pod's labels and annotation name."""
    labels = pod["metadata"]["labels"]
    digest = pod["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST]
    return simulated_verdict(
        labels[LABEL_CELL], int(labels[LABEL_SHARD]), int(labels[LABEL_ATTEMPT]), digest, samples=SEEDS
    )


def succeeded_status(pod: Pod, message: str, now: datetime) -> dict[str, Any]:
    """Return the status of a running pod whose runner has just exited with 0 and left the message."""
    running = next(entry for entry in pod["status"]["containerStatuses"] if entry["name"] == RUNNER_CONTAINER)
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": message,
        "startedAt": running["state"]["running"]["startedAt"],
        "finishedAt": moment,
    }
    ended = {**running, "ready": False, "started": False, "state": {"terminated": terminated}}
    conditions = [
        {"type": kind, "status": "False", "reason": "PodCompleted", "lastTransitionTime": moment}
        for kind in ("Ready", "ContainersReady")
    ]
    return {"phase": "Succeeded", "containerStatuses": [ended], "conditions": conditions}


class PodEnder:
    """Ends every running pod of a namespace, evenly over some seconds, in an order by chance with a seed."""

    def __init__(self, api: AsyncApi, pods_path: str) -> None:
        self._api = api
        self._pods_path = pods_path
        self.verdicts: dict[str, Verdict] = {}
        """What was written, by the UID of the pod."""
        self.attempts: list[Attempt] = []
        """Whose pods were ended."""

    async def end(self, pods: list[Pod], seconds: float) -> None:
        """End the pods, the last one so many seconds from now."""
        order = random.Random(0).sample(pods, len(pods))
        await asyncio.gather(
            *(self._end_after(pod, seconds * (number + 1) / len(order)) for number, pod in enumerate(order))
        )

    async def _end_after(self, pod: Pod, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.end_one(pod)

    async def end_one(self, pod: Pod) -> None:
        """End a running pod now."""
        verdict = verdict_for(pod)
        self.verdicts[pod["metadata"]["uid"]] = verdict
        run = pod["metadata"]["labels"][LABEL_RUN]
        self.attempts.append(Attempt(run, verdict.cell, verdict.shard, verdict.attempt))
        path = f"{self._pods_path}/{pod['metadata']['name']}/status"
        status = succeeded_status(pod, encode(verdict), datetime.now(UTC))
        await self._api.request("PATCH", path, {"status": status}, content_type=STRATEGIC_PATCH)


def is_running(pod: Pod) -> bool:
    """Whether the runner's container runs."""
    entries = pod.get("status", {}).get("containerStatuses", [])
    return any(entry["name"] == RUNNER_CONTAINER and "running" in entry.get("state", {}) for entry in entries)

"""A stand-in for Kueue. It is not Kueue: it does to batch Jobs what Kueue is known to do to them, and nothing else.

What it does, for the Jobs of one namespace that carry the label of its queue:
- admits them in the order of their creation while a quota of Jobs lasts: writes the flavor's node selector into the pod
  template, which the API server allows of a suspended Job that has no start time, and sets `spec.suspend` to false;
- evicts one when asked: sets `spec.suspend` to true (the Job controller then deletes the pod), takes the start time away,
  takes the flavor's selector out again, and lets it queue behind the others.

It also installs a CRD of LocalQueues, with the queue, as those who use a queue look whether it is there.

What it lacks: Workload objects, ClusterQueues, cohorts, priorities, preemption of its own accord, admission checks, a
webhook (who creates a Job must suspend it), and all about resources: its quota counts Jobs.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from support.kube_api import KubeApi
from vidbench_api.names import LABEL_QUEUE

Job = dict[str, Any]
_GROUP, _VERSION = "kueue.x-k8s.io", "v1beta1"
_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": f"localqueues.{_GROUP}",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test"},
    },
    "spec": {
        "group": _GROUP,
        "scope": "Namespaced",
        "names": {"kind": "LocalQueue", "plural": "localqueues", "singular": "localqueue"},
        "versions": [
            {
                "name": _VERSION,
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class KueueStandIn:
    """One LocalQueue of a namespace. Use as a context manager; `quota` may be changed at any time."""

    def __init__(self, api: KubeApi, namespace: str, queue: str, quota: int, flavor: dict[str, str]) -> None:
        self._api = api
        self._namespace = namespace
        self._queue = queue
        self.quota = quota
        self._flavor = flavor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._evicted: set[str] = set()
        """UIDs of Jobs that were evicted and are not admitted again yet: they queue behind the others."""

        self.admissions: list[str] = []
        """Names of the Jobs that were admitted, in order; one that was evicted is there twice."""

        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._install()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def jobs(self) -> list[Job]:
        """Return the queue's Jobs that have not ended, the first in line first."""
        answer = self._api.request(
            "GET", f"/apis/batch/v1/namespaces/{self._namespace}/jobs", query={"labelSelector": f"{LABEL_QUEUE}={self._queue}"}
        )  # fmt: skip
        live = [
            job for job in answer.body["items"] if not _has_ended(job) and not job["metadata"].get("deletionTimestamp")
        ]
        return sorted(
            live, key=lambda job: (job["metadata"]["uid"] in self._evicted, job["metadata"]["creationTimestamp"], job["metadata"]["name"])
        )  # fmt: skip

    def evict(self, name: str) -> None:
        """Take a Job's node away, as a preemption does."""
        job = next(job for job in self.jobs() if job["metadata"]["name"] == name)
        self._evicted.add(job["metadata"]["uid"])
        self._patch(job, {"spec": {"suspend": True}})

    def _install(self) -> None:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self._api.request("POST", definitions, _CRD)
        queue = {"apiVersion": f"{_GROUP}/{_VERSION}", "kind": "LocalQueue", "metadata": {"name": self._queue}}
        path = f"/apis/{_GROUP}/{_VERSION}/namespaces/{self._namespace}/localqueues"
        deadline = time.monotonic() + 60
        while (answer := self._api.request("POST", path, queue)).status not in (201, 409):
            # A kind is served some time after its definition was stored.
            assert time.monotonic() < deadline, answer.message
            time.sleep(0.1)

    def _live(self) -> None:
        while not self._stop.is_set():
            jobs = self.jobs()
            for job in jobs:
                if job["spec"].get("suspend") and job["status"].get("startTime") and not job["status"].get("active"):
                    self._reset(job)
            admitted = sum(not job["spec"].get("suspend") for job in jobs)
            waiting = [job for job in jobs if job["spec"].get("suspend") and not job["status"].get("startTime")]
            for job in waiting[: max(0, self.quota - admitted)]:
                self._admit(job)
            self._stop.wait(0.1)

    def _admit(self, job: Job) -> None:
        selector = {**job["spec"]["template"]["spec"].get("nodeSelector", {}), **self._flavor}
        self._evicted.discard(job["metadata"]["uid"])
        if self._patch(job, {"spec": {"suspend": False, "template": {"spec": {"nodeSelector": selector}}}}):
            self.admissions.append(job["metadata"]["name"])

    def _reset(self, job: Job) -> None:
        """Make an evicted Job one that never started, so that another flavor may be written into it."""
        self._patch(job, {"status": {"startTime": None}}, "/status")
        self._patch(job, {"spec": {"template": {"spec": {"nodeSelector": dict.fromkeys(self._flavor)}}}})

    def _patch(self, job: Job, change: dict[str, Any], subresource: str = "") -> bool:
        path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs/{job['metadata']['name']}{subresource}"
        answer = self._api.request("PATCH", path, change, content_type="application/merge-patch+json")
        if not answer.accepted and answer.status != 404:
            self.errors.append(answer.message)
        return answer.accepted


def _has_ended(job: Job) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(entry["type"] in ("Complete", "Failed") and entry["status"] == "True" for entry in conditions)

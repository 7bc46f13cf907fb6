"""Plays the record of a simulated cluster to a real control plane, and says where the two differ.

The operator's calls and what people and nodes did are done again; what controllers did in the simulation is waited for.
UIDs and resourceVersions are translated. Every difference is a mistake of the simulator, or of the play.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from simulator.recording import Asked, Changed, Entry, Released
from simulator.server import NAMESPACE, Change
from support.kube_api import KubeApi

from vidbench_api.names import RUNNER_CONTAINER
from vidbench_operator.adapters import projections
from vidbench_operator.adapters.api import Api
from vidbench_operator.adapters.kube import KubeCluster
from vidbench_operator.core.observed import ObservedJob, ObservedPod, ObservedRun
from vidbench_operator.ports import RunKey

Manifest = dict[str, Any]
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
PATIENCE_SECONDS = 50.0
"""The pod collector looks every 20 s, and the garbage collector every 30 s for kinds that it does not know yet."""

SIMULATED_NODE = "node-0"
_BY_CONTROLLERS = ("node", "unschedulable_message", "phase", "deleting")
_MUTABLE = ("parallelism", "autoscaling", "suspend", "cancel", "ttl", "timeouts")


class Difference(AssertionError):  # noqa: N818 - what was found
    """The real control plane did something else than the simulated one."""


class Replay:
    """One record in one namespace."""

    def __init__(self, api: KubeApi, client: Api, cluster: KubeCluster, namespace: str) -> None:
        self._api = api
        self._client = client
        self._cluster = cluster
        self._namespace = namespace
        self._uids: dict[str, str] = {}
        self._versions: dict[tuple[str, str], str] = {}
        """Real resourceVersion of a run by its simulated UID and resourceVersion."""

        self._pods: dict[str, ObservedPod] = {}
        self._pod_names: dict[str, str] = {}
        self._node = f"node-{namespace}"
        self._beaten = 0.0
        self.compared = 0
        """Answers and states that were compared."""

    async def play(self, record: list[Entry]) -> None:
        """Play all of a record."""
        for number, entry in enumerate(record):
            try:
                await self._play(entry)
            except Difference as difference:
                lines = "\n".join(f"  {_brief(before)}" for before in record[max(0, number - 8) : number + 1])
                raise Difference(f"entry {number}: {difference}\n{lines}") from None

    async def _play(self, entry: Entry) -> None:
        self._beat()
        match entry:
            case Asked():
                await self._ask(entry)
            case Released():
                self._release(entry.pod_uid)
            case Changed():
                await getattr(self, f"_{entry.change.kind}_changed")(entry)

    # What the operator asked

    async def _ask(self, asked: Asked) -> None:
        if asked.call == "list_children":
            return
        answer, result = "ok", None
        try:
            result = await getattr(self, f"_{asked.call}")(*asked.arguments)
        except Exception as error:  # noqa: BLE001 - its class is the answer
            answer = type(error).__name__
        self.compared += 1
        if answer != asked.answer:
            raise Difference(f"{asked.call}: {answer} for real, {asked.answer} in the simulation")
        if asked.call == "put_status" and answer == "ok":
            self._versions[asked.result.uid, asked.result.resource_version] = result.resource_version
        if asked.call == "post_job" and answer == "ok":
            self._uids[asked.result.uid] = result["metadata"]["uid"]

    async def _post_configmap(self, run: ObservedRun, name: str, text: str) -> None:
        await self._cluster.create_request(self._real(run), name, text)

    async def _post_result(self, name: str, spec: Any, labels: dict[str, str]) -> None:
        anyone = ObservedRun(self._namespace, "any", "any", 1, "1", 0.0, None, None)  # type: ignore[arg-type]
        await self._cluster.create_result(anyone, name, spec, labels)

    async def _put_status(self, run: ObservedRun, status: Any) -> ObservedRun:
        return await self._cluster.write_status(self._real(run), status)

    async def _post_job(self, run: ObservedRun, manifest: Manifest) -> Manifest:
        path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs"
        created: Manifest = await self._client.create(path, self._real_job(manifest, run.uid))
        return created

    async def _delete_job(self, name: str, uid: str) -> None:
        await self._cluster.delete_job(self._anyone(), name, self._uids[uid])

    async def _patch_ttl(self, name: str, uid: str, seconds: int) -> None:
        await self._cluster.patch_ttl(self._anyone(), name, self._uids[uid], seconds)

    async def _delete_run(self, key: RunKey, uid: str) -> None:
        await self._cluster.delete_run(replace(self._anyone(), name=key.name, uid=self._uids[uid]))

    async def compare_children(self, run: str, jobs: tuple[ObservedJob, ...], pods: tuple[ObservedPod, ...]) -> None:
        """Wait until the real children of a run are those that the simulated one has in the end."""

        async def seen() -> Any:
            real_jobs, real_pods = await self._cluster.list_children(replace(self._anyone(), name=run))
            for pod in real_pods:
                if pod.deleting and pod.uid not in self._uids.values():
                    self._end_early(pod)
            return _picture(real_jobs, real_pods)

        self.compared += 1
        await self._until(seen, _picture(jobs, pods), f"children of {run} in the end")

    # What people, nodes and controllers did

    async def _run_changed(self, entry: Changed) -> None:
        change, run = entry.change, entry.detail
        path = f"/apis/vidbench.io/v1alpha1/namespaces/{self._namespace}/benchmarkruns"
        one = f"{path}/{run.name}"
        if change.type == "DELETED":
            if entry.actor == "people":
                self._api.request("DELETE", one, {"propagationPolicy": "Background"})
            await self._gone(one, self._uids[run.uid])
            return
        if change.type == "ADDED":
            body = {"apiVersion": "vidbench.io/v1alpha1", "kind": "BenchmarkRun", "metadata": {"name": run.name}}
            answer = self._api.request("POST", path, body | {"spec": run.spec.to_wire()})
            self._uids[run.uid] = answer.body["metadata"]["uid"]
        elif change.value.deleting:
            answer = self._api.request("DELETE", one, {"propagationPolicy": "Foreground"})
            answer = self._api.request("GET", one)
        else:
            wire = run.spec.to_wire()
            spec = {name: wire[name] for name in _MUTABLE if name in wire}
            label = {"test/version": run.resource_version}
            answer = self._api.request("PATCH", one, {"metadata": {"labels": label}, "spec": spec}, content_type=MERGE)
        if not answer.accepted:
            raise Difference(f"run {run.name}: {answer.message}")
        self._versions[run.uid, run.resource_version] = answer.body["metadata"]["resourceVersion"]

    async def _job_changed(self, entry: Changed) -> None:
        change, job = entry.change, entry.change.value
        one = f"/apis/batch/v1/namespaces/{self._namespace}/jobs/{job.name}"
        if change.type == "DELETED":
            if entry.actor == "people":
                self._api.request("DELETE", one, {"propagationPolicy": "Background"})
            elif job.ttl_seconds:
                # Its time is over in the simulation: let it be over here as well.
                self._api.request("PATCH", one, {"spec": {"ttlSecondsAfterFinished": 0}}, content_type=MERGE)
            await self._gone(one, self._uids[job.uid])
        elif change.type == "ADDED":
            path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs"
            answer = self._api.request("POST", path, self._real_job(entry.detail, job.owner_uid))
            if not answer.accepted:
                raise Difference(f"Job {job.name}: {answer.message}")
            self._uids[job.uid] = answer.body["metadata"]["uid"]
        elif entry.actor == "people":
            self._api.request("PATCH", one, {"spec": {"suspend": job.suspended}}, content_type=MERGE)
        else:

            async def seen() -> Any:
                real = projections.project_job(self._api.request("GET", one).body)
                return _end_of(job if real is None and job.deleting else real)

            self.compared += 1
            await self._until(seen, _end_of(job), f"end of Job {job.name}")

    async def _pod_changed(self, entry: Changed) -> None:
        change, pod = entry.change, entry.change.value
        if change.type == "ADDED":
            await self._find_pod(pod, entry.detail)
        else:
            await self._pod_modified(entry, pod)
        self._pods[pod.uid] = pod

    async def _pod_modified(self, entry: Changed, pod: ObservedPod) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._pod_names[pod.uid]}"
        if entry.change.type == "DELETED":
            await self._gone(path, self._uids[pod.uid])
        elif entry.actor == "kubelet":
            self._tell(path, pod)
        elif entry.actor == "people" and pod.deleting:
            self._api.request("DELETE", path, {"preconditions": {"uid": self._uids[pod.uid]}})
        elif entry.actor == "people":
            self._disrupt(path, pod)
        else:
            await self._wait_for_pod(path, pod)

    async def _node_changed(self, entry: Changed) -> None:
        if entry.change.type == "ADDED":
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node}}
            self._api.request("POST", "/api/v1/nodes", body)
            self._gpus = entry.change.value.allocatable["nvidia.com/gpu"]
            self._beaten = 0.0
            self._beat()

    def tear_down(self) -> None:
        """Take the node away."""
        self._api.request("DELETE", f"/api/v1/nodes/{self._node}")

    # Pods

    async def _find_pod(self, pod: ObservedPod, job_name: str) -> None:
        """Wait for the pod that the Job controller makes, and learn its name and UID."""
        known = set(self._uids.values())
        job_uid = self._uids[pod.job_uid]

        async def seen() -> Any:
            answer = self._api.request("GET", f"/api/v1/namespaces/{self._namespace}/pods")
            found = [projections.project_pod(raw) for raw in answer.body["items"]]
            fresh = [each for each in found if each is not None and each.job_uid == job_uid and each.uid not in known]
            for early in [each for each in fresh if each.deleting]:
                self._end_early(early)
            fresh = [each for each in fresh if not each.deleting]
            if fresh:
                self._uids[pod.uid], self._pod_names[pod.uid] = fresh[0].uid, fresh[0].name
            return len(fresh)

        self.compared += 1
        await self._until(seen, 1, f"a new pod of Job {job_name}")

    def _end_early(self, pod: ObservedPod) -> None:
        """End a pod that was made and deleted before the simulated Job controller had made one."""
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod.name}"
        if pod.phase == "Pending":
            self._api.request("PATCH", f"{path}/status", {"status": {"phase": "Failed"}}, content_type=STRATEGIC)
        self._api.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}})

    async def _wait_for_pod(self, path: str, pod: ObservedPod) -> None:
        """Wait until scheduler, Job controller or a collector has done to a pod what it did in the simulation.

        Controllers that were faster for real are no difference: only what has changed here is waited for.
        """
        before = self._pods[pod.uid]
        wanted = {name for name in _BY_CONTROLLERS if getattr(pod, name) != getattr(before, name)}

        async def seen() -> Any:
            real = projections.project_pod(self._api.request("GET", path).body)
            if real is None:
                return wanted - {"node", "unschedulable_message"}
            return {name for name in wanted if _is_set(real, name) == _is_set(pod, name)}

        self.compared += 1
        await self._until(seen, wanted, f"pod {path}")

    def _tell(self, path: str, pod: ObservedPod) -> None:
        """Write what a kubelet writes."""
        state: Manifest = {"waiting": {"reason": pod.waiting_reason or "ContainerCreating"}}
        if pod.exit_code is not None:
            terminated = {"exitCode": pod.exit_code, "reason": pod.container_reason, "message": pod.message or ""}
            state = {"terminated": terminated | {"startedAt": _now(), "finishedAt": _now()}}
        elif pod.started_at is not None:
            state = {"running": {"startedAt": _now()}}
        container = {"name": RUNNER_CONTAINER, "image": "i", "imageID": "", "restartCount": 0, "ready": False}
        status: Manifest = {"phase": pod.phase, "containerStatuses": [container | {"state": state}]}
        if pod.exit_code is None and pod.phase == "Failed":
            del status["containerStatuses"]
        if pod.pod_reason:
            status["reason"] = pod.pod_reason
        if pod.disruption:
            status["conditions"] = [_disruption(pod.disruption)]
        answer = self._api.request("PATCH", f"{path}/status", {"status": status}, content_type=STRATEGIC)
        if not answer.accepted:
            raise Difference(f"status of {path}: {answer.message}")

    def _disrupt(self, path: str, pod: ObservedPod) -> None:
        """Evict, or mark as the scheduler does before it deletes."""
        if pod.disruption == "EvictionByEvictionAPI":
            name = path.rpartition("/")[2]
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            self._api.request("POST", f"{path}/eviction", body)
        else:
            status = {"status": {"conditions": [_disruption(str(pod.disruption))]}}
            self._api.request("PATCH", f"{path}/status", status, content_type=STRATEGIC)

    def _release(self, uid: str) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._pod_names[uid]}"
        self._api.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uids[uid]}})

    # Inside

    def _real(self, run: ObservedRun) -> ObservedRun:
        version = self._versions.get((run.uid, run.resource_version), "1")
        return replace(run, namespace=self._namespace, uid=self._uids[run.uid], resource_version=version)

    def _anyone(self) -> ObservedRun:
        return ObservedRun(self._namespace, "any", "any", 1, "1", 0.0, None, None)  # type: ignore[arg-type]

    def _real_job(self, manifest: Manifest, owner_uid: str | None) -> Manifest:
        # Pods are placed by names of nodes, and the node has another one here.
        real: Manifest = json.loads(json.dumps(manifest).replace(f'"{SIMULATED_NODE}"', f'"{self._node}"'))
        real["metadata"]["namespace"] = self._namespace
        owners = real["metadata"].pop("ownerReferences", [])
        if owner_uid is not None:
            real["metadata"]["ownerReferences"] = [{**owner, "uid": self._uids[owner_uid]} for owner in owners]
        return real

    async def _gone(self, path: str, uid: str) -> None:
        async def seen() -> Any:
            answer = self._api.request("GET", path)
            return answer.status == 404 or answer.body["metadata"]["uid"] != uid

        self.compared += 1
        await self._until(seen, True, f"absence of {path}")

    async def _until(self, seen: Callable[[], Any], wanted: Any, what: str) -> None:
        """Wait until the real thing is as the simulated one was."""
        limit = time.monotonic() + PATIENCE_SECONDS
        found = await seen()
        while found != wanted and time.monotonic() < limit:
            await asyncio.sleep(0.1)
            self._beat()
            found = await seen()
        if found != wanted:
            raise Difference(f"{what}: {found} for real, {wanted} in the simulation")

    def _beat(self) -> None:
        """Keep the node ready."""
        if time.monotonic() - self._beaten < 8.0 or not hasattr(self, "_gpus"):
            return
        self._beaten = time.monotonic()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played"}
        times = {"lastHeartbeatTime": _now(), "lastTransitionTime": _now()}
        amounts = {"cpu": "1000", "memory": "10000Gi", "pods": "1000", "nvidia.com/gpu": self._gpus}
        amounts |= {"ephemeral-storage": "10000Gi"}
        status = {"conditions": [ready | times], "capacity": amounts, "allocatable": amounts}
        path = f"/api/v1/nodes/{self._node}/status"
        self._api.request("PATCH", path, {"status": status}, content_type=STRATEGIC)


def _picture(jobs: tuple[ObservedJob, ...], pods: tuple[ObservedPod, ...]) -> Any:
    """Return what of children has to be the same."""
    return (
        sorted((job.name, _end_of(job), job.ttl_seconds) for job in jobs),
        sorted(str(_state_of(pod)) for pod in pods),
    )


def _end_of(job: ObservedJob | None) -> Any:
    if job is None:
        return None
    message = re.sub(r"pod \S+", "pod NAME", re.sub(r"Pod \S+", "Pod NAME", job.finished_message))
    return job.finished, job.finished_reason, message


def _state_of(pod: ObservedPod | None) -> Any:
    if pod is None:
        return None
    return pod.phase, pod.node is not None, pod.exit_code, pod.message or None, pod.disruption, pod.deleting


def _is_set(pod: ObservedPod, name: str) -> Any:
    value = getattr(pod, name)
    return value if name == "phase" else value not in (None, False)


def _disruption(reason: str) -> Manifest:
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": "played",
        "lastTransitionTime": _now(),
    }


def _brief(entry: Entry) -> str:
    match entry:
        case Asked(call, arguments, answer):
            names = [each if isinstance(each, str) else getattr(each, "name", "...") for each in arguments]
            return f"operator {call} {' '.join(names)[:120]}: {answer}"
        case Changed(actor, Change() as change):
            return f"{actor} {change.kind} {change.type}: {str(change.value)[:300]}"
    return str(entry)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


assert NAMESPACE == "lab"

"""The controllers of the simulated cluster: Jobs, garbage, time to live, pods of lost nodes, and the nodes themselves.

Each reacts to changes after a delay, does what Kubernetes 1.35 does, and can be down for a while. `Work` is what they
share: things to look at, each once, later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from vidbench_api.names import RUNNER_CONTAINER
from vidbench_operator.core.observed import ObservedPod

from .clock import Clock
from .server import Change, Manifest, Server, StoredJob, StoredPod

NOT_READY_SECONDS = 50.0
TOLERATION_SECONDS = 300.0
LONGEST_IN_QUEUE = 90.0


class Work:
    """Names to look at after a delay; while `down`, they wait."""

    def __init__(self, clock: Clock, chance: Random, longest_delay: float, look: Callable[[str], None]) -> None:
        self._clock = clock
        self._chance = chance
        self._longest_delay = longest_delay
        self._look = look
        self._asked: set[str] = set()
        self._down = False
        self._late: list[str] = []

    def ask(self, name: str, after: float = 0.0) -> None:
        """Look at a name soon; a later look that is asked for meanwhile is the same one."""
        if after <= 0.0:
            if name in self._asked:
                return
            self._asked.add(name)
            after = self._chance.uniform(0.01, self._longest_delay)
            self._clock.after(after, lambda: self._due(name, asked=True))
        else:
            self._clock.after(after, lambda: self._due(name, asked=False))

    def go_down(self, seconds: float) -> None:
        """Do nothing for so long, then everything that came up meanwhile."""
        self._down = True
        self._clock.after(seconds, self.come_up)

    def come_up(self) -> None:
        """Work again."""
        self._down = False
        late, self._late = self._late, []
        for name in late:
            self.ask(name)

    def _due(self, name: str, *, asked: bool) -> None:
        if asked:
            self._asked.discard(name)
        if self._down:
            self._late.append(name)
        else:
            self._look(name)


class JobController:
    """Makes pods, counts how they ended, ends Jobs, and lets pods go that it has counted."""

    def __init__(self, server: Server, chance: Random) -> None:
        self._server = server
        self.work = Work(server.clock, chance, 1.0, self._sync)
        server.subscribe(self._on)

    def _on(self, change: Change) -> None:
        if change.kind == "job":
            self.work.ask(change.value.name)
        elif change.kind == "pod":
            pod = self._server.pods.get(change.value.uid)
            if pod is not None:
                self.work.ask(pod.job_name)

    def _sync(self, name: str) -> None:
        server = self._server
        job = server.jobs.get(name)
        uid = job.seen.uid if job is not None else None
        going = job is None or job.seen.deleting
        for pod in [pod for pod in server.pods.values() if pod.job_name == name]:
            # A Job that waits for its pods to go counts them no more.
            if going or pod.seen.job_uid != uid:
                server.untrack_pod(pod.seen.uid)
        if job is None or job.seen.deleting:
            return
        mine = [pod for pod in server.pods.values() if pod.seen.job_uid == uid]
        if job.begins and not job.seen.suspended and job.seen.finished is None:
            job.begins = False
            server.change_job(name, started_at=server.clock.stamp)
        if job.seen.finished is None:
            self._count(job, mine)
        if job.seen.finished is not None:
            self._clear_up(job, mine)
        elif job.seen.suspended:
            for pod in mine:
                if pod.seen.phase not in ("Succeeded", "Failed"):
                    pod.suspended_away = True
                    server.delete_pod(pod.seen.uid)
        elif all(pod.seen.phase in ("Succeeded", "Failed") for pod in mine):
            self._make_pod(job)

    def _count(self, job: StoredJob, mine: list[StoredPod]) -> None:
        """Take in how pods ended: the first one that says so ends the Job."""
        for pod in mine:
            if pod.seen.phase not in ("Succeeded", "Failed"):
                continue
            fresh = pod.seen.uid not in job.counted
            job.counted.add(pod.seen.uid)
            self._server.untrack_pod(pod.seen.uid)
            if not fresh or job.seen.finished is not None or (pod.suspended_away and pod.seen.phase == "Failed"):
                continue
            if pod.seen.phase == "Succeeded":
                self._finish(job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
            else:
                self._finish(job, "Failed", *_why_failed(job, pod.seen))

    def _finish(self, job: StoredJob, how: str, reason: str, message: str) -> None:
        moment = self._server.clock.stamp
        self._server.change_job(
            job.seen.name, finished=how, finished_at=moment, finished_reason=reason, finished_message=message
        )

    def _clear_up(self, job: StoredJob, mine: list[StoredPod]) -> None:
        for pod in mine:
            if pod.seen.phase in ("Succeeded", "Failed"):
                self._server.untrack_pod(pod.seen.uid)
            else:
                self._server.delete_pod(pod.seen.uid)

    def _make_pod(self, job: StoredJob) -> None:
        server = self._server
        if server.pod_quota is not None and sum(not pod.seen.ended for pod in server.pods.values()) >= server.pod_quota:
            job.refusal = f'Error creating: pods "{job.seen.name}-x" is forbidden: exceeded quota: compute'
            job.refused_times += 1
            self.work.ask(job.seen.name, after=float(min(60, 2**job.refused_times)))
            return
        uid = server.next_uid("pod")
        seen = ObservedPod(f"{job.seen.name}-{uid}", uid, job.seen.uid, "Pending", server.clock.stamp)
        template = job.manifest["spec"]["template"]["spec"]
        limits = template["containers"][0]["resources"]["limits"]
        gpus = sum(int(amount) for name, amount in limits.items() if "/" in name)
        server.add_pod(StoredPod(seen, job.key, job.seen.name, gpus, template))


def _why_failed(job: StoredJob, pod: ObservedPod) -> tuple[str, str]:
    """Return reason and message of the Failed condition, as podFailurePolicy has it or without it."""
    for index, rule in enumerate(job.manifest["spec"]["podFailurePolicy"]["rules"]):
        codes = rule.get("onExitCodes")
        if codes and pod.exit_code in codes["values"]:
            what = f"Container {RUNNER_CONTAINER} for pod {job.key.namespace}/{pod.name} failed with exit code {pod.exit_code}"
            return "PodFailurePolicy", f"{what} matching FailJob rule at index {index}"
        if rule.get("onPodConditions") and pod.disruption:
            what = f"Pod {job.key.namespace}/{pod.name} has condition DisruptionTarget"
            return "PodFailurePolicy", f"{what} matching FailJob rule at index {index}"
    return "BackoffLimitExceeded", "Job has reached the specified backoff limit"


class GarbageCollector:
    """Deletes what has no owner any more, and Jobs whose time to live is over."""

    def __init__(self, server: Server, chance: Random) -> None:
        self._server = server
        self.work = Work(server.clock, chance, 8.0, self._collect)
        server.subscribe(self._on)

    def _on(self, change: Change) -> None:
        if change.kind != "node":
            self.work.ask("everything")
        if change.kind == "job" and change.type != "DELETED":
            job = change.value
            if job.finished is not None and job.ttl_seconds is not None:
                late = job.finished_at + job.ttl_seconds - self._server.clock.api
                self.work.ask(f"ttl/{job.uid}", after=max(0.01, late))

    def _collect(self, what: str) -> None:
        server = self._server
        if what.startswith("ttl/"):
            for job in [job for job in server.jobs.values() if f"ttl/{job.seen.uid}" == what]:
                server.remove_job(job.seen.name)
            return
        owners = {stored.seen.uid: stored for stored in server.runs.values()}
        self._collect_of_runs({uid for uid, stored in owners.items() if not stored.deleting}, set(owners))
        going = {job.seen.uid for job in server.jobs.values() if job.seen.deleting}
        staying = {job.seen.uid for job in server.jobs.values()} - going
        for pod in [pod for pod in server.pods.values() if pod.seen.job_uid not in staying]:
            server.delete_pod(pod.seen.uid)
        left = {pod.seen.job_uid for pod in server.pods.values()}
        for job in [job for job in server.jobs.values() if job.seen.uid in going - left]:
            server.remove_job(job.seen.name)
        owning = {job.seen.owner_uid for job in server.jobs.values()}
        for key in [key for key, stored in server.runs.items() if stored.deleting and stored.seen.uid not in owning]:
            server.remove_run(key)

    def _collect_of_runs(self, staying: set[str], there: set[str]) -> None:
        """Delete what runs own: at once if the run is gone; if it waits for its children, so do they for theirs."""
        server = self._server
        for job in list(server.jobs.values()):
            owner = job.seen.owner_uid
            if owner is None or owner in staying:
                continue
            if owner not in there:
                server.remove_job(job.seen.name)
            elif not job.seen.deleting:
                server.change_job(job.seen.name, deleting=True)
        for name in [name for name, (uid, _) in server.configmaps.items() if uid not in staying]:
            del server.configmaps[name]


class PodCollector:
    """Ends pods that no kubelet will end: deleted ones without a node, and all of a node whose object is gone."""

    def __init__(self, server: Server, chance: Random) -> None:
        self._server = server
        self.work = Work(server.clock, chance, 20.0, self._collect)
        server.subscribe(self._on)

    def _on(self, change: Change) -> None:
        if (change.kind == "pod" and change.value.deleting) or (change.kind == "node" and change.type == "DELETED"):
            self.work.ask("pods")

    def _collect(self, _what: str) -> None:
        server = self._server
        for pod in list(server.pods.values()):
            over = pod.seen.phase in ("Succeeded", "Failed")
            if pod.seen.node is None and pod.seen.deleting and not over:
                server.change_pod(pod.seen.uid, phase="Failed")
            elif pod.seen.node is not None and pod.seen.node not in server.nodes:
                if not over:
                    server.change_pod(pod.seen.uid, phase="Failed", disruption="DeletionByPodGC")
                server.delete_pod(pod.seen.uid, grace=0.0)
                server.release_pod(pod.seen.uid)


class NodeController:
    """Marks nodes that do not answer as not ready, and evicts their pods a while later."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.silent: dict[str, float] = {}
        """Since when nodes do not answer, on the clock that never jumps."""

    def fall_silent(self, name: str) -> None:
        """Let a node stop answering."""
        self.silent[name] = since = self._server.clock.monotonic
        self._server.clock.after(NOT_READY_SECONDS, lambda: self._not_ready(name, since))

    def answer(self, name: str) -> None:
        """Let a node answer again."""
        self.silent.pop(name, None)
        node = self._server.nodes.get(name)
        if node is not None and not node.ready:
            self._server.put_node(replace(node, ready=True, not_ready_since=None))

    def _not_ready(self, name: str, since: float) -> None:
        node = self._server.nodes.get(name)
        if self.silent.get(name) != since or node is None:
            return
        self._server.put_node(replace(node, ready=False, not_ready_since=self._server.clock.stamp))
        self._server.clock.after(TOLERATION_SECONDS, lambda: self._evict(name, since))

    def _evict(self, name: str, since: float) -> None:
        if self.silent.get(name) != since:
            return
        for pod in [pod for pod in self._server.pods.values() if pod.seen.node == name]:
            if pod.seen.phase not in ("Succeeded", "Failed") and not pod.seen.deleting:
                self._server.change_pod(pod.seen.uid, disruption="DeletionByTaintManager")
                self._server.delete_pod(pod.seen.uid)


class Scheduler:
    """Gives pods that wait a node that fits, or says that there is none."""

    def __init__(self, server: Server, chance: Random) -> None:
        self._server = server
        self._chance = chance
        self.work = Work(server.clock, chance, 0.5, self._schedule)
        server.subscribe(self._on)

    def _on(self, change: Change) -> None:
        waits = change.kind == "pod" and change.type != "DELETED" and change.value.node is None
        freed = change.kind == "pod" and (change.type == "DELETED" or change.value.ended)
        if change.kind == "node" or waits or freed:
            self.work.ask("pods")

    def _schedule(self, _what: str) -> None:
        server = self._server
        for pod in list(server.pods.values()):
            if pod.seen.node is not None or pod.seen.deleting or pod.seen.phase != "Pending":
                continue
            fitting = [name for name in server.nodes if self._fits(pod, name)]
            if fitting:
                node = self._chance.choice(fitting)
                server.change_pod(pod.seen.uid, node=node, scheduled_at=server.clock.stamp, unschedulable_message=None)
            elif pod.seen.unschedulable_message is None:
                text = f"0/{len(server.nodes)} nodes are available: insufficient nvidia.com/gpu"
                server.change_pod(pod.seen.uid, unschedulable_message=text)

    def _fits(self, pod: StoredPod, name: str) -> bool:
        node = self._server.nodes[name]
        selector = pod.template.get("nodeSelector") or {}
        if not node.ready or node.unschedulable or not selector.items() <= node.labels.items():
            return False
        if not _affinity_allows(pod.template, name):
            return False
        held = sum(
            other.gpus
            for other in self._server.pods.values()
            if other.seen.node == name and other.seen.phase not in ("Succeeded", "Failed")
        )
        return held + pod.gpus <= int(node.allocatable.get("nvidia.com/gpu", "0"))


def _affinity_allows(template: Manifest, node: str) -> bool:
    """Whether what the pod requires of a node's name holds: one of the terms, with all that it says."""
    affinity = (template.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all((node in field["values"]) is (field["operator"] == "In") for field in term["matchFields"])
        for term in required["nodeSelectorTerms"]
    )


class Queue:
    """What a queue does to the Jobs that are labelled with its name: lets them go on a while after they were made."""

    def __init__(self, server: Server, chance: Random) -> None:
        self._server = server
        self._chance = chance
        server.subscribe(self._on)

    def _on(self, change: Change) -> None:
        if change.kind == "job" and change.type == "ADDED" and change.value.suspended:
            name, uid = change.value.name, change.value.uid
            self._server.clock.after(self._chance.choice((1.0, 10.0, LONGEST_IN_QUEUE)), lambda: self._admit(name, uid))

    def _admit(self, name: str, uid: str) -> None:
        job = self._server.jobs.get(name)
        if job is not None and job.seen.uid == uid and job.seen.suspended:
            self._server.by("people", lambda: self._server.suspend_job(name, suspended=False))

"""What a run has on each of its hardware entries, and the capacity windows that follow from it.

Reads shards, Jobs, pods and nodes; how a window moves is `capacity`'s to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vidbench_api.names import RowPhase
from vidbench_api.run_spec import Hardware
from vidbench_api.run_status import HardwareWindow, ShardStatus

from .capacity import Bounds, Load, first_window, next_window, takes_pods
from .observed import ObservedPod, latest_pod
from .settle import Context, Entry


def windows_of(
    context: Context, loads: Mapping[str, Load], ready: Sequence[Entry], slots: int
) -> tuple[HardwareWindow, ...]:
    """Return the windows of the hardware entries, or none if the run's Jobs do not follow capacity but a queue, or nothing."""
    spec, observed = context.run.spec, context.observed
    if spec.autoscaling.mode != "Capacity" or spec.scheduling.queue_name:
        return ()
    bounds = Bounds(spec.autoscaling.min, spec.parallelism, context.policy.capacity_cooldown_seconds)
    parallelism = context.run.status.parallelism
    stored = {window.hardware: window for window in parallelism.windows} if parallelism is not None else {}
    resources = context.document.runner_class.resources
    held = Counter(pod.node for pod in latest_pods(context).values() if pod.node is not None and not pod.ended)
    wanted = Counter(entry.cell.hardware for entry in ready)
    windows = []
    for hardware in context.document.hardware:
        if hardware.name not in loads:
            continue
        known = stored.get(hardware.name)
        windows.append(
            next_window(known, loads[hardware.name], min(wanted[hardware.name], slots), bounds, context.now)
            if known is not None
            else first_window(hardware, resources, observed.nodes, held, bounds, context.now)
        )
    return tuple(windows)


def loads_of(context: Context, entries: Sequence[Entry]) -> dict[str, Load]:
    """Return what the run has on each hardware entry that has cells."""
    latest = latest_pods(context)
    scheduled = _scheduled_at(context, latest)
    loads = {}
    for name in dict.fromkeys(entry.cell.hardware for entry in entries):
        hardware = context.document.find_hardware(name)
        own = [entry for entry in entries if entry.cell.hardware == name]
        pods = [latest.get(entry.shard.job_uid or "") for entry in own if _wants_node(entry.shard)]
        without_node = [pod for pod in pods if pod is not None and pod.node is None]
        reported = [pod.created_at for pod in without_node if pod.unschedulable_message is not None]
        loads[name] = Load(
            pending=sum(pod is None or pod.node is None for pod in pods),
            unschedulable_since=min(reported, default=None),
            scheduled_at=tuple(sorted(scheduled.get(name, ()))),
            freed=sum(_frees(context, entry, hardware) for entry in own),
        )
    return loads


def _wants_node(shard: ShardStatus) -> bool:
    """Whether the shard's attempt is under way: one that has ended and is only looked into holds no place."""
    return shard.phase is RowPhase.ACTIVE and shard.harvest_at is None


def latest_pods(context: Context) -> dict[str, ObservedPod]:
    """Return the latest pod of every Job that has had one, by the Job's UID."""
    pods: dict[str, list[ObservedPod]] = {}
    for pod in context.observed.pods:
        pods.setdefault(pod.job_uid, []).append(pod)
    return {uid: latest for uid, mine in pods.items() if (latest := latest_pod(mine, uid)) is not None}


def _scheduled_at(context: Context, latest: Mapping[str, ObservedPod]) -> dict[str, list[float]]:
    """Return, by hardware entry, when each pod of the run got its node; those that have ended are told as well."""
    hardware_of = {cell.id: cell.hardware for cell in context.document.cells}
    mine = (job for job in context.observed.jobs if job.owner_uid == context.run.uid and not job.harvests)
    jobs = {job.uid: job.cell for job in mine}
    moments: dict[str, list[float]] = {}
    for uid, cell in jobs.items():
        pod = latest.get(uid)
        if pod is not None and pod.node is not None and cell in hardware_of:
            moment = pod.scheduled_at or pod.started_at or pod.created_at
            moments.setdefault(hardware_of[cell], []).append(moment)
    return moments


def _frees(context: Context, entry: Entry, hardware: Hardware) -> bool:
    """Whether an attempt ended in this pass and left room on a node that takes pods."""
    pod = entry.settled.ended.pod if entry.settled.ended is not None else None
    if pod is None or pod.node is None or not pod.ended:
        return False
    nodes = context.observed.nodes
    return nodes is None or ((node := nodes.get(pod.node)) is not None and takes_pods(node, hardware))

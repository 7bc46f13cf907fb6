"""What can happen to a run's Jobs and pods in the model cluster, by the name of the event and two numbers.

Every event is total: where there is nothing for it to happen to, nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from support.builders import Scene, ended_pod, latencies, pod_of
from support.model_cluster import CrashError, ModelCluster, OperatorPass
from vidbench_api.identity import attempt_name
from vidbench_api.measured import Series, Statistics, ValidityVerdict
from vidbench_api.message import encode
from vidbench_api.names import Outcome, Reason, Validity
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.validity import ValidityReason
from vidbench_api.verdict import Verdict
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod, latest_pod

Thing = TypeVar("Thing")
Event = Callable[[ModelCluster, int, int], None]
STEPS = (1.0, 7.0, 30.0, 61.0, 130.0, 400.0)


def time_passes(cluster: ModelCluster, first: int, _second: int) -> None:
    cluster.now += STEPS[first % len(STEPS)]


def watches_show(cluster: ModelCluster, _first: int, _second: int) -> None:
    cluster.see()


def operator_looks(cluster: ModelCluster, _first: int, _second: int) -> None:
    cluster.see()
    OperatorPass(cluster, cluster.views[-1]).run()


def operator_sees_the_past(cluster: ModelCluster, first: int, second: int) -> None:
    """A pass on an old view, which may end between two of its writes."""
    view = cluster.views[-1 - first % min(4, len(cluster.views))]
    try:
        OperatorPass(cluster, view, crash_after=second if second < 6 else None).run()
    except CrashError:
        cluster.see()


def two_replicas_look(cluster: ModelCluster, first: int, _second: int) -> None:
    cluster.see()
    old = cluster.views[-1 - first % min(3, len(cluster.views))]
    OperatorPass(cluster, old, rival=OperatorPass(cluster, cluster.views[-1]).run).run()


def job_controller_works(cluster: ModelCluster, _first: int, _second: int) -> None:
    """Every Job without a pod gets one; every Job whose pod has ended, or was deleted, ends."""
    for job in list(cluster.jobs.values()):
        if job.finished is not None or job.suspended:
            continue
        pod = latest_pod(cluster.pods.values(), job.uid)
        ever = latest_pod(cluster.pods_ever.values(), job.uid)
        if pod is not None and pod.ended:
            _finish(cluster, job, pod)
        elif pod is None and ever is not None and job.uid not in cluster.requeued:
            _finish(cluster, job, ever)
        elif pod is None and job.uid not in cluster.refusals:
            cluster.requeued.discard(job.uid)
            cluster.serial += 1
            cluster.put_pod(pod_of(job, uid=f"pod-{cluster.serial}", name=f"{job.name}-{cluster.serial}", created_at=cluster.now))  # fmt: skip


def _finish(cluster: ModelCluster, job: ObservedJob, pod: ObservedPod) -> None:
    how, reason, message = "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if pod.exit_code == 0:
        how, reason, message = "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    elif pod.exit_code is not None and 80 <= pod.exit_code <= 94:
        reason = "PodFailurePolicy"
        message = f"Container runner for pod lab/{pod.name} failed with exit code {pod.exit_code} matching FailJob rule at index 0"
    cluster.jobs[job.name] = replace(
        job, finished=how, finished_at=cluster.now, finished_reason=reason, finished_message=message
    )


def scheduler_works(cluster: ModelCluster, first: int, second: int) -> None:
    """A pod gets a node, or is told that there is none."""
    pod = _pick([pod for pod in cluster.pods.values() if pod.node is None and not pod.ended], first)
    if pod is None:
        return
    if second < 2:
        cluster.put_pod(replace(pod, unschedulable_message="0/1 nodes are available"))
        return
    node = f"node-{second % 2}"
    cluster.nodes.setdefault(node, ObservedNode(node, {}, ready=True))
    said_at = None if second == 9 else cluster.now
    cluster.put_pod(replace(pod, node=node, scheduled_at=said_at, unschedulable_message=None))


def container_waits(cluster: ModelCluster, first: int, second: int) -> None:
    waiting = ("ImagePullBackOff", "CreateContainerConfigError", "ContainerCreating")[second % 3]
    pod = _pick([pod for pod in cluster.pods.values() if pod.node is not None and pod.started_at is None], first)
    if pod is not None and not pod.ended:
        cluster.put_pod(replace(pod, waiting_reason=waiting, waiting_message="because"))


def container_starts(cluster: ModelCluster, first: int, second: int) -> None:
    """A runner starts, by the clock of its node, which may be wrong."""
    pod = _pick([pod for pod in cluster.pods.values() if pod.node is not None and pod.started_at is None], first)
    if pod is not None and not pod.ended:
        skew = -3600.0 if second == 9 else 0.0
        cluster.put_pod(replace(pod, phase="Running", started_at=cluster.now + skew, waiting_reason=None))


def all_goes_well(cluster: ModelCluster, first: int, second: int) -> None:
    """The operator looks, Jobs get pods, pods get nodes and start."""
    operator_looks(cluster, first, second)
    job_controller_works(cluster, first, second)
    for _ in range(len(cluster.pods)):
        scheduler_works(cluster, 0, 2 + first % 2)
        container_starts(cluster, 0, 0)


def runner_ends(cluster: ModelCluster, first: int, second: int) -> None:
    pod = _pick([pod for pod in cluster.pods.values() if pod.started_at is not None and not pod.ended], first)
    job = _job_of(cluster, pod)
    if pod is not None and job is not None:
        cluster.put_pod(_ended(cluster, job, pod, second))


def _ended(cluster: ModelCluster, job: ObservedJob, pod: ObservedPod, fate: int) -> ObservedPod:
    cluster.serial += 1
    cell = cluster.scene.document.find_cell(job.cell)
    where = {"cell": cell, "shard": job.shard, "attempt": job.attempt}
    scene, mine = cluster.scene, latencies(1_000_000 + cluster.serial, 1_500_000)
    fates = _fates(scene, where, mine)
    message, exit_code, reason = fates[fate % len(fates)]
    text = encode(message) if isinstance(message, Verdict) else message
    end = ended_pod(job, text, exit_code)
    return replace(
        pod, phase=end.phase, exit_code=exit_code, message=text, finished_at=cluster.now,
        container_reason=reason or end.container_reason,
    )  # fmt: skip


def _fates(
    scene: Scene, where: dict[str, object], mine: Series
) -> tuple[tuple[Verdict | str | None, int, str | None], ...]:
    beyond = mine.model_copy(update={"statistics": Statistics(count=2, mean=-1e300, min=0, median=0, max=0)})
    partial = ValidityVerdict(state=Validity.PARTIAL)
    passing = ValidityVerdict(state=Validity.INVALID, reasons=(ValidityReason.OTHER_PROCESSES.value,))
    return (
        (scene.verdict(**where, series=(mine,)), 0, None),
        (scene.verdict(**where, series=(mine,), validity=partial), 0, None),
        (scene.failure(Reason.MODEL_LOAD_FAILED, **where), 84, None),
        (scene.failure(Reason.OUT_OF_MEMORY_CUDA, Outcome.OUT_OF_MEMORY, **where), 81, None),
        (scene.written_ahead(**where, series=(mine,)), 137, None),
        (scene.written_ahead(**where, series=(mine,)), 137, "OOMKilled"),
        ("x" * 4096, 1, None),
        (None, 0, None),
        (scene.verdict(**{**where, "attempt": 999}, series=(mine,)), 0, None),
        (scene.verdict(**where, series=(beyond,)), 0, None),
        (scene.verdict(**where, series=(mine,), validity=passing), 0, None),
    )


def pod_is_deleted(cluster: ModelCluster, first: int, second: int) -> None:
    """A pod goes: unseen, seen, or after an orderly end that only its last event tells of."""
    pod = _pick(list(cluster.pods.values()), first)
    job = _job_of(cluster, pod)
    if pod is None:
        return
    if job is not None and pod.started_at is not None and not pod.ended and second % 4 == 1:
        cluster.put_pod(replace(_ended(cluster, job, pod, second), deleting=True))
    cluster.drop_pod(pod.uid, seen=second % 4 != 0)


def job_is_deleted(cluster: ModelCluster, first: int, second: int) -> None:
    job = _pick(list(cluster.jobs.values()), first)
    if job is not None:
        cluster.deleted_by_hand.add(job.uid)
        cluster.drop_job(job.name, seen=second % 2 == 0)


def job_is_replaced(cluster: ModelCluster, first: int, _second: int) -> None:
    """Somebody deletes a Job and restores it from a backup: the same name and owner, another UID."""
    job = _pick(list(cluster.jobs.values()), first)
    if job is None:
        return
    cluster.drop_job(job.name, seen=True)
    cluster.serial += 1
    cluster.deleted_by_hand.add(job.uid)
    restored = ObservedJob(
        job.name, f"job-{cluster.serial}", job.owner_uid, job.cell, job.shard, job.attempt, cluster.now
    )
    cluster.deleted_by_hand.add(restored.uid)
    cluster.jobs_created[job.name].append(restored.uid)
    cluster.jobs[job.name] = restored


def job_is_requeued(cluster: ModelCluster, first: int, second: int) -> None:
    """A queue takes the node away: the pod goes with what it had written, the Job stays and gets another pod."""
    pod = _pick([pod for pod in cluster.pods.values() if pod.started_at is not None and not pod.ended], first)
    job = _job_of(cluster, pod)
    if pod is not None and job is not None:
        cluster.requeued.add(job.uid)
        cluster.put_pod(replace(_ended(cluster, job, pod, 4), deleting=True))
        cluster.drop_pod(pod.uid, seen=second % 2 == 0)


def queue_lets_go(cluster: ModelCluster, first: int, _second: int) -> None:
    job = _pick([job for job in cluster.jobs.values() if job.suspended and not job.finished], first)
    if job is not None:
        cluster.let_go(job)


def queue_takes_back(cluster: ModelCluster, first: int, second: int) -> None:
    """Evict a Job: it is held again, and its pod goes with what it had written."""
    if not cluster.scene.run.spec.scheduling.queue_name:
        return
    job = _pick([job for job in cluster.jobs.values() if not job.suspended and not job.finished], first)
    pod = latest_pod(cluster.pods.values(), job.uid) if job is not None else None
    if job is None or (pod is not None and pod.ended):
        return
    cluster.jobs[job.name] = replace(job, suspended=True)
    cluster.requeued.add(job.uid)
    if pod is not None:
        cluster.put_pod(replace(_ended(cluster, job, pod, 4), deleting=True))
        cluster.drop_pod(pod.uid, seen=second % 2 == 0)


def node_falls_silent(cluster: ModelCluster, first: int, _second: int) -> None:
    pod = _pick([pod for pod in cluster.pods.values() if pod.node is not None and not pod.ended], first)
    if pod is not None and pod.node is not None:
        cluster.nodes[pod.node] = ObservedNode(pod.node, {}, ready=False, not_ready_since=cluster.now)
        cluster.put_pod(replace(pod, deleting=True, deletes_at=cluster.now + 30))


def run_is_scaled(cluster: ModelCluster, _first: int, second: int) -> None:
    _respecify(cluster, parallelism=second % 5)
    cluster.version += 1


def run_is_held(cluster: ModelCluster, first: int, _second: int) -> None:
    """Its user suspends the run, or lets it go on."""
    _respecify(cluster, suspend=first % 2 == 0)


def run_is_cancelled(cluster: ModelCluster, first: int, second: int) -> None:
    if first == 0:
        known = cluster.scene.run.spec.cancel
        _respecify(cluster, cancel="Immediate" if second % 2 or known == "Immediate" else "Graceful")


def _respecify(cluster: ModelCluster, **changes: object) -> None:
    run = cluster.scene.run
    spec = BenchmarkRunSpec.model_validate(run.spec.to_wire() | changes)
    cluster.scene = replace(cluster.scene, run=replace(run, spec=spec, generation=run.generation + 1))


def name_is_taken(cluster: ModelCluster, first: int, second: int) -> None:
    name = _next_name(cluster, first, second)
    if name not in cluster.jobs:
        cluster.foreign.add(name)


def server_refuses(cluster: ModelCluster, first: int, second: int) -> None:
    cluster.refusing[_next_name(cluster, first, second)] = 'jobs.batch "x" is forbidden: exceeded quota: compute'


def server_permits(cluster: ModelCluster, _first: int, _second: int) -> None:
    cluster.refusing.clear()
    cluster.refusals.clear()


def pods_are_refused(cluster: ModelCluster, first: int, _second: int) -> None:
    job = _pick(list(cluster.jobs.values()), first)
    if job is not None:
        cluster.refusals[job.uid] = "pods is forbidden: violates PodSecurity"


def jobs_expire(cluster: ModelCluster, _first: int, _second: int) -> None:
    for job in [job for job in cluster.jobs.values() if job.ttl_seconds is not None]:
        cluster.drop_job(job.name, seen=False)


def _next_name(cluster: ModelCluster, first: int, second: int) -> str:
    row = cluster.status.rows[first % len(cluster.status.rows)]
    shard = row.shards[second % len(row.shards)]
    return attempt_name(cluster.scene.run.name, row.id, shard.index, shard.attempt + 1)


def _pick(things: list[Thing], number: int) -> Thing | None:
    return things[number % len(things)] if things else None


def _job_of(cluster: ModelCluster, pod: ObservedPod | None) -> ObservedJob | None:
    return next((job for job in cluster.jobs.values() if pod is not None and job.uid == pod.job_uid), None)


ACCIDENTS: tuple[Event, ...] = (
    operator_sees_the_past,
    two_replicas_look,
    container_waits,
    pod_is_deleted,
    job_is_deleted,
    job_is_replaced,
    job_is_requeued,
    queue_takes_back,
    node_falls_silent,
    run_is_scaled,
    run_is_held,
    run_is_cancelled,
    name_is_taken,
    server_refuses,
    server_permits,
    pods_are_refused,
    jobs_expire,
)
PROGRESS: tuple[Event, ...] = (
    time_passes,
    watches_show,
    operator_looks,
    job_controller_works,
    scheduler_works,
    container_starts,
    all_goes_well,
    queue_lets_go,
    runner_ends,
    runner_ends,
)
"""What drives a run on."""

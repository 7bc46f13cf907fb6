"""What can happen to a simulated cluster besides time: accidents of the world, faults round the operator, and people.

An action is a function of the simulation and of dice; it returns whether there was anything for it to happen to. To
add one, write it and put it into its group: it is then drawn, counted, replayed and shrunk like the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeVar

from support.builders import references

from vidbench_operator.core.observed import ObservedRun, References
from vidbench_operator.ports import RunKey

from .connection import CALL_FAULTS, CallFault
from .process import KINDS, OperatorProcess, Watch
from .scenario import SHORT, make_node
from .server import Kind, StoredJob, StoredPod, StoredRun
from .simulation import Simulation

Thing = TypeVar("Thing")
Action = Callable[[Simulation, Random], bool]

VERBS = ("", "list", "write status", "create", "create job", "create result", "create configmap", "delete", "patch")
"""How the calls begin that something may happen to."""

LAGGING: tuple[tuple[Kind, ...], ...] = (("run",), ("job",), ("pod",), ("node",), ("job", "pod"), ("job", "pod"))
_ABOUT = {"replaced before": "delete", "edited before": "write status", "refused": "create"}

# Time


def wait(sim: Simulation, chance: Random) -> bool:
    """Nothing but time."""
    sim.advance(chance.choice((0.2, 1.0, 1.0, 3.0, 3.0, 8.0, 8.0, 20.0, 61.0, 130.0)))
    return True


# The world


def pod_is_evicted(sim: Simulation, chance: Random) -> bool:
    return _disrupt(sim, chance, "EvictionByEvictionAPI")


def pod_is_preempted(sim: Simulation, chance: Random) -> bool:
    return _disrupt(sim, chance, "PreemptionByScheduler")


def node_falls_silent(sim: Simulation, chance: Random) -> bool:
    names = [name for name in sim.server.nodes if name not in sim.node_controller.silent]
    name = _pick(names, chance)
    if name is not None:
        sim.node_controller.fall_silent(name)
    return name is not None


def node_comes_back(sim: Simulation, chance: Random) -> bool:
    name = _pick(list(sim.node_controller.silent), chance)
    if name is not None:
        sim.kubelets.come_back(name)
    return name is not None


def node_is_lost_for_good(sim: Simulation, chance: Random) -> bool:
    """The machine goes, and its object with it."""
    name = _pick(list(sim.server.nodes), chance)
    if name is not None:
        sim.node_controller.silent.pop(name, None)
        sim.server.remove_node(name)
    return name is not None


def node_is_added(sim: Simulation, chance: Random) -> bool:
    if len(sim.server.nodes) >= 4:
        return False
    sim.server.put_node(make_node(sim.server.next_uid("node"), chance.choice((1, 2, 8))))
    return True


def node_is_cordoned(sim: Simulation, chance: Random) -> bool:
    node = _pick([node for node in sim.server.nodes.values() if not node.unschedulable], chance)
    if node is not None:
        sim.server.put_node(replace(node, unschedulable=True))
    return node is not None


def node_is_uncordoned(sim: Simulation, chance: Random) -> bool:
    node = _pick([node for node in sim.server.nodes.values() if node.unschedulable], chance)
    if node is not None:
        sim.server.put_node(replace(node, unschedulable=False))
    return node is not None


def node_is_drained(sim: Simulation, chance: Random) -> bool:
    node = _pick([node for node in sim.server.nodes.values() if _pods_on(sim, node.name)], chance)
    if node is None:
        return False
    sim.server.put_node(replace(node, unschedulable=True))
    for pod in _pods_on(sim, node.name):
        sim.server.change_pod(pod.seen.uid, disruption="EvictionByEvictionAPI")
        sim.server.delete_pod(pod.seen.uid)
    return True


def clock_of_node_goes_wrong(sim: Simulation, chance: Random) -> bool:
    name = _pick(list(sim.server.nodes), chance)
    if name is not None:
        sim.kubelets.skew[name] = chance.choice((-3600.0, -30.0, 30.0, 3600.0))
    return name is not None


def quota_of_pods(sim: Simulation, chance: Random) -> bool:
    sim.server.pod_quota = chance.choice((0, 1, 2))
    return True


def quota_of_jobs(sim: Simulation, chance: Random) -> bool:
    sim.server.job_quota = chance.choice((0, 1, 3))
    return True


def quotas_are_lifted(sim: Simulation, _chance: Random) -> bool:
    was = sim.server.pod_quota is not None or sim.server.job_quota is not None
    sim.server.pod_quota = sim.server.job_quota = None
    return was


def controllers_are_down(sim: Simulation, chance: Random) -> bool:
    work = chance.choice((sim.jobs, sim.garbage, sim.collector, sim.scheduler)).work
    work.go_down(chance.choice((5.0, 40.0)))
    return True


# Faults round the operator


def call_goes_wrong(sim: Simulation, chance: Random) -> bool:
    """One of the next calls of a process fails, is slow, kills it, or meets somebody who was faster."""
    process = _process(sim, chance)
    if process is None:
        return False
    for _ in range(chance.choice((1, 2, 4))):
        kind = chance.choice(CALL_FAULTS)
        verb = _ABOUT.get(kind) or chance.choice(VERBS)
        process.connection.faults.append(CallFault(kind, chance.choice((1, 1, 2, 3)), verb))
    return True


def operator_is_killed(sim: Simulation, chance: Random) -> bool:
    process = _process(sim, chance)
    if process is not None:
        process.connection.dead = True
    return process is not None


def second_operator_starts(sim: Simulation, _chance: Random) -> bool:
    if len(sim.processes) != 1:
        return False
    sim.start_operator()
    return True


def second_operator_ends(sim: Simulation, chance: Random) -> bool:
    if len(sim.processes) < 2:
        return False
    sim.stop_operator(chance.choice(sim.processes))
    return True


def operators_look_at_once(sim: Simulation, _chance: Random) -> bool:
    """Every process begins a pass over every run at the same moment."""
    for process in sim.processes:
        for key in sim.server.runs:
            process.add(key)
    return len(sim.processes) > 1


def api_is_away(sim: Simulation, chance: Random) -> bool:
    """No call and no event comes through for a while; then every watch begins anew."""
    process = _process(sim, chance)
    if process is None:
        return False
    process.connection.cut_off = True
    for watch in process.watches.values():
        watch.broken = True
    sim.clock.after(chance.choice((2.0, 15.0, 90.0)), lambda: reconnect(process))
    return True


def reconnect(process: OperatorProcess) -> None:
    """Let calls through again, and let broken watches begin anew."""
    process.connection.cut_off = False
    for watch in process.watches.values():
        if watch.broken and process.alive:
            watch.begin_anew()


def watch_lags(sim: Simulation, chance: Random) -> bool:
    """One watch, or that of Jobs and that of pods together."""
    process = _process(sim, chance)
    if process is None:
        return False
    lag, over = chance.choice((2.0, 20.0, 60.0)), chance.choice((20.0, 120.0))
    for kind in chance.choice(LAGGING):
        watch = process.watches[kind]
        watch.lag = lag
        sim.clock.after(over, functools.partial(setattr, watch, "lag", 0.0))
    return True


def watch_loses_events(sim: Simulation, chance: Random) -> bool:
    watch = _watch(sim, chance)
    if watch is not None:
        watch.to_lose += chance.choice((1, 1, 3, 10))
    return watch is not None


def watch_repeats_events(sim: Simulation, chance: Random) -> bool:
    watch = _watch(sim, chance)
    if watch is not None:
        watch.to_repeat += chance.choice((1, 3))
    return watch is not None


def watch_breaks_off(sim: Simulation, chance: Random) -> bool:
    """A gap (HTTP 410): what is deleted in it is never told."""
    watch = _watch(sim, chance)
    if watch is None:
        return False
    watch.broken = True
    sim.clock.after(chance.choice((0.5, 10.0, 40.0)), lambda: watch.begin_anew() if watch.broken else None)
    return True


def clock_of_api_jumps(sim: Simulation, chance: Random) -> bool:
    sim.clock.jump(chance.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0)))
    return True


# People


def run_is_scaled(sim: Simulation, chance: Random) -> bool:
    return _edit(sim, chance, parallelism=chance.choice((0, 1, 2, 4, 8)))


def run_time_is_changed(sim: Simulation, chance: Random) -> bool:
    stored = _run(sim, chance)
    if stored is None:
        return False
    seconds = chance.choice((SHORT, 2 * SHORT, 100_000))
    timeouts = stored.seen.spec.timeouts.to_wire() | {"runSeconds": seconds}
    sim.server.edit_run(_key(stored.seen), timeouts=timeouts)
    return True


def time_to_live_is_changed(sim: Simulation, chance: Random) -> bool:
    return _edit(sim, chance, ttl={"jobsSeconds": chance.choice((0, 60)), "failedJobsSeconds": chance.choice((0, 60))})


def run_is_suspended(sim: Simulation, chance: Random) -> bool:
    return _edit(sim, chance, suspend=True)


def run_is_resumed(sim: Simulation, chance: Random) -> bool:
    return _edit(sim, chance, suspend=False)


def run_is_cancelled(sim: Simulation, chance: Random) -> bool:
    """Gracefully or at once; the API takes no cancel back."""
    stored = _run(sim, chance)
    if stored is None or stored.seen.spec.cancel == "Immediate":
        return False
    sim.server.edit_run(_key(stored.seen), cancel=chance.choice(("Graceful", "Immediate")))
    return True


def run_is_labelled(sim: Simulation, chance: Random) -> bool:
    return _edit(sim, chance)


def run_is_deleted(sim: Simulation, chance: Random) -> bool:
    stored = _run(sim, chance)
    if stored is None or stored.deleting:
        return False
    if chance.random() < 0.5:
        sim.server.mark_run_deleting(_key(stored.seen))
    else:
        sim.server.remove_run(_key(stored.seen))
    return True


def run_is_applied_again(sim: Simulation, _chance: Random) -> bool:
    """Under the name of one that is gone."""
    if sim.key in sim.server.runs:
        return False
    sim.apply_again(sim.key)
    return True


def job_is_deleted_by_hand(sim: Simulation, chance: Random) -> bool:
    job = _pick(list(sim.server.jobs.values()), chance)
    if job is not None:
        sim.invariants.excused.add(job.seen.uid)
        sim.server.remove_job(job.seen.name)
    return job is not None


def job_is_restored(sim: Simulation, chance: Random) -> bool:
    """Deleted, and made again from a backup: the same name and owner, another UID."""
    job = _pick(list(sim.server.jobs.values()), chance)
    if job is None:
        return False
    sim.invariants.excused.add(job.seen.uid)
    sim.server.remove_job(job.seen.name)
    restored = sim.server.add_job(job.manifest, job.seen.owner_uid)
    sim.invariants.excused.add(restored.seen.uid)
    return True


def name_of_job_is_taken(sim: Simulation, chance: Random) -> bool:
    """Somebody else makes a Job of the name that an attempt has or will have."""
    job = _pick(list(sim.server.jobs.values()), chance)
    name = _pick([name for name in sim.active_names() if name not in sim.server.jobs], chance)
    if job is None or name is None:
        return False
    cell, shard, attempt = name.rsplit("-", 3)[1:]
    labels = {**job.manifest["metadata"]["labels"], "vidbench.io/cell": cell, "vidbench.io/shard": shard}
    metadata = {**job.manifest["metadata"], "name": name, "labels": {**labels, "vidbench.io/attempt": attempt}}
    foreign = sim.server.add_job({**job.manifest, "metadata": metadata}, None)
    sim.invariants.excused.add(foreign.seen.uid)
    return True


def pod_is_deleted_by_hand(sim: Simulation, chance: Random) -> bool:
    pod = _pick(list(sim.server.pods.values()), chance)
    if pod is not None:
        sim.server.delete_pod(pod.seen.uid)
    return pod is not None


def pod_is_deleted_by_force(sim: Simulation, chance: Random) -> bool:
    """Without waiting for its node, which goes on with it for a while."""
    pod = _pick(list(sim.server.pods.values()), chance)
    if pod is not None:
        sim.server.delete_pod(pod.seen.uid, grace=0.0)
        sim.server.release_pod(pod.seen.uid)
    return pod is not None


def queue_takes_a_job_back(sim: Simulation, chance: Random) -> bool:
    """Suspends a Job, which loses its pod, and lets it go on a while later."""
    job = _pick([job for job in sim.server.jobs.values() if job.seen.finished is None], chance)
    if job is None or job.seen.suspended:
        return False
    _suspend(sim, job, suspended=True)
    sim.clock.after(chance.choice((3.0, 30.0, 200.0)), lambda: _suspend(sim, job, suspended=False))
    return True


def request_is_deleted(sim: Simulation, chance: Random) -> bool:
    """The ConfigMap of a run; with it gone, the document is rebuilt from what the run names."""
    name = _pick(list(sim.server.configmaps), chance)
    if name is not None:
        del sim.server.configmaps[name]
    return name is not None


def class_goes(sim: Simulation, chance: Random) -> bool:
    key = _pick(list(sim.server.references), chance)
    if key is None:
        return False
    found = sim.server.references[key]
    sim.server.references[key] = References(None, found.models)
    return found.runner_class is not None


def class_comes(sim: Simulation, chance: Random) -> bool:
    stored = _run(sim, chance)
    if stored is None or sim.server.references[_key(stored.seen)].runner_class is not None:
        return False
    sim.server.references[_key(stored.seen)] = references(stored.seen.spec)
    for process in sim.processes:
        process.add(_key(stored.seen))
    return True


WORLD: tuple[Action, ...] = (
    pod_is_evicted, pod_is_preempted, node_falls_silent, node_comes_back, node_is_lost_for_good, node_is_added,
    node_is_cordoned, node_is_uncordoned, node_is_drained, clock_of_node_goes_wrong, quota_of_pods, quota_of_jobs,
    quotas_are_lifted, controllers_are_down,
)  # fmt: skip
FAULTS: tuple[Action, ...] = (
    call_goes_wrong, call_goes_wrong, call_goes_wrong, call_goes_wrong, operator_is_killed, second_operator_starts,
    second_operator_starts, second_operator_ends, operators_look_at_once, api_is_away, watch_lags, watch_loses_events,
    watch_repeats_events, watch_breaks_off, clock_of_api_jumps,
)  # fmt: skip
PEOPLE: tuple[Action, ...] = (
    run_is_scaled, run_is_suspended, run_is_resumed, run_is_resumed, run_is_cancelled, run_time_is_changed, time_to_live_is_changed, run_is_labelled, run_is_deleted, run_is_applied_again,
    job_is_deleted_by_hand, job_is_restored, name_of_job_is_taken, pod_is_deleted_by_hand, pod_is_deleted_by_force,
    queue_takes_a_job_back, request_is_deleted, class_goes, class_comes,
)  # fmt: skip
BY_NAME: dict[str, Action] = {action.__name__: action for action in (wait, *WORLD, *FAULTS, *PEOPLE)}


def _pick(things: list[Thing], chance: Random) -> Thing | None:
    return things[chance.randrange(len(things))] if things else None


def _process(sim: Simulation, chance: Random) -> OperatorProcess | None:
    return _pick(sim.processes, chance)


def _watch(sim: Simulation, chance: Random) -> Watch | None:
    process = _process(sim, chance)
    return process.watches[chance.choice(KINDS)] if process is not None else None


def _run(sim: Simulation, chance: Random) -> StoredRun | None:
    return _pick([stored for stored in sim.server.runs.values() if stored.broken is None], chance)


def _key(run: ObservedRun) -> RunKey:
    return RunKey(run.namespace, run.name)


def _edit(sim: Simulation, chance: Random, **changes: object) -> bool:
    stored = _run(sim, chance)
    if stored is None or stored.deleting:
        return False
    return sim.server.edit_run(_key(stored.seen), **changes)


def _pods_on(sim: Simulation, node: str) -> list[StoredPod]:
    return [pod for pod in sim.server.pods.values() if pod.seen.node == node and not pod.seen.ended]


def _disrupt(sim: Simulation, chance: Random, reason: str) -> bool:
    pods = [pod for pod in sim.server.pods.values() if pod.seen.node is not None and not pod.seen.ended]
    pod = _pick(pods, chance)
    if pod is None or pod.seen.deleting:
        return False
    sim.server.change_pod(pod.seen.uid, disruption=reason)
    sim.server.delete_pod(pod.seen.uid)
    return True


def _suspend(sim: Simulation, job: StoredJob, *, suspended: bool) -> None:
    if sim.server.jobs.get(job.seen.name) is job and job.seen.finished is None:
        sim.server.by("people", lambda: sim.server.suspend_job(job.seen.name, suspended=suspended))

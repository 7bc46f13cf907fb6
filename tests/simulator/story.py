"""A seed's whole story: a trace of steps is drawn and played, then faults stop, every run has to end, and all has to rest.

`play` tells how it went. A trace that ends badly can be shortened by leaving out steps for as long as it ends the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from support.builders import references

from vidbench_api.names import Outcome
from vidbench_operator.core.lifecycle import deadline_of
from vidbench_operator.ports import RunKey

from .actions import BY_NAME, FAULTS, PEOPLE, WORLD, reconnect, wait
from .controllers import LONGEST_IN_QUEUE
from .invariants import Violation
from .process import RESYNC_SECONDS
from .scenario import LONG, LONGEST_ATTEMPT, make_node
from .simulation import REAL, Code, Simulation, Step

USELESS_SECONDS = 60.0
SETTLE_SECONDS = 500.0
REST_SECONDS = 700.0
QUIET_WAITS = 0.45
FREE_ATTEMPTS = 8
"""Disruptions of a shard that come by the fates of its pods alone: they are not charged."""


@dataclass
class Story:
    """How a seed went."""

    seed: int
    trace: tuple[Step, ...]
    violation: str | None = None
    kind: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    calls: tuple[str, ...] = ()


def draw_trace(seed: int) -> tuple[Step, ...]:
    """Return the steps of a seed: much waiting, and of the rest a mixture that differs from seed to seed."""
    chance = Random(f"{seed}/trace")
    groups = (WORLD, FAULTS, PEOPLE)
    weights = [chance.choice((0.2, 1.0, 3.0)) for _ in groups]
    steps = []
    for _ in range(chance.choice((4, 10, 20, 40))):
        [group] = chance.choices(groups, weights)
        name = "wait" if chance.random() < QUIET_WAITS else chance.choice(group).__name__
        steps.append(Step(name, chance.randrange(2**32)))
    return tuple(steps)


def play(seed: int, trace: Sequence[Step] | None = None, code: Code = REAL) -> Story:
    """Play a seed's trace, or another one in its world, to the end."""
    steps = tuple(draw_trace(seed) if trace is None else trace)
    story = Story(seed, steps)
    sim = Simulation(seed, code)
    try:
        for step in steps:
            take(sim, step)
            if sim.violation is not None:
                break
        if sim.violation is None:
            finish(sim)
    except Violation as found:
        sim.violation = sim.violation or found
    story.counts = sim.counts
    if sim.violation is not None:
        story.violation = str(sim.violation) or repr(sim.violation)
        story.kind = f"{type(sim.violation).__name__}: {story.violation.split(':')[0]}"
        story.calls = tuple(
            f"{call.at:9.2f} s  operator {call.process}  {call.verb} {call.subject}: {call.answer}"
            for call in sim.calls
        )
    return story


def take(sim: Simulation, step: Step) -> None:
    """Let one step happen, and its first consequences."""
    action, chance = BY_NAME[step.action], Random(step.number)
    if action(sim, chance) if action is wait else sim.server.by("people", lambda: action(sim, chance)):
        sim.count(f"step: {step.action}")
    sim.drive()


def finish(sim: Simulation) -> None:
    """Stop the faults; then every run ends within its bound, stays ended, and nothing more is written."""
    stop_faults(sim)
    _end_within_bound(sim)
    _rest(sim)


def stop_faults(sim: Simulation) -> None:
    """Let nothing go wrong any more; where the scenario says so, put the world right as well."""
    sim.be_faultless()
    for process in sim.processes:
        process.connection.faults.clear()
        process.connection.skew = 0.0
        reconnect(process)
        for watch in process.watches.values():
            watch.lag, watch.to_lose, watch.to_repeat = 0.0, 0, 0
    for extra in sim.processes[1:]:
        sim.stop_operator(extra)
    if not sim.processes:
        sim.start_operator()
    for controller in (sim.jobs, sim.garbage, sim.collector, sim.scheduler):
        controller.work.come_up()
    if sim.scenario.restores:
        _put_right(sim)
    for key, stored in sim.server.runs.items():
        if not sim.terminal(key):
            sim.server.edit_run(key, parallelism=stored.seen.spec.parallelism or 2, suspend=False)
    sim.drive()


def _put_right(sim: Simulation) -> None:
    sim.server.pod_quota = sim.server.job_quota = None
    sim.kubelets.skew.clear()
    for name in list(sim.node_controller.silent):
        sim.kubelets.come_back(name)
    for node in list(sim.server.nodes.values()):
        sim.server.put_node(replace(node, unschedulable=False))
    sim.server.put_node(make_node("node-restored", 8))
    for key, stored in sim.server.runs.items():
        sim.server.references[key] = references(stored.seen.spec)


def bound_of(sim: Simulation, key: RunKey) -> float:
    """Return seconds within which a run must end from now on: by its own limit, or if that is long, by its attempts'."""
    run = sim.server.runs[key].seen
    # Who waits by a clock that does not jump learns of a jump by the next list at the latest.
    late = 30.0 + (RESYNC_SECONDS if sim.counts["step: clock_of_api_jumps"] else 0.0)
    own = max(0.0, deadline_of(run, sim.clock.api) - sim.clock.api) + late
    attempts = (
        3 + FREE_ATTEMPTS + run.spec.failure_policy.infrastructure_retries + run.spec.failure_policy.unknown_retries
    )
    if run.spec.scheduling.queue_name:
        # No clock of the run's goes while a queue holds all its Jobs.
        own += attempts * LONGEST_IN_QUEUE
    rows = max(1, len(run.spec.models) * len(run.spec.hardware)) * run.spec.measurement.shards
    return min(own, rows * attempts * LONGEST_ATTEMPT)


def _end_within_bound(sim: Simulation) -> None:
    bound = max((bound_of(sim, key) for key in sim.server.runs), default=0.0)
    begin = sim.clock.monotonic
    if not sim.advance_until(sim.all_terminal, bound) and sim.violation is None:
        waiting = [
            f"{key.name}: {stored.seen.status.message}"
            for key, stored in sim.server.runs.items()
            if not sim.terminal(key)
        ]
        raise Violation(f"liveness: not ended {sim.clock.monotonic - begin:.0f} s after the faults: {waiting}")
    for key, stored in sim.server.runs.items():
        run = stored.seen
        if sim.violation is None and stored.broken is None and run.spec.timeouts.run_seconds == LONG:
            cut = [row.id for row in run.status.rows for shard in row.shards if shard.reason == "RunDeadlineExceeded"]
            if cut and sim.counts["step: clock_of_api_jumps"] == 0:
                raise Violation(f"liveness: only its own deadline ended cells {cut} of run {key.name}")


def _rest(sim: Simulation) -> None:
    """I9, I5 and the ledger a while after the end; then I7, over a list of everything and a restart."""
    sim.advance(USELESS_SECONDS)
    _check_nothing_held(sim)
    sim.advance(SETTLE_SECONDS)
    _check_children(sim)
    _check_ledger(sim)
    before = sim.server.writes
    statuses = {key: stored.seen.status for key, stored in sim.server.runs.items()}
    sim.advance(REST_SECONDS / 2)
    for process in list(sim.processes):
        sim.stop_operator(process)
    sim.start_operator()
    sim.advance(REST_SECONDS / 2)
    if sim.violation is None and sim.server.writes != before:
        raise Violation(f"I7: {sim.server.writes - before} writes at rest")
    if any(stored.seen.status != statuses[key] for key, stored in sim.server.runs.items() if key in statuses):
        raise Violation("liveness: an end did not stay")


def _check_nothing_held(sim: Simulation) -> None:
    for pod in sim.server.pods.values():
        job = sim.server.jobs.get(pod.job_name)
        foreign = job is not None and job.seen.owner_uid is None
        if not foreign and not pod.seen.ended and not pod.seen.deleting and sim.violation is None:
            raise Violation(f"I9: pod {pod.seen.name} runs {USELESS_SECONDS:.0f} s after the end of every run")


def _check_children(sim: Simulation) -> None:
    owners = {stored.seen.uid for stored in sim.server.runs.values()}
    for job in sim.server.jobs.values():
        if job.seen.owner_uid not in (None, *owners):
            raise Violation(f"I5: Job {job.seen.name} outlives its run")
        going = job.seen.deleting or job.seen.owner_uid is None
        if not going and job.seen.finished is None and sim.violation is None:
            raise Violation(f"I9: Job {job.seen.name} is there, not finished, after the end of its run")
    for name, (uid, _) in sim.server.configmaps.items():
        if uid not in owners:
            raise Violation(f"I5: ConfigMap {name} outlives its run")


def _check_ledger(sim: Simulation) -> None:
    """Every shard of a run that was measured to its end has its result, and what succeeded is there."""
    for key, stored in sim.server.runs.items():
        for row in stored.seen.status.rows:
            for shard in row.shards:
                if shard.result is not None and shard.result not in sim.server.results:
                    raise Violation(f"I2: run {key.name} names result {shard.result}, and there is none")
                if shard.outcome is Outcome.SUCCEEDED and shard.result is None:
                    raise Violation(f"I2: a shard of run {key.name} succeeded without a result")


def shorten(story: Story, code: Code = REAL, tries: int = 150) -> Story:
    """Return a story with as few steps as were found that ends with a violation of the same kind."""
    best, size = story, max(1, len(story.trace) // 2)
    while size >= 1 and tries > 0:
        position = 0
        while position < len(best.trace) and tries > 0:
            tries -= 1
            candidate = play(story.seed, best.trace[:position] + best.trace[position + size :], code)
            if candidate.violation is not None and candidate.kind == best.kind:
                best = candidate
            else:
                position += size
        size //= 2
    return best

"""Circuit breakers of one run, per node and per model, derived from the run's own shards. Values in, values out.

Closed: nothing speaks against it. Open: it failed too often in a row, and is left alone until its cool-down is over.
Half-open: then one attempt is let through; a success closes it, a failure opens it for twice as long. What other runs
saw is not looked at: no tenant closes a node for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.run_status import Breaker, ShardStatus

from .failures import FailureClass, class_of
from .policy import Policy
from .timestamps import format_time, parse_time

_MAX_BREAKERS = 64
"""As the schema has it."""

_OF_THE_PLACE = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.LOST, FailureClass.UNKNOWN})
_UNEXPLAINED = frozenset({FailureClass.LOST, FailureClass.UNKNOWN})
_WITHOUT_A_POD = frozenset(
    reason.value
    for reason in (
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_REFUSED,
        Reason.NAME_CONFLICT,
        Reason.BREAKER_OPEN,
        Reason.RUNG_SKIPPED,
    )
)
"""Ends that cost no GPU time and say nothing about a model."""

Kind = Literal["Node", "Model"]
Event = tuple[float, bool, str]
"""When an attempt ended, whether that speaks for node or model, and of which shard it was."""


@dataclass(frozen=True)
class Trial:
    """A shard with the names that its breakers go by."""

    cell: str
    model: str | None
    """None for a rung: what it does says nothing about the model."""

    shard: ShardStatus

    @property
    def name(self) -> str:
        """Cell and index: which shard it is."""
        return f"{self.cell}/{self.shard.index}"


@dataclass(frozen=True)
class Circuit:
    """A breaker that is not closed."""

    kind: Kind
    name: str
    failures: int
    """In a row, up to the latest."""

    until: float
    """When one attempt may try again."""

    failed_probes: int = 0

    def is_open(self, now: float) -> bool:
        """Whether nothing may go through yet."""
        return now < self.until

    def to_status(self, now: float) -> Breaker:
        """Return the entry of the status."""
        state: Literal["Open", "HalfOpen"] = "Open" if self.is_open(now) else "HalfOpen"
        return Breaker(
            kind=self.kind, name=self.name, state=state, failures=self.failures, until=format_time(self.until)
        )


@dataclass(frozen=True)
class Breakers:
    """The breakers of a run that are not closed, by name."""

    nodes: Mapping[str, Circuit] = field(default_factory=dict)
    models: Mapping[str, Circuit] = field(default_factory=dict)

    def to_status(self, now: float) -> tuple[Breaker, ...]:
        """Return the entries of the status: models first, as they end shards; then by name."""
        circuits = [*self.models.values(), *self.nodes.values()]
        ordered = sorted(circuits, key=lambda circuit: (circuit.kind, circuit.name))
        return tuple(circuit.to_status(now) for circuit in ordered[:_MAX_BREAKERS])

    def wake_at(self, now: float) -> float | None:
        """Return when the next one half opens."""
        return min(
            (circuit.until for circuit in (*self.models.values(), *self.nodes.values()) if circuit.is_open(now)),
            default=None,
        )


def find_breakers(trials: Sequence[Trial], policy: Policy) -> Breakers:
    """Return the breakers that are not closed, by what has ended so far."""
    nodes = {
        name: circuit
        for name, events in _events_of_nodes(trials).items()
        if (circuit := _follow("Node", name, events, policy.node_breaker_failures, policy.node_breaker_seconds, policy))
    }
    models = {
        name: circuit
        for name, events in _events_of_models(trials).items()
        if (
            circuit := _follow(
                "Model", name, events, policy.model_breaker_failures, policy.model_breaker_seconds, policy
            )
        )
    }
    return Breakers(nodes, models)


def is_exhausted(circuit: Circuit, policy: Policy) -> bool:
    """Whether a model failed so often when it was probed that its remaining shards are not tried."""
    return circuit.failed_probes >= policy.model_breaker_probes


def _follow(
    kind: Kind, name: str, events: Iterable[Event], threshold: int, seconds: float, policy: Policy
) -> Circuit | None:
    """Follow the ends of attempts through the states; what ended within a cool-down was under way before it.

    Failures of one shard, which has nowhere else to go, open nothing: they may be its own. Of ends in the same second
    successes come last: they have the benefit of the doubt.
    """
    in_a_row, probes, until = 0, 0, None
    shards: set[str] = set()
    for ended_at, succeeded, shard in sorted(events):
        if succeeded:
            in_a_row, probes, until = 0, 0, None
            shards.clear()
            continue
        in_a_row += 1
        shards.add(shard)
        if until is None:
            until = ended_at + seconds if len(shards) >= threshold else None
        elif ended_at >= until:
            probes += 1
            until = ended_at + min(policy.breaker_cap_seconds, seconds * 2.0 ** min(probes, 32))
    return None if until is None else Circuit(kind, name, in_a_row, until, probes)


def _events_of_nodes(trials: Sequence[Trial]) -> dict[str, list[Event]]:
    """Return, by node, when an attempt ended there and whether that speaks for the node.

    What fails without an explanation on several nodes, and is of one cell, speaks against none of them; nor does what is of a
    model that has given no answer yet: that is the model's until another node shows otherwise.
    """
    proven = {trial.model for trial in trials if _gave_an_answer(trial.shard)}
    events: dict[str, list[Event]] = {}
    unexplained: dict[str, set[str]] = {}
    for trial in trials:
        for failure in trial.shard.failures:
            if class_of(failure.reason) in _UNEXPLAINED and failure.node:
                unexplained.setdefault(trial.cell, set()).add(failure.node)
    for trial in trials:
        everywhere = len(unexplained.get(trial.cell, ())) > 1
        for failure in trial.shard.failures:
            failure_class = class_of(failure.reason)
            if failure.node is None or failure_class not in _OF_THE_PLACE:
                continue
            excused = everywhere or trial.model not in proven
            if not (excused and failure_class in _UNEXPLAINED):
                events.setdefault(failure.node, []).append((parse_time(failure.ended_at) or 0.0, False, trial.name))
        shard = trial.shard
        if shard.node is not None and _gave_an_answer(shard):
            events.setdefault(shard.node, []).append((parse_time(shard.ended_at) or 0.0, True, trial.name))
    return events


def _events_of_models(trials: Sequence[Trial]) -> dict[str, list[Event]]:
    """Return, by model, when a shard of it ended and whether that speaks for the model."""
    events: dict[str, list[Event]] = {}
    for trial in trials:
        shard = trial.shard
        if trial.model is None:
            continue
        failed = shard.phase is RowPhase.FINISHED and shard.outcome is Outcome.FAILED and shard.attempt > 0
        if _gave_an_answer(shard) or (failed and shard.reason not in _WITHOUT_A_POD):
            events.setdefault(trial.model, []).append((parse_time(shard.ended_at) or 0.0, not failed, trial.name))
    return events


def _gave_an_answer(shard: ShardStatus) -> bool:
    """Whether the shard was measured in this run, or found not to fit: then node and model did what was asked."""
    answered = shard.outcome in (Outcome.SUCCEEDED, Outcome.OUT_OF_MEMORY)
    return shard.phase is RowPhase.FINISHED and answered and shard.attempt > 0


def opened(before: Sequence[Breaker], after: Sequence[Breaker]) -> tuple[Breaker, ...]:
    """Return the breakers that opened between two statuses, for the first time or again."""
    known = {(breaker.kind, breaker.name): breaker for breaker in before}
    return tuple(
        breaker
        for breaker in after
        if breaker.state == "Open"
        and ((old := known.get((breaker.kind, breaker.name))) is None or (old.until or "") < (breaker.until or ""))
    )


def breaker_text(breaker: Breaker) -> str:
    """Say what opened and until when, for people."""
    what = "attempts failed on node" if breaker.kind == "Node" else "shards failed of model"
    return f"{breaker.failures} {what} {breaker.name} in a row: left alone until {breaker.until}, then probed once"

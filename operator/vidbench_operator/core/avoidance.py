"""Which nodes an attempt keeps away from, and which shards wait because a breaker is open.

Three things speak against a node: it failed this shard before, it ails, its breaker is not closed. It is a must as long
as another node of the hardware entry is there to take the pod, else a wish: a run on one node must still end. Of a
half-open breaker one attempt is let through, the probe. Knows nothing of slots and windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vidbench_api.kinds import RunnerClassSpec
from vidbench_api.names import Reason, RowPhase
from vidbench_api.run_spec import Hardware, Toleration
from vidbench_api.run_status import ShardStatus

from .breaker import Breakers, Circuit, Trial, find_breakers, is_exhausted
from .environment import matching_nodes
from .failures import FailureClass, class_of
from .node_health import unhealthy_nodes
from .observed import ObservedNode
from .plan import Placement
from .settle import Context, Entry, Settled, give_up
from .timestamps import parse_time

_MAX_NAMES = 64
"""Nodes that a pod names; where more speak for themselves, taints keep pods away from most of them."""

_SPEAKS_AGAINST_NODE = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.UNKNOWN, FailureClass.INVALID})
Key = tuple[str, int]


def breakers_of(context: Context, entries: Iterable[Entry]) -> Breakers:
    """Return the run's breakers that are not closed."""
    trials = [
        Trial(entry.cell.id, entry.cell.model if entry.cell.rung is None else None, entry.shard) for entry in entries
    ]
    return find_breakers(trials, context.policy)


def failed_nodes(shard: ShardStatus) -> tuple[str, ...]:
    """Return the nodes on which attempts of this shard failed in a way that may be the node's, latest first."""
    nodes = [
        failure.node
        for failure in reversed(shard.failures)
        if failure.node is not None and class_of(failure.reason) in _SPEAKS_AGAINST_NODE
    ]
    return tuple(dict.fromkeys(nodes))


@dataclass(frozen=True)
class Surroundings:
    """The nodes of a hardware entry, by name."""

    usable: tuple[str, ...] = ()
    """Those that take new pods of it, as far as they show it."""

    ailing: tuple[str, ...] = ()


def surroundings_of(context: Context) -> dict[str, Surroundings]:
    """Return what nodes each hardware entry has; none where they are not visible."""
    found = {}
    for hardware in context.document.hardware:
        matching = {node.name: node for node in matching_nodes(context.observed.nodes or {}, hardware)}
        usable = tuple(node.name for node in _usable_nodes(context, hardware))
        found[hardware.name] = Surroundings(usable, tuple(sorted(unhealthy_nodes(matching))))
    return found


def keep_away(
    context: Context, entry: Entry, entries: Sequence[Entry], breakers: Breakers, around: Surroundings
) -> Placement:
    """Return the nodes that an attempt keeps away from, and the one that it is to probe."""
    half_open = (breakers.nodes[name] for name in sorted(breakers.nodes))
    probed = next((circuit.name for circuit in half_open if _is_probe(context, entry, entries, circuit)), None)
    avoided = avoided_nodes(entry.shard, breakers, around.ailing, probed)
    prefer = (probed,) if probed is not None else ()
    if any(name not in avoided for name in around.usable):
        return Placement(avoid=avoided, prefer=prefer)
    return Placement(avoid_if_possible=avoided, prefer=prefer)


def avoided_nodes(
    shard: ShardStatus, breakers: Breakers, ailing: Sequence[str], probed: str | None = None
) -> tuple[str, ...]:
    """Return the nodes that speak against themselves, those where this shard failed first; never the one to probe."""
    names = dict.fromkeys((*failed_nodes(shard), *sorted(breakers.nodes), *ailing))
    return tuple(name for name in names if name != probed)[:_MAX_NAMES]


def held_by_breakers(context: Context, entries: Sequence[Entry], breakers: Breakers) -> frozenset[Key]:
    """Return the waiting shards that a breaker holds back: of a model, or of every node that would take them.

    Where a breaker is half-open, as many as may probe are let go, in the order in which shards start.
    """
    held: set[Key] = set()
    waiting = sorted(
        (entry for entry in entries if entry.shard.phase is RowPhase.PENDING and _is_due(context, entry.shard)),
        key=_order,
    )
    for circuit in breakers.models.values():
        mine = [entry for entry in waiting if entry.cell.model == circuit.name]
        active = [
            entry for entry in entries if entry.cell.model == circuit.name and _started_since(entry, circuit.until)
        ]
        held.update(_key(entry) for entry in mine[0 if circuit.is_open(context.now) or active else 1 :])
    for hardware in context.document.hardware:
        probes = _probes_left(context, entries, breakers, hardware)
        if probes is not None:
            mine = [entry for entry in waiting if entry.cell.hardware == hardware.name and _key(entry) not in held]
            held.update(_key(entry) for entry in mine[probes:])
    return frozenset(held)


def end_of_broken_models(context: Context, entries: Sequence[Entry], breakers: Breakers) -> tuple[Entry, ...]:
    """End the waiting shards of models that failed again whenever they were probed."""
    exhausted = {name: circuit for name, circuit in breakers.models.items() if is_exhausted(circuit, context.policy)}
    return tuple(
        Entry(entry.cell, _end_unmeasured(context, entry, circuit))
        if entry.shard.phase is RowPhase.PENDING
        # An Invalid measurement is kept first: the next pass finds it in the ledger, and it may stand for the shard.
        and entry.settled.superseded is None
        and (circuit := exhausted.get(entry.cell.model)) is not None
        else entry
        for entry in entries
    )


def _end_unmeasured(context: Context, entry: Entry, circuit: Circuit) -> Settled:
    message = (
        f"not tried: {circuit.failures} shards of model {circuit.name!r} failed in a row, {circuit.failed_probes} of them"
        " as probes of its circuit breaker"
    )
    ended = give_up(context, entry.cell, entry.shard, None, None, Reason.BREAKER_OPEN, message)
    return replace(ended, gpu_seconds=ended.gpu_seconds + entry.settled.gpu_seconds)


def _probes_left(context: Context, entries: Sequence[Entry], breakers: Breakers, hardware: Hardware) -> int | None:
    """Return how many attempts the entry's half-open nodes let through; None where a node without a breaker is there.

    Nor is there a limit where no node takes pods: nodes may come.
    """
    usable = _usable_nodes(context, hardware)
    circuits = [breakers.nodes.get(node.name) for node in usable]
    broken = [circuit for circuit in circuits if circuit is not None]
    if not usable or len(broken) < len(circuits):
        return None
    half_open = [circuit for circuit in broken if not circuit.is_open(context.now)]
    taken = {
        _key(entry)
        for entry in entries
        for circuit in half_open
        if entry.cell.hardware == hardware.name and _may_be_on(entry, circuit)
    }
    return max(0, len(half_open) - len(taken))


def _is_probe(context: Context, entry: Entry, entries: Sequence[Entry], circuit: Circuit) -> bool:
    """Whether this attempt is the one that a half-open node lets through: the first that started since.

    A shard that failed there before does not probe: it goes elsewhere if it can.
    """
    if circuit.is_open(context.now):
        return False
    candidates = [
        other
        for other in entries
        if other.cell.hardware == entry.cell.hardware
        and _may_be_on(other, circuit)
        and circuit.name not in failed_nodes(other.shard)
    ]
    first = min(candidates, key=lambda other: (other.shard.started_at or "", _order(other)), default=None)
    return first is not None and _key(first) == _key(entry)


def _may_be_on(entry: Entry, circuit: Circuit) -> bool:
    """Whether an attempt under way started since the breaker half opened, and is on its node or on none yet."""
    return _started_since(entry, circuit.until) and entry.shard.node in (None, circuit.name)


def _started_since(entry: Entry, moment: float) -> bool:
    shard = entry.shard
    # Times of the status have whole seconds: what was written in the second of `moment` was written after it.
    return shard.phase is RowPhase.ACTIVE and (parse_time(shard.started_at) or 0.0) >= int(moment)


def _usable_nodes(context: Context, hardware: Hardware) -> tuple[ObservedNode, ...]:
    """Return the nodes that take new pods of the entry, as far as they show it; none where nodes are not visible."""
    return usable_nodes(context.observed.nodes or {}, hardware, context.document.runner_class)


def usable_nodes(
    nodes: Mapping[str, ObservedNode], hardware: Hardware, runner_class: RunnerClassSpec
) -> tuple[ObservedNode, ...]:
    """Return the nodes that take new pods of a hardware entry, as far as they show it, by name."""
    tolerations = (*runner_class.default_tolerations, *hardware.tolerations)
    return tuple(node for node in matching_nodes(nodes, hardware) if _takes_pods(node, hardware, tolerations))


def _takes_pods(node: ObservedNode, hardware: Hardware, tolerations: Sequence[Toleration]) -> bool:
    """Whether the node takes new pods. The taint named like the resource is tolerated by admission where it is used."""
    tolerated = {toleration.key for toleration in tolerations}
    refused = any(
        taint.effect != "PreferNoSchedule" and taint.key != hardware.resource_name and not tolerated & {taint.key, None}
        for taint in node.taints
    )
    return node.ready and not node.unschedulable and not refused


def _is_due(context: Context, shard: ShardStatus) -> bool:
    return (parse_time(shard.not_before) or 0.0) <= context.now


def _order(entry: Entry) -> tuple[int, str]:
    return entry.shard.index, entry.cell.id


def _key(entry: Entry) -> Key:
    return entry.cell.id, entry.shard.index

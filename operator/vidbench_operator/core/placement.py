"""On which nodes the pod of an attempt may run, from what the status and the cluster show of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vidbench_api.names import Outcome, RowPhase

from .avoidance import Surroundings, keep_away
from .breaker import Breakers
from .capacity import slots_on
from .pairing import Pairing
from .plan import Placement
from .settle import Context, Entry

_MAX_PREFERRED = 8


def placement_of(
    context: Context,
    entry: Entry,
    entries: Sequence[Entry],
    breakers: Breakers,
    around: Surroundings,
    pairing: Pairing | None,
) -> Placement:
    """Return where the current attempt of a shard may run."""
    place = keep_away(context, entry, entries, breakers, around)
    require = pairing.node_for(entry) if pairing is not None else None
    if require is not None:
        return replace(place, require=require)
    away = {*place.avoid, *place.avoid_if_possible, *place.prefer}
    warm = (name for name in warm_nodes(context, entry, entries, around) if name not in away)
    return replace(place, prefer=(*place.prefer, *warm))


def warm_nodes(context: Context, entry: Entry, entries: Sequence[Entry], around: Surroundings) -> tuple[str, ...]:
    """Return nodes that hold the weights of the shard's model already: shards of it succeeded there in this run.

    Only those with room for one more: to prefer a node that is full is of no use, and some autoscalers make no node for
    a pod that names one. None where all nodes are alike.
    """
    nodes = context.observed.nodes or {}
    hardware, resources = context.document.find_hardware(entry.cell.hardware), context.document.runner_class.resources
    held = Counter(other.shard.node for other in entries if other.shard.phase is RowPhase.ACTIVE)
    used = {
        other.shard.node
        for other in entries
        if other.cell.model == entry.cell.model and other.shard.outcome is Outcome.SUCCEEDED and other.shard.node
    }
    warm = [name for name in around.usable if name in used]
    if len(warm) == len(around.usable):
        return ()
    return tuple(name for name in warm if slots_on(nodes[name], hardware, resources) > held[name])[:_MAX_PREFERRED]

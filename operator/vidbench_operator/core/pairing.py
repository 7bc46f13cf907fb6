"""`measurement.pairing: Node`: the cells of a hardware entry run their shard of the same number on the same node.

Such shards are a group. One of them leads: it goes where the scheduler puts it, and the others wait until it has a node,
then follow it there, as many at a time as the node has room for. A group whose node is gone, not ready, cordoned or to
be avoided gets another leader. Knows nothing of slots, windows and order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vidbench_api.names import RowPhase
from vidbench_api.request import Cell

from .avoidance import Surroundings, avoided_nodes
from .breaker import Breakers
from .capacity import slots_on, takes_pods
from .observed import ObservedJob, latest_pod
from .settle import Context, Entry, Settled

Group = tuple[str, int]
"""Hardware entry and number of the shard."""


class Pairing:
    """The groups of a run in one pass, with what starts in it."""

    def __init__(
        self, context: Context, entries: Sequence[Entry], breakers: Breakers, around: Mapping[str, Surroundings]
    ) -> None:
        self._context = context
        self._breakers = breakers
        self._around = around
        self._members: dict[Group, list[Entry]] = {}
        for entry in entries:
            self._members.setdefault(_group(entry), []).append(entry)
        self._leading = {group for group, members in self._members.items() if any(map(_has_no_node, members))}
        nodes = (entry.shard.node or self.node_for(entry) for entry in entries if _is_active(entry))
        self._taken = Counter(node for node in nodes if node is not None)

    def node_for(self, entry: Entry) -> str | None:
        """Return the node of the shard's group; None if it has none that this shard may go to."""
        around = self._around[entry.cell.hardware]
        avoided = avoided_nodes(entry.shard, self._breakers, around.ailing)
        placed = [
            (other.shard.started_at or "", other.cell.id, other.shard.node)
            for other in self._members[_group(entry)]
            if other.shard.node and other.shard.phase is not RowPhase.PENDING and other.cell.id != entry.cell.id
        ]
        usable = (node for _, _, node in sorted(placed, reverse=True) if node not in avoided)
        return next((node for node in usable if self._context.observed.nodes is None or node in around.usable), None)

    def may_start(self, entry: Entry) -> bool:
        """Whether a shard may start now: as the leader of its group, or on the group's node if that has room."""
        node = self.node_for(entry)
        return self._has_room(node, entry) if node is not None else _group(entry) not in self._leading

    def start(self, entry: Entry) -> None:
        """Note that a shard starts."""
        node = self.node_for(entry)
        if node is None:
            self._leading.add(_group(entry))
        else:
            self._taken[node] += 1

    def _has_room(self, name: str, entry: Entry) -> bool:
        """Whether the node holds one more of the run's pods: always if none is there, or if nodes are not visible."""
        node = (self._context.observed.nodes or {}).get(name)
        if node is None:
            return True
        document = self._context.document
        hardware = document.find_hardware(entry.cell.hardware)
        return self._taken[name] < max(1, slots_on(node, hardware, document.runner_class.resources))


def pairing_of(
    context: Context, entries: Sequence[Entry], breakers: Breakers, around: Mapping[str, Surroundings]
) -> Pairing | None:
    """Return the groups of a run that pairs its shards by node; None for another."""
    return Pairing(context, entries, breakers, around) if context.run.spec.measurement.pairing == "Node" else None


def released(context: Context, cell: Cell, settled: Settled) -> Settled:
    """Take back an attempt that waits for a node which takes no pods any more; nothing is charged to the shard."""
    shard = settled.shard
    if shard.phase is not RowPhase.ACTIVE or shard.job_uid is None or settled.needs_live:
        return settled
    job = next((job for job in context.observed.jobs if job.uid == shard.job_uid), None)
    if job is None or job.finished is not None or not _waits_in_vain(context, cell, job):
        return settled
    if not context.observed.live:
        return Settled(shard, needs_live=True)
    return Settled(shard.model_copy(update={"phase": RowPhase.PENDING, "not_before": None}))


def _waits_in_vain(context: Context, cell: Cell, job: ObservedJob) -> bool:
    nodes, pod = context.observed.nodes, latest_pod(context.observed.pods_of(job.uid), job.uid)
    if job.required_node is None or nodes is None or (pod is not None and (pod.node is not None or pod.ended)):
        return False
    node = nodes.get(job.required_node)
    return node is None or not takes_pods(node, context.document.find_hardware(cell.hardware))


def _group(entry: Entry) -> Group:
    return entry.cell.hardware, entry.shard.index


def _is_active(entry: Entry) -> bool:
    return entry.shard.phase is RowPhase.ACTIVE and entry.shard.harvest_at is None


def _has_no_node(entry: Entry) -> bool:
    return _is_active(entry) and not entry.shard.node

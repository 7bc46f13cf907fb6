"""The capacity window: how many Jobs of a hardware entry may wait for a node at the same time.

What runs plus a few that wait is what an autoscaler has to see: it makes nodes for those that wait, and hundreds of
them would only be in each other's way. The window (`probe`) doubles each time as many as it allows were scheduled
and none is left over, and is halved for every cooldown through which one found no node. Its value is a function of the
stored window, of what was seen, and of the time; so a pass may compute it anew as often as it likes, and nobody has to
store it until there is something else to say. Knows nothing of shards, order or what else limits a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidbench_api.kinds import Resources
from vidbench_api.run_spec import Hardware
from vidbench_api.run_status import HardwareWindow

from .observed import ObservedNode
from .quantities import parse_quantity
from .timestamps import format_time, parse_time

_FIRST_PROBE_LIMIT = 16
"""Free slots that are believed before anything was scheduled: others of the cluster may want them too."""

_LARGEST_PROBE = 10_000


@dataclass(frozen=True)
class Load:
    """What a run has on one hardware entry at this moment."""

    pending: int = 0
    """Attempts under way whose pod has no node yet."""

    unschedulable_since: float | None = None
    """Since when one of them has waited for which the scheduler says that no node fits; None: it says so of none."""

    scheduled_at: tuple[float, ...] = ()
    """When each pod that was seen got its node."""

    freed: int = 0
    """Attempts that ended in this pass and left room on a node that takes pods: it is there for others of the run."""


@dataclass(frozen=True)
class Bounds:
    """Between what a window moves, and how long it keeps still before it shrinks."""

    smallest: int
    largest: int
    cooldown_seconds: float


def room_in(window: HardwareWindow, load: Load) -> int:
    """Return how many more Jobs of the entry may be created."""
    return max(0, window.probe + load.freed - load.pending)


def first_window(
    hardware: Hardware,
    resources: Resources,
    nodes: Mapping[str, ObservedNode] | None,
    held: Mapping[str, int],
    bounds: Bounds,
    now: float,
) -> HardwareWindow:
    """Return the window of an entry of which nothing is known: the slots that its nodes show and the run does not hold.

    `held` counts the run's pods by node. Without a sight of nodes it is as small as it may be.
    """
    slots = sum(
        max(0, slots_on(node, hardware, resources) - held.get(node.name, 0))
        for node in (nodes or {}).values()
        if takes_pods(node, hardware)
    )
    probe = max(bounds.smallest, min(slots, _FIRST_PROBE_LIMIT))
    return HardwareWindow(hardware=hardware.name, probe=probe, changed_at=format_time(now))


def next_window(window: HardwareWindow, load: Load, wanted: int, bounds: Bounds, now: float) -> HardwareWindow:
    """Return the window of this moment. `wanted` is how many Jobs of the entry would start if it did not matter."""
    probe = max(window.probe, bounds.smallest)
    changed_at = parse_time(window.changed_at) or 0.0
    if load.unschedulable_since is not None:
        still_since = max(changed_at, load.unschedulable_since)
        halvings = int(max(0.0, now - still_since) / bounds.cooldown_seconds)
        smaller = max(bounds.smallest, probe >> halvings)
        if smaller < probe:
            return _changed(window, smaller, still_since + halvings * bounds.cooldown_seconds)
    elif wanted > room_in(window, load) and _all_was_scheduled(probe, changed_at, load):
        larger = min(2 * probe, max(bounds.largest, bounds.smallest), _LARGEST_PROBE)
        if larger > probe:
            return _changed(window, larger, now)
    return window if probe == window.probe else window.model_copy(update={"probe": probe})


def _all_was_scheduled(probe: int, changed_at: float, load: Load) -> bool:
    """Whether what the window let through got nodes: as many as it is wide, or some and none is left that waits."""
    since = sum(moment >= changed_at for moment in load.scheduled_at)
    return since >= probe or (since > 0 and load.pending == 0)


def _changed(window: HardwareWindow, probe: int, at: float) -> HardwareWindow:
    return window.model_copy(update={"probe": probe, "changed_at": format_time(at)})


def takes_pods(node: ObservedNode, hardware: Hardware) -> bool:
    """Whether the node is one of the entry's and takes new pods. Taints that nobody tolerates are not looked at."""
    return node.ready and not node.unschedulable and hardware.node_selector.items() <= node.labels.items()


def slots_on(node: ObservedNode, hardware: Hardware, resources: Resources) -> int:
    """Return how many pods of the entry an empty node holds by its GPUs, processors and memory."""
    wants = [("cpu", parse_quantity(resources.cpu)), ("memory", parse_quantity(resources.memory))]
    if hardware.gpus:
        wants.append((hardware.resource_name, float(hardware.gpus)))
    return min(
        (int((parse_quantity(node.allocatable.get(name)) or 0.0) / want) for name, want in wants if want),
        default=0,
    )

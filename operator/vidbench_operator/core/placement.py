"""On which nodes the pod of an attempt may run, from what the status and the cluster show of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from .avoidance import Surroundings, keep_away
from .breaker import Breakers
from .plan import Placement
from .settle import Context, Entry


def placement_of(
    context: Context, entry: Entry, entries: Sequence[Entry], breakers: Breakers, around: Surroundings
) -> Placement:
    """Return where the current attempt of a shard may run."""
    return keep_away(context, entry, entries, breakers, around)

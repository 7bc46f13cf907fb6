"""On which nodes the pod of an attempt may run, from what the status and the cluster show of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Placement
from .settle import Context, Entry


def placement_of(_context: Context, _entry: Entry, _entries: Sequence[Entry]) -> Placement:
    """Return where the current attempt of a shard may run."""
    return Placement()

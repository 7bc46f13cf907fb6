"""What has to have happened in a long simulation: a fault that never occurs proves nothing."""

from __future__ import annotations

from collections import Counter
from typing import Final

from vidbench_api.names import Outcome, Reason

from .actions import BY_NAME
from .connection import CALL_FAULTS
from .fates import FATES

UNREACHED: Final = frozenset(
    {
        Reason.RUNG_SKIPPED, Reason.SUSPENDED, Reason.RUN_CANCELLED, Reason.TOO_MANY_FAILED, Reason.BREAKER_OPEN,
        Reason.NODE_SHUTDOWN, Reason.DEVICE_REFUSED, Reason.NODE_REFUSED,
    }
)  # fmt: skip
"""Reasons that nothing gives yet, or that no attempt ends for in what the simulator does."""

EXPECTED: Final = (
    *(f"step: {name}" for name in BY_NAME),
    *(f"fault: {kind}" for kind in CALL_FAULTS),
    *(f"pod: {word}" for word in FATES),
    *(f"attempt: {reason.value}" for reason in Reason if reason not in UNREACHED),
    f"attempt: {Outcome.SUCCEEDED.value}",
    "operator crashed",
)


def never(counts: Counter[str]) -> list[str]:
    """Return what was to occur and did not."""
    return [what for what in EXPECTED if not counts[what]]


def rows(counts: Counter[str]) -> list[str]:
    """Return the distribution for people, group by group, the most frequent first."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for what, count in counts.items():
        group, _, name = what.partition(": ")
        groups.setdefault(group if name else "operator", []).append((count, name or what))
    return [
        f"{group:9} " + ", ".join(f"{name} {count}" for count, name in sorted(entries, reverse=True))
        for group, entries in sorted(groups.items())
    ]

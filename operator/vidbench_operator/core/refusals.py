"""Jobs that the API server would not have (a quota, an admission rule): which of them are tried again, and when.

One is tried after a wait that doubles; once one is let in, twice as many follow at once. So a quota that is full costs a
call a minute however many Jobs wait for it, and one that was raised is used within moments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class HeldCreations:
    """The Jobs that were refused and not created since."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """What the server said, by name of Job."""

    tries: int = 1
    """How many of them are tried next."""

    wait_seconds: float = 0.0
    retry_at: float = 0.0

    def due_at(self, now: float) -> frozenset[str]:
        """Return those that are to be tried now."""
        return frozenset() if now < self.retry_at else frozenset(sorted(self.texts)[: self.tries])


def after_creations(
    held: HeldCreations,
    created: Collection[str],
    refused: Mapping[str, str],
    wanted: Collection[str],
    now: float,
    first_wait_seconds: float,
) -> HeldCreations:
    """Return what is held after some creations were let in and some refused. `wanted` are the names that still matter."""
    texts = {
        name: text
        for name, text in {**held.texts, **refused}.items()
        if name in wanted and (name in refused or name not in created)
    }
    if refused:
        longer = first_wait_seconds if created else max(first_wait_seconds, 2 * held.wait_seconds)
        wait = min(longer, LONGEST_WAIT_SECONDS)
        return HeldCreations(texts, 1, wait, now + wait)
    if created:
        return HeldCreations(texts, 2 * held.tries, held.wait_seconds, now)
    return HeldCreations(texts, held.tries, held.wait_seconds, held.retry_at)

"""Copies a cluster's ledger into a store, chunk by chunk, so that one that was cut goes on where it was.

Knows nothing of how a chunk is read: a source gives them. Each chunk and how far it got are written together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from .store import Place, Store, SyncState, Written

_TOKEN_LIFE: Final = timedelta(hours=1)
"""An API server forgets what a token stands for after minutes: an older one is not even tried."""


class ListExpired(Exception):  # noqa: N818 - names what the server said
    """The server does not know any more where the list was to go on (HTTP 410): it begins anew."""


@dataclass(frozen=True)
class Chunk:
    """A part of a list; without a token it was the last one."""

    documents: tuple[Mapping[str, Any], ...]
    continue_token: str | None
    resource_version: str | None


class Source(Protocol):
    """One cluster's ledger, or one namespace's."""

    def read_chunk(self, continue_token: str | None) -> Chunk:
        """Read the next part of the list, or its first. Raises ListExpired, and what else it likes."""
        ...


@dataclass(frozen=True)
class Synced:
    """What a sync did. `listed` counts the objects of this list, also those of before it was cut."""

    written: Written
    listed: int
    resumed: bool


def sync_ledger(
    store: Store,
    cluster: str,
    place: Place,
    source: Source,
    *,
    progress: Callable[[int], None] = lambda _listed: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Synced:
    """Write all that a source has; `cluster` is what people call it. What it no longer has stays in the store.

    Raises:
        StoreError: the store would not; whatever the source raises. All chunks before are stored.
    """
    state = store.read_state(place)
    resumed = state is not None and state.continue_token is not None and now() - state.began_at < _TOKEN_LIFE
    if state is None or not resumed:
        state = SyncState(None, None, 0, now(), None)
    written = Written()
    while True:
        try:
            chunk = source.read_chunk(state.continue_token)
        except ListExpired:
            if state.continue_token is None:
                raise
            state = SyncState(None, None, 0, now(), None)
            resumed = False
            continue
        state = SyncState(
            continue_token=chunk.continue_token or None,
            resource_version=chunk.resource_version,
            listed=state.listed + len(chunk.documents),
            began_at=state.began_at,
            ended_at=None if chunk.continue_token else now(),
        )
        written += store.write(cluster, chunk.documents, state=(place, state))
        progress(state.listed)
        if state.continue_token is None:
            return Synced(written, state.listed, resumed)

"""Copying a ledger: idempotent, resumable, and blind to what a cluster has deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.ledger_documents import many

from vidbench_store.store import Place, Store, Written
from vidbench_store.sync import Chunk, ListExpired, sync_ledger

PLACE = Place("https://east")


class Ledger:
    """A list in chunks of ten. `fails_at` raises once, before that chunk; tokens are forgotten by `expire`."""

    def __init__(self, documents: list[Mapping[str, Any]]) -> None:
        self.documents = documents
        self.fails_at: int | None = None
        self.age = 0
        self.asked: list[str | None] = []

    def expire(self) -> None:
        self.age += 1

    def read_chunk(self, continue_token: str | None) -> Chunk:
        self.asked.append(continue_token)
        age, start = (int(part) for part in continue_token.split(":")) if continue_token else (self.age, 0)
        if age != self.age:
            raise ListExpired
        if self.fails_at == start:
            self.fails_at = None
            raise ConnectionError("cut")
        end = start + 10
        return Chunk(tuple(self.documents[start:end]), f"{self.age}:{end}" if end < len(self.documents) else None, "42")


def test_twice_is_as_good_as_once(store: Store) -> None:
    source = Ledger(list(many(35)))
    seen: list[int] = []
    first = sync_ledger(store, "east", PLACE, source, progress=seen.append)
    assert (first.written, first.listed, first.resumed) == (Written(added=35), 35, False)
    assert seen == [10, 20, 30, 35]
    second = sync_ledger(store, "east", PLACE, source)
    assert (second.written, second.listed) == (Written(unchanged=35), 35)
    state = store.read_state(PLACE)
    assert state is not None
    assert (state.continue_token, state.resource_version, state.listed) == (None, "42", 35)
    assert state.ended_at is not None


def test_an_empty_ledger(store: Store) -> None:
    assert sync_ledger(store, "east", PLACE, Ledger([])).written == Written()


def test_one_that_was_cut_goes_on_where_it_was(store: Store) -> None:
    source = Ledger(list(many(35)))
    source.fails_at = 20
    with pytest.raises(ConnectionError):
        sync_ledger(store, "east", PLACE, source)
    assert store.count() == 20
    source.asked.clear()
    again = sync_ledger(store, "east", PLACE, source)
    assert source.asked == ["0:20", "0:30"]
    assert (again.written, again.listed, again.resumed) == (Written(added=15), 35, True)


def test_a_token_that_the_server_forgot_begins_anew(store: Store) -> None:
    source = Ledger(list(many(35)))
    source.fails_at = 20
    with pytest.raises(ConnectionError):
        sync_ledger(store, "east", PLACE, source)
    source.expire()
    again = sync_ledger(store, "east", PLACE, source)
    assert (again.written, again.listed, again.resumed) == (Written(added=15, unchanged=20), 35, False)


def test_an_old_token_is_not_tried(store: Store) -> None:
    source = Ledger(list(many(15)))
    source.fails_at = 10
    with pytest.raises(ConnectionError):
        sync_ledger(store, "east", PLACE, source)
    source.asked.clear()
    sync_ledger(store, "east", PLACE, source, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    assert source.asked == [None, "0:10"]


def test_a_list_that_expires_at_its_beginning_is_an_error(store: Store) -> None:
    class Broken:
        def read_chunk(self, continue_token: str | None) -> Chunk:
            raise ListExpired

    with pytest.raises(ListExpired):
        sync_ledger(store, "east", PLACE, Broken())


def test_what_a_cluster_deleted_stays(store: Store) -> None:
    source = Ledger(list(many(12)))
    sync_ledger(store, "east", PLACE, source)
    del source.documents[3:]
    sync_ledger(store, "east", PLACE, source)
    assert store.count() == 12


def test_namespaces_and_clusters_have_states_of_their_own(store: Store) -> None:
    source = Ledger(list(many(12)))
    source.fails_at = 10
    with pytest.raises(ConnectionError):
        sync_ledger(store, "east", Place("https://east", "lab"), source)
    source.asked.clear()
    sync_ledger(store, "west", Place("https://west", "lab"), source)
    assert source.asked[0] is None
    # The objects are the same ones: two names of one cluster do not double them.
    assert store.count() == 12

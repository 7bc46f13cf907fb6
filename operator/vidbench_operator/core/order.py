"""In which order shards start: shard 1 of every cell, then shard 2, ...; within, the longest first.

The long ones first, as a long one that starts last runs alone at the end. Cells that are expected to take equally long,
or of which nothing is known, come in the order of their ids: hashes of the run's UID, so a shuffle of each run's own.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from vidbench_api.names import Outcome
from vidbench_api.run_status import CellRow, ShardStatus

from .settle import Entry


def in_order(entries: Iterable[Entry], expected: Mapping[str, float]) -> list[Entry]:
    """Return shards in the order in which they start. `expected` are seconds of a shard, by cell."""
    return sorted(entries, key=lambda entry: (entry.shard.index, -_expectation(entry, expected), entry.cell.id))


def _expectation(entry: Entry, expected: Mapping[str, float]) -> float:
    """Return the cell's expected seconds; of one that nothing is known of, what is usual among the others."""
    known = expected.get(entry.cell.id)
    return known if known is not None else statistics.median(expected.values()) if expected else 0.0


def expected_seconds(rows: Iterable[CellRow], entries: Iterable[Entry]) -> dict[str, float]:
    """Return how long a shard of each cell is expected to take, of those of which there is something to go by.

    That is the ledger's estimate, or the time that measuring took in the run's own shards.
    """
    expected = {row.id: float(row.estimate_seconds) for row in rows if row.estimate_seconds is not None}
    measured: dict[str, list[ShardStatus]] = {}
    for entry in entries:
        if entry.cell.id not in expected and entry.shard.outcome is Outcome.SUCCEEDED:
            measured.setdefault(entry.cell.id, []).append(entry.shard)
    for cell, shards in measured.items():
        seconds = _measured_seconds(shards)
        if seconds:
            expected[cell] = statistics.median(seconds)
    return expected


def _measured_seconds(shards: Sequence[ShardStatus]) -> list[float]:
    return [
        shard.latency_microseconds * shard.samples / 1e6
        for shard in shards
        if shard.latency_microseconds is not None and shard.samples is not None
    ]

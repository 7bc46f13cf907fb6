"""In which order shards start: shard 1 of every cell, then shard 2, ...; within, the longest first.

The long ones first, as a long one that starts last runs alone at the end. For the same reason one that would take a good
part of all the time that is left goes before its number's turn. Cells that are expected to take equally long, or of
which nothing is known, come in the order of their ids: hashes of the run's UID, so a shuffle of each run's own.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from vidbench_api.names import Outcome
from vidbench_api.run_status import CellRow, ShardStatus

from .settle import Entry
from .timestamps import parse_time

_GOES_ON = 1.3
"""What the time for which a shard runs is multiplied by, to expect something of one that nothing is known of."""

_LONG_SHARE = 0.4
"""Of the time that is left: a shard that takes longer does not wait for its number's turn."""


def in_order(entries: Iterable[Entry], expected: Mapping[str, float], width: int = 1) -> list[Entry]:
    """Return the shards that wait in the order in which they start.

    `expected` are seconds of a shard, by cell; `width` is how many run at the same time.
    """
    waiting = [(entry, _expectation(entry, expected)) for entry in entries]
    long = _LONG_SHARE * sum(seconds for _, seconds in waiting) / max(1, width)

    def key(entry: Entry, seconds: float) -> tuple[int, float, int, str]:
        number = 0 if seconds > long else entry.shard.index
        return number, -seconds, entry.shard.index, entry.cell.id

    return [entry for entry, _ in sorted(waiting, key=lambda pair: key(*pair))]


def _expectation(entry: Entry, expected: Mapping[str, float]) -> float:
    """Return the cell's expected seconds; of one that nothing is known of, what is usual among the others."""
    known = expected.get(entry.cell.id)
    return known if known is not None else statistics.median(expected.values()) if expected else 0.0


def expected_seconds(rows: Iterable[CellRow], entries: Sequence[Entry], now: float) -> dict[str, float]:
    """Return how long a shard of each cell is expected to take, of those of which there is something to go by.

    That is the ledger's estimate, or the time that measuring took in the run's own shards; and where one runs for longer
    than that, or nothing else is known, the time for which it runs.
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
    known = frozenset(expected)
    for entry in entries:
        seconds_so_far = _running_seconds(entry, now) * (1.0 if entry.cell.id in known else _GOES_ON)
        if seconds_so_far > expected.get(entry.cell.id, 0.0):
            expected[entry.cell.id] = seconds_so_far
    return expected


def _running_seconds(entry: Entry, now: float) -> float:
    started_at = parse_time(entry.shard.started_at) if entry.settled.running else None
    return now - started_at if started_at is not None else 0.0


def _measured_seconds(shards: Sequence[ShardStatus]) -> list[float]:
    return [
        shard.latency_microseconds * shard.samples / 1e6
        for shard in shards
        if shard.latency_microseconds is not None and shard.samples is not None
    ]

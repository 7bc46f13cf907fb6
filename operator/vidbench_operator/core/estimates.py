"""How long a shard of a cell will take, by what earlier shards of the same names took in this namespace.

An expectation for the order of work, never a figure of a report.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from vidbench_api.request import RequestDocument
from vidbench_api.result import BenchmarkResultSpec

from .timestamps import parse_time

_MAX_COUNT = 2_147_483_647


@dataclass(frozen=True)
class LedgerHead:
    """What the metadata of a result tells: which cell it is of, how long its runner took, how many samples it made."""

    model: str
    hardware: str
    variant: str
    seconds: float
    samples: int


def runner_seconds(spec: BenchmarkResultSpec) -> float | None:
    """Return how long the runner of a result took, all of it; None where that is not known."""
    started, finished = parse_time(spec.origin.started_at), parse_time(spec.origin.finished_at)
    return None if started is None or finished is None or finished < started else finished - started


@dataclass(frozen=True)
class ShardEstimate:
    """How long a shard is expected to take, by so many earlier results; the shortest and the longest of them, scaled alike."""

    seconds: int
    results: int
    shortest: int
    longest: int


def estimate_seconds(document: RequestDocument, heads: Iterable[LedgerHead]) -> dict[str, int]:
    """Return the expected seconds of a shard by cell id, for cells whose names the ledger knows."""
    return {cell: estimate.seconds for cell, estimate in estimate_shards(document, heads).items()}


def estimate_shards(document: RequestDocument, heads: Iterable[LedgerHead]) -> dict[str, ShardEstimate]:
    """Return what is expected of a shard by cell id, for cells whose names the ledger knows.

    The median over results, each scaled to the number of samples that this run asks for. Plan Precision asks for a range:
    as many as a result took are expected, if that lies within.
    """
    least, most = document.required_samples(), len(document.samples())
    known: dict[tuple[str, str, str], list[float]] = {}
    for head in heads:
        if head.samples > 0 and head.seconds > 0:
            scaled = head.seconds * min(most, max(least, head.samples)) / head.samples
            known.setdefault((head.model, head.hardware, head.variant), []).append(scaled)
    return {
        cell.id: ShardEstimate(
            seconds=_whole(statistics.median(seconds)),
            results=len(seconds),
            shortest=_whole(min(seconds)),
            longest=_whole(max(seconds)),
        )
        for cell in document.cells
        if (seconds := known.get((cell.model, cell.hardware, cell.variant)))
    }


def _whole(seconds: float) -> int:
    return min(_MAX_COUNT, max(1, round(seconds)))

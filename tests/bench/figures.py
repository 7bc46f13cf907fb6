"""From what was seen in the rounds to the figures of the report. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.audit import Call, table
from bench.process_figures import ProcessFigures


@dataclass(frozen=True)
class Round:
    """One raw creation and one life of the same number of runs under the operator."""

    raw_seconds: float
    operator_seconds: float
    finished_seconds: float
    """From the first apply to the end of the last run; holds the time that the simulated runners took."""

    calls: tuple[Call, ...]
    """Everything that the operator's user asked for, from the first apply until it was quiet after the end."""

    passes: int
    idle_mebibytes: float
    peak_mebibytes: float
    end_mebibytes: float
    start_cpu_seconds: float
    creation_cpu_seconds: float
    """Until all Jobs were there."""

    cpu_seconds: float
    """From the first apply until it was quiet after the end, the start of the process not counted."""


@dataclass(frozen=True)
class Restart:
    """What the operator did when it was stopped and started again while nothing changed."""

    shards_running: int
    calls: tuple[Call, ...]
    ready_seconds: float
    process: ProcessFigures
    """Of the new process, some seconds after it was ready."""


def spread_of(values: Iterable[float], digits: int = 3) -> dict[str, float]:
    """Return median, smallest and largest."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), digits),
        "min": round(ordered[0], digits),
        "max": round(ordered[-1], digits),
    }


def creation_figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the times to the last Job and their ratio, of every round and together."""
    ratios = [entry.operator_seconds / entry.raw_seconds for entry in rounds]
    return {
        "rawSeconds": spread_of(entry.raw_seconds for entry in rounds),
        "operatorSeconds": spread_of(entry.operator_seconds for entry in rounds),
        "ratio": spread_of(ratios),
        "finishedSeconds": spread_of(entry.finished_seconds for entry in rounds),
        "rounds": [
            {
                "rawSeconds": round(entry.raw_seconds, 3),
                "operatorSeconds": round(entry.operator_seconds, 3),
                "ratio": round(ratio, 3),
            }
            for entry, ratio in zip(rounds, ratios, strict=True)
        ],
    }


def call_figures(calls: Sequence[Call], passes: int, total: int) -> dict[str, Any]:
    """Return the operator's calls for so many shards; refused ones count like the rest and are named apart."""
    budgeted = [call for call in calls if call.mutates and not call.is_status and not call.is_aside]
    status = [call for call in calls if call.is_status]
    refused = [call for call in calls if call.mutates and call.code >= 300]
    return {
        "mutatingPerShard": round(len(budgeted) / total, 3),
        "mutatingByKindPerShard": _per_shard(budgeted, total),
        "statusWritesPerShard": round(len(status) / total, 3),
        "passesPerShard": round(passes / total, 3),
        "eventsPerShard": round(sum(call.mutates and call.resource == "events" for call in calls) / total, 3),
        "leaseWrites": sum(call.mutates and call.resource == "leases" for call in calls),
        "refused": {f"{code} {kind}": number for (code, kind), number in _by_code(refused).items()},
        "podGets": sum(call.verb == "get" and call.resource.startswith("pods") for call in calls),
        "readsByKindPerShard": _per_shard(
            [call for call in calls if not call.mutates and not call.is_discovery], total
        ),
    }


def process_figures(rounds: Sequence[Round], shards: int) -> dict[str, Any]:
    """Return memory and processor time of the operator's process."""
    return {
        "idleMebibytes": spread_of((entry.idle_mebibytes for entry in rounds), 1),
        "peakMebibytes": spread_of((entry.peak_mebibytes for entry in rounds), 1),
        "endMebibytes": spread_of((entry.end_mebibytes for entry in rounds), 1),
        "startCpuSeconds": spread_of((entry.start_cpu_seconds for entry in rounds), 2),
        "creationCpuSeconds": spread_of((entry.creation_cpu_seconds for entry in rounds), 2),
        "cpuSeconds": spread_of((entry.cpu_seconds for entry in rounds), 2),
        "cpuMillisecondsPerShard": spread_of((entry.cpu_seconds / shards * 1000 for entry in rounds), 1),
    }


def restart_figures(restart: Restart) -> dict[str, Any]:
    """Return what a restart wrote; Events and Leases apart."""
    written = [call for call in restart.calls if call.mutates and not call.is_aside]
    return {
        "shardsRunning": restart.shards_running,
        "mutatingCalls": len(written),
        "mutatingByKind": table(written),
        "events": sum(call.mutates and call.resource == "events" for call in restart.calls),
        "reads": table(call for call in restart.calls if not call.mutates and not call.is_discovery),
        "readySeconds": round(restart.ready_seconds, 1),
        "residentMebibytes": restart.process.resident_mebibytes,
        "peakMebibytes": restart.process.peak_mebibytes,
        "cpuSeconds": round(restart.process.cpu_seconds, 2),
    }


def _per_shard(calls: Iterable[Call], shards: int) -> dict[str, float]:
    return {kind: round(number / shards, 3) for kind, number in table(calls).items()}


def _by_code(calls: Iterable[Call]) -> dict[tuple[int, str], int]:
    numbers: dict[tuple[int, str], int] = {}
    for call in calls:
        numbers[(call.code, call.kind)] = numbers.get((call.code, call.kind), 0) + 1
    return numbers

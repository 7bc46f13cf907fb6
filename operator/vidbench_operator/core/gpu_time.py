"""What GPUs were held for: splits the time of ended attempts into useful, overhead, idle and wasted. Pure.

The time that an attempt held is as its result or the status says; nothing is estimated. Of an attempt that gave a
result, `useful` is the measured samples, `idle` is from the pod's binding to the start of its container (pulling the
image included, which no status tells apart), and `overhead` is all the rest: loading, warm-ups, hashing, writing, and
whatever of the held time cannot be told. An attempt without a result is `wasted` as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidbench_api.measured import SeriesName
from vidbench_api.names import Outcome
from vidbench_api.request import RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, GpuSeconds

from .timestamps import parse_time

_ANSWERS = frozenset({Outcome.SUCCEEDED, Outcome.OUT_OF_MEMORY})


@dataclass(frozen=True)
class GpuTime:
    """GPUs x seconds by what they were held for."""

    useful: float = 0.0
    overhead: float = 0.0
    idle: float = 0.0
    wasted: float = 0.0

    def __add__(self, other: GpuTime) -> GpuTime:
        return GpuTime(
            self.useful + other.useful,
            self.overhead + other.overhead,
            self.idle + other.idle,
            self.wasted + other.wasted,
        )


def split_result(spec: BenchmarkResultSpec, gpus: int) -> GpuTime:
    """Split what the attempt of a result held. The parts sum to it."""
    held = float(spec.origin.gpu_seconds)
    idle = _idle(spec, held, gpus)
    useful = min(held - idle, gpus * _measured_seconds(spec))
    return GpuTime(useful=useful, overhead=max(0.0, held - idle - useful), idle=idle)


def spent_between(
    run_uid: str,
    before: BenchmarkRunStatus,
    after: BenchmarkRunStatus,
    results: Mapping[str, BenchmarkResultSpec],
    document: RequestDocument | None,
) -> GpuTime:
    """Return the time of the attempts that ended between two statuses of a run.

    `results` holds those of the shards that ended, by name; of a result of another run (reused) nothing was spent.
    """
    old, new = before.gpu_seconds or GpuSeconds(), after.gpu_seconds or GpuSeconds()
    total = GpuTime(wasted=float(max(0, new.wasted - old.wasted)))
    if document is None or new.used <= old.used:
        return total
    ended_before = {(row.id, shard.index) for row in before.rows for shard in row.shards if shard.outcome is not None}
    for row in after.rows:
        for shard in row.shards:
            spec = results.get(shard.result or "")
            if (row.id, shard.index) in ended_before or shard.outcome not in _ANSWERS or spec is None:
                continue
            if spec.run.uid == run_uid:
                total += split_result(spec, document.find_hardware(row.hardware).gpus)
    return total


def _idle(spec: BenchmarkResultSpec, held: float, gpus: int) -> float:
    started, finished = parse_time(spec.origin.started_at), parse_time(spec.origin.finished_at)
    if started is None:
        return held
    if finished is None:
        # It ran, and nobody knows until when: nothing of it can be called idle.
        return 0.0
    return min(held, max(0.0, held - gpus * max(0.0, finished - started)))


def _measured_seconds(spec: BenchmarkResultSpec) -> float:
    latency = spec.find_series(SeriesName.LATENCY)
    return 0.0 if latency is None else max(0.0, latency.statistics.mean * latency.statistics.count / 1e6)

"""Results of shards with chosen figures, as the ledger holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.manifests import DIGEST
from vidbench_api.measured import Environment, Series, SeriesName, Statistics
from vidbench_api.result import BenchmarkResultSpec

MICROSECONDS = 1_000_000


def measured_result(
    seconds: float | Sequence[float],
    *,
    shard: int = 1,
    run: str = "this",
    model: str = "wan",
    hardware: str = "gpu",
    variant: str = "base",
    gpu: str | None = None,
    device: str = "NVIDIA H100",
    **changes: Any,
) -> BenchmarkResultSpec:
    """A valid result of a shard on a GPU of its own, with these latencies in seconds."""
    samples = [seconds] if isinstance(seconds, int | float) else seconds
    values = tuple(round(value * MICROSECONDS) for value in samples)
    series = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
    uuid = gpu or f"GPU-{run}-{model}-{hardware}-{variant}-{shard}"
    spec: dict[str, Any] = {
        "run": {"name": run, "uid": f"uid-of-{run}"},
        "cell": {"id": "01234567", "model": model, "hardware": hardware, "variant": variant},
        "shard": shard,
        "attempts": 1,
        "request_digest": DIGEST,
        "generation_hash": DIGEST,
        "outcome": "Succeeded",
        "validity": {"state": "Valid"},
        "samples_done": len(values),
        "series": (series,),
        "environment": Environment(device=device, device_count=1, gpu_uuid=uuid),
        "clip": {"height": 480, "width": 832, "frames_requested": 33, "steps": 30},
        "origin": {"attempt": 1, "node": f"node-of-{uuid}"},
    }
    return BenchmarkResultSpec.model_validate(spec | changes)


def shards_of(means: Sequence[float], **fields: Any) -> tuple[BenchmarkResultSpec, ...]:
    """A result a shard, with these mean latencies in seconds."""
    return tuple(measured_result(mean, shard=number, **fields) for number, mean in enumerate(means, 1))

"""Cells as statistics see them, made from plain figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_analysis.metrics import Reading
from vidbench_analysis.observations import CellObservations, ShardObservation
from vidbench_api.names import Comparability


def cell_of(
    shards: Sequence[float | Sequence[float]],
    *,
    metric: str = "latency",
    devices: Sequence[str | None] | None = None,
    label: str = "model/default/default",
    run: str = "run-1",
    product: str | None = "NVIDIA H100 80GB HBM3",
    prompts: Sequence[str] | None = None,
    **changes: Any,
) -> CellObservations:
    """Return a cell of shards with these samples (or with one figure); without `devices` each has a GPU of its own."""
    observed = []
    for number, samples in enumerate(shards, 1):
        values = tuple(float(value) for value in ([samples] if isinstance(samples, int | float) else samples))
        reading = Reading(sum(values) / len(values), len(values), values)
        device = f"GPU-{run}-{label}-{number}" if devices is None else devices[number - 1]
        fields: dict[str, Any] = {
            "run_uid": run,
            "shard": number,
            "readings": {metric: reading},
            "gpu_uuid": device,
            "node": None if device is None else f"node-of-{device}",
            "product": product,
            "prompts": tuple(prompts) if prompts is not None else None,
        }
        observed.append(ShardObservation(**(fields | changes)))
    return CellObservations(label, tuple(observed), comparability=Comparability.DEVICE, results=len(observed))

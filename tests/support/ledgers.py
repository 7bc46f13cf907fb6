"""Ledgers of results whose truth is known: means of shards are what a test says, samples lie evenly around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_api.identity import cell_id, digest_of, result_name
from vidbench_api.measured import ClipFacts, Environment, Memory, Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.names import (
    LABEL_BASELINE,
    LABEL_CELL,
    LABEL_HARDWARE,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_SHARD,
    LABEL_VALIDITY,
    LABEL_VARIANT,
    Outcome,
    Validity,
)
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference

PRODUCT = "NVIDIA H100 80GB HBM3"
AROUND = (-10_000, 0, 10_000)
"""Samples around a shard's mean, in microseconds."""


def series_of(name: SeriesName, unit: Any, mean: int) -> Series:
    """A column of three samples with this mean."""
    values = tuple(mean + (offset if unit == "microseconds" else 0) for offset in AROUND)
    return Series(name=name, unit=unit, statistics=Statistics.of(values), values=values)


def shard_of(
    seconds: float | None,
    *,
    run: str = "nightly",
    model: str = "wan",
    hardware: str = "h100",
    variant: str = "short",
    shard: int = 1,
    gpu: str | None = None,
    memory_mebibytes: int | None = 20_000,
    **changes: Any,
) -> BenchmarkResultSpec:
    """A valid result whose mean latency is known; None: it ran out of memory."""
    uid = f"uid-of-{run}"
    gpu = gpu or f"GPU-{run}-{shard}"
    fields: dict[str, Any] = {
        "run": RunReference(name=run, uid=uid),
        "cell": CellReference(
            id=cell_id(uid, model, hardware, variant), model=model, hardware=hardware, variant=variant
        ),
        "shard": shard,
        "attempts": 1,
        "request_digest": digest_of(run),
        "generation_hash": digest_of(f"{model} {variant}"),
        "outcome": Outcome.SUCCEEDED,
        "validity": ValidityVerdict(state=Validity.VALID),
        "samples_done": len(AROUND),
        "series": (series_of(SeriesName.LATENCY, "microseconds", round((seconds or 0) * 1e6)),),
        "environment": Environment(
            device=PRODUCT, device_count=1, gpu_uuid=gpu, driver="570.1", torch="2.15.0", vidbench="0.1.0"
        ),
        "clip": ClipFacts(height=480, width=832, frames_requested=33, frames_delivered=33, steps=30),
        "memory": Memory(device=memory_mebibytes * 2**20) if memory_mebibytes else None,
        "origin": Origin(
            attempt=1,
            node=f"node-of-{gpu}",
            started_at=f"2026-01-02T03:{shard:02d}:00Z",
            finished_at=f"2026-01-02T03:{shard:02d}:30Z",
            gpu_seconds=30,
        ),
    }
    if seconds is None:
        fields |= {
            "outcome": Outcome.OUT_OF_MEMORY,
            "reason": "OutOfMemoryCuda",
            "validity": ValidityVerdict(state=Validity.INVALID, reasons=("NotMeasured",)),
            "series": (),
            "samples_done": 0,
        }
    return BenchmarkResultSpec(**(fields | changes))


def cell_of_run(seconds: Sequence[float], **names: Any) -> tuple[BenchmarkResultSpec, ...]:
    """One cell with a shard for each mean latency; `names` as for `shard_of`."""
    return tuple(shard_of(mean, shard=number, **names) for number, mean in enumerate(seconds, 1))


def manifest_of(spec: BenchmarkResultSpec, namespace: str = "lab", baseline: str | None = None) -> dict[str, Any]:
    """The object of a result, with the labels that the operator gives it."""
    cell = spec.cell
    return {
        "apiVersion": "vidbench.io/v1alpha1",
        "kind": "BenchmarkResult",
        "metadata": {
            "name": result_name(spec.run.name, cell.id, spec.shard),
            "namespace": namespace,
            "labels": {
                LABEL_RUN: spec.run.name,
                LABEL_RUN_UID: spec.run.uid,
                LABEL_CELL: cell.id,
                LABEL_MODEL: cell.model,
                LABEL_HARDWARE: cell.hardware,
                LABEL_VARIANT: cell.variant,
                LABEL_SHARD: str(spec.shard),
                LABEL_OUTCOME: spec.outcome.value,
                LABEL_VALIDITY: spec.validity.state.value,
                **({LABEL_BASELINE: baseline} if baseline else {}),
            },
        },
        "spec": spec.to_wire(),
    }

"""BenchmarkResult objects as an API server gives them, made by the contract's own types; drawn from a seed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from vidbench_api.identity import digest_of, result_name
from vidbench_api.measured import Environment, Memory, Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.names import API_VERSION, Outcome, Validity
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_UNITS: dict[SeriesName, Any] = {
    SeriesName.LATENCY: "microseconds",
    SeriesName.DENOISE: "microseconds",
    SeriesName.VAE_DECODE: "microseconds",
    SeriesName.ENERGY: "millijoules",
    SeriesName.MEMORY_ALLOCATED: "bytes",
}


def moment(value: datetime) -> str:
    """Return the moment as the API writes it."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def series(name: SeriesName, *values: int) -> Series:
    """A column."""
    return Series(name=name, unit=_UNITS.get(name, "count"), statistics=Statistics.of(values), values=values)


def document(
    *,
    uid: str = "",
    run: str = "nightly",
    run_uid: str = "run-1",
    namespace: str = "lab",
    model: str = "wan",
    hardware: str = "h100",
    variant: str = "short",
    shard: int = 1,
    latencies: tuple[int, ...] = (1_000_000, 1_100_000, 1_300_000),
    more: tuple[Series, ...] = (),
    measured_at: datetime = EPOCH,
    driver: str | None = "580.65.06",
    node: str | None = "gpu-1",
    device: str = "NVIDIA H100 80GB HBM3",
    labels: dict[str, str] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """One object: a shard that succeeded, unless something else is asked for. `changes` are of the spec."""
    cell = digest_of(f"{run_uid}/{model}/{hardware}/{variant}")[:8]
    name = result_name(run, cell, shard)
    fields: dict[str, Any] = {
        "run": RunReference(name=run, uid=run_uid),
        "cell": CellReference(id=cell, model=model, hardware=hardware, variant=variant),
        "shard": shard,
        "attempts": 1,
        "request_digest": digest_of(run_uid),
        "generation_hash": digest_of(f"{model}/{variant}"),
        "environment_hash": digest_of(hardware),
        "outcome": Outcome.SUCCEEDED,
        "validity": ValidityVerdict(state=Validity.VALID),
        "samples_done": len(latencies),
        "environment": Environment(device=device, device_count=1, driver=driver, torch="2.15.0"),
        "memory": Memory(device=8 * 1024**3),
        "series": ((series(SeriesName.LATENCY, *latencies),) if latencies else ()) + more,
        "origin": Origin(
            attempt=1,
            node=node,
            started_at=moment(measured_at - timedelta(minutes=5)),
            finished_at=moment(measured_at),
            gpu_seconds=300,
        ),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkResult",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or digest_of(f"{namespace}/{run_uid}/{name}")[:32],
            "creationTimestamp": moment(measured_at + timedelta(seconds=2)),
            "resourceVersion": "7",
            "labels": labels or {},
        },
        "spec": BenchmarkResultSpec(**(fields | changes)).to_wire(),
    }


def many(number: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield so many objects of a few hundred runs: 4 models, 2 products, 2 variants, 16 nodes, drivers that change."""
    chance = random.Random(seed)
    for index in range(number):
        run, within = divmod(index, 32)
        model, hardware, variant, shard = within % 4, within // 4 % 2, within // 8 % 2, within // 16 + 1
        scale = (1 + model) * (1 + variant) * (1 if hardware == 0 else 2.5) * 1_000_000
        process = chance.gauss(0, 0.01)
        samples = 20
        latencies = tuple(round(scale * (1 + process + chance.gauss(0, 0.004))) for _ in range(samples))
        product = ("NVIDIA H100 80GB HBM3", "NVIDIA L40S")[hardware]
        failed = chance.random() < 0.03
        if failed:
            yield document(
                uid=str(uuid.UUID(int=chance.getrandbits(128))),
                run=f"nightly-{run}", run_uid=f"run-{run}", model=f"model-{model}", hardware=("h100", "l40s")[hardware],
                variant=("short", "long")[variant], shard=shard, latencies=(), device=product,
                node=f"gpu-{chance.randrange(16)}", measured_at=EPOCH + timedelta(hours=run),
                outcome=Outcome.OUT_OF_MEMORY, reason="OutOfMemoryCuda",
                validity=ValidityVerdict(state=Validity.INVALID, reasons=("NotMeasured",)),
            )  # fmt: skip
            continue
        yield document(
            uid=str(uuid.UUID(int=chance.getrandbits(128))),
            run=f"nightly-{run}", run_uid=f"run-{run}", model=f"model-{model}", hardware=("h100", "l40s")[hardware],
            variant=("short", "long")[variant], shard=shard, latencies=latencies, device=product,
            more=(
                series(SeriesName.DENOISE, *(round(0.8 * value) for value in latencies)),
                series(SeriesName.VAE_DECODE, *(round(0.15 * value) for value in latencies)),
                series(SeriesName.ENERGY, *(round(0.3 * value) for value in latencies)),
                series(SeriesName.MEMORY_ALLOCATED, *([8 * 1024**3] * samples)),
            ),
            driver=("580.65.06", "595.10")[run >= number // 64], node=f"gpu-{chance.randrange(16)}",
            measured_at=EPOCH + timedelta(hours=run, minutes=within),
        )  # fmt: skip

"""Seeded traces of runs: when they come, how big they are, how long each of their shards takes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from support.builders import Scene

from bench.replay import Arrival

DAY_SECONDS = 86_400.0
MEDIAN_SECONDS = 240.0
SPREAD_OF_CELLS = 0.9
"""Standard deviation of the logarithm: one cell in forty takes six times the median."""

SPREAD_OF_SHARDS = 0.05
_LONGEST_SECONDS = 7_000.0


def one_run(
    seed: int, *, models: int, variants: int, shards: int, parallelism: int, at: float = 0.0, estimates: bool = False
) -> Arrival:
    """A run whose cells take lognormal times; with estimates its rows say how long, to within their spread."""
    chance = random.Random(seed)
    scene = Scene.of(
        uid=f"run-{seed}",
        models=[f"m{number}" for number in range(models)],
        variants=[f"v{number}" for number in range(variants)],
        measurement={"shards": shards},
        parallelism=parallelism,
        autoscaling={"mode": "Capacity"},
        hardware=[{"name": "gpu", "nodeSelector": {"pool": "gpu"}}],
        timeouts={"runSeconds": 10 * 86_400},
    )
    usual = {
        cell.id: min(_LONGEST_SECONDS, MEDIAN_SECONDS * math.exp(chance.gauss(0, SPREAD_OF_CELLS)))
        for cell in sorted(scene.document.cells, key=lambda cell: (cell.model, cell.variant))
    }
    seconds = {
        (cell, shard): usual[cell] * math.exp(chance.gauss(0, SPREAD_OF_SHARDS))
        for cell in usual
        for shard in range(1, shards + 1)
    }
    return Arrival(at, _with_estimates(scene, usual) if estimates else scene, seconds)


def bursty_day(seed: int) -> list[Arrival]:
    """Three to five bursts of two to four runs in 24 hours, by day, each burst within ten minutes."""
    chance = random.Random(seed)
    arrivals = []
    for _ in range(chance.randint(3, 5)):
        burst = chance.uniform(6 * 3600, 20 * 3600)
        arrivals += [_run_of_burst(chance, burst) for _ in range(chance.randint(2, 4))]
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _run_of_burst(chance: random.Random, burst: float) -> Arrival:
    return one_run(
        chance.randrange(1 << 30),
        models=chance.randint(2, 6),
        variants=chance.randint(1, 4),
        shards=chance.randint(1, 3),
        parallelism=chance.choice((16, 32, 64)),
        at=burst + chance.uniform(0, 600),
        estimates=True,
    )


def _with_estimates(scene: Scene, seconds: Mapping[str, float]) -> Scene:
    rows = tuple(
        row.model_copy(update={"estimate_seconds": max(1, round(seconds[row.id]))}) for row in scene.run.status.rows
    )
    return scene.with_status(scene.run.status.model_copy(update={"rows": rows}))

"""Experiments whose truth is known: shards on GPUs, each with its own offset, samples that depend on each other, outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from support.cells import cell_of

from vidbench_analysis.observations import CellObservations

TYPICAL = 10_000_000.0
"""Microseconds of a sample without any offset."""

Placement = Literal["own", "one", "two", "three", "pool", "paired"]


@dataclass(frozen=True)
class World:
    """How a cell's figures come about. Spreads are of logarithms: 0.01 is a coefficient of variation of 1 %.

    `placement`: every shard on a GPU of its own; all on one, two or three GPUs that both sides share; on GPUs drawn from a
    pool of four; shard i of both sides on GPU i.
    """

    shards: int = 5
    samples: int = 10
    sample_spread: float = 0.01
    process_spread: float = 0.0
    gpu_spread: float = 0.0
    correlation: float = 0.0
    outlier_share: float = 0.0
    outlier_factor: float = 1.5
    placement: Placement = "own"
    skewed: bool = False
    """Processes differ by an exponential distribution, not a normal one."""

    def cells(self, rng: np.random.Generator, effects: Sequence[float] = (0.0, 0.0)) -> list[CellObservations]:
        """Return a cell for each effect (a logarithm: log 1.05 is 5 % slower); GPUs are shared between them."""
        fleet = rng.normal(0.0, self.gpu_spread, 4096) if self.gpu_spread else np.zeros(4096)
        return [self._cell(rng, fleet, number, effect) for number, effect in enumerate(effects)]

    def _cell(self, rng: np.random.Generator, fleet: Any, number: int, effect: float) -> CellObservations:
        gpus = self._gpus(rng, number)
        centres = effect + fleet[gpus] + self._processes(rng)
        samples = TYPICAL * np.exp(centres)[:, None] * (1 + self.sample_spread * self._noise(rng))
        if self.outlier_share:
            slow = rng.random(samples.shape) < self.outlier_share
            samples = np.where(slow, samples * self.outlier_factor, samples)
        return cell_of(samples.tolist(), devices=[f"GPU-{gpu}" for gpu in gpus], label=f"cell-{number}")

    def _processes(self, rng: np.random.Generator) -> Any:
        if self.skewed:
            return self.process_spread * (rng.exponential(1.0, self.shards) - 1.0)
        return rng.normal(0.0, self.process_spread, self.shards)

    def _gpus(self, rng: np.random.Generator, number: int) -> Any:
        if self.placement == "own":
            return np.arange(self.shards) + 64 * number
        if self.placement == "pool":
            return rng.integers(0, 4, self.shards)
        if self.placement == "paired":
            return np.arange(self.shards)
        return np.arange(self.shards) % {"one": 1, "two": 2, "three": 3}[self.placement]

    def _noise(self, rng: np.random.Generator) -> Any:
        fresh = rng.standard_normal((self.shards, self.samples))
        if not self.correlation:
            return fresh
        noise = np.empty_like(fresh)
        noise[:, 0] = fresh[:, 0]
        for at in range(1, self.samples):
            noise[:, at] = self.correlation * noise[:, at - 1] + math.sqrt(1 - self.correlation**2) * fresh[:, at]
        return noise

    @property
    def unit_spread(self) -> float:
        """The standard deviation of a shard's mean, GPU included; of samples without correlation and outliers."""
        return math.sqrt(self.process_spread**2 + self.gpu_spread**2 + self.sample_spread**2 / self.samples)

    def mean(self, *, outliers: bool = True) -> float:
        """Return the true mean over all processes and GPUs."""
        slow = 1 + self.outlier_share * (self.outlier_factor - 1) if outliers else 1.0
        if not self.skewed:
            return TYPICAL * math.exp((self.process_spread**2 + self.gpu_spread**2) / 2) * slow
        # E exp(s (X - 1)) of an exponential X is exp(-s) / (1 - s).
        centre = math.exp(-self.process_spread) / (1 - self.process_spread)
        return TYPICAL * centre * math.exp(self.gpu_spread**2 / 2) * slow


def mean_of_seen(world: World, cell: CellObservations, rng: np.random.Generator) -> float:
    """Return the true mean of the very GPUs that a cell saw: they are drawn again from the generator's state."""
    fleet = rng.normal(0.0, world.gpu_spread, 4096)
    gpus = sorted({int(str(shard.gpu_uuid).removeprefix("GPU-")) for shard in cell.shards})
    return TYPICAL * math.exp(world.process_spread**2 / 2) * float(np.mean(np.exp(fleet[gpus])))


def quality_cells(
    rng: np.random.Generator,
    prompts: int,
    *,
    prompt_spread: float = 50_000.0,
    noise: float = 20_000.0,
    gap: float = 0.0,
    seeds: int = 1,
) -> list[CellObservations]:
    """Return two cells' warping errors (millionths): a prompt decides most, and both sides have the same prompts."""
    centres = 300_000.0 + prompt_spread * rng.standard_normal(prompts)
    names = [f"prompt-{number}" for number in range(prompts) for _ in range(seeds)]
    cells = []
    for number, shift in enumerate((gap, 0.0)):
        values = np.repeat(centres, seeds) + shift + noise * rng.standard_normal(prompts * seeds)
        cells.append(cell_of([values.tolist()], metric="warpingError", label=f"cell-{number}", prompts=names))
    return cells

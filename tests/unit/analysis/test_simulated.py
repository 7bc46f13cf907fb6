"""A short run of `make simulate-statistics`: fewer repeats, bounds as much wider. The long one is what is believed."""

from __future__ import annotations

import numpy as np
import pytest
from bench import simulate_statistics as simulation
from bench.statistics_claims import at_most, near
from bench.statistics_worlds import World

REPEATS = 150
CASES = [
    "coverage.processAndGpu",
    "coverage.threeGpusNineShards",
    "coverage.oneShard",
    "same.ownGpus",
    "same.twoGpus",
    "familyWise",
    "evaluated.bounds",
]


@pytest.mark.parametrize("name", CASES)
def test_a_claim_holds(name: str) -> None:
    for claim in simulation.cases()[name](REPEATS):
        assert claim.holds, claim


def test_samples_taken_as_independent_are_found_out() -> None:
    """The wrong method on the very world that the right one is quiet in: its false positives break the claim."""
    world = World(shards=3, sample_spread=0.003, process_spread=0.005)
    rng = np.random.default_rng(5)
    loud = sum(simulation.p_of_samples(*world.cells(rng)) < 0.05 for _ in range(REPEATS)) / REPEATS
    assert not at_most("wrong", loud, 0.05, REPEATS).holds
    (right,) = simulation.false_positives("right", world, REPEATS)
    assert right.holds


def test_a_gate_finds_a_regression_at_its_planned_power() -> None:
    world = World(shards=9, samples=2, sample_spread=1e-6, process_spread=0.02)
    failed, _ = simulation.gate_rates("test", world, REPEATS, float(np.log(1.05)))
    planned = simulation.power.power_of_failure(float(np.log(1.05)), float(np.log(1.02)), 0.02, 9)
    assert near("regression", failed, planned, REPEATS).holds
    assert simulation.gate_rates("same", world, REPEATS, 0.0)[0] == 0.0

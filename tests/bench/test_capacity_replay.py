"""What following capacity is worth: bursty days on a fleet that grows and shrinks, and how full a fixed one is kept.

The operator's decisions are the real ones, the cluster is a model (see `replay`): no clock of this machine is in any
figure. Asserts that all work ended, never how well.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench import report
from bench.replay import Arrival, Outcome, Pool, Replay
from bench.traces import DAY_SECONDS, bursty_day, one_run

DAYS = int(os.environ.get("VIDBENCH_CAPACITY_DAYS", "5"))
RUNS = int(os.environ.get("VIDBENCH_CAPACITY_RUNS", "10"))
FLEET = Pool(most_nodes=16)
FIXED = Pool(most_nodes=2, fixed=True)
ONE_RUN: dict[str, int] = {"models": 10, "variants": 4, "shards": 3, "parallelism": 64}


def played(pool: Pool, arrivals: list[Arrival]) -> Outcome:
    """Play a trace, all of whose work must end."""
    outcome = Replay(pool, arrivals).play()
    assert outcome.unfinished == 0
    return outcome


def makespan_ratio(seed: int, *, estimates: bool) -> float:
    """Return how long one run takes on a fixed fleet, over what it must take whatever the order."""
    arrival = one_run(seed, estimates=estimates, **ONE_RUN)
    (makespan,) = played(FIXED, [arrival]).makespans
    gpus = FIXED.most_nodes * FIXED.gpus_per_node
    return makespan / max(sum(arrival.seconds.values()) / gpus, *arrival.seconds.values())


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def day_figures(seeds: Sequence[int]) -> dict[str, Any]:
    """Return what each day took of a fleet that follows, against one that is always as big as that one's peak."""
    shares, idle, pending, slower, peaks, runs, passes = [], [], [], [], [], [], []
    for seed in seeds:
        arrivals = bursty_day(seed)
        follows = played(FLEET, arrivals)
        static = played(replace(FLEET, most_nodes=follows.most_gpus // FLEET.gpus_per_node, fixed=True), arrivals)
        shares.append(follows.provisioned_seconds / (follows.most_gpus * DAY_SECONDS))
        idle.append(1 - follows.busy_seconds / follows.provisioned_seconds)
        pending.append(float(follows.most_pending))
        peaks.append(float(follows.most_gpus))
        runs.append(float(len(arrivals)))
        passes.append(follows.passes / sum(len(arrival.seconds) for arrival in arrivals))
        slower += [mine / other for mine, other in zip(follows.makespans, static.makespans, strict=True)]
    return {
        "runs": spread(runs, 0),
        "peakGpus": spread(peaks, 0),
        "gpuHoursOfStatic": spread(shares),
        "idleShare": spread(idle),
        "makespanOfStatic": spread(slower),
        "mostPendingPods": spread(pending, 0),
        "passesPerShard": spread(passes, 2),
    }


def test_a_small_day_ends_and_the_fleet_goes_with_it() -> None:
    arrivals = [
        one_run(seed, models=3, variants=2, shards=2, parallelism=16, at=at)
        for seed, at in ((1, 0.0), (2, 60.0), (3, 9000.0))
    ]
    outcome = played(Pool(most_nodes=2), arrivals)
    assert outcome.most_gpus == 16
    assert outcome.busy_seconds < outcome.provisioned_seconds < outcome.most_gpus * outcome.finished_at
    assert all(makespan > 90 for makespan in outcome.makespans), "no node is there when a run comes"


def test_on_a_fixed_fleet_a_probe_waits_and_not_the_whole_run() -> None:
    arrival = one_run(7, models=10, variants=4, shards=2, parallelism=80)
    outcome = played(Pool(most_nodes=1, fixed=True), [arrival])
    assert outcome.most_pending <= 17, (
        "twice the eight that the node took at once, and one for a place that became free"
    )


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_capacity_replay() -> None:
    load_average = os.getloadavg()[0]
    seeds = list(range(DAYS))
    report.publish(
        {
            "benchmark": "capacity-replay",
            **report.provenance(load_average),
            "setting": {
                "days": DAYS,
                "mostNodes": FLEET.most_nodes,
                "gpusPerNode": FLEET.gpus_per_node,
                "nodeDelaySeconds": FLEET.delay_seconds,
                "nodeIdleSeconds": FLEET.idle_seconds,
                "fixedRuns": RUNS,
                "fixedGpus": FIXED.most_nodes * FIXED.gpus_per_node,
                "fixedShards": ONE_RUN["models"] * ONE_RUN["variants"] * ONE_RUN["shards"],
            },
            "day": day_figures(seeds),
            "fixed": {
                "makespanWithEstimates": spread([makespan_ratio(seed, estimates=True) for seed in range(RUNS)]),
                "makespanWithoutEstimates": spread([makespan_ratio(seed, estimates=False) for seed in range(RUNS)]),
            },
        }
    )

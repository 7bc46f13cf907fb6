"""Whether the statistics keep what they say, on experiments whose truth is known: `make simulate-statistics`.

Every claim has a figure, the bounds that it must lie in, and whether it does. Bounds on a rate are widened by 2.58 standard
errors of as many repeats (99 %), so that a claim that holds exactly is not refused by chance. Same code, same figures: every
case has a seed of its own. Ends with 1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from support.cells import cell_of

from bench import report, simulated_gates
from bench.statistics_claims import REPEATS, Claim, at_most, covers, generator, near, slack
from bench.statistics_worlds import World, mean_of_seen, quality_cells
from vidbench_analysis import power
from vidbench_analysis.comparison import Comparison, compare
from vidbench_analysis.contrasts import welch
from vidbench_analysis.distributions import t_two_sided
from vidbench_analysis.fleet import standing_of_nodes, variance_components
from vidbench_analysis.intervals import Estimate, estimate
from vidbench_analysis.metrics import Margin, Pairing, find_metric
from vidbench_analysis.multiplicity import holm
from vidbench_analysis.observations import CellObservations
from vidbench_analysis.pareto import frontier
from vidbench_analysis.percentiles import percentile
from vidbench_analysis.ranks import mann_whitney
from vidbench_analysis.verdicts import Method, Verdict
from vidbench_api.measured import Series, SeriesName, Statistics
from vidbench_runner.core.precision import PARTS_PER_MILLION
from vidbench_runner.core.steadiness import is_autocorrelated, steadiness_of
from vidbench_runner.core.stopping import PrecisionTarget, Quota, TimeLeft, reached_ppm, stop_reason

LATENCY, WARPING = find_metric("latency"), find_metric("warpingError")
MARGIN = Margin.parse("2%")


# -- intervals

SPREADS = {"process_spread": 0.01, "gpu_spread": 0.01}
POPULATIONS: Mapping[str, World] = {
    "iid": World(),
    "process": World(process_spread=0.01),
    "processAndGpu": World(shards=6, **SPREADS),
    "threeShards": World(shards=3, **SPREADS),
    "autocorrelated": World(process_spread=0.003, correlation=0.6, sample_spread=0.02),
    "threeGpusNineShards": World(shards=9, placement="three", **SPREADS),
    "skewed48": World(shards=48, process_spread=0.2, skewed=True),
}
SEEN: Mapping[str, World] = {
    "oneGpu": World(shards=5, placement="one", **SPREADS),
    "twoGpusSixShards": World(shards=6, placement="two", **SPREADS),
}


def is_inside(found: Estimate, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def coverage(name: str, world: World, repeats: int) -> list[Claim]:
    """Coverage of the mean over all processes and GPUs, of intervals that say they are one."""
    rng = generator(f"coverage {name}")
    truth, inside, claimed = world.mean(), 0, 0
    for _ in range(repeats):
        found = estimate(world.cells(rng, (0.0,))[0], LATENCY)
        claimed += found.is_nominal
        inside += found.is_nominal and is_inside(found, truth)
    return [covers(f"coverage.{name}", inside / claimed, claimed)]


def coverage_when_skewed(repeats: int) -> list[Claim]:
    """The limit of t: eight processes of an exponential distribution. Nobody can see that skewness in eight figures."""
    world, rng = World(shards=8, process_spread=0.01, skewed=True), generator("skewed")
    inside = sum(is_inside(estimate(world.cells(rng, (0.0,))[0], LATENCY), world.mean()) for _ in range(repeats))
    return [Claim("skewed.coverageForReference", inside / repeats, 0.0, 1.0, repeats)]


def coverage_of_seen(name: str, world: World, repeats: int) -> list[Claim]:
    """Coverage of the mean of the GPUs that were seen: an interval of one or two GPUs speaks of no others."""
    rng, inside = generator(f"coverage {name}"), 0
    for _ in range(repeats):
        state = rng.bit_generator.state
        (cell,) = world.cells(rng, (0.0,))
        again = np.random.default_rng()
        again.bit_generator.state = state
        inside += is_inside(estimate(cell, LATENCY), mean_of_seen(world, cell, again))
    return [covers(f"coverage.{name}", inside / repeats, repeats)]


def coverage_with_outliers(repeats: int) -> list[Claim]:
    """With rare slow samples: intervals that saw one say that they are none; the others are of samples like those seen."""
    world = World(process_spread=0.01, outlier_share=0.03)
    rng = generator("outliers")
    everything, typical = world.mean(), world.mean(outliers=False)
    claimed = inside = inside_all = true = 0
    for _ in range(repeats):
        found = estimate(world.cells(rng, (0.0,))[0], LATENCY)
        inside_all += is_inside(found, everything)
        claimed += found.is_nominal
        inside += found.is_nominal and is_inside(found, typical)
        true += found.is_nominal and is_inside(found, everything)
    large = replace(world, shards=8, samples=64)
    said = sum(not estimate(large.cells(rng, (0.0,))[0], LATENCY).is_nominal for _ in range(repeats))
    return [
        covers("outliers.coverageOfThoseWithoutDoubt", inside / claimed, claimed),
        Claim("outliers.coverageOfTheTrueMeanByThoseForReference", true / claimed, 0.0, 1.0, claimed),
        Claim("outliers.shareThatSaysItIsNone", 1 - claimed / repeats, 0.5, 1.0, repeats),
        Claim("outliers.shareThatSaysItIsNone512", said / repeats, 0.999, 1.0, repeats),
        Claim("outliers.coverageOfAllForReference", inside_all / repeats, 0.0, 1.0, repeats),
    ]


def coverage_of_one_shard(repeats: int) -> list[Claim]:
    """One process: the interval covers far less than it says, and says so every time."""
    world, rng, said, inside = World(shards=1, process_spread=0.005), generator("one shard"), 0, 0
    for _ in range(repeats):
        found = estimate(world.cells(rng, (0.0,))[0], LATENCY)
        said += found.within_process and not found.is_nominal
        inside += is_inside(found, world.mean())
    return [
        Claim("oneShard.shareThatSaysItIsNone", said / repeats, 1.0, 1.0, repeats),
        Claim("oneShard.coverageForReference", inside / repeats, 0.0, 0.93, repeats),
    ]


def coverage_of_prompts(repeats: int) -> list[Claim]:
    claims = []
    for prompts in (8, 48):
        rng, inside = generator(f"prompts {prompts}"), 0
        for _ in range(repeats):
            inside += is_inside(estimate(quality_cells(rng, prompts)[0], WARPING), 300_000.0)
        claims.append(covers(f"coverage.prompts{prompts}", inside / repeats, repeats))
    return claims


STOPPED: Mapping[str, World] = {
    "iid": World(shards=1, samples=64, sample_spread=0.02),
    "autocorrelated": World(shards=1, samples=64, sample_spread=0.02, correlation=0.6),
}
QUOTA = Quota(required=10, most=64, target=PrecisionTarget("latency", 10_000))


def stopped(values: Sequence[int]) -> tuple[Series, int]:
    """Return the samples of a shard by plan Precision, as the runner stops them, and the half-width that it states."""
    for done in range(1, len(values) + 1):
        column = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values[:done]))
        reached = reached_ppm(QUOTA.target, [column])
        if stop_reason(QUOTA, done, reached, TimeLeft(None, None)) is not None:
            assert reached is not None
            return column, reached
    raise AssertionError("the runner asks for more samples than a shard may have")


def coverage_when_stopped(name: str, world: World, repeats: int) -> list[Claim]:
    """Samples of one process until its mean is known to 1 %, from 10 on, by the runner's own rule.

    Looking after every sample costs some of the 95 %, and a process whose samples depend on each other is stopped far too
    early: that interval is none, and how often the shard says so is shown beside it.
    """
    rng, inside, noted, counts = generator(f"stopping {name}"), 0, 0, []
    for _ in range(repeats):
        ((_, reading),) = world.cells(rng, (0.0,))[0].reading(LATENCY)
        values = [round(value) for value in reading.values]
        column, reached = stopped(values)
        found, steadiness = column.statistics, steadiness_of(values[: column.statistics.count])
        inside += abs(found.mean - world.mean()) <= found.mean * reached / PARTS_PER_MILLION
        noted += steadiness is not None and is_autocorrelated(steadiness, found.count)
        counts.append(found.count)
    share = inside / repeats
    return [
        Claim(f"stopping.{name}ForReference", share, 0.0, 1.0, repeats)
        if world.correlation
        else covers(f"stopping.{name}", share, repeats),
        Claim(f"stopping.{name}NotedForReference", noted / repeats, 0.0, 1.0, repeats),
        Claim(f"stopping.{name}MeanSamplesForReference", float(np.mean(counts)), 10, 64, repeats),
    ]


# -- comparisons

SAME: Mapping[str, World] = {
    "iid": World(shards=5),
    "threeShards": World(shards=3, **SPREADS),
    "ownGpus": World(shards=5, **SPREADS),
    "oneGpu": World(shards=5, placement="one", **SPREADS),
    "twoGpus": World(shards=6, placement="two", **SPREADS),
    "gpusOfAPool": World(shards=6, placement="pool", **SPREADS),
    "pairedByNode": World(shards=5, placement="paired", **SPREADS),
    "autocorrelated": World(shards=5, process_spread=0.003, correlation=0.6, sample_spread=0.02),
    "outliers": World(shards=5, process_spread=0.01, outlier_share=0.03),
    "skewed": World(shards=5, process_spread=0.05, skewed=True),
}


def comparisons(
    name: str, world: World, repeats: int, effect: float = 0.0, margin: Margin | None = None
) -> list[Comparison]:
    rng = generator(name)
    pairing = Pairing.NODE if world.placement == "paired" else None
    return [compare(*world.cells(rng, (effect, 0.0)), LATENCY, margin, pairing) for _ in range(repeats)]


def false_positives(name: str, world: World, repeats: int) -> list[Claim]:
    """The same thing twice: neither better nor worse."""
    found = comparisons(f"same {name}", world, repeats)
    loud = sum(one.verdict in (Verdict.BETTER, Verdict.WORSE) for one in found)
    methods = Counter(one.method for one in found)
    usable = repeats - methods[Method.NONE]
    return [at_most(f"falsePositives.{name}", loud / usable, 0.05, usable)]


def false_positives_of_samples(repeats: int) -> list[Claim]:
    """The wrong method, samples taken as independent, is found out by the same world."""
    world, rng, loud = World(shards=3, sample_spread=0.003, process_spread=0.005), generator("wrong"), 0
    for _ in range(repeats):
        first, second = world.cells(rng)
        loud += p_of_samples(first, second) < 0.05
    return [Claim("falsePositives.ofSamplesForReference", loud / repeats, 0.2, 1.0, repeats)]


def p_of_samples(first: CellObservations, second: CellObservations) -> float:
    """Return p of Welch's test over all samples: wrong, as samples of one process are not independent."""
    sides = [[value for _, reading in cell.reading(LATENCY) for value in reading.values] for cell in (first, second)]
    contrast = welch(*sides)
    return t_two_sided(contrast.difference / contrast.error, contrast.freedom)


def family_wise(repeats: int) -> list[Claim]:
    """Six cells against one reference: the chance of any false finding, with Holm and without."""
    world, any_adjusted, any_raw = World(shards=5, **SPREADS), 0, 0
    rng = generator("family")
    for _ in range(repeats):
        *subjects, reference = world.cells(rng, (0.0,) * 7)
        raw = {cell.label: compare(cell, reference, LATENCY).p for cell in subjects}
        any_raw += min(p for p in raw.values() if p is not None) < 0.05
        any_adjusted += min(p for p in holm(raw).values() if p is not None) < 0.05
    return [
        at_most("familyWise.withHolm", any_adjusted / repeats, 0.05, repeats),
        Claim("familyWise.withoutForReference", any_raw / repeats, 0.06, 1.0, repeats),
    ]


PLANS = {"2%": (1.02, 0.01), "5%": (1.05, 0.02), "5%noisy": (1.05, 0.05)}


def powers(repeats: int) -> list[Claim]:
    """As many shards as planned for 80 %: the power that the plan names for that number."""
    claims = []
    for name, (ratio, spread) in PLANS.items():
        effect = math.log(ratio)
        each = power.needed(
            lambda count, effect=effect, spread=spread: power.power_of_difference(effect, spread, count)
        )  # type: ignore[misc]
        assert each is not None
        world = World(shards=each, samples=2, sample_spread=1e-6, process_spread=spread)
        found = comparisons(f"power {name}", world, repeats, effect)
        seen = sum(one.verdict == Verdict.WORSE for one in found) / repeats
        claims.append(near(f"power.{name}With{each}", seen, power.power_of_difference(effect, spread, each), repeats))
    pairs = power.needed(
        lambda count: power.power_of_difference(math.log(1.02), 0.014, count, design=power.Design.PAIRED)
    )
    assert pairs is not None
    world = World(
        shards=pairs,
        samples=2,
        sample_spread=1e-6,
        process_spread=0.014 / math.sqrt(2),
        gpu_spread=0.03,
        placement="paired",
    )
    found = comparisons("power paired", world, repeats, math.log(1.02))
    seen = sum(one.verdict == Verdict.WORSE for one in found) / repeats
    planned = power.power_of_difference(math.log(1.02), 0.014, pairs, design=power.Design.PAIRED)
    claims.append(near(f"power.pairedWith{pairs}", seen, planned, repeats))
    return claims


def powers_over_gpus(repeats: int) -> list[Claim]:
    """Shards of 5 % more, planned by the whole spread between shards: on GPUs of their own, and where both sides share three.

    On shared GPUs what the GPUs differ by falls out of the comparison: the plan promises less than it keeps.
    """
    effect, claims = math.log(1.05), []
    own = World(shards=6, process_spread=0.015, gpu_spread=0.015)
    planned = power.power_of_difference(effect, own.unit_spread, own.shards)
    for name, world in (("OnGpusOfTheirOwn", own), ("OnThreeGpus", replace(own, placement="three"))):
        found = comparisons(f"power {name}", world, repeats, effect)
        seen = sum(one.verdict == Verdict.WORSE for one in found) / repeats
        at_least = Claim(f"power.5%{name}", seen, planned - 0.03 - slack(planned, repeats), 1.0, repeats)
        claims.append(near(f"power.5%{name}", seen, planned, repeats) if world is own else at_least)
    return claims


def quality_power(repeats: int) -> list[Claim]:
    """Prompts of sd 0.05, noise 0.02, gap 0.005: paired by prompt it is seen, and the same is quiet without a gap."""
    claims = []
    spread = 20_000 * math.sqrt(2)
    for name, gap in (("gap", 5_000.0), ("same", 0.0)):
        rng, loud = generator(f"quality {name}"), 0
        for _ in range(repeats):
            found = compare(*quality_cells(rng, 248, gap=gap), WARPING)
            loud += found.verdict == Verdict.WORSE if gap else found.verdict in (Verdict.WORSE, Verdict.BETTER)
        planned = power.power_of_difference(gap, spread, 248, design=power.Design.PAIRED)
        claim = near("power.prompts248", loud / repeats, planned, repeats)
        claims.append(claim if gap else at_most("falsePositives.prompts248", loud / repeats, 0.05, repeats))
    return claims


def equivalence(repeats: int) -> list[Claim]:
    """At the margin's edge "equivalent" is an error; with no difference it is the finding."""
    claims = []
    edge = math.log1p(MARGIN.value)
    for each in (5, 12):
        world = World(shards=each, samples=2, sample_spread=1e-6, process_spread=0.01)
        for name, effect in (("AtEdge", edge), ("BelowEdge", -edge)):
            found = comparisons(f"equivalence {each} {name}", world, repeats, effect, MARGIN)
            wrong = sum(one.verdict == Verdict.EQUIVALENT for one in found) / repeats
            claims.append(at_most(f"equivalence.{name}With{each}", wrong, 0.05, repeats))
        found = comparisons(f"equivalence {each}", world, repeats, 0.0, MARGIN)
        shown = sum(one.verdict == Verdict.EQUIVALENT for one in found) / repeats
        planned = power.power_of_equivalence(0.0, edge, 0.01, each)
        claims.append(near(f"equivalence.powerWith{each}", shown, planned, repeats))
    return claims


def gates(repeats: int) -> list[Claim]:
    """NoWorseThan 2 %: a regression of 5 % fails at the planned power, the same thing twice and the edge do not."""
    spread, effect, edge = 0.02, math.log(1.05), math.log1p(MARGIN.value)
    each = power.needed(lambda count: power.power_of_failure(effect, edge, spread, count))
    assert each is not None
    claims = []
    world = World(shards=each, samples=2, sample_spread=1e-6, process_spread=spread)
    planned = power.power_of_failure(effect, edge, spread, each)
    failed, _ = gate_rates(f"gate {each}", world, repeats, effect)
    claims.append(near(f"gates.regressionOf5FoundWith{each}", failed, planned, repeats))
    failed, passed = gate_rates("gate edge", world, repeats, edge)
    claims.append(at_most("gates.failsAtEdge", failed, 0.025, repeats))
    claims.append(at_most("gates.passesAtEdge", passed, 0.025, repeats))
    for name, same in SAME.items():
        failed, _ = gate_rates(f"gate same {name}", same, repeats, 0.0)
        claims.append(at_most(f"gates.sameTwiceFails.{name}", failed, 0.05, repeats))
    passed = gate_rates("gate pass", world, repeats, 0.0)[1]
    claims.append(
        near(f"gates.sameTwicePassesWith{each}", passed, power.power_of_pass(0.0, edge, spread, each), repeats)
    )
    return claims


def gate_rates(name: str, world: World, repeats: int, effect: float) -> tuple[float, float]:
    """Return how often a gate NoWorseThan 2 % fails and passes."""
    failed = passed = 0
    for found in comparisons(name, world, repeats, effect, MARGIN):
        worsening = found.worsening
        if worsening is not None and worsening.low is not None and worsening.high is not None:
            failed += worsening.low > MARGIN.value
            passed += worsening.high < MARGIN.value
    return failed / repeats, passed / repeats


# -- the rest


def ranks(repeats: int) -> list[Claim]:
    rng, loud = generator("ranks"), 0
    for _ in range(repeats):
        p = mann_whitney(rng.lognormal(0, 0.5, 6).tolist(), rng.lognormal(0, 0.5, 6).tolist()).p
        loud += p is not None and p < 0.05
    return [at_most("falsePositives.mannWhitney", loud / repeats, 0.05, repeats)]


def percentiles(repeats: int) -> list[Claim]:
    """An interval of ranks covers at least as often as it says."""
    rng, inside = generator("percentiles"), 0
    for _ in range(repeats):
        found = percentile(rng.exponential(1.0, 100).tolist(), 0.9)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= math.log(10) <= found.high
    return [Claim("percentiles.coverageOfP90", inside / repeats, 0.95 - slack(0.95, repeats), 0.99, repeats)]


def fleets(repeats: int) -> list[Claim]:
    """Shares of variance, and nodes that stand out by chance or in truth."""
    rng, inside, loud, seen = generator("fleet"), 0, 0, 0
    names = [f"GPU-{number}" for number in range(8) for _ in range(3)]
    for _ in range(repeats):
        offsets = np.repeat(0.01 * rng.standard_normal(8), 3)
        values = 100 * np.exp(offsets + 0.01 * rng.standard_normal(24))
        cell = cell_of(values.tolist(), devices=names)
        (gpu,) = variance_components(cell, LATENCY).levels
        assert gpu.low is not None
        assert gpu.high is not None
        inside += gpu.low <= 0.5 <= gpu.high
        loud += any(node.stands_out for node in standing_of_nodes([cell], LATENCY))
        slow = cell_of((values * np.where(np.arange(24) < 3, 1.12, 1.0)).tolist(), devices=names)
        seen += standing_of_nodes([slow], LATENCY)[0].stands_out
    return [
        covers("fleet.coverageOfGpuShare", inside / repeats, repeats),
        at_most("fleet.anyNodeStandsOutByChance", loud / repeats, 0.05, repeats),
        Claim("fleet.nodeSlowBy12PercentFoundForReference", seen / repeats, 0.3, 1.0, repeats),
    ]


def memberships(repeats: int) -> list[Claim]:
    """Two equal cells share a one-dimensional frontier half and half; one that is far worse is never on it."""
    rng, mine, worse = generator("pareto"), [], []
    for _ in range(max(50, repeats // 20)):
        cells = World(shards=6, process_spread=0.01).cells(rng, (0.0, 0.0, 0.2))
        first, _, last = frontier(cells, [LATENCY], repeats=500)
        mine.append(first.membership or 0.0)
        worse.append(last.membership or 0.0)
    count = len(mine)
    return [
        Claim("pareto.equalCellsHalf", float(np.mean(mine)), 0.4, 0.6, count),
        Claim("pareto.farWorseNever", float(np.max(worse)), 0.0, 0.0, count),
    ]


def cases() -> dict[str, Callable[[int], list[Claim]]]:
    """Return every case by name."""
    found: dict[str, Callable[[int], list[Claim]]] = {}
    for name, world in POPULATIONS.items():
        found[f"coverage.{name}"] = lambda repeats, name=name, world=world: coverage(name, world, repeats)  # type: ignore[misc]
    for name, world in SEEN.items():
        found[f"coverage.{name}"] = lambda repeats, name=name, world=world: coverage_of_seen(name, world, repeats)  # type: ignore[misc]
    for name, world in STOPPED.items():
        found[f"stopping.{name}"] = lambda repeats, name=name, world=world: coverage_when_stopped(name, world, repeats)  # type: ignore[misc]
    for name, world in SAME.items():
        found[f"same.{name}"] = lambda repeats, name=name, world=world: false_positives(name, world, repeats)  # type: ignore[misc]
    return found | {
        "coverage.outliers": coverage_with_outliers,
        "coverage.skewed": coverage_when_skewed,
        "coverage.oneShard": coverage_of_one_shard,
        "coverage.prompts": coverage_of_prompts,
        "same.wrongMethod": false_positives_of_samples,
        "familyWise": family_wise,
        "power": powers,
        "power.gpus": powers_over_gpus,
        "power.quality": quality_power,
        "equivalence": equivalence,
        "gates": gates,
        "evaluated.noWorse": simulated_gates.no_worse,
        "evaluated.equivalent": simulated_gates.equivalent,
        "evaluated.bounds": simulated_gates.bounds,
        "evaluated.hypotheses": simulated_gates.hypotheses,
        "ranks": ranks,
        "percentiles": percentiles,
        "fleet": fleets,
        "pareto": memberships,
    }


def main() -> int:
    """Run the cases, print and write their claims; 1 if one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", default="", help="cases whose names begin so")
    arguments = parser.parse_args()
    load, started, claims = os.getloadavg()[0], time.monotonic(), []
    for name, case in cases().items():
        if name.startswith(arguments.only):
            for claim in case(arguments.repeats):
                claims.append(claim)
                mark = "holds" if claim.holds else "DOES NOT HOLD"
                bounds = f"{claim.low:.4f} to {claim.high:.4f}"
                print(f"{claim.name:48} {claim.figure:8.4f}  {bounds:18} {claim.repeats:6}  {mark}", flush=True)
    document: dict[str, Any] = {
        "benchmark": "simulate-statistics",
        "provenance": report.provenance(load),
        "repeats": arguments.repeats,
        "seconds": round(time.monotonic() - started, 1),
        "claims": [asdict(claim) | {"holds": claim.holds} for claim in claims],
    }
    broken = [claim.name for claim in claims if not claim.holds]
    print(
        f"\n{len(claims)} claims, {len(broken)} do not hold; written to {report.write('simulate-statistics', document)}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

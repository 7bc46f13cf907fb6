"""Gates and hypotheses of known truth, through results and the very functions that the operator calls.

A shard has a GPU of its own, so that a cell's shards vary by one spread. At the edge of a margin, and where the mean is the
bound itself, a gate knows nothing: a 95 % interval lies wholly on one side of it in 2.5 % of experiments.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from support.manifests import DIGEST
from support.measured_results import shards_of

from bench.statistics_claims import Claim, at_most, generator, near
from vidbench_analysis import power
from vidbench_analysis.gates import Support, Verdict, evaluate_gate, evaluate_hypotheses
from vidbench_analysis.references import Cell, Seen
from vidbench_api.gates import Analysis, Baseline, Gate

SPREAD = 0.02
EACH = 9
SECONDS = 10.0
OFF = 0.02
"""How far a mean is off its bound."""

EDGE, REGRESSION = math.log1p(0.02), math.log(1.05)
ONE_SIDE = 0.025
"""How often an interval of 95 % lies wholly on one side of what is its truth."""


def no_worse(repeats: int) -> list[Claim]:
    """NoWorseThan 2 %, against another variant and against a baseline of an earlier run."""
    planned = power.power_of_failure(REGRESSION, EDGE, SPREAD, EACH)
    claims = []
    for other, against in (("variant", {"variant": "base"}), ("baseline", {"baseline": "june"})):
        gate = _gate(test="NoWorseThan", margin="2%", against=against)

        def judged(name: str, effect: float, gate: Gate = gate, other: str = other) -> Counter[Verdict]:
            return _judged(f"no worse {other} {name}", gate, (effect, 0.0), repeats)

        worse, edge, same = judged("worse", REGRESSION), judged("edge", EDGE), judged("same", 0.0)
        claims += [
            near(f"evaluated.{other}.regressionOf5FailsWith{EACH}", worse[Verdict.FAIL] / repeats, planned, repeats),
            Claim(f"evaluated.{other}.regressionOf5Passes", worse[Verdict.PASS] / repeats, 0.0, 0.001, repeats),
            at_most(f"evaluated.{other}.edgeFails", edge[Verdict.FAIL] / repeats, ONE_SIDE, repeats),
            at_most(f"evaluated.{other}.edgePasses", edge[Verdict.PASS] / repeats, ONE_SIDE, repeats),
            at_most(f"evaluated.{other}.sameTwiceFails", same[Verdict.FAIL] / repeats, 0.05, repeats),
        ]
    return claims


def equivalent(repeats: int) -> list[Claim]:
    """Equivalent within 2 %: two one-sided tests at 5 %."""
    gate, each = _gate(test="Equivalent", margin="2%", against={"variant": "base"}), 18
    claims = []
    for name, effect in (("AtEdge", EDGE), ("BelowEdge", -EDGE)):
        found = _judged(f"equivalent {name}", gate, (effect, 0.0), repeats, each)
        claims += [
            at_most(f"evaluated.equivalentPasses{name}", found[Verdict.PASS] / repeats, 0.05, repeats),
            at_most(f"evaluated.equivalentFails{name}", found[Verdict.FAIL] / repeats, ONE_SIDE, repeats),
        ]
    same = _judged("equivalent same", gate, (0.0, 0.0), repeats, each)
    worse = _judged("equivalent worse", gate, (REGRESSION, 0.0), repeats, each)
    shown = power.power_of_equivalence(0.0, EDGE, SPREAD, each)
    refuted = power.power_of_failure(REGRESSION, EDGE, SPREAD, each)
    return [
        *claims,
        near(f"evaluated.equivalentPassesWith{each}", same[Verdict.PASS] / repeats, shown, repeats),
        near(f"evaluated.equivalentFailsAt5With{each}", worse[Verdict.FAIL] / repeats, refuted, repeats),
    ]


def bounds(repeats: int) -> list[Claim]:
    """AtMost and AtLeast: a mean that is the bound, and one that is 2 % on the wrong and on the right side of it."""
    claims = []
    mean = SECONDS * math.exp(SPREAD**2 / 2)
    for test, direction in (("AtMost", 1), ("AtLeast", -1)):
        gate = _gate(test=test, against={"bound": f"{mean:.6f}s"})

        def judged(effect: float, gate: Gate = gate, test: str = test) -> Counter[Verdict]:
            return _judged(f"bound {test} {effect}", gate, (effect,), repeats)

        at, beyond, within = judged(0.0), judged(direction * math.log1p(OFF)), judged(-direction * math.log1p(OFF))
        claims += [
            at_most(f"evaluated.{test}FailsAtBound", at[Verdict.FAIL] / repeats, ONE_SIDE, repeats),
            at_most(f"evaluated.{test}PassesAtBound", at[Verdict.PASS] / repeats, ONE_SIDE, repeats),
            near(f"evaluated.{test}Fails2Beyond", beyond[Verdict.FAIL] / repeats, _chance(direction), repeats),
            near(f"evaluated.{test}Passes2Within", within[Verdict.PASS] / repeats, _chance(-direction), repeats),
        ]
    return claims


def _chance(direction: int) -> float:
    """Return how often an interval lies off a bound that is 2 % below (1) or above (-1) the mean: t of one cell's shards."""
    mean = (1 + OFF) ** direction
    effect = abs(mean - 1) / mean
    return power.power_of_failure(effect, 0.0, SPREAD, EACH, design=power.Design.PAIRED)


def hypotheses(repeats: int) -> list[Claim]:
    """Six hypotheses of one role, all false by a hair: the chance that any is supported, with Holm and without."""
    variants = [f"v{number}" for number in range(6)]
    stated = [
        {"name": name, "metric": "latency", "where": {"variants": [name]}, "against": {"variant": "base"},
         "test": "NoWorseThan", "margin": "2%"} for name in variants
    ]  # fmt: skip
    supported: Counter[str] = Counter()
    rng = generator("hypotheses")
    for _ in range(repeats):
        sides = _draw(rng, (*[EDGE] * len(variants), 0.0), EACH)
        cells = tuple(_cell(name, side) for name, side in zip([*variants, "base"], sides, strict=True))
        for correction in ("Holm", "None"):
            analysis = Analysis.model_validate({"hypotheses": stated, "correction": correction})
            found = evaluate_hypotheses(analysis, Seen(cells), {})
            supported[correction] += any(one.verdict == Support.SUPPORTED for one in found)
    return [
        at_most("evaluated.anyFalseHypothesisSupported", supported["Holm"] / repeats, 0.05, repeats),
        Claim("evaluated.withoutCorrectionForReference", supported["None"] / repeats, 0.06, 1.0, repeats),
    ]


def _gate(**fields: Any) -> Gate:
    return Gate.model_validate({"name": "gate", "metric": "latency", "where": {"variants": ["fast"]}} | fields)


def _judged(
    name: str, gate: Gate, effects: tuple[float] | tuple[float, float], repeats: int, each: int = EACH
) -> Counter[Verdict]:
    """Return the verdicts on a cell with the first effect, held against one with the second where there is one."""
    rng, found = generator(name), Counter[Verdict]()
    for _ in range(repeats):
        mine, *others = _draw(rng, effects, each)
        cells, earlier = [_cell("fast", mine)], {}
        for other in others:
            if gate.against.baseline is None:
                cells.append(_cell("base", other))
            else:
                earlier[gate.against.baseline] = shards_of(other, variant="fast", run="june")
        seen = Seen(tuple(cells), earlier, run_uid="uid-of-this")
        found[evaluate_gate(gate, seen, {name: Baseline(name=name) for name in earlier}).verdict] += 1
    return found


def _draw(rng: np.random.Generator, effects: Sequence[float], each: int) -> list[list[float]]:
    """Return the mean latencies of shards, in seconds, for each effect (a logarithm)."""
    noise = rng.normal(0.0, SPREAD, (len(effects), each))
    means: list[list[float]] = (SECONDS * np.exp(noise + np.array(effects)[:, None])).tolist()
    return means


def _cell(variant: str, seconds: Sequence[float]) -> Cell:
    return Cell(f"{variant}-wan", "wan", "gpu", variant, DIGEST, shards_of(seconds, variant=variant))

"""Whether a run can answer what it asks: the power of each hypothesis and gate for each cell, from the spread of earlier results.

Spread is that between shards of one run, pooled over earlier runs of the same cell. Where nothing is known nothing is
guessed: the power is None, with the reason. Correction of hypotheses is taken at its strictest (Holm's first step: 0.05
divided by the number of tests of the role), so that a plan promises no more than the report can keep. Gates are not
corrected: each has its own chance to pass. Pairs are not counted on.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vidbench_api.gates import Statement, in_metric_unit
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec

from .gates import SIGNIFICANCE, margin_of, select
from .intervals import CONFIDENCE
from .metrics import Direction, Metric, Pairing, Scale, find_metric
from .observations import observe
from .power import POWER, Design, detectable, needed, power_of_difference, power_of_equivalence, power_of_pass
from .references import Cell

MOST_SHARDS: Final = 64
"""A run's limit for a cell."""


@dataclass(frozen=True)
class Spread:
    """The standard deviation between shards, on the scale of the comparison (of logarithms for ratios), and from where.

    `shards` and `runs` are those that it comes from; 0 where it was assumed. `mean` is in the metric's unit.
    """

    value: float
    mean: float | None
    shards: int
    runs: int


@dataclass(frozen=True)
class Prospect:
    """What a hypothesis or gate can expect of one cell.

    `power` is the probability of Supported, or Pass, with the planned shards, if the truth is as `truth` says; `shards` how
    many reach 80 %, None beyond any number that a run may have. Both are None with a `reason`. `alpha` is one-sided.
    `finds` is the least change for the worse (a share for ratios, else in the metric's unit; for a bound the mean itself) that
    Refutes, or Fails, with 80 %: the margin and what the interval can tell apart from it.
    """

    statement: Statement
    cell: Cell
    metric: Metric
    alpha: float
    planned: int
    spread: Spread | None = None
    truth: str = ""
    power: float | None = None
    shards: int | None = None
    finds: float | None = None
    reason: str | None = None


def foresee(
    spec: BenchmarkRunSpec,
    cells: Sequence[Cell],
    earlier: Iterable[BenchmarkResultSpec],
    assumed: float | None = None,
    power: float = POWER,
) -> tuple[Prospect, ...]:
    """Return the prospects of each hypothesis and cell, in the order of the spec.

    `earlier` are results of other runs; `assumed` is a spread (a share) for cells of which nothing is known.
    """
    by_names = _by_names(earlier)
    tests: Counter[str] = Counter()
    for entry in spec.analysis.hypotheses:
        tests[entry.role] += len(select(cells, entry))
    prospects = []
    for entry in spec.analysis.hypotheses:
        number = tests[entry.role] if spec.analysis.correction == "Holm" else 1
        for cell in select(cells, entry):
            alpha = SIGNIFICANCE / max(1, number)
            found = by_names.get((cell.model, cell.hardware, cell.variant), [])
            prospects.append(_prospect(spec, entry, cell, found, alpha, assumed, power))
    return tuple(prospects)


def foresee_gates(
    spec: BenchmarkRunSpec, cells: Sequence[Cell], earlier: Iterable[BenchmarkResultSpec], power: float = POWER
) -> tuple[Prospect, ...]:
    """Return the prospects of each gate and cell, in the order of the spec; `earlier` are results of other runs.

    A gate passes by its two-sided 95 % interval, Equivalent by two one-sided tests at 0.05.
    """
    by_names = _by_names(earlier)
    prospects = []
    for gate in spec.gates:
        alpha = SIGNIFICANCE if gate.test == "Equivalent" else (1 - CONFIDENCE) / 2
        for cell in select(cells, gate):
            found = by_names.get((cell.model, cell.hardware, cell.variant), [])
            prospects.append(_prospect(spec, gate, cell, found, alpha, None, power))
    return tuple(prospects)


def _by_names(results: Iterable[BenchmarkResultSpec]) -> dict[tuple[str, str, str], list[BenchmarkResultSpec]]:
    """Return the results by model, hardware and variant; fallbacks of a cell are no part of it."""
    found: dict[tuple[str, str, str], list[BenchmarkResultSpec]] = {}
    for result in results:
        if result.rung is None:
            names = (result.cell.model, result.cell.hardware, result.cell.variant)
            found.setdefault(names, []).append(result)
    return found


def spread_of(results: Iterable[BenchmarkResultSpec], metric: Metric) -> Spread | None:
    """Return the spread between shards within runs, pooled over runs; None where no run has two that count."""
    by_run: dict[str, list[BenchmarkResultSpec]] = {}
    for result in results:
        by_run.setdefault(result.run.uid, []).append(result)
    squares, freedom, means, runs = 0.0, 0, [], 0
    for shards in by_run.values():
        values = [reading.mean for _, reading in observe(shards).reading(metric)]
        if len(values) < 2 or (metric.scale == Scale.RATIO and min(values) <= 0):
            continue
        scaled = [math.log(value) for value in values] if metric.scale == Scale.RATIO else values
        squares += statistics.variance(scaled) * (len(scaled) - 1)
        freedom += len(scaled) - 1
        means += values
        runs += 1
    if not freedom:
        return None
    return Spread(math.sqrt(squares / freedom), statistics.fmean(means), len(means), runs)


def _prospect(
    spec: BenchmarkRunSpec,
    entry: Statement,
    cell: Cell,
    earlier: Sequence[BenchmarkResultSpec],
    alpha: float,
    assumed: float | None,
    power: float,
) -> Prospect:
    metric = find_metric(entry.metric)
    planned = spec.measurement.shards
    start = Prospect(entry, cell, metric, alpha, planned)
    if metric.pairing == Pairing.PROMPT:
        return _without(start, "paired by prompt: what differences spread by is seen in the run itself")
    spread = spread_of(earlier, metric)
    if spread is None and assumed is not None and metric.scale == Scale.RATIO:
        spread = Spread(math.log1p(assumed), None, 0, 0)
    if spread is None:
        return _without(start, "no earlier run of this cell has two valid shards with this metric")
    if spread.value <= 0:
        return _without(start, "earlier shards do not differ at all", spread)
    chance = _chance(entry, metric, spread, alpha)
    if isinstance(chance, str):
        return _without(start, chance, spread)
    truth = _TRUTHS[entry.test]
    enough = needed(chance, power)
    finds = _found_from(entry, metric, spread, planned, power)
    return Prospect(entry, cell, metric, alpha, planned, spread, truth, chance(planned), enough, finds)


_TRUTHS: Mapping[str, str] = {
    "NoWorseThan": "no difference",
    "Equivalent": "no difference",
    "AtMost": "the mean of earlier results",
    "AtLeast": "the mean of earlier results",
}


def _without(start: Prospect, reason: str, spread: Spread | None = None) -> Prospect:
    return Prospect(start.statement, start.cell, start.metric, start.alpha, start.planned, spread, reason=reason)


def _chance(entry: Statement, metric: Metric, spread: Spread, alpha: float) -> Callable[[int], float] | str:
    """Return the probability of Supported or Pass for a number of shards; words where there is none."""
    bound = entry.against.bound
    if bound is not None:
        return _chance_of_bound(entry, metric, spread, alpha, in_metric_unit(bound))
    size = _edge(entry, metric, spread)
    if isinstance(size, str):
        return size
    if entry.test == "Equivalent":
        return lambda each: power_of_equivalence(0.0, size, spread.value, each, alpha)
    # One-sided at alpha is the end of a two-sided interval of 1 - 2 alpha.
    return lambda each: power_of_pass(0.0, size, spread.value, each, 1 - 2 * alpha)


def _edge(entry: Statement, metric: Metric, spread: Spread) -> float | str:
    """Return the margin on the scale of the comparison; words where it cannot be told."""
    margin = margin_of(entry)
    if margin is None:
        return "no margin is given"
    size = margin.value
    if metric.scale == Scale.RATIO:
        if not margin.relative:
            if spread.mean is None:
                return "a margin in the metric's unit needs an earlier mean"
            size /= spread.mean
        return math.log1p(size)
    if margin.relative:
        if not spread.mean:
            return "a share needs an earlier mean"
        size *= abs(spread.mean)
    return size


def _found_from(entry: Statement, metric: Metric, spread: Spread, planned: int, power: float) -> float | None:
    """Return from where on the statement fails with that power: the margin, and what the two-sided 95 % interval can tell apart from it.

    A change (a share for ratios, else in the metric's unit), or the mean itself for a bound.
    """
    bound = entry.against.bound
    if bound is not None:
        deviation = spread.value * (spread.mean or 0.0) if metric.scale == Scale.RATIO else spread.value
        reach = detectable(deviation, planned, power, design=Design.PAIRED)
        if reach is None:
            return None
        return in_metric_unit(bound) + (reach if entry.test == "AtMost" else -reach)
    size, reach = _edge(entry, metric, spread), detectable(spread.value, planned, power)
    if isinstance(size, str) or reach is None:
        return None
    sign = -1 if metric.better == Direction.HIGHER else 1
    return math.expm1(sign * (size + reach)) if metric.scale == Scale.RATIO else sign * (size + reach)


def _chance_of_bound(
    entry: Statement, metric: Metric, spread: Spread, alpha: float, bound: float
) -> Callable[[int], float] | str:
    if spread.mean is None:
        return "a bound needs an earlier mean"
    distance = bound - spread.mean if entry.test == "AtMost" else spread.mean - bound
    if distance <= 0:
        return "the mean of earlier results is on the wrong side of the bound"
    # Means are tested as they are: a small spread of logarithms is one of shares.
    deviation = spread.value * spread.mean if metric.scale == Scale.RATIO else spread.value
    return lambda shards: power_of_difference(distance, deviation, shards, 2 * alpha, Design.PAIRED)

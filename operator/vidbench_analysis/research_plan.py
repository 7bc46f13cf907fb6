"""Whether a run can answer what it asks: the power of each hypothesis and gate for each cell, from the spread of earlier results.

Spread is that between shards of one run, pooled over earlier runs of the same cell. Where nothing is known nothing is
guessed: the power is None, with the reason. Correction of hypotheses is taken at its strictest (Holm's first step: 0.05
divided by the number of tests of the role), so that a plan promises no more than the report can keep. Gates are not
corrected: each has its own chance to pass. Pairs are not counted on. A baseline keeps the shards that it has, however many are
planned; where its results are not known, it is taken to have as many (`Prospect.against` is None).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vidbench_api.gates import Statement, in_metric_unit
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec

from .gates import SIGNIFICANCE, margin_of, select
from .intervals import CONFIDENCE
from .metrics import Direction, Metric, Pairing, Scale, find_metric
from .observations import observe
from .power import POWER, Design, detectable, needed, power_of_difference, power_of_equivalence, power_of_pass
from .references import Cell, Missing, Obstacle, Seen, reference_of

MOST_SHARDS: Final = 64
"""A run's limit for a cell."""

Baselines = Mapping[str, tuple[BenchmarkResultSpec, ...]]
"""The results of each baseline, of whatever cell, by its name."""


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
    Refutes, or Fails, with 80 %: the margin and what the interval can tell apart from it. `against` are the shards of the
    baseline, None where it has none that are known of, and for what is no baseline.
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
    against: int | None = None
    reason: str | None = None


def foresee(
    spec: BenchmarkRunSpec,
    cells: Sequence[Cell],
    earlier: Iterable[BenchmarkResultSpec],
    assumed: float | None = None,
    power: float = POWER,
    baselines: Baselines | None = None,
) -> tuple[Prospect, ...]:
    """Return the prospects of each hypothesis and cell, in the order of the spec.

    `earlier` are results of other runs, `baselines` those of each baseline; `assumed` is a spread (a share) for cells of
    which nothing is known.
    """
    held = Seen(tuple(cells), baselines or {})
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
            start = Prospect(entry, cell, find_metric(entry.metric), alpha, spec.measurement.shards)
            prospects.append(_prospect(start, found, _shards_against(start, spec, held), assumed, power))
    return tuple(prospects)


def foresee_gates(
    spec: BenchmarkRunSpec,
    cells: Sequence[Cell],
    earlier: Iterable[BenchmarkResultSpec],
    power: float = POWER,
    baselines: Baselines | None = None,
) -> tuple[Prospect, ...]:
    """Return the prospects of each gate and cell, in the order of the spec; `earlier` and `baselines` as of `foresee`.

    A gate passes by its two-sided 95 % interval, Equivalent by two one-sided tests at 0.05.
    """
    held = Seen(tuple(cells), baselines or {})
    by_names = _by_names(earlier)
    prospects = []
    for gate in spec.gates:
        alpha = SIGNIFICANCE if gate.test == "Equivalent" else (1 - CONFIDENCE) / 2
        for cell in select(cells, gate):
            found = by_names.get((cell.model, cell.hardware, cell.variant), [])
            start = Prospect(gate, cell, find_metric(gate.metric), alpha, spec.measurement.shards)
            prospects.append(_prospect(start, found, _shards_against(start, spec, held), None, power))
    return tuple(prospects)


def _shards_against(start: Prospect, spec: BenchmarkRunSpec, held: Seen) -> int | str | None:
    """Return how many shards of its baseline a cell is held against; words where there is no one baseline.

    None where no result of the baseline is known (it may get some yet), and for what is held against something else.
    """
    name = start.statement.against.baseline
    if name is None or not held.baselines.get(name):
        return None
    found = reference_of(start.statement, start.cell, held, {baseline.name: baseline for baseline in spec.baselines})
    if isinstance(found, Missing):
        return None if found.reason == Obstacle.NO_BASELINE else found.message
    return len(found.reading(start.metric))


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
    start: Prospect,
    earlier: Sequence[BenchmarkResultSpec],
    against: int | str | None,
    assumed: float | None,
    power: float,
) -> Prospect:
    entry, metric, planned = start.statement, start.metric, start.planned
    if metric.pairing == Pairing.PROMPT:
        return _without(start, "paired by prompt: what differences spread by is seen in the run itself")
    spread = spread_of(earlier, metric)
    if spread is None and assumed is not None and metric.scale == Scale.RATIO:
        spread = Spread(math.log1p(assumed), None, 0, 0)
    if spread is None:
        return _without(start, "no earlier run of this cell has two valid shards with this metric")
    if spread.value <= 0:
        return _without(start, "earlier shards do not differ at all", spread)
    if isinstance(against, str):
        return _without(start, against, spread)
    if against is not None and against < 2:
        text = (
            f"the baseline has {against} shard{'' if against == 1 else 's'} of this cell with this metric: it needs two"
        )
        return _without(start, text, spread)
    chance = _chance(entry, metric, spread, start.alpha, against)
    if isinstance(chance, str):
        return _without(start, chance, spread)
    return replace(
        start,
        spread=spread,
        truth=_TRUTHS[entry.test],
        power=chance(planned),
        shards=_enough(chance, power, against),
        finds=_found_from(entry, metric, spread, planned, against, power),
        against=against,
    )


def _enough(chance: Callable[[int], float], power: float, against: int | None) -> int | None:
    """Return the fewest shards that reach the power; against a baseline's no number may, and more need not be better (Welch)."""
    if against is None:
        return needed(chance, power)
    return next((shards for shards in range(2, MOST_SHARDS + 1) if chance(shards) >= power), None)


_TRUTHS: Mapping[str, str] = {
    "NoWorseThan": "no difference",
    "Equivalent": "no difference",
    "AtMost": "the mean of earlier results",
    "AtLeast": "the mean of earlier results",
}


def _without(start: Prospect, reason: str, spread: Spread | None = None) -> Prospect:
    return replace(start, spread=spread, reason=reason)


def _chance(
    entry: Statement, metric: Metric, spread: Spread, alpha: float, against: int | None
) -> Callable[[int], float] | str:
    """Return the probability of Supported or Pass for a number of shards; words where there is none."""
    bound = entry.against.bound
    if bound is not None:
        return _chance_of_bound(entry, metric, spread, alpha, in_metric_unit(bound))
    size = _edge(entry, metric, spread)
    if isinstance(size, str):
        return size
    if entry.test == "Equivalent":
        return lambda each: power_of_equivalence(0.0, size, spread.value, each, alpha, against=against)
    # One-sided at alpha is the end of a two-sided interval of 1 - 2 alpha.
    return lambda each: power_of_pass(0.0, size, spread.value, each, 1 - 2 * alpha, against=against)


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
        if entry.test != "NoWorseThan" or metric.better != Direction.HIGHER:
            return math.log1p(size)
        # Worse by a share is less of what there was: 1 - ratio below the margin. Equivalent takes 1 + margin to both sides.
        return -math.log1p(-size) if size < 1 else "nothing falls by 100 % or more: this margin allows everything"
    if margin.relative:
        if not spread.mean:
            return "a share needs an earlier mean"
        size *= abs(spread.mean)
    return size


def _found_from(
    entry: Statement, metric: Metric, spread: Spread, planned: int, against: int | None, power: float
) -> float | None:
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
    size, reach = _edge(entry, metric, spread), detectable(spread.value, planned, power, against=against)
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

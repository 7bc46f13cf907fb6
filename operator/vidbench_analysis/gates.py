"""Gates and hypotheses of a run against what was observed: Pass, Fail or Inconclusive, with the evidence for each cell.

The intervals of `comparison` and `intervals` decide, and `references` says which results a cell is held against.
A statement is about every cell that its `where` selects and holds if it holds for each of them; a cell without results, or
whose baseline has none, is Inconclusive and never passes. Gates are not corrected for their number: all must pass, so that
more of them make a run fail sooner and not pass sooner. Hypotheses are, by Holm, among those of their role.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from vidbench_api.gates import Analysis, Baseline, Gate, Hypothesis, Statement, in_metric_unit

from .comparison import Comparison, Interval, compare
from .confounding import shards_failed, unpaired_devices
from .distributions import t_quantile, t_upper
from .intervals import CONFIDENCE, Doubt, Estimate, IntervalMethod, estimate
from .metrics import Margin, Metric, Pairing, Scale, find_metric
from .multiplicity import holm
from .observations import CellObservations
from .references import Cell, Missing, Obstacle, Seen, reference_of
from .sides import Blocked
from .units import Scope, device_of
from .verdicts import Method, Reason
from .verdicts import Verdict as Outcome

SIGNIFICANCE: Final = 0.05
_MOST_MORE = 60
"""Shards beyond which "about so many more" is no advice: the truth is too close to the margin."""


class Verdict(StrEnum):
    """What came of a statement for one cell, or for all that it is about."""

    PASS = "Pass"  # noqa: S105 - a verdict
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


class Support(StrEnum):
    """What came of a hypothesis."""

    SUPPORTED = "Supported"
    REFUTED = "Refuted"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Evidence:
    """What one cell says about a statement.

    `found` is the change against what it is compared with (a share for relative margins, else in the metric's unit), or
    the mean for a bound; None where there is none. `shards` are those that counted, on this side and the other. `p` is
    one-sided against the statement's contrary, corrected for a hypothesis; None where no test was possible.
    `decides` says what would decide. `doubts` are those of the means behind it, on either side: with one, its interval may
    cover less than it says, and is decided by all the same.
    """

    cell: Cell
    verdict: Verdict
    unit: str | None = None
    found: Interval | None = None
    shards: int = 0
    against_shards: int | None = None
    gpus: int | None = None
    products: tuple[str, ...] = ()
    scope: Scope | None = None
    p: float | None = None
    reason: str | None = None
    message: str | None = None
    decides: str | None = None
    doubts: tuple[Doubt, ...] = ()
    compared: Comparison | None = None
    """The comparison behind it; None for a bound, and where there is nothing to compare with."""


@dataclass(frozen=True)
class GateVerdict:
    """What came of a gate, with every cell that it is about."""

    gate: Gate
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    reason: str | None = None

    @property
    def counts_as_passed(self) -> bool:
        """Whether the run passes it, as `onInconclusive` says."""
        lenient = self.verdict == Verdict.INCONCLUSIVE and self.gate.on_inconclusive == "Pass"
        return self.verdict == Verdict.PASS or lenient


@dataclass(frozen=True)
class HypothesisVerdict:
    """What came of a hypothesis, with every cell that it is about: Pass where its p, corrected, is significant."""

    hypothesis: Hypothesis
    verdict: Support
    evidence: tuple[Evidence, ...]
    reason: str | None = None


def evaluate_gate(gate: Gate, seen: Seen, baselines: Mapping[str, Baseline]) -> GateVerdict:
    """Return the verdict of one gate."""
    evidence = _evidence_of(gate, seen, baselines)
    return GateVerdict(gate, *_together(evidence))


def evaluate_hypotheses(
    analysis: Analysis, seen: Seen, baselines: Mapping[str, Baseline]
) -> tuple[HypothesisVerdict, ...]:
    """Return the verdicts of all hypotheses, in their order.

    A hypothesis is Supported if the corrected p of each of its cells is below 0.05, Refuted if the interval of one (95 %,
    not corrected) lies wholly beyond its margin or bound.
    """
    seen_of = {entry.name: _evidence_of(entry, seen, baselines) for entry in analysis.hypotheses}
    for role in ("Primary", "Secondary"):
        names = [entry.name for entry in analysis.hypotheses if entry.role == role]
        if analysis.correction == "Holm":
            seen_of |= _corrected({name: seen_of[name] for name in names})
    return tuple(_supported(entry, seen_of[entry.name]) for entry in analysis.hypotheses)


def select(cells: Iterable[Cell], statement: Statement) -> tuple[Cell, ...]:
    """Return the cells that a statement is about: not those that it compares with."""
    return tuple(cell for cell in cells if statement.is_about(cell.model, cell.hardware, cell.variant))


def margin_of(statement: Statement) -> Margin | None:
    """Return the margin of a statement; None for a bound."""
    text = statement.margin
    if text is None:
        return None
    return Margin.parse(text) if text.endswith("%") else Margin(in_metric_unit(text), relative=False)


def more_shards(shards: int, half_width: float, distance: float) -> int | None:
    """Return about how many more shards would make an interval narrower than its distance from a margin or bound.

    Widths shrink with the square root of the number of shards. None if that is no advice: too many, or none was needed.
    """
    if shards < 1 or distance <= 0 or half_width <= distance:
        return None
    needed = math.ceil(shards * (half_width / distance) ** 2) - shards
    return needed if 0 < needed <= _MOST_MORE else None


def _together(evidence: tuple[Evidence, ...]) -> tuple[Verdict, tuple[Evidence, ...], str | None]:
    if not evidence:
        return Verdict.INCONCLUSIVE, (), Obstacle.NO_CELLS.value
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        found = [entry for entry in evidence if entry.verdict == verdict]
        if found:
            return verdict, evidence, found[0].reason
    return Verdict.PASS, evidence, None


def _supported(hypothesis: Hypothesis, evidence: tuple[Evidence, ...]) -> HypothesisVerdict:
    verdict, evidence, reason = _together(tuple(map(_by_significance, evidence)))
    return HypothesisVerdict(hypothesis, _SUPPORT[verdict], evidence, reason)


_SUPPORT: Final[Mapping[Verdict, Support]] = {
    Verdict.PASS: Support.SUPPORTED,
    Verdict.FAIL: Support.REFUTED,
    Verdict.INCONCLUSIVE: Support.INCONCLUSIVE,
}


def _by_significance(entry: Evidence) -> Evidence:
    """Return the evidence with the verdict that its p gives, where it is not refuted by its interval."""
    if entry.verdict == Verdict.FAIL:
        return entry
    if _is_significant(entry):
        return replace(entry, verdict=Verdict.PASS, reason=None, message=None, decides=None)
    if entry.verdict == Verdict.PASS:
        text = "more shards: the corrected p is not below 0.05"
        return replace(entry, verdict=Verdict.INCONCLUSIVE, reason="NotSignificant", decides=text)
    return entry


def _is_significant(entry: Evidence) -> bool:
    """Without a p there is no spread to test: units that are all equal speak for themselves."""
    return entry.verdict == Verdict.PASS if entry.p is None else entry.p < SIGNIFICANCE


def _corrected(seen_of: Mapping[str, tuple[Evidence, ...]]) -> dict[str, tuple[Evidence, ...]]:
    """Correct p over all cells of these hypotheses; a cell that could not be tested was named as well and counts."""
    family = {f"{name}/{entry.cell.id}": entry.p for name, found in seen_of.items() for entry in found}
    adjusted = holm(family)
    return {
        name: tuple(replace(entry, p=adjusted[f"{name}/{entry.cell.id}"]) for entry in found)
        for name, found in seen_of.items()
    }


def _evidence_of(statement: Statement, seen: Seen, baselines: Mapping[str, Baseline]) -> tuple[Evidence, ...]:
    return tuple(_look_at(statement, cell, seen, baselines) for cell in select(seen.cells, statement))


def _look_at(statement: Statement, cell: Cell, seen: Seen, baselines: Mapping[str, Baseline]) -> Evidence:
    metric = find_metric(statement.metric)
    mine = seen.observed[cell.id]
    if statement.against.bound is not None:
        bound = in_metric_unit(statement.against.bound)
        return _of_survivors(_against_bound(statement, cell, mine, metric, bound), mine)
    found = reference_of(statement, cell, seen, baselines)
    if isinstance(found, Missing):
        start = _start(cell, mine, metric)
        return replace(start, reason=found.reason.value, message=found.message, decides=found.decides)
    # Only cells of one run can have been paired by node.
    pairing = seen.pairing if statement.against.variant is not None else Pairing.NONE
    compared = compare(mine, found, metric, margin_of(statement), pairing)
    evidence = _against_results(statement, cell, mine, found, metric, compared)
    apart = unpaired_devices(compared, mine, found, metric) if statement.against.variant is not None else None
    return _of_survivors(evidence if apart is None else _refused(evidence, apart), mine, found)


def _of_survivors(evidence: Evidence, *sides: CellObservations) -> Evidence:
    """Refuse a Pass by shards that survived where others did not; a Fail is as bad with those that are missing."""
    failed = shards_failed(*sides)
    if failed is None or evidence.verdict == Verdict.FAIL:
        return evidence
    return replace(evidence, p=None) if evidence.verdict == Verdict.INCONCLUSIVE else _refused(evidence, failed)


def _refused(evidence: Evidence, why: Blocked) -> Evidence:
    return replace(
        evidence,
        verdict=Verdict.INCONCLUSIVE,
        p=None,
        reason=why.reason.value,
        message=why.message,
        decides=why.decides,
    )


def _start(cell: Cell, mine: CellObservations, metric: Metric) -> Evidence:
    found = mine.reading(metric)
    return Evidence(
        cell,
        Verdict.INCONCLUSIVE,
        shards=len(found),
        gpus=_gpus(mine, metric),
        products=mine.products,
    )


def _gpus(cell: CellObservations, metric: Metric) -> int | None:
    """Return how many GPUs the shards ran on; None where one of them did not say."""
    uuids = {shard.gpu_uuid for shard, _ in cell.reading(metric)}
    return None if None in uuids or not uuids else len(uuids)


def _against_bound(statement: Statement, cell: Cell, mine: CellObservations, metric: Metric, bound: float) -> Evidence:
    found = estimate(mine, metric)
    start = replace(_start(cell, mine, metric), unit=metric.unit, scope=found.scope, doubts=found.doubts)
    if found.mean is None:
        reason = "NoResults" if not mine.shards else "NotMeasured"
        return replace(start, reason=reason, decides="a shard that succeeds, is valid and has this metric")
    bases = {reading.basis for _, reading in mine.reading(metric)}
    if len(bases) > 1:
        text = " and ".join(sorted(bases))
        return replace(start, reason=Reason.DIFFERENT_BASIS.value, message=text, decides="results on the same basis")
    if found.within_process or found.low is None or found.high is None:
        alone = "OneShard" if found.within_process else found.reason
        start = replace(start, found=Interval(found.mean), reason=alone)
        if metric.pairing == Pairing.PROMPT:
            return replace(start, decides="3 prompts or more: one does not say how much another one differs")
        return replace(start, decides="3 shards or more: one process does not say how much another one differs")
    start = replace(start, found=Interval(found.mean, found.low, found.high))
    below = statement.test == "AtMost"
    passes, fails = (found.high <= bound, found.low > bound) if below else (found.low >= bound, found.high < bound)
    verdict = Verdict.PASS if passes else Verdict.FAIL if fails else Verdict.INCONCLUSIVE
    devices = len({device_of(shard) for shard, _ in mine.reading(metric)})
    start = replace(start, verdict=verdict, p=_p_of_bound(found, bound, devices, below=below))
    if verdict == Verdict.PASS:
        return start
    if verdict == Verdict.FAIL:
        return replace(start, reason="BeyondBound")
    half = (found.high - found.low) / 2
    return replace(
        start,
        reason=Obstacle.INTERVAL_HOLDS_BOUND.value,
        decides=_advice(more_shards(found.clusters, half, abs(found.mean - bound)), metric),
    )


def _p_of_bound(found: Estimate, bound: float, devices: int, *, below: bool) -> float | None:
    """One-sided p of Student's t against "the mean is on the other side of the bound"; None without spread.

    `devices` are those of shards that have the metric: each takes a degree of freedom from shards within devices. The error
    is that of the interval's half towards the bound: a bootstrapped interval (from 40 units on) is wider to one side, and p
    is below 0.025 where, and only where, the interval lies wholly on the right side.
    """
    if found.mean is None or found.low is None or found.high is None or found.high <= found.low:
        return None
    freedom = found.clusters - (devices if found.method == IntervalMethod.T_WITHIN_DEVICES else 1)
    half = found.high - found.mean if bound > found.mean else found.mean - found.low
    if half <= 0:
        return None
    error = half / t_quantile(0.5 + CONFIDENCE / 2, freedom)
    distance = bound - found.mean if below else found.mean - bound
    return t_upper(distance / error, freedom)


def _against_results(
    statement: Statement,
    cell: Cell,
    mine: CellObservations,
    other: CellObservations,
    metric: Metric,
    compared: Comparison,
) -> Evidence:
    margin = compared.margin
    relative = margin is not None and margin.relative
    gpus = {shard.gpu_uuid for side in (mine, other) for shard, _ in side.reading(metric)}
    start = replace(
        _start(cell, mine, metric),
        compared=compared,
        unit="share" if relative else metric.unit,
        found=_change(compared, relative=relative),
        against_shards=len(other.reading(metric)),
        gpus=None if None in gpus or not gpus else len(gpus),
        products=compared.products,
        scope=compared.scope,
        doubts=tuple(dict.fromkeys((*compared.subject.doubts, *compared.reference.doubts))),
    )
    if compared.verdict == Outcome.IDENTICAL:
        return replace(start, verdict=Verdict.PASS)
    change = start.found
    if relative and compared.method != Method.NONE and (change is None or change.low is None or change.high is None):
        return replace(
            start,
            reason=Reason.NOT_POSITIVE.value,
            message="what it is compared with is zero or may be: there is no share of that",
            decides="a margin in the metric's unit",
        )
    if margin is None or change is None or change.low is None or change.high is None:
        reason = compared.reason.value if compared.reason else Obstacle.INTERVAL_HOLDS_MARGIN.value
        return replace(start, reason=reason, message=compared.message, decides=compared.decides)
    if statement.test == "Equivalent":
        verdict, distance = _equivalent(compared, change, margin, metric)
        p = compared.p_equivalence
    else:
        verdict, distance = _no_worse(compared, margin)
        p = compared.p_no_worse
    start = replace(start, verdict=verdict, p=p)
    if verdict == Verdict.PASS:
        return start
    if verdict == Verdict.FAIL:
        return replace(start, reason="BeyondMargin")
    half = (change.high - change.low) / 2
    return replace(
        start,
        reason=Obstacle.INTERVAL_HOLDS_MARGIN.value,
        decides=_advice(more_shards(min(compared.units), half, distance), metric),
    )


def _change(compared: Comparison, *, relative: bool) -> Interval | None:
    if not relative:
        return compared.difference
    ratio = compared.ratio
    if ratio is None:
        return None
    low, high = (None if edge is None else edge - 1 for edge in (ratio.low, ratio.high))
    return Interval(ratio.value - 1, low, high)


def _no_worse(compared: Comparison, margin: Margin) -> tuple[Verdict, float]:
    """Return the verdict, and how far the estimate is from the margin."""
    worsening = compared.worsening
    if worsening is None or worsening.low is None or worsening.high is None:
        return Verdict.INCONCLUSIVE, 0.0
    distance = abs(worsening.value - margin.value)
    if worsening.high < margin.value:
        return Verdict.PASS, distance
    return (Verdict.FAIL if worsening.low > margin.value else Verdict.INCONCLUSIVE), distance


def _equivalent(compared: Comparison, change: Interval, margin: Margin, metric: Metric) -> tuple[Verdict, float]:
    """Two one-sided tests decide that it is; an interval that lies wholly beyond the margin, that it is not."""
    logarithmic = margin.relative and metric.scale == Scale.RATIO
    low = 1 / (1 + margin.value) - 1 if logarithmic else -margin.value
    distance = min(abs(change.value - low), abs(change.value - margin.value))
    if compared.verdict == Outcome.EQUIVALENT:
        return Verdict.PASS, distance
    beyond = (change.low or 0.0) > margin.value or (change.high or 0.0) < low
    return (Verdict.FAIL if beyond else Verdict.INCONCLUSIVE), distance


def _advice(more: int | None, metric: Metric) -> str:
    what = "prompts" if metric.pairing == Pairing.PROMPT else "shards"
    if more is None:
        return f"more {what}: what was seen is close to the margin or bound"
    return f"about {more} more {what} of each cell, at the spread that was seen"

"""Gates and hypotheses of a run against what was observed: Pass, Fail or Inconclusive, with the evidence for each cell.

The intervals of `comparison` and `intervals` decide; here is only what they are held against, and what they are of.
A statement is about every cell that its `where` selects and holds if it holds for each of them; a cell without results, or
whose baseline has none, is Inconclusive and never passes. Gates are not corrected for their number: all must pass, so that
more of them make a run fail sooner and not pass sooner. Hypotheses are, by Holm, among those of their role.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final

from vidbench_api.gates import Analysis, Baseline, Gate, Hypothesis, Statement, in_metric_unit
from vidbench_api.result import BenchmarkResultSpec

from .comparison import Comparison, Interval, compare
from .distributions import t_quantile, t_upper
from .intervals import CONFIDENCE, Estimate, IntervalMethod, estimate
from .metrics import Margin, Metric, Pairing, Scale, find_metric
from .multiplicity import holm
from .observations import CellObservations, LeftOutReason, PromptAndSeed, counts, observe
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


class Obstacle(StrEnum):
    """Why a statement is inconclusive, beside the reasons of comparisons and intervals."""

    NO_CELLS = "NoCells"
    """Its `where` selects no cell of the run: exclusions or `onlyFor` took them away."""

    NO_BASELINE = "NoBaseline"
    """No result that counts has the baseline's labels and the cell's names."""

    AMBIGUOUS_BASELINE = "AmbiguousBaseline"
    """Results of several names match, where one may differ."""

    OTHER_CLIP = "OtherClip"
    """The baseline made clips of another size, or in another number of steps."""

    OTHER_DEVICE = "OtherDevice"
    """The baseline ran on another product, or on more GPUs a shard, and `across` does not say that it may; or variants of the run did, unpaired."""

    TOO_MANY_RESULTS = "TooManyResults"
    """The baseline's labels match more than is read."""

    NOT_READABLE = "NotReadable"
    """The API server would not list the baseline's results."""

    SHARDS_FAILED = "ShardsFailed"
    """It holds for the shards that survived, and others ran out of memory or failed."""

    NO_VARIANT = "NoVariant"
    """The run has no cell of that variant for this model and hardware."""

    INTERVAL_HOLDS_BOUND = "IntervalHoldsBound"
    INTERVAL_HOLDS_MARGIN = "IntervalHoldsMargin"


@dataclass(frozen=True)
class Cell:
    """A cell of the run with its results, reused ones included. `generation_hash` is of what decides its pixels."""

    id: str
    model: str
    hardware: str
    variant: str
    generation_hash: str
    results: tuple[BenchmarkResultSpec, ...] = ()

    @property
    def label(self) -> str:
        """Return how people call it."""
        return f"{self.model}/{self.hardware}/{self.variant}"


@dataclass(frozen=True)
class Seen:
    """All that statements are held against.

    `baselines` has what the ledger holds for each baseline, of whatever cell; `unread` names those of which not all was
    read, with TooManyResults or NotReadable. `samples` are those of the run's request: from there prompts are known.
    `run_uid` is of the run itself: results of other runs in its cells were reused.
    """

    cells: tuple[Cell, ...]
    baselines: Mapping[str, tuple[BenchmarkResultSpec, ...]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    samples: Sequence[PromptAndSeed] = ()
    pairing: Pairing = Pairing.NONE
    run_uid: str | None = None

    @cached_property
    def observed(self) -> Mapping[str, CellObservations]:
        """Return what counts of each cell, by its id: once for all statements."""
        return {cell.id: _observed(cell, cell.results, self) for cell in self.cells}


@dataclass(frozen=True)
class Evidence:
    """What one cell says about a statement.

    `found` is the change against what it is compared with (a share for relative margins, else in the metric's unit), or
    the mean for a bound; None where there is none. `shards` are those that counted, on this side and the other. `p` is
    one-sided against the statement's contrary, corrected for a hypothesis; None where no test was possible.
    `decides` says what would decide.
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
    found = _reference_of(statement, cell, seen, baselines)
    if isinstance(found, _Missing):
        start = _start(cell, mine, metric)
        return replace(start, reason=found.reason.value, message=found.message, decides=found.decides)
    # Only cells of one run can have been paired by node.
    pairing = seen.pairing if statement.against.variant is not None else Pairing.NONE
    compared = compare(mine, found, metric, margin_of(statement), pairing)
    evidence = _against_results(statement, cell, mine, found, metric, compared)
    if statement.against.variant is not None and compared.method in _UNPAIRED:
        evidence = _of_one_product(evidence, mine, found, metric)
    return _of_survivors(evidence, mine, found)


_UNPAIRED: Final = (Method.WELCH_ON_SHARDS, Method.WELCH_ON_DEVICES)


def _of_survivors(evidence: Evidence, *sides: CellObservations) -> Evidence:
    """Refuse a Pass by shards that survived where others did not: who fails is not left to chance."""
    if evidence.verdict == Verdict.FAIL:
        return evidence
    failed = (LeftOutReason.OUT_OF_MEMORY, LeftOutReason.FAILED)
    lost = [
        f"{left.count} of {side.results} shards of {side.label}: {left.reason.value}"
        for side in sides
        for left in side.left_out
        if left.reason in failed
    ]
    if not lost:
        return evidence
    if evidence.verdict == Verdict.INCONCLUSIVE:
        return replace(evidence, p=None)
    return replace(
        evidence,
        verdict=Verdict.INCONCLUSIVE,
        p=None,
        reason=Obstacle.SHARDS_FAILED.value,
        message="; ".join(lost),
        decides="a run in which these shards succeed",
    )


def _of_one_product(evidence: Evidence, mine: CellObservations, other: CellObservations, metric: Metric) -> Evidence:
    """Refuse variants of which each ran on GPUs of its own product: the products were compared as much as the variants."""
    products = [{shard.product for shard, _ in side.reading(metric)} for side in (mine, other)]
    if None in products[0] | products[1] or products[0] == products[1]:
        return evidence
    return replace(
        evidence,
        verdict=Verdict.INCONCLUSIVE,
        p=None,
        reason=Obstacle.OTHER_DEVICE.value,
        message=f"it ran on {_either(products[0])}, what it is compared with on {_either(products[1])}",
        decides="a nodeSelector of one product, or measurement.pairing: Node",
    )


@dataclass(frozen=True)
class _Missing:
    reason: Obstacle
    message: str
    decides: str


def _reference_of(
    statement: Statement, cell: Cell, seen: Seen, baselines: Mapping[str, Baseline]
) -> CellObservations | _Missing:
    variant = statement.against.variant
    if variant is not None:
        other = next(
            (
                entry
                for entry in seen.cells
                if (entry.model, entry.hardware, entry.variant) == (cell.model, cell.hardware, variant)
            ),
            None,
        )
        if other is None:
            text = f"the run has no cell {cell.model}/{cell.hardware}/{variant}"
            return _Missing(Obstacle.NO_VARIANT, text, "a run with that cell: see matrix.exclude and onlyFor")
        return seen.observed[other.id]
    name = statement.against.baseline or ""
    if name in seen.unread:
        return _unread(name, Obstacle(seen.unread[name]))
    return _matching(baselines[name], cell, seen)


def _unread(name: str, why: Obstacle) -> _Missing:
    if why == Obstacle.TOO_MANY_RESULTS:
        text = f"baseline {name} matches more results than are read"
        return _Missing(why, text, "a selector that matches fewer results")
    return _Missing(why, f"the results of baseline {name} may not be listed", "the operator's right to list results")


def _matching(baseline: Baseline, cell: Cell, seen: Seen) -> CellObservations | _Missing:
    """Return what a baseline has for a cell: results of its names, but for the one that `across` lets differ.

    What the cell reused from the baseline stands on one side only; a cell that is the baseline is compared with itself.
    """
    names = _names(baseline, cell.model, cell.hardware, cell.variant)
    matches = [
        result
        for result in seen.baselines.get(baseline.name, ())
        if result.rung is None
        and result.run.uid != seen.run_uid
        and _names(baseline, result.cell.model, result.cell.hardware, result.cell.variant) == names
    ]
    label = f"baseline {baseline.name} of {cell.label}"
    mine = {_process_of(result) for result in cell.results if counts(result)}
    found = [result for result in matches if _process_of(result) not in mine]
    if matches and not found:
        if seen.run_uid is not None and mine == {_process_of(result) for result in matches}:
            return seen.observed[cell.id]
        text = f"{label}: what matches are results that this cell has reused, and nothing else"
        return _Missing(Obstacle.NO_BASELINE, text, "reuse.policy: Never, or more results in the baseline")
    if not found:
        text = f"{label}: no valid result of a shard that succeeded has its labels and these names"
        return _Missing(Obstacle.NO_BASELINE, text, "results of that cell with the baseline's labels")
    others = sorted({f"{each.cell.model}/{each.cell.hardware}/{each.cell.variant}" for each in found})
    if len(others) > 1:
        text = f"{label}: {', '.join(others[:3])} match"
        return _Missing(Obstacle.AMBIGUOUS_BASELINE, text, "a selector that matches one of them")
    return _same_kind(baseline, cell, found, label) or _observed(cell, found, seen, label)


def _process_of(result: BenchmarkResultSpec) -> tuple[str, str, int]:
    return result.run.uid, result.cell.id, result.shard


def _names(baseline: Baseline, model: str, hardware: str, variant: str) -> tuple[str, ...]:
    parts = {"Model": model, "Hardware": hardware, "Variant": variant}
    return tuple(value for part, value in parts.items() if part != baseline.across)


def _same_kind(baseline: Baseline, cell: Cell, found: Sequence[BenchmarkResultSpec], label: str) -> _Missing | None:
    """Refuse a baseline that differs in what no name says."""
    sides = [[result for result in side if counts(result)] for side in (cell.results, found)]
    clips = [{_clip(result) for result in side if result.clip is not None} for side in sides]
    if baseline.across != "Variant" and all(clips) and len(clips[0] | clips[1]) > 1:
        text = f"{label}: its clips are {_either(clips[1])}, not {_either(clips[0])}"
        return _Missing(Obstacle.OTHER_CLIP, text, "a baseline of clips of this size in as many steps")
    devices = [{_devices(result) for result in side if result.environment is not None} for side in sides]
    if baseline.across != "Hardware" and all(devices) and devices[0] != devices[1]:
        text = f"{label}: it ran on {_either(devices[1])}, not on {_either(devices[0])}"
        return _Missing(Obstacle.OTHER_DEVICE, text, "a baseline on this product, or across: Hardware")
    return None


def _clip(result: BenchmarkResultSpec) -> str:
    clip = result.clip
    return f"{clip.width}x{clip.height}x{clip.frames_requested} in {clip.steps} steps" if clip is not None else ""


def _devices(result: BenchmarkResultSpec) -> str:
    """Return the product that a shard had, and how many of them."""
    found = result.environment
    if found is None:
        return ""
    return f"{found.device_count} x {found.device}" if found.device_count > 1 else found.device


def _either(words: Iterable[str | None]) -> str:
    return " or ".join(sorted(word for word in words if word is not None))


def _observed(
    cell: Cell, results: Iterable[BenchmarkResultSpec], seen: Seen, label: str | None = None
) -> CellObservations:
    """Return what counts. Results of the same content have the samples of this run's request, whichever run made them."""
    results = tuple(results)
    same = {result.request_digest for result in results if result.generation_hash == cell.generation_hash}
    samples = dict.fromkeys(same, seen.samples) if seen.samples else {}
    return observe(results, samples=samples, label=label or cell.label)


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
    start = replace(_start(cell, mine, metric), unit=metric.unit, scope=found.scope)
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

    `devices` are those of shards that have the metric: each takes a degree of freedom from shards within devices.
    """
    if found.mean is None or found.low is None or found.high is None or found.high <= found.low:
        return None
    freedom = found.clusters - (devices if found.method == IntervalMethod.T_WITHIN_DEVICES else 1)
    error = (found.high - found.low) / 2 / t_quantile(0.5 + CONFIDENCE / 2, freedom)
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

"""Two cells, one metric: ratio and difference with intervals, p, effect size, and a verdict with its reason.

Which units stand against which is said in `sides`, the words for what came of it in `verdicts`.

Ratios are compared as logarithms of units, so that a ratio is one of geometric means; its interval is asymmetrical.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import power
from .contrasts import Contrast, ratio_bounds
from .distributions import t_quantile, t_two_sided, t_upper
from .effects import cliffs_delta, hedges_correction, hedges_g
from .intervals import CONFIDENCE, Estimate, estimate
from .metrics import Direction, Margin, Metric, Pairing, Scale
from .observations import CellObservations
from .sides import Blocked, Sides, sides_of
from .units import Scope
from .verdicts import Method, Reason, Verdict

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure between two bounds; the bounds are None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Effect:
    """A size of effect without a unit, above zero where the subject is higher.

    `HedgesG`: in standard deviations of units (within devices: of shards on one device), on the scale of the comparison.
    """

    name: str
    value: float


@dataclass(frozen=True)
class Comparison:
    """Subject against reference.

    `ratio` is subject / reference and `difference` subject - reference, in the metric's unit, at `confidence`. `worsening`
    says by how much the subject is worse, below zero where it is better: a share of the reference (0.05 is 5 %), or in the
    metric's unit with a margin in that unit; None for a metric without direction. Gates hold it against their margin.
    `cliffs_delta` is P(a unit of the subject is higher) - P(lower).
    `p` is two-sided against "no difference", `p_no_worse` one-sided against "worse by the margin or more", `p_equivalence`
    against "at least the margin apart" (the larger of two one-sided ones). `spread` is the standard deviation of units (of
    pairs' differences, if paired) on the scale of the comparison, `detectable` the smallest
    change (a share, or in the unit) that so many units see with 80 % power. With Inconclusive `reason` is set, and
    `decides` says in words what would decide; `more_shards` how many more for each side, where that helps.
    `units` are the independent units of each side (pairs count once on each). `devices` are those of both sides.
    """

    metric: str
    unit: str
    subject: Estimate
    reference: Estimate
    pairing: Pairing
    method: Method
    confidence: float
    verdict: Verdict
    reason: Reason | None = None
    message: str | None = None
    decides: str | None = None
    more_shards: int | None = None
    margin: Margin | None = None
    ratio: Interval | None = None
    difference: Interval | None = None
    worsening: Interval | None = None
    p: float | None = None
    p_equivalence: float | None = None
    p_no_worse: float | None = None
    effect: Effect | None = None
    cliffs_delta: float | None = None
    spread: float | None = None
    detectable: float | None = None
    units: tuple[int, int] = (0, 0)
    scope: Scope | None = None
    devices: tuple[str, ...] = ()
    products: tuple[str, ...] = ()


def compare(
    subject: CellObservations,
    reference: CellObservations,
    metric: Metric,
    margin: Margin | None = None,
    pairing: Pairing | None = None,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare one metric of two cells.

    `pairing` is the run's `measurement.pairing` (Node or None); quality is paired by prompt whatever it says. Without a
    margin there is no verdict Equivalent.
    """
    paired_by = Pairing.PROMPT if metric.pairing == Pairing.PROMPT else pairing or metric.pairing
    start = Comparison(
        metric=metric.name,
        unit=metric.unit,
        subject=estimate(subject, metric, confidence),
        reference=estimate(reference, metric, confidence),
        pairing=paired_by,
        method=Method.NONE,
        confidence=confidence,
        verdict=Verdict.INCONCLUSIVE,
        margin=margin,
        devices=tuple(sorted({*subject.devices, *reference.devices})),
        products=tuple(sorted({*subject.products, *reference.products})),
    )
    start = _with_points(start, metric)
    obstacle = _obstacle(start, subject, reference, metric)
    if obstacle is not None:
        return obstacle
    sides = sides_of(subject, reference, metric, paired_by)
    if isinstance(sides, Blocked):
        return _inconclusive(start, sides.reason, sides.message, sides.decides, sides.more_shards)
    return _concluded(replace(start, method=sides.method, units=sides.units, scope=sides.scope), sides, metric)


# -- what is in the way


def _obstacle(
    start: Comparison, subject: CellObservations, reference: CellObservations, metric: Metric
) -> Comparison | None:
    sides = (("subject", subject, start.subject), ("reference", reference, start.reference))
    unknown = None
    for side, cell, found in sides:
        if not cell.shards:
            return _inconclusive(
                start, Reason.NO_RESULTS, f"the {side} {cell.label} has no result that counts{_left(cell)}"
            )
        text = f"the {side} {cell.label} has no {metric.name}: {found.reason}"
        if found.reason == Reason.PROMPTS_UNKNOWN:
            unknown = unknown or text
        elif found.mean is None:
            return _inconclusive(start, Reason.NOT_MEASURED, text)
    if subject.comparability != reference.comparability:
        text = f"{subject.comparability} against {reference.comparability}"
        return _inconclusive(start, Reason.DIFFERENT_KIND, text)
    bases = {reading.basis for cell in (subject, reference) for _, reading in cell.reading(metric)}
    if len(bases) > 1:
        return _inconclusive(start, Reason.DIFFERENT_BASIS, " against ".join(sorted(bases)))
    if _are_the_same(subject, reference):
        return replace(start, verdict=Verdict.IDENTICAL, reason=Reason.SAME_RESULTS)
    digests = subject.output_digests | reference.output_digests
    if metric.is_quality and len(digests) == 1 and None not in digests:
        return replace(start, verdict=Verdict.IDENTICAL, reason=Reason.SAME_OUTPUT)
    # The same output is the same whatever its prompts were: they are asked for last.
    return _inconclusive(start, Reason.PROMPTS_UNKNOWN, unknown) if unknown else None


def _are_the_same(subject: CellObservations, reference: CellObservations) -> bool:
    known = all(shard.process for shard in (*subject.shards, *reference.shards))
    return subject.processes == reference.processes and (known or subject.label == reference.label)


def _left(cell: CellObservations) -> str:
    return "".join(f"; {left.count} {left.reason}" for left in cell.left_out)


def _inconclusive(
    start: Comparison,
    reason: Reason,
    message: str | None = None,
    decides: str | None = None,
    more_shards: int | None = None,
) -> Comparison:
    return replace(
        start,
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        message=message,
        decides=decides if decides is not None else _DECIDES.get(reason),
        more_shards=more_shards,
    )


_DECIDES: Mapping[Reason, str] = {
    Reason.NO_RESULTS: "a shard that succeeds and is valid, on each side",
    Reason.NOT_MEASURED: "results that have this metric",
    Reason.PROMPTS_UNKNOWN: "the request documents of the results: they say which sample has which prompt",
    Reason.DIFFERENT_KIND: "results of the same kind",
    Reason.DIFFERENT_BASIS: "results on the same basis",
    Reason.NOT_POSITIVE: "figures above zero",
}


# -- what follows


def _with_points(start: Comparison, metric: Metric) -> Comparison:
    """Add ratio and difference without intervals, where both sides have a mean."""
    mine, other = start.subject.mean, start.reference.mean
    if mine is None or other is None:
        return start
    ratio = Interval(mine / other) if other > 0 else None
    return _with_worsening(replace(start, ratio=ratio, difference=Interval(mine - other)), metric)


def _concluded(start: Comparison, sides: Sides, metric: Metric) -> Comparison:
    everything = [*sides.subject, *sides.reference]
    if metric.scale == Scale.RATIO and min(everything) <= 0:
        return _inconclusive(start, Reason.NOT_POSITIVE, "a ratio needs figures above zero")
    if min(everything) == max(everything):
        return replace(
            start,
            verdict=Verdict.IDENTICAL,
            reason=Reason.SAME_VALUES,
            ratio=Interval(1.0, 1.0, 1.0) if everything[0] > 0 else None,
            difference=Interval(0.0, 0.0, 0.0),
            worsening=None if metric.better == Direction.NEITHER else Interval(0.0, 0.0, 0.0),
        )
    plain = sides.contrast(float)
    decisive = sides.contrast(math.log) if metric.scale == Scale.RATIO else plain
    if _is_exact(plain):
        decisive = replace(decisive, subject_variance=0.0, reference_variance=0.0, covariance=0.0)
        plain = replace(plain, subject_variance=0.0, reference_variance=0.0, covariance=0.0)
    found = _with_intervals(start, plain, decisive, metric)
    found = _with_tests(found, sides, decisive, plain, metric)
    return _with_verdict(found, decisive, metric)


def _is_exact(contrast: Contrast) -> bool:
    """Whether what is left of the spread is no more than rounding: figures of memory are often the same in every shard."""
    return contrast.error <= _ROUNDING * max(abs(contrast.subject), abs(contrast.reference))


def _with_intervals(start: Comparison, plain: Contrast, decisive: Contrast, metric: Metric) -> Comparison:
    probability = 0.5 + start.confidence / 2
    half = t_quantile(probability, plain.freedom) * plain.error
    difference = Interval(plain.difference, plain.difference - half, plain.difference + half)
    if metric.scale == Scale.RATIO:
        reach = t_quantile(probability, decisive.freedom) * decisive.error
        centre = decisive.difference
        ratio: Interval | None = Interval(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))
    else:
        ratio = _fieller(plain, t_quantile(probability, plain.freedom))
    return _with_worsening(replace(start, difference=difference, ratio=ratio), metric)


def _fieller(contrast: Contrast, quantile: float) -> Interval | None:
    if contrast.reference <= 0:
        return None
    bounds = ratio_bounds(contrast, quantile)
    return Interval(contrast.subject / contrast.reference, *(bounds or (None, None)))


def _with_worsening(start: Comparison, metric: Metric) -> Comparison:
    if metric.better == Direction.NEITHER:
        return start
    sign = 1 if metric.better == Direction.LOWER else -1
    if start.margin is not None and not start.margin.relative:
        found, away = start.difference, 0.0
    else:
        found, away = start.ratio, 1.0
    if found is None:
        return replace(start, worsening=None)
    low, high = (None if bound is None else sign * (bound - away) for bound in (found.low, found.high))
    worst = Interval(sign * (found.value - away), *((low, high) if sign > 0 else (high, low)))
    return replace(start, worsening=worst)


def _with_tests(start: Comparison, sides: Sides, contrast: Contrast, plain: Contrast, metric: Metric) -> Comparison:
    spread = _spread(start, contrast)
    if contrast.error == 0:
        # Every unit of a side is the same, and the sides differ: there is nothing that a test could estimate.
        return replace(start, spread=0.0)
    p = t_two_sided(contrast.difference / contrast.error, contrast.freedom)
    seen = power.detectable(spread, min(start.units), design=_design(start))
    if seen is not None and metric.scale == Scale.RATIO:
        seen = math.expm1(seen)
    return replace(
        start,
        p=p,
        spread=spread,
        detectable=seen,
        effect=_effect(start, sides, contrast, metric),
        cliffs_delta=cliffs_delta(sides.subject, sides.reference),
        p_equivalence=_p_equivalence(start, contrast, plain, metric),
        p_no_worse=_p_no_worse(start, contrast, plain, metric),
    )


def _design(start: Comparison) -> power.Design:
    pairs = (Method.PAIRED_BY_PROMPT, Method.PAIRED_BY_DEVICE)
    return power.Design.PAIRED if start.method in pairs else power.Design.INDEPENDENT


def _spread(start: Comparison, contrast: Contrast) -> float:
    """The standard deviation of a unit (of a pair's difference) that would give this error."""
    first, second = start.units
    if _design(start) == power.Design.PAIRED:
        return contrast.error * math.sqrt(first)
    return contrast.error / math.sqrt(1 / first + 1 / second)


def _effect(start: Comparison, sides: Sides, contrast: Contrast, metric: Metric) -> Effect | None:
    if start.method == Method.WITHIN_DEVICES:
        g: float | None = hedges_correction(contrast.freedom) * contrast.difference / _spread(start, contrast)
    elif metric.scale == Scale.RATIO:
        g = hedges_g([*map(math.log, sides.subject)], [*map(math.log, sides.reference)])
    else:
        g = hedges_g(sides.subject, sides.reference)
    return None if g is None else Effect("HedgesG", g)


def _p_equivalence(start: Comparison, contrast: Contrast, plain: Contrast, metric: Metric) -> float | None:
    """Two one-sided tests (Schuirmann 1987): the larger p of "at most the margin below" and "at most it above"."""
    margin = start.margin
    if margin is None:
        return None
    if margin.relative and metric.scale == Scale.RATIO:
        edge = math.log1p(margin.value)
        return max(_p_beyond(contrast, -edge), _p_beyond(contrast, edge))
    if margin.relative:
        return max(_p_of_share(plain, 1 - margin.value), _p_of_share(plain, 1 + margin.value))
    return max(_p_beyond(plain, -margin.value), _p_beyond(plain, margin.value))


def _p_no_worse(start: Comparison, contrast: Contrast, plain: Contrast, metric: Metric) -> float | None:
    """The one of these two that is about getting worse."""
    margin = start.margin
    if margin is None or metric.better == Direction.NEITHER:
        return None
    sign = 1 if metric.better == Direction.LOWER else -1
    if margin.relative and metric.scale == Scale.RATIO:
        # A share of 100 % or more cannot be lost.
        return _p_beyond(contrast, math.log1p(sign * margin.value)) if sign * margin.value > -1 else None
    if margin.relative:
        return _p_of_share(plain, 1 + sign * margin.value)
    return _p_beyond(plain, sign * margin.value)


def _p_beyond(contrast: Contrast, edge: float) -> float:
    """One-sided p against "the difference is beyond the edge", on the edge's side of zero."""
    statistic = (contrast.difference - edge) / contrast.error
    return t_upper(-statistic if edge > 0 else statistic, contrast.freedom)


def _p_of_share(contrast: Contrast, share: float) -> float:
    """The same for subject = share x reference, without dividing (as Fieller does)."""
    variance = contrast.subject_variance + share**2 * contrast.reference_variance - 2 * share * contrast.covariance
    statistic = (contrast.subject - share * contrast.reference) / math.sqrt(variance) if variance > 0 else 0.0
    return t_upper(-statistic if share > 1 else statistic, contrast.freedom)


def _with_verdict(found: Comparison, contrast: Contrast, metric: Metric) -> Comparison:
    alpha = 1 - found.confidence
    if contrast.error == 0:
        if _is_within(found, metric):
            return replace(found, verdict=Verdict.EQUIVALENT)
        return _directed(found, metric)
    if found.p_equivalence is not None and found.p_equivalence < alpha:
        return replace(found, verdict=Verdict.EQUIVALENT)
    if found.p is not None and found.p < alpha:
        return _directed(found, metric)
    return _wide(found, metric)


def _is_within(found: Comparison, metric: Metric) -> bool:
    """Whether figures without any spread are closer than the margin: between the edges of `_p_equivalence`."""
    margin = found.margin
    if margin is None or found.difference is None:
        return False
    if not margin.relative:
        return abs(found.difference.value) < margin.value
    if found.ratio is None:
        return False
    low = 1 / (1 + margin.value) if metric.scale == Scale.RATIO else 1 - margin.value
    return low < found.ratio.value < 1 + margin.value


def _directed(found: Comparison, metric: Metric) -> Comparison:
    if metric.better == Direction.NEITHER or found.difference is None:
        return _inconclusive(found, Reason.NO_DIRECTION, f"{metric.name} differs, and no direction of it is better")
    is_higher = found.difference.value > 0
    if metric.scale == Scale.RATIO and found.ratio is not None:
        is_higher = found.ratio.value > 1
    better = is_higher == (metric.better == Direction.HIGHER)
    return replace(found, verdict=Verdict.BETTER if better else Verdict.WORSE)


def _wide(found: Comparison, metric: Metric) -> Comparison:
    margin, more = found.margin, None
    if margin is None:
        decides = "a margin: which difference would matter?"
    else:
        more = _more(found, metric, margin)
        what = "prompts" if found.method == Method.PAIRED_BY_PROMPT else "shards each"
        decides = f"about {more} more {what}" if more else "more shards: the difference is close to the margin"
    return _inconclusive(
        found, Reason.WIDE_INTERVAL, "the interval holds both what matters and what does not", decides, more
    )


def _more(found: Comparison, metric: Metric, margin: Margin) -> int | None:
    if found.spread is None:
        return None
    reference = abs(found.reference.mean or 0.0)
    if metric.scale == Scale.RATIO:
        edge = math.log1p(margin.value if margin.relative else margin.value / reference)
    else:
        edge = margin.value * reference if margin.relative else margin.value
    enough = power.needed_to_decide(edge, found.spread, design=_design(found)) if edge > 0 else None
    return None if enough is None else max(1, enough - min(found.units))

"""The same cell against itself: what a cluster's own noise looks like, and the smallest effect that it may claim.

Two variants of a run that ask for the same (equal generation hashes) differ by nothing but chance, order and place. What
an A/A comparison sees is what every A/B comparison of this cluster has in it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidbench_api.result import BenchmarkResultSpec

from .comparison import Comparison
from .confounding import compare_alike
from .metrics import Margin, Metric, Scale
from .observations import PromptAndSeed, observe
from .power import needed, power_of_difference
from .verdicts import Reason, Verdict

EFFECTS = (0.01, 0.02, 0.05, 0.10)
"""Shares for which the number of shards is said."""


@dataclass(frozen=True)
class SelfTest:
    """One metric of a cell against itself.

    `claim` is the smallest effect, as a share, that so many shards may claim: what they see with 80 % power, or, where the
    cell differed from itself, the farther end of that interval; None where no spread is known. `needed` has the shards of
    each cell that see an effect with 80 % power, None beyond any number.
    """

    cell: str
    variants: tuple[str, str]
    metric: Metric
    comparison: Comparison
    claim: float | None
    needed: Mapping[float, int | None]

    @property
    def is_quiet(self) -> bool | None:
        """Whether the cell did not differ from itself; None where too little was measured to say."""
        if self.comparison.verdict in (Verdict.BETTER, Verdict.WORSE):
            return False
        known = self.comparison.p is not None or self.comparison.verdict == Verdict.IDENTICAL
        return True if known else None


def find_twins(results: Iterable[BenchmarkResultSpec]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return two variants that ask for the same, for each model and hardware that has such; the first two by name."""
    seen: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        if result.rung is None:
            key = (result.cell.model, result.cell.hardware, result.generation_hash)
            seen.setdefault(key, set()).add(result.cell.variant)
    twins: dict[tuple[str, str], tuple[str, str]] = {}
    for (model, hardware, _), variants in sorted(seen.items()):
        if len(variants) > 1:
            first, second = sorted(variants)[:2]
            twins.setdefault((model, hardware), (first, second))
    return twins


def run_self_test(
    results: Sequence[BenchmarkResultSpec],
    metrics: Sequence[Metric],
    margins: Mapping[str, Margin],
    samples: Mapping[str, Sequence[PromptAndSeed]] | None = None,
) -> tuple[SelfTest, ...]:
    """Return the test of each metric of each cell that is there twice, by model and hardware; empty where none is.

    `margins` are by the metric's name; `samples` are as for `observe`: quality is compared by prompt.
    """
    return tuple(
        _test(f"{model}/{hardware}", pair, metric, results, margins.get(metric.name), (model, hardware), samples)
        for (model, hardware), pair in find_twins(results).items()
        for metric in metrics
    )


def _test(
    label: str,
    variants: tuple[str, str],
    metric: Metric,
    results: Iterable[BenchmarkResultSpec],
    margin: Margin | None,
    place: tuple[str, str],
    samples: Mapping[str, Sequence[PromptAndSeed]] | None,
) -> SelfTest:
    sides: dict[str, list[BenchmarkResultSpec]] = {variant: [] for variant in variants}
    for result in results:
        if (result.cell.model, result.cell.hardware) == place and result.rung is None and result.cell.variant in sides:
            sides[result.cell.variant].append(result)
    first, second = (observe(sides[variant], samples=samples, label=variant) for variant in variants)
    found = compare_alike(second, first, metric, margin)
    return SelfTest(label, variants, metric, found, _claim(found, metric), _needed(found, metric))


_NO_CLAIM = (Reason.OTHER_DEVICE, Reason.SHARDS_FAILED)
"""What no other comparison of this cluster may conclude from, this one says nothing by."""


def _claim(found: Comparison, metric: Metric) -> float | None:
    if metric.scale != Scale.RATIO or found.reason in _NO_CLAIM:
        return None
    if found.verdict in (Verdict.BETTER, Verdict.WORSE) and found.ratio is not None:
        ends = [abs(end - 1) for end in (found.ratio.low, found.ratio.high) if end is not None]
        return max([*ends, found.detectable or 0.0])
    return found.detectable


def _needed(found: Comparison, metric: Metric) -> dict[float, int | None]:
    spread = found.spread
    if metric.scale != Scale.RATIO or not spread:
        return {}
    return {effect: _shards_for(math.log1p(effect), spread) for effect in EFFECTS}


def _shards_for(effect: float, spread: float) -> int | None:
    return needed(lambda each: power_of_difference(effect, spread, each))

"""Which results stand against which: two sides, their cells matched by name, one comparison for each cell and metric.

A side is a set of results that somebody chose: a run, a baseline, a variant. Its cells are matched with those of the other
side by the names that both have in common; a cell that the other side lacks is shown as such and compared with nothing.
What else differs than what is compared (clip, GPU, driver, weights) is said, not corrected; where it may be the whole difference
`confounding` lets nothing be concluded. Knows no formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vidbench_api.result import BenchmarkResultSpec

from .comparison import Comparison
from .confounding import Named, compare_alike
from .metrics import Margin, Metric, Pairing
from .observations import CellObservations, PromptAndSeed, clip_text, observe


class Axis(StrEnum):
    """What the sides of a comparison differ in."""

    RUN = "run"
    MODEL = "model"
    HARDWARE = "hardware"
    VARIANT = "variant"
    NODE = "node"


NAMES = (Axis.MODEL, Axis.HARDWARE, Axis.VARIANT)
"""What the name of a cell is made of."""

_VALUES: Mapping[Axis, Callable[[BenchmarkResultSpec], str]] = {
    Axis.RUN: lambda result: result.run.name,
    Axis.MODEL: lambda result: result.cell.model,
    Axis.HARDWARE: lambda result: result.cell.hardware,
    # What was measured after the cell itself ran out of memory is another variant of it.
    Axis.VARIANT: lambda result: f"{result.cell.variant}+{result.rung}" if result.rung else result.cell.variant,
    Axis.NODE: lambda result: result.origin.node or "unknown",
}


class Output(StrEnum):
    """Whether both sides generated the same, by the digests of all latents and frames."""

    IDENTICAL = "Identical"
    DIFFERENT = "Different"
    NOT_KNOWN = "NotKnown"
    """A digest is missing, or the sides generated different numbers of samples."""


@dataclass(frozen=True)
class Side:
    """Results under one name. `label` names the side for people; `axis` says by what it was split from others, if it was."""

    label: str
    results: tuple[BenchmarkResultSpec, ...]
    axis: Axis | None = None


@dataclass(frozen=True)
class Pair:
    """A cell of both sides. `cell` are the names that they have in common, by axis; either side may be empty."""

    cell: tuple[tuple[Axis, str], ...]
    subject: CellObservations
    reference: CellObservations
    differences: tuple[str, ...]
    """What differs beside what is compared, in words, subject first."""

    output: Output
    named: Named
    """What differs by the names of the sides: that is what is compared."""

    @property
    def label(self) -> str:
        """Return how people call it."""
        return "/".join(value for _, value in self.cell) or "all"


@dataclass(frozen=True)
class Row:
    """One metric of one pair."""

    pair: Pair
    metric: Metric
    comparison: Comparison


def value_of(result: BenchmarkResultSpec, axis: Axis) -> str:
    """Return where a result stands on an axis."""
    return _VALUES[axis](result)


def split(results: Iterable[BenchmarkResultSpec], axis: Axis) -> tuple[Side, ...]:
    """Return a side for each value of an axis, by name."""
    found: dict[str, list[BenchmarkResultSpec]] = {}
    for result in results:
        found.setdefault(value_of(result, axis), []).append(result)
    return tuple(Side(label, tuple(found[label]), axis) for label in sorted(found))


def line_up(
    subject: Side,
    reference: Side,
    in_common: Sequence[Axis],
    samples: Mapping[str, Sequence[PromptAndSeed]] | None = None,
) -> tuple[Pair, ...]:
    """Return the cells of two sides that have the same names on the axes `in_common`, by name.

    `samples` are as for `observe`: quality is compared by prompt.
    """
    mine, other = _by_names(subject.results, in_common), _by_names(reference.results, in_common)
    return tuple(
        _pair(
            tuple(zip(in_common, key, strict=True)),
            replace(subject, results=mine.get(key, ())),
            replace(reference, results=other.get(key, ())),
            samples,
        )
        for key in sorted({*mine, *other})
    )


def compare_pairs(
    pairs: Iterable[Pair],
    metrics: Sequence[Metric],
    margins: Mapping[str, Margin],
    pairing: Pairing | None = None,
) -> tuple[Row, ...]:
    """Return a comparison for each pair and metric. `margins` are by the metric's name; without one nothing is Equivalent."""
    return tuple(
        Row(
            pair,
            metric,
            compare_alike(pair.subject, pair.reference, metric, margins.get(metric.name), pairing, pair.named),
        )
        for pair in pairs
        for metric in metrics
    )


def has_metric(row: Row) -> bool:
    """Whether any shard of either side has the metric: what nobody measured is not worth a line."""
    return bool(row.pair.subject.reading(row.metric) or row.pair.reference.reading(row.metric))


def _by_names(
    results: Iterable[BenchmarkResultSpec], axes: Sequence[Axis]
) -> dict[tuple[str, ...], tuple[BenchmarkResultSpec, ...]]:
    found: dict[tuple[str, ...], tuple[BenchmarkResultSpec, ...]] = {}
    for result in results:
        key = tuple(value_of(result, axis) for axis in axes)
        found[key] = (*found.get(key, ()), result)
    return found


def _pair(
    cell: tuple[tuple[Axis, str], ...],
    subject: Side,
    reference: Side,
    samples: Mapping[str, Sequence[PromptAndSeed]] | None,
) -> Pair:
    mine, other = subject.results, reference.results
    first, second = (observe(side.results, samples=samples, label=side.label) for side in (subject, reference))
    if first.processes != second.processes:
        # What one run reused from the other is one measurement, not two that agree.
        second = second.without(first.processes)
    named = _named(mine, other, subject.axis)
    return Pair(cell, first, second, _differences(mine, other), _output(first, second), named)


def _named(mine: Sequence[BenchmarkResultSpec], other: Sequence[BenchmarkResultSpec], axis: Axis | None) -> Named:
    """Return what differs by name. Who asks for nodes asks for what is in them."""

    def differ(*axes: Axis) -> bool:
        first, second = ({tuple(value_of(result, by) for by in axes) for result in side} for side in (mine, other))
        return first != second

    return Named(devices=axis is Axis.NODE or differ(Axis.HARDWARE), clips=differ(Axis.MODEL, Axis.VARIANT))


def _output(subject: CellObservations, reference: CellObservations) -> Output:
    digests = subject.output_digests | reference.output_digests
    counts = {
        shard.readings["latency"].count if "latency" in shard.readings else None
        for side in (subject, reference)
        for shard in side.shards
    }
    if not subject.shards or not reference.shards or None in digests or len(counts) != 1:
        return Output.NOT_KNOWN
    return Output.IDENTICAL if len(digests) == 1 else Output.DIFFERENT


def _in_environment(name: str) -> Callable[[BenchmarkResultSpec], str | None]:
    def read(result: BenchmarkResultSpec) -> str | None:
        value = getattr(result.environment, name, None) if result.environment else None
        return None if value is None else str(value)

    return read


_WATCHED: Mapping[str, Callable[[BenchmarkResultSpec], str | None]] = {
    "kind": lambda result: result.comparability.value,
    "clip": clip_text,
    "weights": lambda result: result.weights or "Pretrained",
    "device": _in_environment("device"),
    "GPUs a shard": _in_environment("device_count"),
    "power limit in mW": _in_environment("power_limit_milliwatts"),
    "driver": _in_environment("driver"),
    "torch": _in_environment("torch"),
    "diffusers": _in_environment("diffusers"),
}


def _differences(mine: Sequence[BenchmarkResultSpec], other: Sequence[BenchmarkResultSpec]) -> tuple[str, ...]:
    """Return what differs among results that timed something; what a side does not say is no difference."""
    sides = [[result for result in side if result.series] for side in (mine, other)]
    found = []
    for name, read in _WATCHED.items():
        first, second = ({value for result in side if (value := read(result)) is not None} for side in sides)
        if first and second and (first != second or len(first) > 1):
            found.append(f"{name}: {' and '.join(sorted(first))} against {' and '.join(sorted(second))}")
    return tuple(found)

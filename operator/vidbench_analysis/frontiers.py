"""Which cells may stand on one frontier: those of one kind that make clips of one size. Knows no resampling: `pareto` places.

A longer or larger clip is another product, and a service's latency holds queues that a device has not: cells that differ in
these are placed apart. Models are placed together although their pictures differ: the caller says that quality is not in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vidbench_api.result import BenchmarkResultSpec

from .metrics import Metric
from .observations import CellObservations, PromptAndSeed, counts, observe
from .pareto import Place, check_objectives, frontier
from .resampling import REPEATS
from .side_by_side import NAMES, value_of


@dataclass(frozen=True)
class Frontier:
    """Places of cells whose clips have one size. `objectives` are those of the asked ones that some of its cells have."""

    clip: str
    kind: str
    objectives: tuple[Metric, ...]
    places: tuple[Place, ...]


def cells_by_name(results: Sequence[BenchmarkResultSpec]) -> dict[str, list[BenchmarkResultSpec]]:
    """Return results by the name of their cell, sorted; with the run's name before it where there are several runs."""
    several = len({result.run.uid for result in results}) > 1
    found: dict[str, list[BenchmarkResultSpec]] = defaultdict(list)
    for result in results:
        name = "/".join(value_of(result, axis) for axis in NAMES)
        found[f"{result.run.name}:{name}" if several else name].append(result)
    return dict(sorted(found.items()))


def frontiers(
    cells: Mapping[str, Sequence[BenchmarkResultSpec]],
    objectives: Sequence[Metric],
    samples: Mapping[str, Sequence[PromptAndSeed]] | None = None,
    repeats: int = REPEATS,
) -> tuple[Frontier, ...]:
    """Return a frontier for each kind and size of clip, in the order in which they come first.

    A cell of which no result counts has no place. An objective that no cell of a group has is left out of it; a figure on
    another basis than most of the group have (another currency, the host's memory) is taken for missing.

    Raises:
        ValueError: as `check_objectives`.
    """
    check_objectives(objectives)
    groups: dict[tuple[str, str], list[CellObservations]] = {}
    for label, results in cells.items():
        cell = observe(results, samples=samples, label=label)
        if cell.shards:
            groups.setdefault((str(cell.comparability), _clip_of(results)), []).append(cell)
    found = []
    for (kind, clip), members in groups.items():
        shown = tuple(metric for metric in objectives if any(cell.reading(metric) for cell in members))
        if shown:
            found.append(Frontier(clip, kind, shown, _places(members, shown, repeats)))
    return tuple(found)


def _clip_of(results: Sequence[BenchmarkResultSpec]) -> str:
    """The size of what was made, as people write it."""
    clips = {result.clip for result in results if counts(result) and result.clip is not None}
    return " or ".join(sorted({f"{clip.width}x{clip.height}, {clip.frames_requested} frames" for clip in clips}))


def _places(cells: Sequence[CellObservations], objectives: Sequence[Metric], repeats: int) -> tuple[Place, ...]:
    others: dict[str, str] = {}
    for metric in objectives:
        bases = Counter(reading.basis for cell in cells for _, reading in cell.reading(metric))
        usual = min(bases, key=lambda basis: (-bases[basis], basis))
        for cell in cells:
            if odd := sorted({reading.basis for _, reading in cell.reading(metric)} - {usual}):
                others.setdefault(cell.label, f"DifferentBasis: {metric.name} ({', '.join(odd)})")
    placed = frontier(
        [_without_readings(cell) if cell.label in others else cell for cell in cells], objectives, repeats
    )
    return tuple(replace(place, reason=others.get(place.label, place.reason)) for place in placed)


def _without_readings(cell: CellObservations) -> CellObservations:
    return replace(cell, shards=tuple(replace(shard, readings={}) for shard in cell.shards))

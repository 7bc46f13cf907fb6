"""What a statement of a run holds its cells against: which results, or why none.

Knows no verdicts: what follows from them is for `gates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from vidbench_api.gates import Baseline, Statement
from vidbench_api.result import BenchmarkResultSpec

from .confounding import clips_apart, devices_apart
from .metrics import Metric, Pairing, find_metric
from .observations import CellObservations, PromptAndSeed, counts, observe, process_of
from .verdicts import Reason


class Obstacle(StrEnum):
    """Why a statement is inconclusive, beside the reasons of comparisons and intervals."""

    NO_CELLS = "NoCells"
    """Its `where` selects no cell of the run: exclusions or `onlyFor` took them away."""

    NO_BASELINE = "NoBaseline"
    """No result that counts has the baseline's labels and the cell's names."""

    AMBIGUOUS_BASELINE = "AmbiguousBaseline"
    """Results of several names match, where one may differ."""

    TOO_MANY_RESULTS = "TooManyResults"
    """The baseline's labels match more than is read."""

    NOT_READABLE = "NotReadable"
    """The API server would not list the baseline's results."""

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
        return {cell.id: _observed(cell, cell.results, self, run_uid=self.run_uid) for cell in self.cells}


@dataclass(frozen=True)
class Missing:
    """Why there is nothing to hold a cell against, and what would be."""

    reason: Obstacle | Reason
    message: str
    decides: str


def reference_of(
    statement: Statement, cell: Cell, seen: Seen, baselines: Mapping[str, Baseline]
) -> CellObservations | Missing:
    """Return what a statement holds a cell against: another variant of its run, or a baseline."""
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
            return Missing(Obstacle.NO_VARIANT, text, "a run with that cell: see matrix.exclude and onlyFor")
        return seen.observed[other.id]
    name = statement.against.baseline or ""
    if name in seen.unread:
        return _unread(name, Obstacle(seen.unread[name]))
    return _matching(baselines[name], cell, seen, find_metric(statement.metric))


def _unread(name: str, why: Obstacle) -> Missing:
    if why == Obstacle.TOO_MANY_RESULTS:
        text = f"baseline {name} matches more results than are read"
        return Missing(why, text, "a selector that matches fewer results")
    return Missing(why, f"the results of baseline {name} may not be listed", "the operator's right to list results")


def _matching(baseline: Baseline, cell: Cell, seen: Seen, metric: Metric) -> CellObservations | Missing:
    """Return what a baseline has for a cell: results of its names, but for the one that `across` lets differ.

    What the cell reused from the baseline stands on one side only; a cell that is the baseline is compared with itself.
    """
    names = _names(baseline, cell.model, cell.hardware, cell.variant)
    matches = [
        result
        for result in seen.baselines.get(baseline.name, ())
        if counts(result)
        and result.rung is None
        and result.run.uid != seen.run_uid
        and _names(baseline, result.cell.model, result.cell.hardware, result.cell.variant) == names
    ]
    label = f"baseline {baseline.name} of {cell.label}"
    mine = {process_of(result) for result in cell.results if counts(result)}
    found = [result for result in matches if process_of(result) not in mine]
    if matches and not found:
        if seen.run_uid is not None and mine == {process_of(result) for result in matches}:
            return seen.observed[cell.id]
        text = f"{label}: what matches are results that this cell has reused, and nothing else"
        return Missing(Obstacle.NO_BASELINE, text, "reuse.policy: Never, or more results in the baseline")
    if not found:
        text = f"{label}: no valid result of a shard that succeeded has its labels and these names"
        return Missing(Obstacle.NO_BASELINE, text, "results of that cell with the baseline's labels")
    others = sorted({f"{each.cell.model}/{each.cell.hardware}/{each.cell.variant}" for each in found})
    if len(others) > 1:
        text = f"{label}: {', '.join(others[:3])} match"
        return Missing(Obstacle.AMBIGUOUS_BASELINE, text, "a selector that matches one of them")
    reference = _observed(cell, found, seen, label)
    return _of_another_kind(baseline, seen.observed[cell.id], reference, metric) or reference


def _names(baseline: Baseline, model: str, hardware: str, variant: str) -> tuple[str, ...]:
    parts = {"Model": model, "Hardware": hardware, "Variant": variant}
    return tuple(value for part, value in parts.items() if part != baseline.across)


def _of_another_kind(
    baseline: Baseline, mine: CellObservations, reference: CellObservations, metric: Metric
) -> Missing | None:
    """Refuse a baseline that differs in what no name says."""
    clips = clips_apart(mine, reference, metric) if baseline.across != "Variant" else None
    if clips is not None:
        text = f"{reference.label}: its clips are {clips[1]}, not {clips[0]}"
        return Missing(Reason.OTHER_CLIP, text, "a baseline of clips of this size in as many steps")
    devices = devices_apart(mine, reference, metric) if baseline.across != "Hardware" else None
    if devices is not None:
        text = f"{reference.label}: it ran on {devices[1]}, not on {devices[0]}"
        return Missing(Reason.OTHER_DEVICE, text, "a baseline on this product, or across: Hardware")
    return None


def _observed(
    cell: Cell,
    results: Iterable[BenchmarkResultSpec],
    seen: Seen,
    label: str | None = None,
    run_uid: str | None = None,
) -> CellObservations:
    """Return what counts. Results of the same content have the samples of this run's request, whichever run made them."""
    results = tuple(results)
    same = {result.request_digest for result in results if result.generation_hash == cell.generation_hash}
    samples = dict.fromkeys(same, seen.samples) if seen.samples else {}
    return observe(results, samples=samples, label=label or cell.label, run_uid=run_uid)

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

from .metrics import Pairing
from .observations import CellObservations, PromptAndSeed, counts, observe


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
class Missing:
    """Why there is nothing to hold a cell against, and what would be."""

    reason: Obstacle
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
    return _matching(baselines[name], cell, seen)


def _unread(name: str, why: Obstacle) -> Missing:
    if why == Obstacle.TOO_MANY_RESULTS:
        text = f"baseline {name} matches more results than are read"
        return Missing(why, text, "a selector that matches fewer results")
    return Missing(why, f"the results of baseline {name} may not be listed", "the operator's right to list results")


def _matching(baseline: Baseline, cell: Cell, seen: Seen) -> CellObservations | Missing:
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
        return Missing(Obstacle.NO_BASELINE, text, "reuse.policy: Never, or more results in the baseline")
    if not found:
        text = f"{label}: no valid result of a shard that succeeded has its labels and these names"
        return Missing(Obstacle.NO_BASELINE, text, "results of that cell with the baseline's labels")
    others = sorted({f"{each.cell.model}/{each.cell.hardware}/{each.cell.variant}" for each in found})
    if len(others) > 1:
        text = f"{label}: {', '.join(others[:3])} match"
        return Missing(Obstacle.AMBIGUOUS_BASELINE, text, "a selector that matches one of them")
    return _same_kind(baseline, cell, found, label) or _observed(cell, found, seen, label)


def _process_of(result: BenchmarkResultSpec) -> tuple[str, str, int]:
    return result.run.uid, result.cell.id, result.shard


def _names(baseline: Baseline, model: str, hardware: str, variant: str) -> tuple[str, ...]:
    parts = {"Model": model, "Hardware": hardware, "Variant": variant}
    return tuple(value for part, value in parts.items() if part != baseline.across)


def _same_kind(baseline: Baseline, cell: Cell, found: Sequence[BenchmarkResultSpec], label: str) -> Missing | None:
    """Refuse a baseline that differs in what no name says."""
    sides = [[result for result in side if counts(result)] for side in (cell.results, found)]
    clips = [{_clip(result) for result in side if result.clip is not None} for side in sides]
    if baseline.across != "Variant" and all(clips) and len(clips[0] | clips[1]) > 1:
        text = f"{label}: its clips are {either(clips[1])}, not {either(clips[0])}"
        return Missing(Obstacle.OTHER_CLIP, text, "a baseline of clips of this size in as many steps")
    devices = [{_devices(result) for result in side if result.environment is not None} for side in sides]
    if baseline.across != "Hardware" and all(devices) and devices[0] != devices[1]:
        text = f"{label}: it ran on {either(devices[1])}, not on {either(devices[0])}"
        return Missing(Obstacle.OTHER_DEVICE, text, "a baseline on this product, or across: Hardware")
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


def either(words: Iterable[str | None]) -> str:
    """Join alternatives for a sentence."""
    return " or ".join(sorted(word for word in words if word is not None))


def _observed(
    cell: Cell, results: Iterable[BenchmarkResultSpec], seen: Seen, label: str | None = None
) -> CellObservations:
    """Return what counts. Results of the same content have the samples of this run's request, whichever run made them."""
    results = tuple(results)
    same = {result.request_digest for result in results if result.generation_hash == cell.generation_hash}
    samples = dict.fromkeys(same, seen.samples) if seen.samples else {}
    return observe(results, samples=samples, label=label or cell.label)

"""`outOfMemory: Fallback`: which rung is measured beside a cell that ran out of memory, and which one cannot help.

By the stage that ran out: decode, tiling; denoise, group, then model, then sequential offload; anything else, model, then
sequential offload. A rung that runs out as well leads to the next one by its own stage. Rungs are rows of their own: the
row of what was asked for stays OutOfMemory. Which rungs there are is `vidbench_api.rungs`' to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vidbench_api.identity import result_name
from vidbench_api.names import EventReason, Outcome, Reason
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import CellRow, ShardStatus
from vidbench_api.rungs import OFFLOAD_OF_RUNG, Rung, rung_cell, rungs_of
from vidbench_api.verdict import Phase

from .plan import EmitEvent
from .quantities import parse_quantity
from .settle import Context, Entry, Settled, give_up, settle

_OFFLOADS = tuple(OFFLOAD_OF_RUNG)
_LADDERS: dict[str, tuple[Rung, ...]] = {
    Phase.VAE_DECODE.value: (Rung.VAE_TILING,),
    Phase.DENOISE.value: _OFFLOADS,
}
_OTHERWISE = (Rung.OFFLOAD_MODEL, Rung.OFFLOAD_SEQUENTIAL)
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Fallback:
    """A rung that is added to a run."""

    parent: Cell
    cell: Cell
    skipped: str | None = None
    """Why it is not measured."""


def with_rungs(document: RequestDocument, rows: Iterable[CellRow]) -> RequestDocument:
    """Return the document with the cells of the rungs that the status has rows for, after those that were asked for."""
    found = (document.find_cell(row.id) for row in rows if row.rung is not None)
    cells = tuple(cell for cell in found if cell is not None)
    return document.model_copy(update={"cells": (*document.cells, *cells)}) if cells else document


def find_fallbacks(context: Context, entries: Sequence[Entry]) -> tuple[Fallback, ...]:
    """Return the rungs that follow from what ended in this pass, at most one for a cell that was asked for."""
    if context.run.spec.failure_policy.out_of_memory != "Fallback":
        return ()
    found = []
    for parent in (cell for cell in context.document.cells if cell.rung is None):
        family = [entry for entry in entries if _names(entry.cell) == _names(parent)]
        tried = frozenset(entry.cell.rung for entry in family if entry.cell.rung is not None)
        latest = [entry for entry in family if _is_latest(entry.cell, tried)]
        rung = next((rung for entry in latest if (rung := _next_rung(context, parent, entry, tried)) is not None), None)
        if rung is not None:
            reason = next(entry.settled.ended.reason for entry in latest if entry.settled.ended is not None)
            found.append(Fallback(parent, rung_cell(parent, rung), _why_skipped(context, parent, rung, reason)))
    return tuple(found)


def entries_of(context: Context, fallback: Fallback) -> tuple[Entry, ...]:
    """Return the shards of a rung: they wait for their turn, or end untried and say why."""
    shards = [ShardStatus(index=index) for index in range(1, context.document.shards + 1)]
    if fallback.skipped is None:
        return tuple(Entry(fallback.cell, Settled(shard)) for shard in shards)
    message = f"not tried: {fallback.skipped}"
    return tuple(Entry(fallback.cell, _untried(context, fallback.cell, shard, message)) for shard in shards)


def _untried(context: Context, cell: Cell, shard: ShardStatus, message: str) -> Settled:
    """End a shard untried, or as its result says that an earlier pass wrote without getting to the status."""
    if result_name(context.run.name, cell.id, shard.index) in context.observed.results:
        return settle(context, cell, shard)
    return give_up(context, cell, shard, None, None, Reason.RUNG_SKIPPED, message)


def fallback_event(fallback: Fallback) -> EmitEvent:
    """Tell of a rung that is measured, or of one that is not."""
    cell = fallback.cell
    where = f"{cell.model}/{cell.hardware}/{cell.variant} ran out of memory"
    text = (
        f"{cell.rung} is measured beside it" if fallback.skipped is None else f"{cell.rung} is not: {fallback.skipped}"
    )
    return EmitEvent("Normal", EventReason.FALLBACK, f"{where}: {text}")


def _is_latest(cell: Cell, tried: frozenset[str]) -> bool:
    """Whether the cell is the last one of its family: the one that was asked for, or the rung that was added last.

    A rung is added only after the one before ended, and ladders go one way, so the order of `Rung` is that of time but
    for tiling, which alone can come before or after an offload.
    """
    order = [rung.value for rung in Rung if rung.value in tried]
    return cell.rung == (order[-1] if order else None)


def _next_rung(context: Context, parent: Cell, entry: Entry, tried: frozenset[str]) -> Rung | None:
    """Return the rung that fits how the shard ended in this pass; None if nothing follows from it."""
    end = entry.settled.ended
    if end is None:
        return None
    if end.outcome is Outcome.OUT_OF_MEMORY:
        ladder = _LADDERS.get(_failed_phase(context, entry) or "", _OTHERWISE)
    elif end.reason is Reason.UNSUPPORTED_OPTION and entry.cell.rung in OFFLOAD_OF_RUNG:
        ladder = _OFFLOADS
    else:
        return None
    useful = rungs_of(parent)
    return next((rung for rung in ladder if rung in useful and rung.value not in tried), None)


def _failed_phase(context: Context, entry: Entry) -> str | None:
    """Return the part of a clip in which the shard ran out, as its result says."""
    spec: BenchmarkResultSpec | None = entry.settled.result
    if spec is None and entry.shard.result is not None:
        spec = context.observed.results.get(entry.shard.result)
    return spec.phase if spec is not None else None


def _why_skipped(context: Context, cell: Cell, rung: Rung, reason: Reason | None) -> str | None:
    """Return why a rung cannot help: offload keeps the weights in host memory, and needs a GPU to take them from."""
    if rung is Rung.VAE_TILING:
        return None
    hardware = context.document.find_hardware(cell.hardware)
    if not hardware.gpus:
        return f"hardware {hardware.name!r} has no GPU whose memory an offload could spare"
    if reason is Reason.OUT_OF_MEMORY_HOST:
        return "host memory ran out, and an offload takes more of it"
    limit = parse_quantity(context.document.runner_class.resources.memory)
    estimate = cell.estimated_memory_mebibytes
    if estimate is not None and limit is not None and estimate * _MEBIBYTE > limit:
        return (
            f"the model is expected to take {estimate} MiB, and the pod's host memory, where an offload keeps it, is limited"
            f" to {context.document.runner_class.resources.memory} (RunnerClass resources.memory)"
        )
    return None


def _names(cell: Cell) -> tuple[str, str, str]:
    return cell.model, cell.hardware, cell.variant


def with_fallbacks(context: Context, fallbacks: Sequence[Fallback]) -> Context:
    """Return the context with the cells of these rungs among the document's."""
    if not fallbacks:
        return context
    cells = (*context.document.cells, *(fallback.cell for fallback in fallbacks))
    return replace(context, document=context.document.model_copy(update={"cells": cells}))

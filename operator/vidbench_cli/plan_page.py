"""A plan as a page: lines and tables for people, with the source of every estimate; full data for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_analysis.power import POWER

from .output import NOT_KNOWN, Cell, Column, Line, Page, Table, cell
from .planning import CellPlan, DiskPlan, Figure, HardwarePlan, RunPlan
from .prospects_page import power_notes, prospect_data, prospects_table
from .texts import _, ngettext

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def plan_page(plan: RunPlan, warnings: Sequence[str] = ()) -> Page:
    """Return the page of a plan; `warnings` are of what will disappoint although it is accepted."""
    tables = (_cells(plan), *_gates(plan), _hardware(plan), _disk(plan), _sources(plan)) if plan.cells else ()
    notes = (*_notes(plan), *(Line(text, "yellow") for text in warnings))
    data = plan_data(plan) | {"warnings": list(warnings)}
    return Page(tables=tables, heading=tuple(_heading(plan)), notes=notes, data=data)


def plan_data(plan: RunPlan) -> dict[str, Any]:
    """Return the plan for JSON; what is not known is null beside its reason."""
    return {
        "run": plan.run,
        "namespace": plan.namespace,
        "accepted": plan.obstacle is None,
        "obstacle": {"reason": plan.reason, "message": plan.obstacle, "waits": plan.waits} if plan.obstacle else None,
        "shards": plan.shards,
        "reusedShards": plan.reused,
        "reuse": plan.reuse,
        "gpuHours": plan.gpu_hours.to_data(),
        "costs": {currency: figure.to_data() for currency, figure in plan.costs.items()},
        "cells": [_cell_data(entry) for entry in plan.cells],
        "gates": [prospect_data(entry, "gate") for entry in plan.gates],
        "hardware": [
            {
                "name": entry.name, "gpus": entry.gpus, "resource": entry.resource, "matchingNodes": entry.matching,
                "usableNodes": entry.usable, "slots": entry.slots, "nodes": list(entry.nodes), "note": entry.note or None,
            }
            for entry in plan.hardware
        ],
        "disk": [{"what": entry.what, "where": entry.where, "bytes": entry.size.to_data()} for entry in plan.disk],
    }  # fmt: skip


def _cell_data(entry: CellPlan) -> dict[str, Any]:
    return {
        "model": entry.cell.model, "hardware": entry.cell.hardware, "variant": entry.cell.variant,
        "shards": entry.shards, "reusedShards": entry.reused,
        "samples": {"min": entry.samples[0], "max": entry.samples[1]},
        "warmups": {"min": entry.warmups[0], "max": entry.warmups[1]},
        "secondsPerShard": entry.shard_seconds.to_data(), "gpuHours": entry.gpu_hours.to_data(),
        "cost": {**entry.cost.to_data(), "currency": entry.currency},
        "gpuMemoryMebibytes": entry.memory_mebibytes.to_data(),
        "halfWidth": entry.half_width.to_data(),
    }  # fmt: skip


def _heading(plan: RunPlan) -> list[Line]:
    lines = []
    if plan.obstacle is not None:
        said = _("would wait") if plan.waits else _("would be refused")
        lines.append(Line(f"{plan.run}: {said} ({plan.reason}): {plan.obstacle}", "yellow" if plan.waits else "red"))
    if plan.cells:
        cells = ngettext("{count} cell", "{count} cells", len(plan.cells)).format(count=len(plan.cells))
        shards = ngettext("{count} shard", "{count} shards", plan.shards).format(count=plan.shards)
        reused = _(", {count} of them reused").format(count=plan.reused) if plan.reused else ""
        text = _("{run}: {cells}, {shards}{reused}; GPU-hours: {hours}").format(
            run=plan.run, cells=cells, shards=shards, reused=reused, hours=_number(plan.gpu_hours.value, 3)
        )
        for currency, figure in plan.costs.items():
            text += f"; {currency}: {_number(figure.value, 2)}"
        lines.append(Line(text, "bold"))
    return lines


def _notes(plan: RunPlan) -> list[Line]:
    notes = [plan.reuse or ""]
    for name, figure in (("GPU-hours", plan.gpu_hours), *plan.costs.items()):
        if plan.cells and figure.value is None:
            notes.append(f"{name}: {figure.reason}")
    notes += power_notes(plan.gates, "Pass")
    return [Line(note, "dim") for note in notes if note]


def _cells(plan: RunPlan) -> Table:
    columns = (
        Column("cell", _("CELL")), Column("shards", _("SHARDS")), Column("reused", _("REUSED")), Column("samples", _("SAMPLES")),
        Column("secondsPerShard", _("S/SHARD")), Column("gpuHours", _("GPU-H")), Column("cost", _("COST")), Column("currency", "", wide=True),
        Column("gpuMemoryMebibytes", _("GPU MIB")), Column("halfWidth", _("INTERVAL")),
    )  # fmt: skip
    return Table(columns, tuple(_cell_row(entry) for entry in plan.cells), _("Cells"))


def _cell_row(entry: CellPlan) -> tuple[Cell, ...]:
    least, most = entry.samples
    width = entry.half_width.value
    price = _number(entry.cost.value, 2)
    return (
        cell(entry.name),
        cell(entry.shards),
        cell(entry.reused),
        cell(most, f"{least}" if least == most else f"{least}-{most}"),
        cell(entry.shard_seconds.value, _number(entry.shard_seconds.value, 0)),
        cell(entry.gpu_hours.value, _number(entry.gpu_hours.value, 3)),
        cell(entry.cost.value, f"{price} {entry.currency}" if entry.cost.value is not None else price),
        cell(entry.currency),
        cell(entry.memory_mebibytes.value, _number(entry.memory_mebibytes.value, 0)),
        cell(width, None if width is None else f"±{100 * width:.2f} %"),
    )


def _gates(plan: RunPlan) -> tuple[Table, ...]:
    return (prospects_table(plan.gates, POWER, "gate", _("GATE"), _("Gates")),) if plan.gates else ()


def _sources(plan: RunPlan) -> Table:
    """Say once for each figure where it is from: most cells share it."""
    names = {
        "secondsPerShard": _("s/shard"), "gpuHours": _("GPU-hours"), "cost": _("cost"), "gpuMemoryMebibytes": _("GPU memory"), "halfWidth": _("interval"),
    }  # fmt: skip
    found: dict[tuple[str, str], list[str]] = {}
    for entry in plan.cells:
        figures = (entry.shard_seconds, entry.gpu_hours, entry.cost, entry.memory_mebibytes, entry.half_width)
        for name, figure in zip(names.values(), figures, strict=True):
            text = figure.source if figure.value is not None else _("unknown: {reason}").format(reason=figure.reason)
            found.setdefault((name, text), []).append(entry.name)
    rows = tuple(
        (cell(name), cell(len(cells), _of(cells, len(plan.cells))), cell(text))
        for (name, text), cells in sorted(found.items())
    )
    return Table((Column("figure", _("FIGURE")), Column("cells", _("CELLS")), Column("source", _("FROM"), folds=True)), rows, _("Where the figures are from"))  # fmt: skip


def _of(cells: list[str], all_cells: int) -> str:
    return _("all") if len(cells) == all_cells else cells[0] if len(cells) == 1 else str(len(cells))


def _hardware(plan: RunPlan) -> Table:
    columns = (
        Column("hardware", _("HARDWARE")), Column("gpus", _("GPUS")), Column("resource", _("RESOURCE"), wide=True),
        Column("matchingNodes", _("NODES")), Column("usableNodes", _("USABLE")), Column("slots", _("SLOTS IF EMPTY")),
        Column("nodes", _("NAMES"), folds=True), Column("note", _("NOTE"), folds=True),
    )  # fmt: skip
    return Table(columns, tuple(_hardware_row(entry) for entry in plan.hardware), _("Nodes"))


def _hardware_row(entry: HardwarePlan) -> tuple[Cell, ...]:
    names = ", ".join(entry.nodes)
    more = (entry.usable or 0) - len(entry.nodes)
    return (
        cell(entry.name),
        cell(entry.gpus),
        cell(entry.resource),
        cell(entry.matching),
        cell(entry.usable),
        cell(entry.slots),
        cell(names or None, f"{names} +{more}" if more > 0 else None),
        cell(entry.note),
    )


def _disk(plan: RunPlan) -> Table:
    columns = (
        Column("what", _("DISK")), Column("where", _("WHERE"), folds=True), Column("bytes", _("SIZE")),
        Column("source", _("FROM"), folds=True),
    )  # fmt: skip
    return Table(columns, tuple(_disk_row(entry) for entry in plan.disk), _("Disk"))


def _disk_row(entry: DiskPlan) -> tuple[Cell, ...]:
    size = entry.size
    return cell(entry.what), cell(entry.where), cell(size.value, size_text(size)), cell(size.source or size.reason)


def size_text(size: Figure) -> str:
    """Return bytes for people."""
    if size.value is None:
        return NOT_KNOWN
    amount = size.value
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit returns")


def _number(value: float | None, digits: int) -> str:
    return NOT_KNOWN if value is None else f"{value:.{digits}f}"

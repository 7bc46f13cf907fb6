"""The prospects of hypotheses as a page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_analysis.reports.figures import share_text
from vidbench_analysis.reports.research import statement_text
from vidbench_analysis.research_plan import MOST_SHARDS, Prospect, Spread

from .output import Cell, Column, Line, Page, Table, cell
from .texts import _


def prospects_page(run: str, prospects: Sequence[Prospect], power: float) -> Page:
    """Return a line for each hypothesis and cell: spread and where it is from, power, shards that are needed."""
    columns = (
        Column("hypothesis", _("HYPOTHESIS")),
        Column("role", _("ROLE"), wide=True),
        Column("statement", _("STATEMENT"), wide=True),
        Column("cell", _("CELL")),
        Column("spread", _("SPREAD")),
        Column("source", _("FROM")),
        Column("alpha", _("ALPHA"), wide=True),
        Column("shards", _("SHARDS")),
        Column("power", _("POWER")),
        Column("shardsNeeded", _("FOR {power:.0%}").format(power=power)),
        Column("why", _("WHY"), folds=True),
    )
    return Page(
        tables=(Table(columns, tuple(_line(each) for each in prospects)),),
        heading=(Line(_("{run}: can it answer what it asks?").format(run=run), "bold"),),
        notes=tuple(Line(text, "dim") for text in _notes(prospects)),
        data=[_data(each) for each in prospects],
    )


def _line(found: Prospect) -> tuple[Cell, ...]:
    style = (
        ""
        if found.power is None
        else "green"
        if found.shards is not None and found.shards <= found.planned
        else "yellow"
    )
    spread = found.spread.value if found.spread else None
    ratio = found.metric.scale == "Ratio"
    return (
        cell(found.hypothesis.name),
        cell(found.hypothesis.role),
        cell(statement_text(found.hypothesis)),
        cell(found.cell.label),
        cell(spread, share_text(spread) if ratio else None),
        cell(_source(found.spread)),
        cell(found.alpha, f"{found.alpha:.3g}"),
        cell(found.planned),
        cell(found.power, None if found.power is None else f"{100 * found.power:.0f} %", style),
        cell(found.shards),
        cell(found.reason or _advice(found), found.reason or _advice(found)),
    )


def _source(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    if not spread.shards:
        return _("assumed")
    return _("{shards} shards of {runs} runs").format(shards=spread.shards, runs=spread.runs)


def _advice(found: Prospect) -> str:
    if found.power is None:
        return ""
    if found.shards is None or found.shards > MOST_SHARDS:
        return _("more shards than a run may have ({most}): a wider margin, or less noise").format(most=MOST_SHARDS)
    if found.shards > found.planned:
        return _("measurement.shards: {shards}").format(shards=found.shards)
    return ""


def _notes(prospects: Sequence[Prospect]) -> list[str]:
    notes = []
    if any(each.power is not None for each in prospects):
        truths = sorted({each.truth for each in prospects if each.truth})
        notes.append(
            _("power: probability that the hypothesis is Supported, if the truth is: {truth}").format(
                truth="; ".join(truths)
            )
        )
        notes.append(
            _("alpha is 0.05 divided by the tests of the role, where they are corrected: the first step of Holm")
        )
    if any(each.reason and each.spread is None for each in prospects):
        notes.append(_("without earlier results: vidbench self-test MODEL shows the spread; --spread 1% assumes one"))
    return notes


def _data(found: Prospect) -> dict[str, Any]:
    spread = found.spread
    return {
        "hypothesis": found.hypothesis.name,
        "role": found.hypothesis.role,
        "statement": statement_text(found.hypothesis),
        "cell": {"model": found.cell.model, "hardware": found.cell.hardware, "variant": found.cell.variant},
        "metric": found.metric.name,
        "alpha": found.alpha,
        "shards": found.planned,
        "spread": None if spread is None else spread.value,
        "spreadFrom": None if spread is None else {"shards": spread.shards, "runs": spread.runs},
        "truth": found.truth or None,
        "power": found.power,
        "shardsNeeded": found.shards,
        "reason": found.reason,
    }

"""The prospects of hypotheses and gates as tables, and as a page of their own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidbench_analysis.reports.figures import change_share, figure_text, share_text
from vidbench_analysis.reports.research import statement_text
from vidbench_analysis.research_plan import MOST_SHARDS, Prospect, Spread
from vidbench_api.gates import Hypothesis, Statement

from .output import Cell, Column, Line, Page, Table, cell
from .texts import _, ngettext


def prospects_page(run: str, prospects: Sequence[Prospect], power: float) -> Page:
    """Return a line for each hypothesis and cell: spread and where it is from, power, shards that are needed."""
    return Page(
        tables=(prospects_table(prospects, power, "hypothesis", _("HYPOTHESIS")),),
        heading=(Line(_("{run}: can it answer what it asks?").format(run=run), "bold"),),
        notes=tuple(Line(text, "dim") for text in _notes(prospects)),
        data=[prospect_data(each, "hypothesis") | {"role": _role(each.statement)} for each in prospects],
    )


def prospects_table(prospects: Sequence[Prospect], power: float, name: str, heading: str, title: str = "") -> Table:
    """Return a line for each statement and cell; `name` and `heading` are of the column that names the statement."""
    columns = (
        Column(name, heading),
        Column("role", _("ROLE"), wide=True),
        Column("statement", _("STATEMENT"), wide=True),
        Column("cell", _("CELL")),
        Column("spread", _("SPREAD")),
        Column("source", _("FROM")),
        Column("alpha", _("ALPHA"), wide=True),
        Column("shards", _("SHARDS")),
        Column("power", _("POWER")),
        Column("shardsNeeded", _("FOR {power:.0%}").format(power=power)),
        Column("finds", _("FINDS FROM")),
        Column("why", _("WHY"), folds=True),
    )
    return Table(columns, tuple(_line(each) for each in prospects), title)


def _role(statement: Statement) -> str | None:
    return statement.role if isinstance(statement, Hypothesis) else None


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
        cell(found.statement.name),
        cell(_role(found.statement)),
        cell(statement_text(found.statement)),
        cell(found.cell.label),
        cell(spread, share_text(spread) if ratio else None),
        cell(_source(found.spread)),
        cell(found.alpha, f"{found.alpha:.3g}"),
        cell(found.planned),
        cell(found.power, None if found.power is None else f"{100 * found.power:.0f} %", style),
        cell(found.shards),
        cell(found.finds, _finds(found)),
        cell(found.reason or _advice(found), found.reason or _advice(found)),
    )


def _finds(found: Prospect) -> str | None:
    if found.finds is None:
        return None
    is_share = found.statement.against.bound is None and found.metric.scale == "Ratio"
    return change_share(found.finds) if is_share else figure_text(found.finds, found.metric.unit)


def _source(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    if not spread.shards:
        return _("assumed")
    text = ngettext("{shards} shards of {runs} run", "{shards} shards of {runs} runs", spread.runs)
    return text.format(shards=spread.shards, runs=spread.runs)


def _advice(found: Prospect) -> str:
    if found.power is None:
        return ""
    if found.shards is None or found.shards > MOST_SHARDS:
        if found.against is not None:
            text = _(
                "more shards than a run may have ({most}): more shards of the baseline ({against}), a wider margin, or less noise"
            )
            return text.format(most=MOST_SHARDS, against=found.against)
        return _("more shards than a run may have ({most}): a wider margin, or less noise").format(most=MOST_SHARDS)
    if found.shards > found.planned:
        return _("measurement.shards: {shards}").format(shards=found.shards)
    return ""


def power_notes(prospects: Sequence[Prospect], good: str) -> list[str]:
    """Return what a power means; `good` is the verdict that it is the probability of. Nothing where there is none."""
    if all(each.power is None for each in prospects):
        return []
    truths = sorted({each.truth for each in prospects if each.truth})
    return [
        *_baseline_notes(prospects),
        _("power: probability of {good} with these shards, if the truth is: {truth}").format(
            good=good, truth="; ".join(truths)
        ),
        _(
            "each shard is counted as a unit: where those of one side share three GPUs or more, a GPU is one, and the power less"
        ),
    ]


def _baseline_notes(prospects: Sequence[Prospect]) -> list[str]:
    known: dict[str, set[int | None]] = {}
    for each in prospects:
        if each.power is not None and each.statement.against.baseline is not None:
            known.setdefault(each.statement.against.baseline, set()).add(each.against)
    notes = []
    for name, numbers in sorted(known.items()):
        if None in numbers:
            text = _("baseline {name}: no results of it are known here; as many shards as planned are assumed of it")
            notes.append(text.format(name=name))
        for number in sorted(number for number in numbers if number is not None):
            text = _(
                "baseline {name}: power is against the {number} shards that it has; more of the run alone gain little"
            )
            notes.append(text.format(name=name, number=number))
    return notes


def _notes(prospects: Sequence[Prospect]) -> list[str]:
    notes = power_notes(prospects, "Supported")
    if notes:
        notes.append(
            _("alpha is 0.05 divided by the tests of the role, where they are corrected: the first step of Holm")
        )
    if any(each.reason and each.spread is None for each in prospects):
        notes.append(_("without earlier results: vidbench self-test MODEL shows the spread; --spread 1% assumes one"))
    return notes


def prospect_data(found: Prospect, name: str) -> dict[str, Any]:
    """Return a prospect for JSON; `name` is the key that the statement's name is under."""
    spread = found.spread
    return {
        name: found.statement.name,
        "statement": statement_text(found.statement),
        "cell": {"model": found.cell.model, "hardware": found.cell.hardware, "variant": found.cell.variant},
        "metric": found.metric.name,
        "alpha": found.alpha,
        "shards": found.planned,
        "spread": None if spread is None else spread.value,
        "spreadFrom": None if spread is None else {"shards": spread.shards, "runs": spread.runs},
        "truth": found.truth or None,
        "power": found.power,
        "shardsNeeded": found.shards,
        "againstShards": found.against,
        "findsFrom": found.finds,
        "reason": found.reason,
    }

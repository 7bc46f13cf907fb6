"""Frontiers as a page: a table for each size of clip, a line a cell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vidbench_analysis.frontiers import Frontier
from vidbench_analysis.metrics import Metric
from vidbench_analysis.pareto import Place
from vidbench_analysis.reports.beyond_means import membership_text, standing_text
from vidbench_analysis.reports.figures import figure_text

from .output import Cell, Column, Line, Page, Table, cell
from .texts import _


def frontier_page(found: Sequence[Frontier], objectives: Sequence[Metric], notes: Iterable[str] = ()) -> Page:
    """Return the page. Every table has all objectives, so that they can be read one below the other."""
    columns = (
        Column("cell", _("CELL")),
        Column("clip", _("CLIP"), wide=len(found) < 2),
        Column("kind", _("KIND"), wide=True),
        *(Column(f"{metric.name}Mean", metric.name.upper()) for metric in objectives),
        Column("onFrontier", _("ON FRONTIER")),
        Column("membership", _("MEMBERSHIP")),
        Column("beatenBy", _("BEATEN BY"), folds=True),
        Column("reason", _("WHY"), folds=True),
    )
    rows = tuple(_line(each, place, objectives) for each in found for place in each.places)
    return Page(
        tables=(Table(columns, rows),),
        notes=tuple(Line(text, "dim") for text in (*notes, *_notes(found))),
        data=[_data(each) for each in found],
    )


def _line(found: Frontier, place: Place, objectives: Sequence[Metric]) -> tuple[Cell, ...]:
    values = dict(zip((metric.name for metric in found.objectives), place.values, strict=False))
    return (
        cell(place.label),
        cell(found.clip or None),
        cell(found.kind),
        *(cell(values.get(metric.name), figure_text(values.get(metric.name), metric.unit)) for metric in objectives),
        cell(place.is_on if place.values else None, standing_text(place), "green" if place.is_on else ""),
        cell(place.membership, membership_text(place)),
        cell(", ".join(place.beaten_by) or None, ", ".join(place.beaten_by)),
        cell(place.reason, place.reason or ""),
    )


def _notes(found: Sequence[Frontier]) -> list[str]:
    if not found:
        return [_("no cell has a result that counts and one of these metrics")]
    by_prompt = any(metric.is_quality for each in found for metric in each.objectives)
    return [
        _("on the frontier: no other cell with clips of this size is as good in everything and better in something"),
        _("no membership: quality counts by prompt, and resamples of shards do not say how sure it is")
        if by_prompt
        else _("membership: share of resamples of shards in which that holds; what clips look like is not in it"),
    ]


def _data(found: Frontier) -> dict[str, Any]:
    return {
        "clip": found.clip or None,
        "kind": found.kind,
        "objectives": [
            {"metric": metric.name, "unit": metric.unit, "better": metric.better.value} for metric in found.objectives
        ],
        "places": [
            {
                "cell": place.label,
                "means": dict(zip((metric.name for metric in found.objectives), place.values, strict=False)) or None,
                "onFrontier": place.is_on if place.values else None,
                "membership": place.membership,
                "beatenBy": list(place.beaten_by),
                "reason": place.reason,
            }
            for place in found.places
        ],
    }

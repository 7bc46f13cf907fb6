"""What nodes and GPUs add to the spread, and which nodes stand out, as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vidbench_analysis.fleet import FEWEST_NODES, Components, NodeStanding
from vidbench_analysis.metrics import Metric
from vidbench_analysis.reports.beyond_means import component_rows, deviation_text
from vidbench_analysis.reports.figures import p_text

from .output import Column, Line, Page, Table, cell
from .texts import _

_WHY = {
    "NoRepeats": _("no GPU has two shards of it"),
    "OneGroup": _("it ran on one GPU, or nobody saw on which"),
    "NoVariance": _("shards of one GPU are all the same"),
}


def fleet_page(
    components: Mapping[str, Components], nodes: Sequence[NodeStanding], metric: Metric, notes: Iterable[str] = ()
) -> Page:
    """Return the page: nodes first, as they call for action; components of cells by label."""
    return Page(
        tables=(_nodes(nodes, metric), _components(components)),
        notes=tuple(Line(text, "dim") for text in (*notes, *_notes(components, nodes))),
        data={
            "metric": metric.name,
            "unit": "share" if metric.scale == "Ratio" else metric.unit,
            "nodes": [asdict(node) for node in nodes],
            "components": [_data(label, found) for label, found in components.items()],
        },
    )


def _nodes(nodes: Sequence[NodeStanding], metric: Metric) -> Table:
    columns = (
        Column("node", _("NODE")),
        Column("shards", _("SHARDS")),
        Column("deviation", _("FROM MEDIAN")),
        Column("pHolm", _("P HOLM")),
        Column("standsOut", _("STANDS OUT")),
    )
    rows = tuple(
        (
            cell(node.node),
            cell(node.shards),
            cell(node.deviation, deviation_text(node.deviation, metric)),
            cell(node.p, p_text(node.p)),
            cell(node.stands_out, _("yes") if node.stands_out else "", "red" if node.stands_out else ""),
        )
        for node in nodes
    )
    return Table(columns, rows, _("Nodes, by {metric}").format(metric=metric.name))


def _components(components: Mapping[str, Components]) -> Table:
    columns = tuple(
        Column(key, title)
        for key, title in (
            ("cell", _("CELL")),
            ("level", _("LEVEL")),
            ("seen", _("SEEN")),
            ("deviation", _("SD")),
            ("share", _("SHARE OF VARIANCE (95 %)")),
            ("p", _("P")),
        )
    )
    rows = tuple(
        tuple(cell(text) for text in row)
        for label, found in components.items()
        if found.levels
        for row in component_rows(label, found)
    )
    return Table(columns, rows, _("Nodes, GPUs and processes"))


def _notes(components: Mapping[str, Components], nodes: Sequence[NodeStanding]) -> list[str]:
    notes = []
    if not nodes:
        notes.append(
            _("which nodes stand out is said from {count} nodes on that share a cell").format(count=FEWEST_NODES)
        )
    if any(node.reason for node in nodes):
        notes.append(
            _(
                "most nodes have the very same mean: what is far has no measure, so that there is no p and none stands out; look at FROM MEDIAN"
            )
        )
    silent = [(label, found.reason) for label, found in components.items() if found.reason]
    notes += [f"{label}: {_WHY.get(reason or '', reason)}" for label, reason in silent]
    return notes


def _data(label: str, found: Components) -> dict[str, Any]:
    return {
        "cell": label,
        "shards": found.shards,
        "levels": [asdict(level) for level in found.levels],
        "processDeviation": found.process_deviation,
        "reason": found.reason,
    }

"""Trends as a page: a line a place of the axis, with number, mean, interval and what did not count. Pure.

A mean whose interval leaves that of the line before is marked: a look, not a test; `vidbench compare` tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidbench_analysis.intervals import Estimate
from vidbench_analysis.metrics import Metric
from vidbench_analysis.reports.figures import figure_text
from vidbench_store.trends import NOT_SEEN, Axis, Point, contents_by_names

from .output import Cell, Column, Line, Page, Table, cell
from .texts import _

_CONTENT_CHARACTERS = 8


def trends_page(points: Sequence[Point], metric: Metric, axis: Axis) -> Page:
    """Return the page of the points of one metric."""
    several = contents_by_names(points)
    numbers = {point.subject.gpus for point in points if point.subject.gpus}
    columns = (
        Column("model", _("MODEL")), Column("hardware", _("HARDWARE")), Column("variant", _("VARIANT")),
        Column("device", _("DEVICE"), wide=True), Column("gpus", _("GPUS"), wide=len(numbers) < 2),
        Column("content", _("CONTENT"), wide=max(several.values(), default=0) < 2),
        Column("rung", _("RUNG"), wide=True), Column("weights", _("WEIGHTS"), wide=all(point.subject.weights != "Random" for point in points)),
        Column("kind", _("KIND"), wide=True), Column("at", axis.value.upper()), Column("shards", _("SHARDS")),
        Column("clusters", _("UNITS"), wide=True), Column("samples", _("SAMPLES")),
        Column("mean", _("MEAN")), Column("low", _("LOW")), Column("high", _("HIGH")), Column("method", _("INTERVAL"), wide=True),
        Column("change", _("AGAINST FIRST")), Column("leftOut", _("LEFT OUT")), Column("unit", _("UNIT"), wide=True),
        Column("first", _("FROM"), wide=True), Column("last", _("TO"), wide=True), Column("note", _("NOTE")),
    )  # fmt: skip
    rows = []
    start: Point | None = None
    for point in points:
        if start is None or point.subject != start.subject or start.estimate.mean is None:
            start = point
        rows.append(_row(point, start))
    notes = (
        Line(_("{metric}: {text}").format(metric=metric.name, text=metric.description), "dim"),
        Line(_("Intervals: 95 %, over the means of shards; one shard has none. LEFT OUT: results that did not succeed, are not Valid, or were measured again."), "dim"),
        Line(_("Outliers are not looked at: the store has no single samples in its tables; `vidbench compare` looks."), "dim"),
    )  # fmt: skip
    return Page(tables=(Table(columns, tuple(rows)),), notes=notes)


def _row(point: Point, start: Point) -> tuple[Cell, ...]:
    subject, found = point.subject, point.estimate
    return (
        cell(subject.model), cell(subject.hardware), cell(subject.variant), cell(subject.device),
        cell(None if subject.device == NOT_SEEN else subject.gpus), cell(subject.content, subject.content[:_CONTENT_CHARACTERS]), cell(subject.rung or None),
        cell(subject.weights or None), cell(subject.comparability), cell(point.at), cell(found.shards),
        cell(found.clusters), cell(found.samples), _figure(found.mean, found.unit), _figure(found.low, found.unit),
        _figure(found.high, found.unit), cell(found.method.value), _change(found, start.estimate, point is start),
        cell(point.left_out), cell(found.unit), cell(point.first.isoformat()), cell(point.last.isoformat()),
        _note(found, start.estimate),
    )  # fmt: skip


def _figure(value: float | None, unit: str) -> Cell:
    return cell(value, figure_text(value, unit))


def _change(found: Estimate, start: Estimate, is_start: bool) -> Cell:
    if is_start or found.mean is None or not start.mean:
        return cell(None)
    share = found.mean / start.mean - 1
    return cell(share, f"{share:+.2%}")


def _note(found: Estimate, start: Estimate) -> Cell:
    if found.mean is None or found.low is None or found.high is None:
        return cell(found.reason)
    if start.low is not None and start.high is not None and (found.low > start.high or found.high < start.low):
        return cell("OutsideFirst", _("outside the first interval"), "yellow")
    return cell(", ".join(doubt.value for doubt in found.doubts) or None)

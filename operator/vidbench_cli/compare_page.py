"""Comparisons to what a person sees of them: a line for each cell and metric, and what has to be known beside. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from vidbench_analysis.comparison import Comparison
from vidbench_analysis.intervals import Estimate
from vidbench_analysis.ranks import RankTest
from vidbench_analysis.reports.figures import (
    change_share,
    change_text,
    effect_text,
    estimate_text,
    p_text,
    share_text,
    why_text,
)
from vidbench_analysis.side_by_side import Pair, Row
from vidbench_analysis.verdicts import Verdict

from .output import Cell, Column, Line, Page, Table, cell
from .texts import _

STYLES = {
    Verdict.BETTER: "green",
    Verdict.WORSE: "red",
    Verdict.EQUIVALENT: "cyan",
    Verdict.IDENTICAL: "cyan",
    Verdict.INCONCLUSIVE: "yellow",
}


def compare_page(
    rows: Sequence[Row],
    adjusted: Sequence[float | None],
    notes: Iterable[str] = (),
    ranks: Sequence[RankTest | None] | None = None,
) -> Page:
    """Return the page; `adjusted` are Holm's p values of the rows, in their order, `ranks` their tests by ranks where asked for."""
    several = len({row.pair.subject.label for row in rows}) > 1
    columns, lines = _columns(several), [_line(row, p) for row, p in zip(rows, adjusted, strict=True)]
    data = [_data(row, p) for row, p in zip(rows, adjusted, strict=True)]
    said = [*notes, *_notes(rows)]
    if ranks is not None:
        columns = (*columns, Column("pRanks", _("P RANKS")))
        lines = [(*line, _by_ranks(found)) for line, found in zip(lines, ranks, strict=True)]
        data = [entry | {"ranks": asdict(found) if found else None} for entry, found in zip(data, ranks, strict=True)]
        said.append(
            _("p by ranks is of the distributions and not of the means; it decides no verdict and is not corrected")
        )
    return Page(
        tables=(Table(columns, tuple(lines)),),
        heading=tuple(Line(text, "bold") for text in _headings(rows)),
        notes=tuple(Line(text, "dim") for text in said),
        data=data,
    )


def _by_ranks(found: RankTest | None) -> Cell:
    if found is None:
        return cell(None)
    return cell(found.p, found.reason if found.p is None else p_text(found.p))


def _headings(rows: Sequence[Row]) -> tuple[str, ...]:
    subjects = dict.fromkeys(row.pair.subject.label for row in rows)
    references = dict.fromkeys(row.pair.reference.label for row in rows)
    return (
        (_("{subjects} against {reference}").format(subjects=", ".join(subjects), reference=", ".join(references)),)
        if rows
        else ()
    )


def _columns(several: bool) -> tuple[Column, ...]:
    return (
        Column("cell", _("CELL")),
        Column("subject", _("SUBJECT"), wide=not several),
        Column("metric", _("METRIC")),
        Column("unit", _("UNIT"), wide=True),
        Column("referenceMean", _("REFERENCE")),
        Column("subjectMean", _("SUBJECT")),
        Column("change", _("CHANGE (95 %)")),
        Column("verdict", _("VERDICT")),
        Column("why", _("WHY"), folds=True),
        Column("changeLow", _("FROM"), wide=True),
        Column("changeHigh", _("TO"), wide=True),
        Column("referenceShards", _("SHARDS REF"), wide=True),
        Column("subjectShards", _("SHARDS SUB"), wide=True),
        Column("referenceDoubts", _("DOUBTS REF"), wide=True),
        Column("subjectDoubts", _("DOUBTS SUB"), wide=True),
        Column("method", _("METHOD"), wide=True),
        Column("scope", _("SPEAKS OF"), wide=True),
        Column("p", _("P"), wide=True),
        Column("pHolm", _("P HOLM"), wide=True),
        Column("hedgesG", _("G"), wide=True),
        Column("cliffsDelta", _("DELTA"), wide=True),
        Column("detectable", _("DETECTABLE"), wide=True),
        Column("output", _("OUTPUT"), wide=True),
    )


def _line(row: Row, adjusted: float | None) -> tuple[Cell, ...]:
    found = row.comparison
    return (
        cell(row.pair.label),
        cell(row.pair.subject.label),
        cell(row.metric.name),
        cell(found.unit),
        cell(found.reference.mean, estimate_text(found.reference)),
        cell(found.subject.mean, estimate_text(found.subject)),
        cell(found.ratio.value - 1 if found.ratio else None, change_text(found)),
        cell(found.verdict.value, style=STYLES[found.verdict]),
        cell(why_text(found), why_text(found) or ""),
        _bound(found, "low"),
        _bound(found, "high"),
        cell(found.reference.shards),
        cell(found.subject.shards),
        _doubts(found.reference),
        _doubts(found.subject),
        cell(found.method.value),
        cell(found.scope.value if found.scope else None),
        cell(found.p, p_text(found.p)),
        cell(adjusted, p_text(adjusted)),
        cell(found.effect.value if found.effect else None, effect_text(found)),
        cell(found.cliffs_delta, None if found.cliffs_delta is None else f"{found.cliffs_delta:+.2f}"),
        cell(found.detectable, share_text(found.detectable) if row.metric.scale == "Ratio" else None),
        cell(row.pair.output.value),
    )


def _bound(found: Comparison, side: Literal["low", "high"]) -> Cell:
    bound = getattr(found.ratio, side) if found.ratio else None
    return cell(None) if bound is None else cell(bound - 1, change_share(bound - 1))


def _notes(rows: Sequence[Row]) -> list[str]:
    notes: list[str] = []
    for pair in {id(row.pair): row.pair for row in rows}.values():
        notes += [f"{_where(pair, rows)}: {text}" for text in _cautions(pair)]
    tested = sum(row.comparison.p is not None for row in rows)
    if tested > 1:
        notes.append(
            _("{count} tests: their verdicts are each at 95 %; pHolm is corrected for their number").format(
                count=tested
            )
        )
    margins = sorted({f"{row.metric.name} {row.comparison.margin}" for row in rows if row.comparison.margin})
    if margins:
        notes.append(_("margins: {margins}").format(margins=", ".join(margins)))
    return notes


def _where(pair: Pair, rows: Sequence[Row]) -> str:
    several = len({row.pair.subject.label for row in rows}) > 1
    return f"{pair.label}, {pair.subject.label}" if several else pair.label


def _cautions(pair: Pair) -> list[str]:
    texts = list(pair.differences)
    for side in (pair.subject, pair.reference):
        for left in side.left_out:
            details = f" ({', '.join(left.details)})" if left.details else ""
            texts.append(
                _("{side}: {count} left out, {reason}{details}").format(
                    side=side.label, count=left.count, reason=left.reason.value, details=details
                )
            )
    return texts


def _data(row: Row, adjusted: float | None) -> dict[str, Any]:
    found, pair = row.comparison, row.pair
    return {
        "cell": {axis.value: value for axis, value in pair.cell},
        "metric": found.metric,
        "unit": found.unit,
        "reference": _side(pair.reference.label, found.reference),
        "subject": _side(pair.subject.label, found.subject),
        "ratio": asdict(found.ratio) if found.ratio else None,
        "difference": asdict(found.difference) if found.difference else None,
        "confidence": found.confidence,
        "margin": str(found.margin) if found.margin else None,
        "verdict": found.verdict.value,
        **_tests(found, adjusted),
        "output": pair.output.value,
        "differences": list(pair.differences),
        "leftOut": {
            side.label: [
                {"reason": left.reason.value, "count": left.count, "details": list(left.details)}
                for left in side.left_out
            ]
            for side in (pair.subject, pair.reference)
        },
    }


def _tests(found: Comparison, adjusted: float | None) -> dict[str, Any]:
    return {
        "reason": found.reason.value if found.reason else None,
        "message": found.message,
        "decides": found.decides,
        "moreShards": found.more_shards,
        "method": found.method.value,
        "units": list(found.units),
        "scope": found.scope.value if found.scope else None,
        "p": found.p,
        "pHolm": adjusted,
        "pEquivalence": found.p_equivalence,
        "hedgesG": found.effect.value if found.effect else None,
        "cliffsDelta": found.cliffs_delta,
        "detectable": found.detectable,
        "devices": list(found.devices),
        "products": list(found.products),
    }


def _doubts(found: Estimate) -> Cell:
    return cell(", ".join(doubt.value for doubt in found.doubts) or None)


def _side(label: str, found: Estimate) -> dict[str, Any]:
    return {
        "label": label,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "method": found.method.value,
        "scope": found.scope.value if found.scope else None,
        "shards": found.shards,
        "samples": found.samples,
        "effectiveSamples": found.effective_samples,
        "outlierShare": found.outlier_share,
        "largest": found.largest,
        "withinProcess": found.within_process,
        "doubts": [doubt.value for doubt in found.doubts],
        "reason": found.reason,
    }

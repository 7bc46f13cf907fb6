"""Which results get or lose a baseline's label, and what the baselines of a namespace hold. Pure: `commands/baseline.py` writes.

A result is of one baseline at most, as a label has one value. Only results that count in a comparison become part of
one: valid ones of shards that succeeded, on a device or at a service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidbench_analysis.observations import observe
from vidbench_api.base import NAME_PATTERN

from .errors import UsageError
from .output import Cell, Column, Line, Page, Table, cell
from .selectors import LedgerEntry
from .texts import _, ngettext

_LONGEST = 40
_SHOWN = 4


@dataclass(frozen=True)
class Change:
    """Names of results that get the label, that lose it, and that are left alone; and why some do not count."""

    name: str
    add: tuple[str, ...]
    remove: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """Return a name that a run's spec can call a baseline by; raises UsageError."""
    if len(name) > _LONGEST or not re.match(NAME_PATTERN, name):
        raise UsageError(
            _("{name!r} can be no baseline's name").format(name=name),
            _("lower case letters, digits and -, at most {count} characters").format(count=_LONGEST),
        )
    return name


def plan_change(
    name: str, chosen: Sequence[LedgerEntry], held: Sequence[LedgerEntry], *, keep_others: bool, move: bool
) -> Change:
    """Return what makes `chosen` the baseline, or part of it with `keep_others`; `held` are the results that have the label.

    Raises:
        UsageError: nothing of it counts, or a result is of another baseline and is not to be moved.
    """
    counting = tuple(entry for entry in chosen if _why_not(entry) is None)
    left_out = tuple(sorted(f"{entry.name}: {why}" for entry in chosen if (why := _why_not(entry))))
    if not counting:
        raise UsageError(
            ngettext("the result does not count: {why}", "none of {count} results counts: {why}", len(chosen)).format(
                count=len(chosen), why="; ".join(left_out[:_SHOWN])
            ),
            _("a baseline needs valid results of shards that succeeded"),
        )
    taken = sorted({entry.baseline or "" for entry in counting if entry.baseline not in (None, name)})
    if taken and not move:
        raise UsageError(
            _("results are already of baseline {names}, and a result can be of one only").format(
                names=", ".join(taken)
            ),
            _("--move takes them from there"),
        )
    wanted = {entry.name for entry in counting}
    has = {entry.name for entry in held}
    return Change(
        name,
        tuple(sorted(wanted - has)),
        () if keep_others else tuple(sorted(has - wanted)),
        tuple(sorted(has if keep_others else has & wanted)),
        left_out,
    )


def _why_not(entry: LedgerEntry) -> str | None:
    seen = observe([entry.spec])
    return None if seen.shards else ", ".join(left.reason.value for left in seen.left_out)


def change_page(change: Change, *, rehearsed: bool) -> Page:
    """Return what was done, or would be."""
    rows = [(name, _("added")) for name in change.add]
    rows += [(name, _("removed")) for name in change.remove]
    rows += [(name, _("stays")) for name in change.kept]
    text = _("baseline {name}: {added} added, {removed} removed, {kept} stay").format(
        name=change.name, added=len(change.add), removed=len(change.remove), kept=len(change.kept)
    )
    heading = _("{text} (nothing was written)").format(text=text) if rehearsed else text
    return Page(
        tables=(
            Table(
                (Column("result", _("RESULT")), Column("change", _("CHANGE"))),
                tuple((cell(name), cell(what)) for name, what in rows),
            ),
        ),
        heading=(Line(heading, "bold"),),
        notes=tuple(Line(_("left out: {text}").format(text=text), "dim") for text in change.left_out),
    )


def list_page(entries: Iterable[LedgerEntry]) -> Page:
    """Return a line for each baseline: what it holds, of which runs, and from when."""
    held: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        if entry.baseline:
            held.setdefault(entry.baseline, []).append(entry)
    columns = (
        Column("name", _("NAME")),
        Column("results", _("RESULTS")),
        Column("cells", _("CELLS")),
        Column("runs", _("RUNS")),
        Column("devices", _("DEVICES")),
        Column("from", _("FROM")),
        Column("to", _("TO")),
    )
    return Page(tables=(Table(columns, tuple(_row(name, held[name]) for name in sorted(held))),))


def _row(name: str, entries: Sequence[LedgerEntry]) -> tuple[Cell, ...]:
    specs = [entry.spec for entry in entries]
    ends = sorted(spec.origin.finished_at for spec in specs if spec.origin.finished_at)
    devices = sorted({spec.environment.device for spec in specs if spec.environment})
    return (
        cell(name),
        cell(len(entries)),
        cell(len({(spec.cell.model, spec.cell.hardware, spec.cell.variant) for spec in specs})),
        cell(", ".join(sorted({spec.run.name for spec in specs}))),
        cell(", ".join(devices) or None),
        cell(ends[0] if ends else None),
        cell(ends[-1] if ends else None),
    )

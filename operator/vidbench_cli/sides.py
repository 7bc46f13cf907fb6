"""What a person asks to compare becomes a reference, subjects, and the names by which their cells are matched. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidbench_analysis.metrics import METRICS, Margin, Metric, find_metric
from vidbench_analysis.pareto import check_objectives
from vidbench_analysis.side_by_side import NAMES, Axis, Side, split

from .errors import UsageError
from .ledger import Found
from .selectors import Selector
from .texts import _


@dataclass(frozen=True)
class Sides:
    """Every subject is compared with the reference; cells are matched by their names on the axes `in_common`."""

    reference: Side
    subjects: tuple[Side, ...]
    in_common: tuple[Axis, ...]


def choose_sides(found: Sequence[Found], axis: Axis | None, against: str | None) -> Sides:
    """Return the sides. Without an axis each selector is one; else all results together are split along it.

    Raises:
        UsageError: there is nothing to compare with, or `against` names no side.
    """
    sides = _by_selector(found) if axis is None else _by_axis(found, axis)
    if against is not None and against not in {side.label for side in sides}:
        raise UsageError(
            _("--against {name!r} is none of the sides").format(name=against),
            _("they are: {names}").format(names=", ".join(side.label for side in sides)),
        )
    reference = next((side for side in sides if side.label == against), sides[0])
    return Sides(reference, tuple(side for side in sides if side is not reference), _in_common(found, axis, sides))


def need_two(selectors: Sequence[Selector]) -> None:
    """Raise UsageError unless there are two different selectors: without an axis each is a side."""
    if len(selectors) < 2:
        raise UsageError(
            _("{text!r} alone: compare it with what?").format(text=selectors[0].text if selectors else ""),
            _("name a second selector, or split this one: --by variant, model, hardware or node"),
        )
    if len({selector.text for selector in selectors}) < len(selectors):
        raise UsageError(_("a selector is given twice"), _("A/A of one cell: vidbench self-test"))


def _by_selector(found: Sequence[Found]) -> tuple[Side, ...]:
    need_two([each.selector for each in found])
    return tuple(Side(each.selector.text, each.specs) for each in found)


def _by_axis(found: Sequence[Found], axis: Axis) -> tuple[Side, ...]:
    entries = {id(entry.spec): entry.spec for each in found for entry in each.entries}
    sides = split(entries.values(), axis)
    if len(sides) < 2:
        raise UsageError(
            _("these results have one {axis} only: {name}").format(axis=axis.value, name=sides[0].label),
            _("name more results, or split them by something else"),
        )
    if axis is not Axis.RUN:
        return sides
    order = [each.selector.name for each in found]
    return tuple(sorted(sides, key=lambda side: order.index(side.label) if side.label in order else len(order)))


def _in_common(found: Sequence[Found], axis: Axis | None, sides: Sequence[Side]) -> tuple[Axis, ...]:
    if axis is None:
        pinned = frozenset.intersection(*(each.selector.pinned for each in found))
        return tuple(name for name in NAMES if name not in pinned)
    runs = {result.run.uid for side in sides for result in side.results}
    first = () if axis is Axis.RUN or len(runs) < 2 else (Axis.RUN,)
    return (*first, *(name for name in NAMES if name != axis))


def parse_metrics(text: str, option: str = "--metric") -> tuple[Metric, ...]:
    """Read names of metrics between commas; raises UsageError with those that there are."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return tuple(find_metric(name) for name in dict.fromkeys(names or [""]))
    except ValueError as error:
        raise UsageError(
            _("{option}: {error}").format(option=option, error=error),
            _("for example {option} latency,memory").format(option=option),
        ) from error


def parse_objectives(text: str) -> tuple[Metric, ...]:
    """Read what a frontier is over; raises UsageError where there are too many, or one has no better direction."""
    found = parse_metrics(text, "--objectives")
    try:
        check_objectives(found)
    except ValueError as error:
        raise UsageError(
            _("--objectives: {error}").format(error=error), _("for example --objectives latency,memory")
        ) from error
    return found


MARGIN_BY_DEFAULT = "2%"
"""What does not matter where nobody says it."""


def parse_margins(texts: Sequence[str], metrics: Sequence[Metric]) -> dict[str, Margin]:
    """Read `3%` (for every metric) and `energy=5%` (for one); metrics of which none is said have the default.

    Raises:
        UsageError: a text is no margin, or names no metric.
    """
    margins: dict[str, Margin] = {}
    for text in (*texts, MARGIN_BY_DEFAULT):
        name, equals, value = text.rpartition("=")
        if equals and name not in METRICS:
            raise UsageError(_("--margin: {name!r} is no metric").format(name=name), ", ".join(METRICS))
        try:
            margin = Margin.parse(value)
        except ValueError as error:
            raise UsageError(_("--margin: {error}").format(error=error), _("for example 2%, or energy=5%")) from error
        if not equals and not margin.relative and len(metrics) > 1:
            # In whose unit? Two microseconds are nobody's margin.
            raise UsageError(
                _("--margin {text!r} is a share without its %, or a number for one metric").format(text=text),
                _("for example 2%, or latency=20000 (in the metric's unit: -o wide)"),
            )
        margins |= {name: margin} if equals else {each.name: margin for each in metrics if each.name not in margins}
    return margins

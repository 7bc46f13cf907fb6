"""A self-test's run as an object, and its result as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from vidbench_analysis.reports.figures import change_text, figure_text, p_text, share_text, why_text
from vidbench_analysis.self_test import EFFECTS, SelfTest
from vidbench_api.names import API_VERSION
from vidbench_api.run_spec import BenchmarkRunSpec

from .errors import UsageError
from .output import Cell, Column, Line, Page, Table, cell
from .texts import _

VARIANTS = ("first", "second")
PROMPT = "A cat walks on grass, realistic style."


@dataclass(frozen=True)
class Wanted:
    """What is asked for by options."""

    model: str
    name: str
    runner_class: str
    selector: tuple[str, ...]
    gpus: int
    shards: int
    samples: int
    random_weights: bool


def run_of(wanted: Wanted) -> dict[str, Any]:
    """Return a BenchmarkRun with one cell twice; raises UsageError where an option does not fit."""
    hardware: dict[str, Any] = {"name": "here", "gpus": wanted.gpus, "nodeSelector": _labels(wanted.selector)}
    model = {"name": wanted.model} | ({"weights": "Random"} if wanted.random_weights else {})
    spec = {
        "runnerClassName": wanted.runner_class,
        "models": [model],
        "hardware": [hardware],
        "variants": [{"name": name} for name in VARIANTS],
        "workload": {
            "prompts": [{"id": "cat", "text": PROMPT}],
            "seeds": {"base": 0, "count": wanted.samples},
        },
        "measurement": {"shards": wanted.shards},
    }
    try:
        BenchmarkRunSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(
            _("the run would be refused: spec.{field}: {problem}").format(
                field=".".join(map(str, first["loc"])), problem=first["msg"]
            )
        ) from error
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {"name": wanted.name},
        "spec": spec,
    }


def _labels(texts: Iterable[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(_("--selector {text!r} is no label").format(text=text), _("KEY=VALUE, as nodes show it"))
        labels[key] = value
    return labels


def self_test_page(tests: Sequence[SelfTest], notes: Iterable[str] = ()) -> Page:
    """Return a line for each cell and metric: the ratio to itself, and the smallest effect that may be claimed."""
    columns = (
        Column("cell", _("CELL")),
        Column("metric", _("METRIC")),
        Column("mean", _("MEAN")),
        Column("aa", _("A/A (95 %)")),
        Column("quiet", _("QUIET")),
        Column("claim", _("SMALLEST EFFECT")),
        *(Column(f"shardsFor{round(100 * effect)}Percent", f"{100 * effect:g} %", wide=True) for effect in EFFECTS),
        Column("shards", _("SHARDS")),
        Column("p", _("P"), wide=True),
        Column("why", _("WHY"), folds=True),
    )
    return Page(
        tables=(Table(columns, tuple(_line(test) for test in tests)),),
        heading=tuple(
            Line(
                _("{cell}: {second} against {first}, the same asked for twice").format(cell=place, first=a, second=b),
                "bold",
            )
            for place, (a, b) in {test.cell: test.variants for test in tests}.items()
        ),
        notes=tuple(Line(text, "dim") for text in (*notes, *_notes(tests))),
        data=[_data(test) for test in tests],
    )


_QUIET = {True: (_("yes"), "green"), False: (_("no"), "red"), None: ("-", "yellow")}


def _line(test: SelfTest) -> tuple[Cell, ...]:
    found = test.comparison
    quiet, style = _QUIET[test.is_quiet]
    return (
        cell(test.cell),
        cell(test.metric.name),
        cell(found.reference.mean, figure_text(found.reference.mean, test.metric.unit)),
        cell(found.ratio.value if found.ratio else None, change_text(found)),
        cell(test.is_quiet, quiet, style),
        cell(test.claim, share_text(test.claim)),
        *(cell(test.needed.get(effect)) for effect in EFFECTS),
        cell(min(found.reference.shards, found.subject.shards)),
        cell(found.p, p_text(found.p)),
        cell(why_text(found), "" if test.is_quiet and found.p is not None else why_text(found)),
    )


def _notes(tests: Sequence[SelfTest]) -> list[str]:
    notes = [
        _("smallest effect: what so many shards see with 80 % power; for fewer per cent: -o wide says how many shards")
    ]
    if any(test.is_quiet is False for test in tests):
        notes.append(
            _(
                "a cell differed from itself: order, heat or nodes are in the figures; look at nodes, and try pairing: Node"
            )
        )
    scopes = sorted({test.comparison.scope.value for test in tests if test.comparison.scope})
    products = sorted({product for test in tests for product in test.comparison.products})
    devices = sorted({device for test in tests for device in test.comparison.devices})
    if products:
        notes.append(
            _("it speaks of {scope}: {count} of {products}").format(
                scope=", ".join(scopes) or "-", count=len(devices), products=", ".join(products)
            )
        )
    return notes


def _data(test: SelfTest) -> dict[str, Any]:
    found = test.comparison
    return {
        "cell": test.cell,
        "variants": list(test.variants),
        "metric": test.metric.name,
        "unit": test.metric.unit,
        "mean": found.reference.mean,
        "ratio": asdict(found.ratio) if found.ratio else None,
        "quiet": test.is_quiet,
        "smallestEffect": test.claim,
        "spread": found.spread,
        "shards": min(found.reference.shards, found.subject.shards),
        "shardsNeeded": {f"{100 * effect:g}%": count for effect, count in test.needed.items()},
        "method": found.method.value,
        "scope": found.scope.value if found.scope else None,
        "p": found.p,
        "reason": found.reason.value if found.reason else None,
        "devices": list(found.devices),
        "products": list(found.products),
    }

"""What a research plan or report is made of: a run's spec, its cells, their results, and those of its baselines. Pure.

A cell is named by model, hardware and variant; results are given to it by these names, so that a report needs the run and
its results and nothing of the operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vidbench_analysis.references import Cell
from vidbench_api.gates import Baseline
from vidbench_api.identity import cell_id
from vidbench_api.names import LABEL_BASELINE
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec

from .errors import UsageError
from .selectors import LedgerEntry
from .texts import _

KIND = "BenchmarkRun"


@dataclass(frozen=True)
class Run:
    """A run as an object says it; a manifest that was not applied has no UID."""

    name: str
    namespace: str
    uid: str
    spec: BenchmarkRunSpec


def run_of(body: Mapping[str, Any]) -> Run:
    """Return the run that an object describes; raises UsageError with the first field that does not fit."""
    metadata = body.get("metadata") or {}
    try:
        spec = BenchmarkRunSpec.model_validate(body.get("spec"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UsageError(
            _("BenchmarkRun {name!r} does not fit: {field}: {problem}").format(
                name=metadata.get("name", "?"), field=".".join(map(str, ("spec", *first["loc"]))), problem=first["msg"]
            ),
            _("check the file: vidbench validate -f FILE"),
        ) from error
    return Run(
        str(metadata.get("name") or "unnamed"),
        str(metadata.get("namespace") or ""),
        str(metadata.get("uid") or ""),
        spec,
    )


def cells_of(run: Run, results: Iterable[BenchmarkResultSpec] = ()) -> tuple[Cell, ...]:
    """Return the cells of a run in the order of its lists, each with its results; fallbacks of a cell are no part of it."""
    held: dict[tuple[str, str, str], list[BenchmarkResultSpec]] = {}
    for result in results:
        if result.rung is None:
            held.setdefault((result.cell.model, result.cell.hardware, result.cell.variant), []).append(result)
    return tuple(_cell(run, names, tuple(held.get(names, ()))) for names in _names(run.spec))


def _cell(run: Run, names: tuple[str, str, str], results: tuple[BenchmarkResultSpec, ...]) -> Cell:
    hashes = sorted({result.generation_hash for result in results})
    return Cell(cell_id(run.uid, *names), *names, hashes[0] if hashes else "", results)


def _names(spec: BenchmarkRunSpec) -> Iterator[tuple[str, str, str]]:
    for model in spec.models:
        for hardware in spec.hardware:
            for variant in spec.variants:
                names = (model.name, hardware.name, variant.name)
                if not _is_excluded(spec, names) and (not variant.only_for or model.name in variant.only_for):
                    yield names


def _is_excluded(spec: BenchmarkRunSpec, names: tuple[str, str, str]) -> bool:
    return any(
        all(
            wanted in (None, name)
            for wanted, name in zip((rule.model, rule.hardware, rule.variant), names, strict=True)
        )
        for rule in spec.matrix.exclude
    )


def baselines_of(run: Run, entries: Iterable[LedgerEntry]) -> dict[str, tuple[BenchmarkResultSpec, ...]]:
    """Return the results of each baseline of a run: those of other runs that have its labels."""
    entries = tuple(entry for entry in entries if entry.spec.run.uid != run.uid)
    return {
        baseline.name: tuple(entry.spec for entry in entries if _has_labels(entry, baseline))
        for baseline in run.spec.baselines
    }


def _has_labels(entry: LedgerEntry, baseline: Baseline) -> bool:
    wanted = baseline.selector.match_labels if baseline.selector else {LABEL_BASELINE: baseline.name}
    return all(entry.labels.get(key) == value for key, value in wanted.items())

"""What a person calls results by: `run/NAME`, `baseline/NAME`, `RUN:model/hardware/variant`. Pure.

A selector says which results are meant, wherever they are: `ledger.py` finds them. Without a word before the name it
is a run's. Parts of a cell that are left out or `*` mean any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vidbench_analysis.side_by_side import NAMES, Axis, value_of
from vidbench_api.base import LABEL_VALUE_PATTERN, NAME_PATTERN
from vidbench_api.names import LABEL_BASELINE
from vidbench_api.result import BenchmarkResultSpec

from .errors import UsageError
from .texts import _

GRAMMAR = _(
    "RUN, run/NAME or baseline/NAME, and a cell where wanted: RUN:model/hardware/variant, RUN:model, RUN:*/*/variant"
)
ANY = "*"
_NAME = re.compile(NAME_PATTERN)
_LABEL = re.compile(LABEL_VALUE_PATTERN)
_CELL_PART = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\+[A-Za-z]+)?$")


@dataclass(frozen=True)
class LedgerEntry:
    """A result as the ledger holds it."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    spec: BenchmarkResultSpec
    created_at: str = ""

    @property
    def baseline(self) -> str | None:
        """Return the baseline that it belongs to."""
        return self.labels.get(LABEL_BASELINE) or None


@dataclass(frozen=True)
class Selector:
    """Which results are meant. `text` is what was written; `cell` pins names of the cell, by axis."""

    text: str
    kind: Literal["run", "baseline"]
    name: str
    cell: tuple[tuple[Axis, str], ...] = ()

    @property
    def pinned(self) -> frozenset[Axis]:
        """Return the axes of the cell that it names."""
        return frozenset(axis for axis, _ in self.cell)

    def selects_cell(self, spec: BenchmarkResultSpec) -> bool:
        """Whether a result is of the cells that are meant, whatever its run."""
        return all(value_of(spec, axis) == value for axis, value in self.cell)

    def select(self, entries: Iterable[LedgerEntry]) -> tuple[LedgerEntry, ...]:
        """Return the entries that are meant."""
        return tuple(
            entry
            for entry in entries
            if (entry.baseline if self.kind == "baseline" else entry.spec.run.name) == self.name
            and self.selects_cell(entry.spec)
        )


def parse_selector(text: str) -> Selector:
    """Read a selector.

    Raises:
        UsageError: it is none; the remedy says what one looks like.
    """
    head, colon, cell = text.partition(":")
    kind, slash, name = head.rpartition("/")
    kind = kind if slash else "run"
    if kind not in ("run", "baseline"):
        raise _no_selector(text, _("{kind!r} is neither run nor baseline").format(kind=kind))
    pattern = _LABEL if kind == "baseline" else _NAME
    if not name or not pattern.match(name):
        raise _no_selector(text, _("{name!r} can be no name").format(name=name))
    parts = cell.split("/") if colon else []
    if colon and (len(parts) > len(NAMES) or not all(part == ANY or _CELL_PART.match(part) for part in parts)):
        raise _no_selector(text, _("{cell!r} names no cell").format(cell=cell))
    pinned = tuple((axis, part) for axis, part in zip(NAMES, parts, strict=False) if part != ANY)
    return Selector(text, "baseline" if kind == "baseline" else "run", name, pinned)


def _no_selector(text: str, why: str) -> UsageError:
    return UsageError(_("{text!r} names no results: {why}").format(text=text, why=why), GRAMMAR)

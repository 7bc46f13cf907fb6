"""Which cells no other beats in everything: the frontier over at most three objectives, and how sure each place on it is.

With more objectives almost nothing is beaten: over five, half of two dozen cells lie on a frontier by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .metrics import Direction, Metric, Pairing
from .observations import CellObservations
from .resampling import REPEATS, generator_for

MOST_OBJECTIVES = 3


@dataclass(frozen=True)
class Place:
    """A cell's place. `values` are its means by objective; `membership` is the share of resamples in which it is on the frontier.

    `is_on` is by the means. `membership` is None with `reason` OneShard where nobody knows the spread between its shards, and
    with PromptsAreTheUnit where an objective is of quality: shards make the same clips, so that theirs is no spread of it;
    a cell that lacks an objective has no values, is not on, and `reason` says which is missing. `beaten_by` names cells that
    are at least as good in everything and better in something, by the means.
    """

    label: str
    values: tuple[float, ...] = ()
    is_on: bool = False
    membership: float | None = None
    beaten_by: tuple[str, ...] = ()
    reason: str | None = None


def frontier(
    cells: Sequence[CellObservations], objectives: Sequence[Metric], repeats: int = REPEATS
) -> tuple[Place, ...]:
    """Return the place of every cell, in the order given.

    Shards are resampled with all their objectives together, cells independently; deviations are widened by
    sqrt(n / (n - 1)), as resamples of few shards spread too little.

    Raises:
        ValueError: no objective, more than three, or one without a better direction.
    """
    check_objectives(objectives)
    import numpy as np

    signs = np.array([1.0 if metric.better == Direction.LOWER else -1.0 for metric in objectives])
    tables = {number: _table(cell, objectives) for number, cell in enumerate(cells)}
    complete = {number: np.array(table) for number, table in tables.items() if isinstance(table, list)}
    means = {number: table.mean(axis=0) for number, table in complete.items()}
    by_prompt = any(metric.pairing == Pairing.PROMPT for metric in objectives)
    shares = _memberships(complete, signs, cells, repeats) if complete and not by_prompt else {}
    return tuple(_place(number, cell, tables[number], means, shares, signs, cells) for number, cell in enumerate(cells))


def check_objectives(objectives: Sequence[Metric]) -> None:
    """Refuse what no frontier is over.

    Raises:
        ValueError: no objective, more than three, or one without a better direction.
    """
    if not 1 <= len(objectives) <= MOST_OBJECTIVES:
        raise ValueError(f"a frontier has 1 to {MOST_OBJECTIVES} objectives, not {len(objectives)}")
    for metric in objectives:
        if metric.better == Direction.NEITHER:
            raise ValueError(f"{metric.name} has no better direction and is no objective")


def _table(cell: CellObservations, objectives: Sequence[Metric]) -> list[list[float]] | str:
    """The objectives of every shard that has them all; else the name of one that is missing."""
    rows = [
        [shard.readings[metric.name].mean for metric in objectives]
        for shard in cell.shards
        if all(metric.name in shard.readings for metric in objectives)
    ]
    missing = next((metric.name for metric in objectives if not cell.reading(metric)), objectives[0].name)
    return rows or f"NotMeasured: {missing}"


def _memberships(
    tables: Mapping[int, Any], signs: Any, cells: Sequence[CellObservations], repeats: int
) -> dict[int, float]:
    import numpy as np

    generator = generator_for([[cells[number].label, table.tolist()] for number, table in tables.items()])
    drawn: list[Any] = []
    for table in tables.values():
        count = len(table)
        picked = table[generator.integers(0, count, (repeats, count))].mean(axis=1)
        widening = np.sqrt(count / (count - 1)) if count > 1 else 1.0
        drawn.append(signs * (table.mean(axis=0) + (picked - table.mean(axis=0)) * widening))
    stacked: Any = np.stack(drawn, axis=1)
    shares = {}
    for place, number in enumerate(tables):
        mine = stacked[:, place : place + 1, :]
        beaten = ((stacked <= mine).all(axis=2) & (stacked < mine).any(axis=2)).any(axis=1)
        shares[number] = float(1 - beaten.mean())
    return shares


def _place(
    number: int,
    cell: CellObservations,
    table: list[list[float]] | str,
    means: Mapping[int, Any],
    shares: Mapping[int, float],
    signs: Any,
    cells: Sequence[CellObservations],
) -> Place:
    if isinstance(table, str):
        return Place(cell.label, reason=table)
    mine = signs * means[number]
    beaten_by = tuple(
        cells[other].label
        for other, mean in means.items()
        if (signs * mean <= mine).all() and (signs * mean < mine).any()
    )
    unsure = "PromptsAreTheUnit" if number not in shares else "OneShard" if len(table) < 2 else None
    return Place(
        label=cell.label,
        values=tuple(float(value) for value in means[number]),
        is_on=not beaten_by,
        membership=None if unsure else shares[number],
        beaten_by=beaten_by,
        reason=unsure,
    )

"""Which cell, shard and attempt somebody means."""

from __future__ import annotations

import pytest

from vidbench_api.names import Outcome, RowPhase
from vidbench_api.run_status import CellRow, ShardStatus
from vidbench_cli.errors import UsageError
from vidbench_cli.targets import pick_row, pick_target


def _row(number: int, model: str, *shards: ShardStatus, **fields: object) -> CellRow:
    return CellRow.model_validate(
        {"id": f"{number:08x}", "model": model, "hardware": "h100", "variant": "short", "shards": shards} | fields
    )


ACTIVE = ShardStatus(index=2, phase=RowPhase.ACTIVE, attempt=1)
FAILED = ShardStatus(index=3, phase=RowPhase.FINISHED, attempt=3, outcome=Outcome.FAILED)
DONE = ShardStatus(index=1, phase=RowPhase.FINISHED, attempt=2, outcome=Outcome.SUCCEEDED)
ROWS = (
    _row(1, "wan", DONE, FAILED, phase=RowPhase.FINISHED),
    _row(2, "wan2", DONE, ACTIVE, FAILED, phase=RowPhase.ACTIVE),
    _row(3, "ltx"),
    _row(4, "ltx", rung="VaeTiling"),
)


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("wan/h100/short", 1),
        ("wan2", 2),
        ("00000003", 3),
        ("ltx/h100/short", 3),
        ("VaeTiling", 4),
        ("ltx/h100/short+VaeTiling", 4),
    ],
)
def test_a_name_an_id_or_a_part_that_only_one_has(wanted: str, number: int) -> None:
    assert pick_row(ROWS, wanted).id == f"{number:08x}"


@pytest.mark.parametrize(
    ("wanted", "words", "remedy"),
    [
        ("wan", "may be 2 cells", "wan2/h100/short"),
        ("sdxl", "no cell 'sdxl'", "ltx/h100/short"),
        ("h100", "4 cells", "wan/h100"),
    ],
)
def test_what_may_be_several_or_none_lists_them(wanted: str, words: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        pick_row(ROWS, wanted)
    assert remedy in caught.value.remedy


def test_long_lists_are_cut() -> None:
    rows = [_row(number, f"m{number}") for number in range(50)]
    with pytest.raises(UsageError) as caught:
        pick_row(rows, "nothing")
    assert caught.value.remedy.splitlines()[-1] == "... and 30 more: vidbench get RUN"


@pytest.mark.parametrize(
    ("rows", "cell", "shard", "attempt", "expected"),
    [
        (ROWS, None, None, None, ("wan2", 2, 1)),
        (ROWS, "wan/", None, None, ("wan", 3, 3)),
        (ROWS, "wan/", 1, None, ("wan", 1, 2)),
        (ROWS, "wan/", 1, 1, ("wan", 1, 1)),
        (ROWS[:1], None, None, None, ("wan", 3, 3)),
        ((_row(1, "wan", ShardStatus(index=1)),), None, None, None, ("wan", 1, 0)),
    ],
)
def test_active_before_failed_before_first(
    rows: tuple[CellRow, ...], cell: str | None, shard: int | None, attempt: int | None, expected: tuple[str, int, int]
) -> None:
    target = pick_target(rows, cell, shard, attempt)
    assert (target.row.model, target.shard.index, target.attempt) == expected


@pytest.mark.parametrize(
    ("rows", "cell", "shard", "attempt", "words"),
    [
        ((), None, None, None, "no cells yet"),
        (ROWS[2:], None, None, None, "2 cells: which one"),
        (ROWS, "wan/", 9, None, "no shard 9"),
        (ROWS, "wan/", 1, 5, "no attempt 5"),
        (ROWS, "ltx/h100/short", None, None, "no shard 1"),
    ],
)
def test_what_is_not_there_is_said(
    rows: tuple[CellRow, ...], cell: str | None, shard: int | None, attempt: int | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        pick_target(rows, cell, shard, attempt)
    assert caught.value.remedy

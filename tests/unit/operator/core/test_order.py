"""In which order shards start."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, Scene

from vidbench_api.names import Outcome, RowPhase
from vidbench_operator.core.order import expected_seconds, in_order
from vidbench_operator.core.settle import Entry, Settled
from vidbench_operator.core.timestamps import format_time

SCENE = Scene.of(models=["a", "b", "c", "d"], measurement={"shards": 2})
CELLS = SCENE.document.cells


def entries(scene: Scene = SCENE) -> list[Entry]:
    return [
        Entry(cell, Settled(scene.shard(cell, index)))
        for cell in scene.document.cells
        for index in range(1, scene.document.shards + 1)
    ]


def names(ordered: list[Entry]) -> list[tuple[int, str]]:
    return [(entry.shard.index, entry.cell.model) for entry in ordered]


def test_longest_comes_first_within_each_number_of_shard() -> None:
    expected = {cell.id: seconds for cell, seconds in zip(CELLS, (10.0, 40.0, 20.0, 30.0), strict=True)}
    assert names(in_order(entries(), expected)) == [(index, model) for index in (1, 2) for model in "bdca"]


def test_one_that_would_outlast_the_others_does_not_wait_for_its_number() -> None:
    expected = {cell.id: seconds for cell, seconds in zip(CELLS, (10.0, 200.0, 20.0, 30.0), strict=True)}
    assert names(in_order(entries(), expected, width=4))[:3] == [(1, "b"), (2, "b"), (1, "d")]
    assert names(in_order(entries(), expected, width=1))[:2] == [(1, "b"), (1, "d")], "there is time for all of them"


def test_a_cell_of_which_nothing_is_known_is_taken_for_a_usual_one() -> None:
    expected = {cell.id: seconds for cell, seconds in zip(CELLS[:3], (10.0, 40.0, 20.0), strict=True)}
    ordered = names(in_order(entries(), expected))[:4]
    assert (ordered[0], ordered[3]) == ((1, "b"), (1, "a"))
    assert {model for _, model in ordered[1:3]} == {"c", "d"}


def test_without_expectations_the_order_is_a_shuffle_of_the_runs_own() -> None:
    orders = set()
    for uid in "abcdefgh":
        scene = Scene.of(uid=uid, models=["a", "b", "c", "d"], measurement={"shards": 2})
        ordered = names(in_order(entries(scene), {}))
        assert [index for index, _ in ordered] == [1] * 4 + [2] * 4
        assert [model for _, model in ordered[:4]] == [model for _, model in ordered[4:]]
        orders.add(tuple(ordered))
    assert len(orders) > 3


def test_the_ledgers_estimate_goes_before_the_runs_own_measurement() -> None:
    scene = SCENE
    for cell in CELLS[:2]:
        scene = scene.with_shard(
            cell, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, latency_microseconds=2_500_000, samples=4
        )
    rows = [
        row.model_copy(update={"estimate_seconds": 99}) if row.id == CELLS[0].id else row
        for row in scene.run.status.rows
    ]
    assert expected_seconds(rows, entries(scene), NOW) == {CELLS[0].id: 99.0, CELLS[1].id: 10.0}


def test_a_shard_that_did_not_succeed_says_nothing_of_how_long_one_takes() -> None:
    scene = SCENE.with_shard(
        CELLS[0], phase=RowPhase.FINISHED, outcome=Outcome.FAILED, latency_microseconds=1, samples=1
    )
    assert expected_seconds(scene.run.status.rows, entries(scene), NOW) == {}


def test_one_that_runs_for_longer_than_expected_is_expected_to_take_as_long_as_it_runs() -> None:
    running = [
        Entry(cell, Settled(SCENE.active(cell, started_at=format_time(NOW)).shard(cell), running=runs))
        for cell, runs in zip(CELLS, (True, True, False, True), strict=True)
    ]
    rows = [
        row.model_copy(update={"estimate_seconds": seconds})
        for row, seconds in zip(SCENE.run.status.rows, (60, 200, None, None), strict=True)
    ]
    assert expected_seconds(rows, running, NOW + 100) == {CELLS[0].id: 100, CELLS[1].id: 200, CELLS[3].id: 130}


@given(st.permutations(range(8)), st.dictionaries(st.sampled_from([cell.id for cell in CELLS]), st.floats(1, 1e6)))
def test_the_order_does_not_depend_on_how_the_shards_came(order: list[int], expected: dict[str, float]) -> None:
    given_shards = entries()
    assert in_order([given_shards[position] for position in order], expected) == in_order(given_shards, expected)


@given(st.dictionaries(st.sampled_from([cell.id for cell in CELLS]), st.floats(1, 1e6)))
def test_no_later_shard_of_a_cell_comes_before_an_earlier_one_and_none_is_left_out(expected: dict[str, float]) -> None:
    ordered = in_order(entries(), expected, width=3)
    seen = [(entry.cell.id, entry.shard.index) for entry in ordered]
    assert all(seen.index((cell.id, 1)) < seen.index((cell.id, 2)) for cell in CELLS)
    assert all(replace(entry) in ordered for entry in entries())
    assert len(ordered) == len(entries())

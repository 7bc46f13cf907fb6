"""Frontiers are of cells that may be compared: one kind, one size of clip, one basis of each figure."""

from __future__ import annotations

import pytest
from support.ledgers import cell_of_run, shard_of

from vidbench_analysis.frontiers import cells_by_name, frontiers
from vidbench_analysis.metrics import find_metric
from vidbench_api.measured import ClipFacts, Environment, Memory
from vidbench_api.result import BenchmarkResultSpec

LATENCY, MEMORY, ENERGY = (find_metric(name) for name in ("latency", "memory", "energy"))
LONGER = ClipFacts(height=480, width=832, frames_requested=81, frames_delivered=81, steps=30)


def on_a_cpu(*means: float) -> tuple[BenchmarkResultSpec, ...]:
    return tuple(
        result.model_copy(update={"memory": Memory(host=2**30), "environment": Environment(device="cpu")})
        for result in cell_of_run(means, hardware="cpu")
    )


def test_a_cell_that_is_slower_and_larger_is_beaten_and_says_by_which() -> None:
    (found,) = frontiers(
        cells_by_name(
            [
                *cell_of_run((10.0, 10.1), variant="small", memory_mebibytes=100),
                *cell_of_run((5.0, 5.1), variant="fast", memory_mebibytes=200),
                *cell_of_run((11.0, 11.1), variant="worst", memory_mebibytes=201),
            ]
        ),
        (LATENCY, MEMORY, ENERGY),
    )
    assert found.objectives == (LATENCY, MEMORY), "nothing has energy, so that it is no objective"
    places = {place.label.rpartition("/")[2]: place for place in found.places}
    assert {name: place.is_on for name, place in places.items()} == {"small": True, "fast": True, "worst": False}
    assert places["worst"].beaten_by == ("wan/h100/fast", "wan/h100/small")
    assert (places["small"].membership, places["worst"].membership) == (1.0, 0.0)


def test_longer_clips_and_services_have_frontiers_of_their_own() -> None:
    service = [
        result.model_copy(update={"comparability": "Service"}) for result in cell_of_run((1.0, 1.1), model="service")
    ]
    found = frontiers(
        cells_by_name([*cell_of_run((10.0, 10.1)), *cell_of_run((30.0, 30.1), variant="long", clip=LONGER), *service]),
        (LATENCY,),
    )
    assert [(each.kind, each.clip, [place.label for place in each.places]) for each in found] == [
        ("Service", "832x480, 33 frames", ["service/h100/short"]),
        ("Device", "832x480, 81 frames", ["wan/h100/long"]),
        ("Device", "832x480, 33 frames", ["wan/h100/short"]),
    ]
    assert all(place.is_on for each in found for place in each.places)


def test_memory_of_the_host_is_not_held_against_that_of_a_device() -> None:
    results = [*cell_of_run((10.0, 10.1)), *cell_of_run((11.0, 11.1), variant="b"), *on_a_cpu(90.0, 91.0)]
    (found,) = frontiers(cells_by_name(results), (LATENCY, MEMORY))
    places = {place.label: place for place in found.places}
    assert places["wan/cpu/short"].reason == "DifferentBasis: memory (host)"
    assert (places["wan/cpu/short"].values, places["wan/cpu/short"].is_on) == ((), False)
    assert places["wan/h100/short"].is_on


def test_what_does_not_count_has_no_place() -> None:
    results = [*cell_of_run((10.0, 10.1)), shard_of(None, variant="too-large")]
    (found,) = frontiers(cells_by_name(results), (LATENCY,))
    assert [place.label for place in found.places] == ["wan/h100/short"]
    assert frontiers(cells_by_name([shard_of(None)]), (LATENCY,)) == ()


def test_cells_of_several_runs_are_told_apart() -> None:
    results = [*cell_of_run((10.0,)), *cell_of_run((11.0,), run="weekly")]
    assert list(cells_by_name(results)) == ["nightly:wan/h100/short", "weekly:wan/h100/short"]
    assert list(cells_by_name(results[:1])) == ["wan/h100/short"]


@pytest.mark.parametrize("count", [0, 4])
def test_a_frontier_has_one_to_three_objectives(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 3"):
        frontiers(cells_by_name(cell_of_run((10.0, 10.1))), (LATENCY, MEMORY, ENERGY, find_metric("load"))[:count])

"""Variance components, nodes that stand out, and the frontier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support.cells import cell_of

from vidbench_analysis.fleet import one_way, standing_of_nodes, variance_components
from vidbench_analysis.metrics import find_metric
from vidbench_analysis.observations import CellObservations
from vidbench_analysis.pareto import frontier
from vidbench_analysis.reports.beyond_means import component_rows, fleet_blocks
from vidbench_cli.fleet_page import fleet_page

LATENCY, ENERGY = find_metric("latency"), find_metric("energy")


def test_a_balanced_analysis_of_variance_by_hand() -> None:
    """Means 2, 5 and 8 of three values each, MS between 27, MS within 1: variance (27 - 1) / 3, share 26 / 29."""
    groups = {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "c": [7.0, 8.0, 9.0]}
    found = one_way(groups)
    assert found is not None
    assert found.deviation**2 == pytest.approx(26 / 3)
    assert found.share == pytest.approx(26 / 29)
    assert found.p == pytest.approx(stats.f_oneway(*groups.values()).pvalue)
    # The exact interval of the share: (F / F* - 1) / (n - 1 + F / F*).
    for probability, bound in ((0.975, found.low), (0.025, found.high)):
        shrunk = 27 / stats.f.ppf(probability, 2, 6)
        assert bound == pytest.approx((shrunk - 1) / (2 + shrunk))


def test_no_spread_between_groups_is_none_and_not_below() -> None:
    found = one_way({"a": [1.0, 3.0], "b": [1.5, 2.5]})
    assert found is not None
    assert (found.deviation, found.share, found.low) == (0.0, 0.0, 0.0)
    assert one_way({"a": [1.0, 2.0]}) is None
    assert one_way({"a": [1.0], "b": [2.0]}) is None
    assert one_way({"a": [1.0, 1.0], "b": [2.0, 2.0]}) is None


def on_nodes(values: list[float], gpus: list[str], nodes: list[str], metric: str = "latency") -> CellObservations:
    cell = cell_of(values, devices=gpus, metric=metric)
    return replace(cell, shards=tuple(replace(s, node=node) for s, node in zip(cell.shards, nodes, strict=True)))


def test_nodes_gpus_and_processes_are_told_apart() -> None:
    rng = np.random.default_rng(11)
    nodes = np.repeat(np.arange(30), 8)
    gpus = np.repeat(np.arange(120), 2)
    offsets = 0.03 * rng.standard_normal(30)[nodes] + 0.02 * rng.standard_normal(120)[gpus]
    values = 100 * np.exp(offsets + 0.01 * rng.standard_normal(240))
    found = variance_components(
        on_nodes(values.tolist(), [f"g{gpu}" for gpu in gpus], [f"n{node}" for node in nodes]), LATENCY
    )
    node, gpu = found.levels
    assert (node.name, node.groups, gpu.name, gpu.groups) == ("node", 30, "gpu", 120)
    assert node.deviation == pytest.approx(0.03, rel=0.35)
    assert gpu.deviation == pytest.approx(0.02, rel=0.25)
    assert found.process_deviation == pytest.approx(0.01, rel=0.2)


def test_shares_are_of_all_variance_with_nodes_and_gpus() -> None:
    """Nodes 1 %, GPUs nothing, processes 3 %: nodes have 1 / (1 + 9) of the variance, not what is left of it in means of GPUs."""
    rng, nodes, gpus, processes = np.random.default_rng(3), 400, 4, 9
    gpu_of = np.repeat(np.arange(nodes * gpus), processes)
    offsets = 0.01 * rng.standard_normal(nodes)[gpu_of // gpus] + 0.03 * rng.standard_normal(gpu_of.size)
    found = variance_components(
        on_nodes(
            (100 * np.exp(offsets)).tolist(), [f"g{gpu}" for gpu in gpu_of], [f"n{gpu // gpus}" for gpu in gpu_of]
        ),
        LATENCY,
    )
    node, gpu = found.levels
    assert node.share == pytest.approx(0.1, abs=0.015)
    assert gpu.share == pytest.approx(0.0, abs=0.005)
    assert (node.low, node.high, gpu.low, gpu.high) == (None, None, None, None)
    assert component_rows("cell", found)[0][4].endswith("% (no interval)")


def test_shares_of_nodes_and_gpus_by_hand() -> None:
    """Two nodes of two GPUs of two shards: nodes 0.0 and 10.0, GPUs 2 apart, shards 1 apart.

    Processes: 4 x 0.5 / 4 = 0.5. GPUs: MS 2 x (1 + 1 + 1 + 1) / 2 = 4, so (4 - 0.5) / 2 = 1.75. Nodes: of means of GPUs MS
    between 2 x 50 / 1 = 100, within 4 / 2 = 2, so (100 - 2) / 2 = 49. All: 51.25.
    """
    values = [-1.5, -0.5, 0.5, 1.5, 8.5, 9.5, 10.5, 11.5]
    gpus = [gpu for gpu in "abcd" for _ in range(2)]
    cell = on_nodes(values, gpus, ["n"] * 4 + ["m"] * 4, "energyNet")
    found = variance_components(cell, find_metric("energyNet"))
    node, gpu = found.levels
    assert found.process_deviation == pytest.approx(0.5**0.5)
    assert (node.share, gpu.share) == (pytest.approx(49 / 51.25), pytest.approx(1.75 / 51.25))


def test_what_cannot_be_told_apart_says_so() -> None:
    assert variance_components(cell_of([1.0, 2.0, 3.0]), LATENCY).reason == "NoRepeats"
    assert variance_components(cell_of([1.0, 2.0], devices=["g", "g"]), LATENCY).reason == "OneGroup"
    assert variance_components(cell_of([2.0] * 4, devices=["g", "g", "h", "h"]), LATENCY).reason == "NoVariance"


def test_two_slow_nodes_do_not_hide_each_other() -> None:
    values = [100.0, 100.5, 99.6, 100.2, 99.9, 100.4, 99.7, 100.1, 115.0, 116.0]
    cell = cell_of(values)
    standings = standing_of_nodes([cell], LATENCY)
    out = {standing.node for standing in standings if standing.stands_out}
    assert out == {f"node-of-GPU-run-1-model/default/default-{number}" for number in (9, 10)}
    assert max(standing.deviation for standing in standings) == pytest.approx(0.148, abs=0.01)
    assert standing_of_nodes([cell_of(values[:4])], LATENCY) == ()


def test_nodes_that_are_all_the_same_but_one_have_no_p() -> None:
    """Memory is often the same to the byte: a node with 20 % more is to be seen, and not by a p that nothing measures."""
    for last in (100.0, 120.0):
        standings = standing_of_nodes([cell_of([100.0] * 6 + [last])], LATENCY)
        assert {(standing.p, standing.stands_out, standing.reason) for standing in standings} == {
            (None, False, "NoSpread")
        }
        assert standings[-1].deviation == pytest.approx(np.log(last / 100.0))
        page = fleet_page({}, standings, LATENCY)
        assert [row[3].text for row in page.tables[0].rows] == ["-"] * 7
        assert any("most nodes have the very same mean" in note.text for note in page.notes)
    cells = [cell_of([100.0] * 6 + [120.0])]
    assert any("Most nodes have the very same mean" in str(block) for block in fleet_blocks(cells))


@pytest.mark.parametrize(
    ("shards", "of_nodes", "of_processes"), [([10] * 8 + [1] * 3, 0.0, 0.01), ([2] * 9 + [60] * 2, 0.01, 0.0001)]
)
def test_nodes_of_few_or_of_many_shards_do_not_stand_out_by_their_number(
    monkeypatch: pytest.MonkeyPatch, shards: list[int], of_nodes: float, of_processes: float
) -> None:
    monkeypatch.setattr("vidbench_analysis.fleet._NULL_REPEATS", 2_000)
    rng, loud = np.random.default_rng(4), 0
    node_of = np.repeat(np.arange(len(shards)), shards)
    names = [f"n{node}" for node in node_of]
    for _ in range(100):
        offsets = of_nodes * rng.standard_normal(len(shards))[node_of] + of_processes * rng.standard_normal(len(names))
        cell = on_nodes((100 * np.exp(offsets)).tolist(), names, names)
        loud += any(node.stands_out for node in standing_of_nodes([cell], LATENCY))
    assert loud <= 11  # 5 % and what chance does to 100 repeats in 99 of 100 cases.


def test_a_slow_node_of_one_shard_is_found_among_nodes_of_many() -> None:
    rng = np.random.default_rng(8)
    names = [f"n{number // 10}" for number in range(91)]
    values = 100 * np.exp(0.01 * rng.standard_normal(91)) * np.where(np.arange(91) < 90, 1.0, 1.3)
    out = [
        node.node for node in standing_of_nodes([on_nodes(values.tolist(), names, names)], LATENCY) if node.stands_out
    ]
    assert out == ["n9"]


def both(label: str, latencies: list[float], energies: list[float]) -> CellObservations:
    cell, energy = cell_of(latencies, label=label), cell_of(energies, metric="energy")
    shards = tuple(
        replace(shard, readings={**shard.readings, **other.readings})
        for shard, other in zip(cell.shards, energy.shards, strict=True)
    )
    return replace(cell, shards=shards)


def test_a_frontier_says_who_is_beaten_and_how_sure_that_is() -> None:
    cells = [
        both("fast", [10.0, 10.1, 9.9], [50.0, 51.0, 49.0]),
        both("frugal", [20.0, 20.1, 19.9], [30.0, 31.0, 29.0]),
        both("beaten", [21.0, 21.2, 21.1], [60.0, 61.0, 62.0]),
        both("close", [20.0, 20.2, 19.8], [30.1, 31.1, 29.1]),
        both("one", [15.0], [40.0]),
        cell_of([5.0, 5.1], label="lacks energy"),
    ]
    fast, frugal, beaten, close, one, lacks = frontier(cells, [LATENCY, ENERGY], repeats=500)
    assert (fast.is_on, fast.membership) == (True, 1.0)
    assert (beaten.is_on, beaten.membership, beaten.beaten_by) == (False, 0.0, ("fast", "frugal", "close", "one"))
    assert frugal.is_on
    assert not close.is_on
    assert close.membership is not None
    assert 0.2 < close.membership < 0.9
    assert (one.is_on, one.membership, one.reason) == (True, None, "OneShard")
    assert (lacks.is_on, lacks.values, lacks.reason) == (False, (), "NotMeasured: energy")
    assert frontier(cells, [LATENCY, ENERGY], repeats=500)[3] == close


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_do_not_say_how_sure_quality_is(shards: int) -> None:
    warping = find_metric("warpingError")
    cells = [
        cell_of([[value, 9.0]] * shards, metric=warping.name, label=label) for label, value in (("a", 1.0), ("b", 2.0))
    ]
    better, worse = frontier(cells, [warping], repeats=100)
    assert (better.is_on, worse.is_on, worse.beaten_by) == (True, False, ("a",))
    assert {(place.membership, place.reason) for place in (better, worse)} == {(None, "PromptsAreTheUnit")}


def test_more_than_three_objectives_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 3 objectives, not 4"):
        frontier([], [LATENCY, ENERGY, find_metric("memory"), find_metric("load")])
    with pytest.raises(ValueError, match="sharpness has no better direction"):
        frontier([], [find_metric("sharpness")])
    assert frontier([], [LATENCY]) == ()

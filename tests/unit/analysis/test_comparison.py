"""Verdicts, and the intervals and tests behind them, against scipy and statsmodels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind
from support.cells import cell_of

from vidbench_analysis import power
from vidbench_analysis.comparison import compare
from vidbench_analysis.effects import hedges_g
from vidbench_analysis.metrics import Margin, Pairing, Reading, find_metric
from vidbench_analysis.observations import CellObservations, LeftOut, LeftOutReason
from vidbench_analysis.units import Scope
from vidbench_analysis.verdicts import Method, Reason, Verdict
from vidbench_api.names import Comparability

LATENCY = find_metric("latency")
TWO_PERCENT = Margin.parse("2%")
SUBJECT, REFERENCE = (103.0, 104.2, 105.1, 103.7, 104.4), (100.0, 100.9, 99.4, 101.2)


def test_welch_on_logarithms_of_shard_means_is_scipys() -> None:
    found = compare(cell_of(SUBJECT, label="a"), cell_of(REFERENCE, label="b"), LATENCY)
    expected = stats.ttest_ind(np.log(SUBJECT), np.log(REFERENCE), equal_var=False)
    low, high = np.exp(expected.confidence_interval(0.95))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == pytest.approx((low, high), rel=1e-9)
    assert found.verdict == Verdict.WORSE
    assert found.method == Method.WELCH_ON_SHARDS


def test_sizes_of_effect_are_of_shards() -> None:
    found = compare(cell_of(SUBJECT, label="a"), cell_of(REFERENCE, label="b"), LATENCY)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(hedges_g(np.log(SUBJECT).tolist(), np.log(REFERENCE).tolist()))
    assert found.cliffs_delta == 1.0


def test_equivalence_is_statsmodels_two_one_sided_tests() -> None:
    close = [value * 0.966 for value in SUBJECT]
    found = compare(cell_of(close, label="a"), cell_of(REFERENCE, label="b"), LATENCY, Margin.parse("5%"))
    edge = math.log(1.05)
    expected = ttost_ind(np.log(close), np.log(REFERENCE), -edge, edge, usevar="unequal")[0]
    assert found.p_equivalence == pytest.approx(expected, rel=1e-9)
    assert found.verdict == Verdict.EQUIVALENT


def test_one_shard_decides_nothing_and_says_how_many_more() -> None:
    found = compare(cell_of([[100.0, 101.0, 99.0]], label="a"), cell_of(REFERENCE, label="b"), LATENCY, TWO_PERCENT)
    assert (found.verdict, found.reason, found.more_shards) == (Verdict.INCONCLUSIVE, Reason.ONE_SHARD, 2)
    assert found.subject.within_process
    assert found.ratio is not None
    assert found.ratio.low is None


def test_shards_of_the_same_number_are_paired_on_their_device() -> None:
    devices = ["g1", "g2", "g3", "g4"]
    subject = cell_of([101.0, 111.5, 120.9, 131.2], devices=devices, label="a")
    reference = cell_of([100.0, 110.0, 120.0, 130.0], devices=devices, label="b")
    found = compare(subject, reference, LATENCY, pairing=Pairing.NODE)
    expected = stats.ttest_rel(np.log([101.0, 111.5, 120.9, 131.2]), np.log([100.0, 110.0, 120.0, 130.0]))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.method == Method.PAIRED_BY_DEVICE


def test_both_on_the_same_gpus_are_compared_within_them() -> None:
    devices = ["g1", "g1", "g2", "g2"]
    subject = cell_of([102.0, 103.0, 122.0, 124.0], devices=devices, label="a")
    reference = cell_of([100.0, 101.0, 120.0, 121.0], devices=devices, label="b")
    found = compare(subject, reference, LATENCY)
    assert (found.method, found.units, found.scope) == (Method.WITHIN_DEVICES, (4, 4), Scope.DEVICES)
    assert found.p is not None
    alone = compare(
        cell_of([102.0, 103.0, 122.0, 124.0], label="a"), cell_of([100.0, 101.0, 120.0, 121.0], label="b"), LATENCY
    )
    assert alone.method == Method.WELCH_ON_SHARDS
    assert alone.p is not None
    assert found.p < 0.05 < alone.p


def test_shards_that_share_some_gpus_count_by_gpu() -> None:
    subject = cell_of([101.0, 101.2, 105.0, 105.1], devices=["g1", "g1", "g2", "g2"], label="a")
    reference = cell_of([100.0, 103.0, 103.1], devices=["g2", "g3", "g3"], label="b")
    found = compare(subject, reference, LATENCY)
    assert (found.method, found.units) == (Method.WELCH_ON_DEVICES, (2, 2))
    expected = stats.ttest_ind(np.log([101.1, 105.05]), np.log([100.0, 103.05]), equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_unknown_devices_are_not_taken_for_the_same() -> None:
    unknown = [None, None, None]
    subject = cell_of([101.0, 111.5, 120.9], devices=unknown, label="a")
    reference = cell_of([100.0, 110.0, 120.0], devices=unknown, label="b")
    found = compare(subject, reference, LATENCY)
    assert (found.method, found.scope) == (Method.WELCH_ON_SHARDS, Scope.DEVICES)
    expected = stats.ttest_ind(np.log([101.0, 111.5, 120.9]), np.log([100.0, 110.0, 120.0]), equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)


def test_one_gpu_against_another_decides_nothing() -> None:
    subject = cell_of([101.0, 101.2, 101.1], devices=["g1"] * 3, label="a")
    reference = cell_of([100.0, 100.1, 100.2], devices=["g2"] * 3, label="b")
    found = compare(subject, reference, LATENCY, TWO_PERCENT)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.ONE_DEVICE)
    assert found.devices == ("g1", "g2")


def test_a_verdict_speaks_of_a_product_from_three_gpus_on() -> None:
    two = compare(cell_of([101.0, 102.0], label="a"), cell_of(REFERENCE, label="b"), LATENCY)
    assert two.scope == Scope.DEVICES
    three = compare(cell_of(SUBJECT[:3], label="a"), cell_of(REFERENCE, label="b"), LATENCY)
    assert (three.scope, three.products) == (Scope.PRODUCT, ("NVIDIA H100 80GB HBM3",))
    unknown = compare(cell_of(SUBJECT, label="a", product=None), cell_of(REFERENCE, label="b"), LATENCY)
    assert unknown.scope == Scope.DEVICES


def quality(values: list[float], prompts: list[str], label: str, **changes: Any) -> CellObservations:
    return cell_of([values], metric="warpingError", prompts=prompts, label=label, **changes)


def test_quality_is_paired_by_prompt_from_one_shard_on() -> None:
    warping = find_metric("warpingError")
    prompts = ["a", "a", "b", "b", "c", "c"]
    subject = quality([10.0, 12.0, 30.0, 32.0, 51.0, 53.0], prompts, "x")
    reference = quality([9.0, 11.0, 28.0, 30.0, 50.0, 52.0], prompts, "y")
    found = compare(subject, reference, warping, pairing=Pairing.NODE)
    expected = stats.ttest_rel([11.0, 31.0, 52.0], [10.0, 29.0, 51.0])
    assert (found.method, found.units, found.scope) == (Method.PAIRED_BY_PROMPT, (3, 3), Scope.PROMPTS)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_quality_without_prompts_or_with_one_decides_nothing() -> None:
    warping = find_metric("warpingError")
    unknown = cell_of([[1.0, 2.0]], metric="warpingError", label="x")
    one = quality([1.0, 2.0], ["a", "a"], "y")
    assert compare(unknown, one, warping).reason == Reason.PROMPTS_UNKNOWN
    assert compare(one, quality([1.0, 3.0], ["a", "a"], "z"), warping).reason == Reason.ONE_PROMPT


def test_the_same_output_needs_no_prompts_to_be_identical() -> None:
    warping = find_metric("warpingError")
    first, second = (cell_of([[1.0, 2.0]], metric="warpingError", label=label, output_digest="d") for label in "xy")
    found = compare(first, second, warping)
    assert (found.verdict, found.reason) == (Verdict.IDENTICAL, Reason.SAME_OUTPUT)
    other = cell_of([[1.0, 2.0]], metric="warpingError", label="z", output_digest="e")
    assert compare(first, other, warping).reason == Reason.PROMPTS_UNKNOWN
    unmeasured = cell_of([[1.0, 2.0]], metric="latency", label="w", output_digest="d")
    assert compare(first, unmeasured, warping).reason == Reason.NOT_MEASURED


def test_what_is_the_same_to_the_bit_is_identical() -> None:
    warping = find_metric("warpingError")
    first = quality([1.0, 2.0], ["a", "b"], "x", output_digest="d")
    second = quality([1.0, 2.0], ["a", "b"], "y", output_digest="d")
    assert compare(first, second, warping).reason == Reason.SAME_OUTPUT
    memory = find_metric("memoryAllocated")
    flat = [cell_of([5e9, 5e9], metric="memoryAllocated", label=label) for label in "ab"]
    assert (compare(*flat, memory).verdict, compare(*flat, memory).reason) == (Verdict.IDENTICAL, Reason.SAME_VALUES)
    itself = cell_of(REFERENCE)
    assert compare(itself, itself, LATENCY).reason == Reason.SAME_RESULTS


@pytest.mark.parametrize(
    ("subject", "reference", "margin", "verdict"),
    [
        (1.0, 0.0, "2", Verdict.EQUIVALENT),
        (3.0, 0.0, "2", Verdict.WORSE),
        (1.0, 0.0, "50%", Verdict.WORSE),
        # On the scale of differences 10 % less is 0.9 and not 1 / 1.1.
        (90.5, 100.0, "10%", Verdict.EQUIVALENT),
        (89.5, 100.0, "10%", Verdict.BETTER),
        (109.5, 100.0, "10%", Verdict.EQUIVALENT),
    ],
)
def test_margins_of_figures_without_spread_that_may_be_zero(
    subject: float, reference: float, margin: str, verdict: Verdict
) -> None:
    black = find_metric("blackFrames")
    sides = [
        cell_of([[value, value]], metric=black.name, prompts=["a", "b"], label=label)
        for value, label in ((subject, "subject"), (reference, "reference"))
    ]
    assert compare(*sides, black, Margin.parse(margin)).verdict == verdict


def test_figures_without_any_spread_are_compared_as_they_are() -> None:
    memory = find_metric("memoryAllocated")
    subject, reference = (cell_of([value] * 3, metric="memoryAllocated", label=str(value)) for value in (5.05e9, 5e9))
    found = compare(subject, reference, memory)
    assert (found.verdict, found.p) == (Verdict.WORSE, None)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == pytest.approx((1.01, 1.01))
    assert compare(subject, reference, memory, TWO_PERCENT).verdict == Verdict.EQUIVALENT


def test_an_undecided_comparison_says_how_many_more_shards() -> None:
    noisy, other = cell_of([100.0, 104.0, 97.0], label="a"), cell_of([101.0, 99.0, 103.0], label="b")
    found = compare(noisy, other, LATENCY, TWO_PERCENT)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.WIDE_INTERVAL)
    assert found.spread is not None
    each = power.needed_to_decide(math.log(1.02), found.spread)
    assert each is not None
    assert found.more_shards == each - 3
    assert found.decides == f"about {each - 3} more shards each"
    assert "margin" in str(compare(noisy, other, LATENCY).decides)


def test_worsening_looks_the_same_way_for_both_directions() -> None:
    per_hour = find_metric("videosPerHour")
    slower = [
        cell_of(values, metric="videosPerHour", label=label)
        for label, values in (("a", [95.0, 95.2, 94.8]), ("b", [100.0, 100.2, 99.8]))
    ]
    found = compare(*slower, per_hour)
    assert found.verdict == Verdict.WORSE
    assert found.worsening is not None
    assert found.worsening.value == pytest.approx(0.05, rel=1e-4)
    assert found.worsening.low is not None
    assert found.worsening.high is not None
    assert found.worsening.low < 0.05 < found.worsening.high
    in_units = compare(*slower, per_hour, Margin.parse("3")).worsening
    assert in_units is not None
    assert in_units.value == pytest.approx(5.0)


def test_a_margin_in_units_is_held_against_the_difference() -> None:
    close = [cell_of(values, label=label) for label, values in (("a", [100.1, 100.3]), ("b", [100.0, 100.2]))]
    found = compare(*close, LATENCY, Margin.parse("5"))
    expected = ttost_ind([100.1, 100.3], [100.0, 100.2], -5, 5, usevar="unequal")[0]
    assert found.p_equivalence == pytest.approx(expected)
    assert found.verdict == Verdict.EQUIVALENT


def test_a_share_of_a_figure_that_may_be_zero_is_decided_without_dividing() -> None:
    net = find_metric("energyNet")
    subject, reference = [101.0, 102.5, 100.7, 101.6], [100.0, 101.0, 99.5, 100.9]
    cells = [cell_of(values, metric="energyNet", label=label) for label, values in (("a", subject), ("b", reference))]
    found = compare(*cells, net, Margin.parse("5%"))
    upper = stats.ttest_ind(subject, [1.05 * value for value in reference], equal_var=False, alternative="less")
    assert found.p_equivalence == pytest.approx(upper.pvalue, rel=0.05)
    assert found.verdict == Verdict.EQUIVALENT


def test_a_metric_without_direction_is_never_better() -> None:
    degree = find_metric("dynamicDegree")
    prompts = ["a", "b", "c", "d"]
    first = cell_of([[5.0, 6.1, 7.0, 8.0]], metric="dynamicDegree", prompts=prompts, label="x")
    second = cell_of([[4.0, 5.0, 6.0, 7.1]], metric="dynamicDegree", prompts=prompts, label="y")
    found = compare(first, second, degree)
    assert (found.verdict, found.reason, found.worsening) == (Verdict.INCONCLUSIVE, Reason.NO_DIRECTION, None)


def test_a_missing_side_is_said_with_what_was_left_out() -> None:
    nothing = CellObservations("m/h/v", (), left_out=(LeftOut(LeftOutReason.OUT_OF_MEMORY, 2),), results=2)
    found = compare(nothing, cell_of(REFERENCE), LATENCY)
    assert found.reason == Reason.NO_RESULTS
    assert found.message == "the subject m/h/v has no result that counts; 2 OutOfMemory"
    assert (
        compare(cell_of(REFERENCE), cell_of(REFERENCE, label="b"), find_metric("energy")).reason == Reason.NOT_MEASURED
    )


def test_kinds_and_bases_are_not_mixed() -> None:
    service = replace(cell_of(REFERENCE, label="b"), comparability=Comparability.SERVICE)
    assert compare(cell_of(SUBJECT, label="a"), service, LATENCY).reason == Reason.DIFFERENT_KIND
    sides = [
        replace(cell, shards=tuple(replace(s, readings={"memory": Reading(5.0, 1, basis=basis)}) for s in cell.shards))
        for cell, basis in ((cell_of(SUBJECT, label="a"), "device"), (cell_of(REFERENCE, label="b"), "host"))
    ]
    assert compare(*sides, find_metric("memory")).reason == Reason.DIFFERENT_BASIS


def test_pairs_need_one_run_and_shared_devices() -> None:
    subject = cell_of([1.0, 2.0, 3.0], devices=["g1", "g2", "g3"], label="a")
    apart = cell_of([1.0, 2.0, 3.0], devices=["g1", "g3", "g2"], label="b")
    assert compare(subject, apart, LATENCY, pairing=Pairing.NODE).reason == Reason.NO_PAIRS
    other_run = cell_of([1.0, 2.0, 3.0], devices=["g1", "g2", "g3"], label="b", run="run-2")
    assert compare(subject, other_run, LATENCY, pairing=Pairing.NODE).reason == Reason.NO_PAIRS


def test_a_node_pairs_its_shards_whichever_gpu_each_had() -> None:
    def on(nodes: Sequence[str | None], label: str, values: Sequence[float]) -> CellObservations:
        cell = cell_of(values, devices=[f"{label}-{number}" for number in range(len(values))], label=label)
        placed = zip(cell.shards, nodes, strict=True)
        return replace(cell, shards=tuple(replace(shard, node=node) for shard, node in placed))

    subject, reference = [101.0, 111.5, 120.9], [100.0, 110.0, 120.0]
    first = on(["n1", "n2", "n3"], "a", subject)
    found = compare(first, on(["n1", "n2", "n3"], "b", reference), LATENCY, pairing=Pairing.NODE)
    assert (found.method, found.units) == (Method.PAIRED_BY_DEVICE, (3, 3))
    assert found.p == pytest.approx(stats.ttest_rel(np.log(subject), np.log(reference)).pvalue, rel=1e-9)
    for others in (["n2", "n3", "n1"], [None, None, None]):
        apart = compare(first, on(others, "b", reference), LATENCY, pairing=Pairing.NODE)
        assert (apart.reason, apart.decides) == (Reason.NO_PAIRS, "3 more shards each that share a node")


@pytest.mark.parametrize("text", ["", "0%", "-1%", "2 %", "many", "1e3"])
def test_a_margin_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a margin is"):
        Margin.parse(text)


def test_margins_and_metrics_by_name() -> None:
    assert (Margin.parse("2.5%"), str(Margin.parse("2.5%"))) == (Margin(0.025, relative=True), "2.5%")
    assert (Margin.parse("1500"), str(Margin.parse("1500"))) == (Margin(1500.0, relative=False), "1500")
    with pytest.raises(ValueError, match="'latencie' is no metric; there are: latency"):
        find_metric("latencie")

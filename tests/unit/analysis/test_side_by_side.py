"""Sides, the matching of their cells, and what is said of what else differs."""

from __future__ import annotations

from support.ledgers import cell_of_run, shard_of

from vidbench_analysis.metrics import find_metric
from vidbench_analysis.reports.figures import change_text, figure_text, p_text, share_text
from vidbench_analysis.side_by_side import NAMES, Axis, Output, Side, compare_pairs, line_up, split
from vidbench_api.measured import Environment


def test_a_fallback_is_a_variant_of_its_own() -> None:
    results = [shard_of(1.0), shard_of(2.0, rung="VaeTiling")]
    assert [side.label for side in split(results, Axis.VARIANT)] == ["short", "short+VaeTiling"]


def test_cells_are_matched_by_the_names_that_both_have() -> None:
    subject = Side("b", cell_of_run((1.0, 1.1), run="b"))
    reference = Side("a", (*cell_of_run((1.0, 1.1), run="a"), *cell_of_run((1.0, 1.1), run="a", variant="long")))
    pairs = line_up(subject, reference, NAMES)
    assert [pair.label for pair in pairs] == ["wan/h100/long", "wan/h100/short"]
    alone, both = pairs
    assert (len(alone.subject.shards), len(alone.reference.shards)) == (0, 2)
    assert (len(both.subject.shards), len(both.reference.shards)) == (2, 2)
    assert alone.output is Output.NOT_KNOWN
    (row, _) = compare_pairs(pairs, [find_metric("latency")], {})
    assert row.comparison.reason == "NoResults"


def test_nodes_are_sides_and_an_unknown_node_is_called_so() -> None:
    results = [shard_of(1.0, gpu="GPU-1"), shard_of(1.0, shard=2, gpu="GPU-2")]
    nameless = results[1].model_copy(update={"origin": results[1].origin.model_copy(update={"node": None})})
    assert [side.label for side in split([results[0], nameless], Axis.NODE)] == ["node-of-GPU-1", "unknown"]


def test_a_side_that_is_mixed_in_itself_is_said_too() -> None:
    old, new = (Environment(device="NVIDIA H100", driver=version) for version in ("550", "570"))
    reference = Side("a", (shard_of(1.0, environment=old), shard_of(1.0, shard=2, environment=new)))
    (pair,) = line_up(Side("b", (shard_of(1.0, environment=new),)), reference, NAMES)
    assert pair.differences == ("driver: 570 against 550 and 570",)


def test_what_one_side_does_not_say_is_no_difference() -> None:
    silent = shard_of(1.0, environment=None)
    (pair,) = line_up(Side("b", (silent,)), Side("a", (shard_of(1.0),)), NAMES)
    assert pair.differences == ()


def test_figures_are_read_with_four_digits_and_without_exponents() -> None:
    assert figure_text(1_681_234, "microseconds") == "1.681 s"
    assert figure_text(12.5, "microseconds") == "0.000013 s"
    assert figure_text(2.0**30, "bytes") == "1024 MiB"
    assert figure_text(350_250, "millijoules") == "350.2 J"
    assert figure_text(None, "bytes") == "-"
    assert figure_text(float("nan"), "bytes") == "-"
    assert share_text(0.0213) == "2.1 %"
    assert (p_text(0.0004), p_text(0.0416), p_text(None)) == ("<0.001", "0.042", "-")


def test_a_change_has_its_sign_and_its_interval() -> None:
    sides = [
        Side(run, cell_of_run(means, run=run)) for run, means in (("b", (0.9, 0.91, 0.89)), ("a", (1.0, 1.01, 0.99)))
    ]
    (row,) = compare_pairs(line_up(*sides, NAMES), [find_metric("latency")], {})
    text = change_text(row.comparison)
    assert text.startswith("-10.0 % (-1")
    assert row.comparison.ratio is not None
    assert f"{100 * (row.comparison.ratio.high - 1):+.1f})" in text.replace(" %)", ")")  # type: ignore[operator]

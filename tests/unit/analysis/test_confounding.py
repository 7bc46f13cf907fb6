"""What else may have made a difference takes a verdict away, from comparisons as from gates."""

from __future__ import annotations

from typing import Any

import pytest
from support.ledgers import cell_of_run, shard_of

from vidbench_analysis.comparison import Comparison
from vidbench_analysis.gates import evaluate_gate
from vidbench_analysis.metrics import Margin, Pairing, find_metric
from vidbench_analysis.references import Cell, Seen
from vidbench_analysis.side_by_side import NAMES, Axis, Side, compare_pairs, line_up, split
from vidbench_api.gates import Baseline, Gate
from vidbench_api.measured import ClipFacts, Environment
from vidbench_api.result import BenchmarkResultSpec

LATENCY = find_metric("latency")
STEADY = (10.0, 10.02, 9.98, 10.01)
FASTER = (9.0, 9.02, 8.98, 9.01)
SLOWER = (11.0, 11.02, 10.98, 11.01)
Results = tuple[BenchmarkResultSpec, ...]


def on(device: str, results: Results, count: int = 1) -> Results:
    """The same results of GPUs of another product or number."""
    return tuple(
        result.model_copy(
            update={
                "environment": Environment(
                    device=device, device_count=count, gpu_uuid=f"{device}-{result.environment.gpu_uuid}"
                )
            }
        )
        for result in results
        if result.environment is not None
    )


def of_steps(steps: int, results: Results) -> Results:
    clip = ClipFacts(height=480, width=832, frames_requested=33, frames_delivered=33, steps=steps)
    return tuple(result.model_copy(update={"clip": clip}) for result in results)


def between_runs(subject: Results, reference: Results, names: tuple[Axis, ...] = NAMES) -> Comparison:
    (pair,) = line_up(Side("after", subject), Side("before", reference), names)
    (row,) = compare_pairs([pair], [LATENCY], {"latency": Margin.parse("2%")})
    return row.comparison


def run(name: str, means: tuple[float, ...] = STEADY, **names: Any) -> Results:
    return cell_of_run(means, run=name, **names)


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        pytest.param(on("NVIDIA H200", run("after", FASTER)), "OtherDevice", id="another product"),
        pytest.param(on("NVIDIA H100 80GB HBM3", run("after", FASTER), 2), "OtherDevice", id="two GPUs a shard"),
        pytest.param(of_steps(15, run("after", FASTER)), "OtherClip", id="half the steps"),
        pytest.param((*run("after", FASTER), shard_of(None, run="after", shard=9)), "ShardsFailed", id="a survivor"),
    ],
)
def test_runs_of_one_name_that_differ_in_more_are_inconclusive_and_keep_their_figures(
    subject: Results, reason: str
) -> None:
    reference = run("before")
    assert between_runs(run("after", FASTER), reference).verdict == "Better", "without what differs it is concluded"
    found = between_runs(subject, reference)
    assert (found.verdict, found.reason, found.p, found.p_equivalence) == ("Inconclusive", reason, None, None)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.9, abs=0.01)
    assert found.message
    assert found.decides


def test_a_gate_says_the_same_of_the_same_results() -> None:
    gate = Gate.model_validate(
        {"name": "g", "metric": "latency", "against": {"baseline": "old"}, "test": "NoWorseThan", "margin": "2%"}
    )
    reference = run("before")
    for subject in (
        on("NVIDIA H200", run("after", FASTER)),
        of_steps(15, run("after", FASTER)),
        (*run("after", FASTER), shard_of(None, run="after", shard=9)),
    ):
        cell = Cell(subject[0].cell.id, "wan", "h100", "short", "", subject)
        seen = Seen((cell,), baselines={"old": reference}, run_uid="uid-of-after")
        verdict = evaluate_gate(gate, seen, {"old": Baseline(name="old")})
        assert verdict.reason == between_runs(subject, reference).reason


def test_what_the_names_say_is_what_is_compared() -> None:
    other = on("NVIDIA A100", run("night", FASTER, hardware="a100"))
    assert between_runs(other, run("night"), (Axis.MODEL, Axis.VARIANT)).verdict == "Better"
    fewer = of_steps(15, run("night", FASTER, variant="fewer"))
    assert between_runs(fewer, run("night"), (Axis.MODEL, Axis.HARDWARE)).verdict == "Better"


def test_nodes_may_be_of_any_product() -> None:
    results = (*run("night"), *on("NVIDIA A100", run("night", FASTER)))
    moved = tuple(
        result.model_copy(update={"shard": at, "origin": result.origin.model_copy(update={"node": f"n{at > 4}"})})
        for at, result in enumerate(results, 1)
    )
    slow, fast = split(moved, Axis.NODE)
    (pair,) = line_up(fast, slow, NAMES)
    assert compare_pairs([pair], [LATENCY], {})[0].comparison.reason != "OtherDevice"


def test_variants_of_one_run_on_products_of_their_own_are_inconclusive() -> None:
    fast = on("NVIDIA A100", run("night", FASTER, variant="fast"))
    found = between_runs(fast, run("night"), (Axis.MODEL, Axis.HARDWARE))
    assert (found.verdict, found.reason) == ("Inconclusive", "OtherDevice")


def test_what_is_worse_with_survivors_alone_is_worse() -> None:
    subject = (*run("after", SLOWER), shard_of(None, run="after", shard=9))
    assert between_runs(subject, run("before")).verdict == "Worse"


def with_job(results: Results) -> Results:
    """As the operator stores them: each names the Job that measured it."""
    return tuple(
        result.model_copy(
            update={"origin": result.origin.model_copy(update={"job_uid": f"{result.run.uid}-{result.shard}"})}
        )
        for result in results
    )


def as_of(name: str, results: Results) -> Results:
    """What a run shows of results that it reused."""
    again = shard_of(1.0, run=name).run
    return tuple(result.model_copy(update={"run": again}) for result in results)


def test_what_a_run_reused_counts_on_one_side_only() -> None:
    before = with_job(run("before"))
    after = (*as_of("after", before[:2]), *with_job(run("after", FASTER)))
    (pair,) = line_up(Side("after", after), Side("before", before), NAMES)
    assert (len(pair.subject.shards), len(pair.reference.shards)) == (6, 2)
    assert [(left.reason, left.count) for left in pair.reference.left_out] == [("Shared", 2)]
    assert between_runs(as_of("after", before), before).reason == "SameResults"


def test_reused_shards_pair_with_those_that_ran_on_their_nodes() -> None:
    base = with_job(run("night", STEADY, variant="base"))
    old = with_job(run("earlier", FASTER, variant="fast"))
    elsewhere = tuple(
        result.model_copy(update={"origin": result.origin.model_copy(update={"node": other.origin.node})})
        for result, other in zip(old, reversed(base), strict=True)
    )
    gate = Gate.model_validate({
        "name": "g", "metric": "latency", "where": {"variants": ["fast"]}, "against": {"variant": "base"},
        "test": "NoWorseThan", "margin": "2%",
    })  # fmt: skip
    cells = (
        Cell("fast0000", "wan", "h100", "fast", "", elsewhere),
        Cell("base0000", "wan", "h100", "base", "", base),
    )
    (evidence,) = evaluate_gate(gate, Seen(cells, pairing=Pairing.NODE, run_uid="uid-of-night"), {}).evidence
    assert evidence.verdict == "Pass"
    assert evidence.compared is not None
    assert evidence.compared.method == "PairedByDevice"
    assert evidence.compared.units[0] == 4

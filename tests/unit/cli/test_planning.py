"""What a run will take: every figure from what it must be from, with its source, and null with a reason where nothing is known."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.builders import NOW, Scene, latencies, observed_run, references, run_spec, runner_class, video_model
from support.ledgers import manifest_of

from vidbench_analysis.power import Design, power_of_difference, power_of_equivalence, power_of_failure, power_of_pass
from vidbench_api.catalogue import CATALOGUE
from vidbench_api.figures import Figures
from vidbench_api.measured import ClipFacts, Environment, Memory, ValidityVerdict
from vidbench_api.names import Outcome, Validity
from vidbench_api.result import BenchmarkResultSpec, RunReference
from vidbench_cli.errors import ClusterError
from vidbench_cli.knowledge import read_baselines
from vidbench_cli.plan_page import plan_data, plan_page
from vidbench_cli.planning import Knowledge, plan_run
from vidbench_operator.core.environment import environment_of
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import NodeTaint, ObservedNode, References

PRICES = [{"device": "NVIDIA H100 80GB HBM3", "perGpuHour": "2.50", "currency": "USD", "source": "list, 2026"}]
WORKLOAD = {"prompts": [{"id": "cat", "text": "A cat."}], "seeds": {"count": 4}}


def node(name: str = "node-1", **changes: Any) -> ObservedNode:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/cuda.driver.major": "570",
    }
    allocatable = {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}
    return replace(
        ObservedNode(name, labels, ready=True, allocatable=allocatable, system={"architecture": "amd64"}), **changes
    )


def knowledge(spec: Any, **changes: Any) -> Knowledge:
    known = Knowledge(references(spec), CATALOGUE, NOW, results={}, nodes={"node-1": node()})
    return replace(known, **changes)


def earlier(scene: Scene, number: int, latency: int, **changes: Any) -> BenchmarkResultSpec:
    """A result of another run, of a process of its own."""
    cell = scene.cell
    clip = ClipFacts(height=cell.height, width=cell.width, frames_requested=cell.frames, steps=cell.steps)
    environment = Environment(device="NVIDIA H100 80GB HBM3", device_count=1, gpu_uuid=f"GPU-{number}")
    given = {
        "run": RunReference(name=f"old-{number}", uid=f"uid-{number}"),
        "clip": clip,
        "series": (latencies(latency, latency),),
        "environment": environment,
    }
    return scene.result(**(given | changes))


def test_gpu_hours_and_cost_follow_from_the_ledgers_median() -> None:
    spec = run_spec(workload=WORKLOAD, measurement={"shards": 3}, hardware=[{"name": "h100", "gpus": 2}])
    heads = tuple(
        LedgerHead("wan", "h100", "default", seconds, samples)
        for seconds, samples in ((100.0, 2), (300.0, 4), (900.0, 4))
    )
    refs = replace(references(spec), runner_class=runner_class(accounting={"prices": PRICES}))
    plan = plan_run(observed_run(spec), knowledge(spec, heads=heads, references=refs))
    cell = plan.cells[0]
    # Scaled to 4 samples: 200, 300, 900.
    assert cell.shard_seconds.value == 300
    assert cell.shard_seconds.source == "ledger: median of 3 results of the same names, 200 to 900 s"
    assert cell.gpu_hours.value == pytest.approx(3 * 2 * 300 / 3600)
    assert cell.cost.value == pytest.approx(3 * 2 * 300 / 3600 * 2.5)
    assert "2.50 USD" in cell.cost.source
    assert "list, 2026" in cell.cost.source
    assert plan.gpu_hours.value == pytest.approx(0.5)
    assert plan.costs["USD"].value == pytest.approx(1.25)
    assert plan.gpu_hours.source == "ledger"


def test_the_time_to_a_running_container_holds_gpus_too() -> None:
    spec = run_spec()
    scene = Scene.of()
    heads = (LedgerHead("wan", "default", "default", 100.0, 1),)
    starts = {
        f"r{number}": earlier(scene, number, 2_000_000, figures=Figures(start_seconds=start))
        for number, start in enumerate((20.0, 80.0, 30.0))
    }
    hours = plan_run(observed_run(spec), knowledge(spec, heads=heads, results=starts)).cells[0].gpu_hours
    assert hours.value == pytest.approx((100 + 30) / 3600)
    assert "and 30 s to a running container" in hours.source
    bare = plan_run(observed_run(spec), knowledge(spec, heads=heads)).cells[0].gpu_hours
    assert bare.value == pytest.approx(100 / 3600)
    assert "without the time to a running container" in bare.source


def test_what_no_result_tells_is_null_and_so_is_the_sum() -> None:
    spec = run_spec(models=["wan", "ltx"])
    known = knowledge(spec, heads=(LedgerHead("wan", "default", "default", 3600.0, 1),))
    plan = plan_run(observed_run(spec), known)
    first, second = plan.cells
    assert first.gpu_hours.value == pytest.approx(1.0)
    assert second.gpu_hours.value is None
    assert "no earlier result" in second.gpu_hours.reason
    assert plan.gpu_hours.value is None
    assert plan.gpu_hours.reason == "not known of 1 of 2 cells, e.g. ltx/default/default; the others: 1.000"
    assert plan_data(plan)["cells"][1]["gpuHours"] == {"value": None, "reason": second.gpu_hours.reason}


def test_reasons_are_those_of_what_could_not_be_read() -> None:
    spec = run_spec(measurement={"shards": 3})
    why = {"ledger": "you may not list results", "nodes": "you may not list nodes"}
    plan = plan_run(observed_run(spec), knowledge(spec, results=None, nodes=None, why=why))
    cell = plan.cells[0]
    assert cell.shard_seconds.reason == cell.half_width.reason == "you may not list results"
    assert (plan.hardware[0].matching, plan.hardware[0].note) == (None, "you may not list nodes")


def test_width_is_t_times_the_spread_of_earlier_shards() -> None:
    spec = run_spec(measurement={"shards": 5})
    scene = Scene.of(measurement={"shards": 5})
    means = (2_000_000, 2_020_000, 1_990_000, 2_050_000)
    results = {f"r{number}": earlier(scene, number, mean) for number, mean in enumerate(means)}
    width = plan_run(observed_run(spec), knowledge(spec, results=results)).cells[0].half_width
    average = sum(means) / 4
    spread = math.sqrt(sum((mean - average) ** 2 for mean in means) / 3) / average
    assert width.value == pytest.approx(stats.t.ppf(0.975, 4) * spread / math.sqrt(5))
    assert width.source == "ledger: spread of 4 earlier shards, t for 5"


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"outcome": Outcome.FAILED, "reason": "Hung"}, 1),
        ({"validity": ValidityVerdict(state=Validity.INVALID, reasons=("GpuShared",))}, 1),
        ({"rung": "VaeTiling"}, 1),
        ({"clip": ClipFacts(height=8, width=8, frames_requested=1, steps=1)}, 1),
        ({"clip": None}, 1),
        ({}, 2),
    ],
)
def test_width_counts_valid_results_of_the_same_clip_alone(change: dict[str, Any], counted: int) -> None:
    spec = run_spec(measurement={"shards": 3})
    scene = Scene.of(measurement={"shards": 3})
    results = {"a": earlier(scene, 1, 2_000_000), "b": earlier(scene, 2, 2_100_000, **change)}
    width = plan_run(observed_run(spec), knowledge(spec, results=results)).cells[0].half_width
    assert (width.value is not None) == (counted == 2)
    if counted == 1:
        assert "1 earlier valid shards" in width.reason


@pytest.mark.parametrize(
    ("measurement", "words"),
    [({"shards": 1}, "OneShard"), ({"shards": 3, "plan": "Repro"}, "never timed"), ({"shards": 3}, "2 are needed")],
)
def test_width_that_cannot_be_expected_says_why(measurement: dict[str, Any], words: str) -> None:
    spec = run_spec(measurement=measurement)
    width = plan_run(observed_run(spec), knowledge(spec)).cells[0].half_width
    assert width.value is None
    assert words in width.reason


def test_memory_is_measured_before_it_is_estimated() -> None:
    spec = run_spec()
    scene = Scene.of()
    model = video_model(estimatedMemoryMebibytes=20_000)
    refs = References(runner_class(), {"wan": model})
    estimate = plan_run(observed_run(spec), knowledge(spec, references=refs)).cells[0].memory_mebibytes
    assert (estimate.value, estimate.source.split(":")[0]) == (20_000, "model")
    results = {"a": earlier(scene, 1, 2_000_000, memory=Memory(device=30 * 2**30))}
    measured = plan_run(observed_run(spec), knowledge(spec, references=refs, results=results)).cells[0].memory_mebibytes
    assert (measured.value, measured.source) == (30 * 1024, "ledger: device peak of 1 result")
    bare = plan_run(observed_run(spec), knowledge(spec)).cells[0].memory_mebibytes
    assert bare.value is None


def test_nodes_that_take_no_pods_are_matched_and_not_usable() -> None:
    spec = run_spec(
        hardware=[{"name": "h100", "gpus": 2, "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}]
    )
    nodes = {
        "a": node("a"),
        "cordoned": node("cordoned", unschedulable=True),
        "tainted": node("tainted", taints=(NodeTaint("team", "NoSchedule"),)),
        "other": node("other", labels={}),
    }
    entry = plan_run(observed_run(spec), knowledge(spec, nodes=nodes)).hardware[0]
    assert (entry.matching, entry.usable, entry.slots, entry.nodes) == (3, 1, 4, ("a",))
    none = plan_run(observed_run(spec), knowledge(spec, nodes={"other": nodes["other"]})).hardware[0]
    assert (none.matching, none.usable) == (0, 0)
    assert "autoscaler" in none.note


def test_reused_shards_cost_nothing_and_are_counted() -> None:
    spec = run_spec(reuse={"policy": "IfIdentical"}, measurement={"shards": 2})
    scene = Scene.of(measurement={"shards": 2})
    known = knowledge(spec, heads=(LedgerHead("wan", "default", "default", 3600.0, 1),))
    environment = environment_of(node(), scene.document.hardware[0], "vidbench/runner").digest
    assert environment is not None
    results = {"a": earlier(scene, 1, 2_000_000, environment_hash=environment)}
    cell = plan_run(observed_run(spec), replace(known, results=results)).cells[0]
    assert (cell.shards, cell.reused, cell.gpu_hours.value) == (2, 1, 1.0)


def test_an_obstacle_is_what_the_operator_would_say() -> None:
    spec = run_spec(runnerClassName="fast")
    plan = plan_run(observed_run(spec), knowledge(spec, references=replace(references(spec), runner_class=None)))
    assert plan.waits
    assert plan.reason == "RunnerClassNotFound"
    # Its cells are planned as far as they go; what is the class's is not known.
    assert [cell.name for cell in plan.cells] == ["wan/default/default"]
    assert "'fast' does not exist" in plan.cells[0].cost.reason
    assert plan.hardware[0].slots is None
    refused = run_spec(hardware=[{"name": "cpu", "gpus": 0}], variants=[{"name": "a", "offload": "Model"}])
    plan = plan_run(observed_run(refused), knowledge(refused))
    assert (plan.reason, plan.waits, plan.cells) == ("InvalidVariant", False, ())
    many = run_spec(hardware=[{"name": "big", "gpus": 16}])
    plan = plan_run(observed_run(many), knowledge(many))
    assert (plan.reason, plan.waits, len(plan.cells)) == ("NotEnoughGpusOnANode", True, 1)


def test_disk_is_an_upper_bound_for_videos_and_a_lower_one_for_weights() -> None:
    spec = run_spec(
        models=["wan21-1-3b"],
        workload=WORKLOAD,
        artifacts={"storageUri": "claim://videos", "keepVideos": "All"},
        measurement={"shards": 2},
    )
    plan = plan_run(observed_run(spec), knowledge(spec, references=References(runner_class(), {})))
    videos, scratch, weights = plan.disk
    cell = plan.cells[0].cell
    assert videos.size.value == 2 * 4 * cell.height * cell.width * cell.frames * 3
    assert "at most" in videos.size.source
    assert scratch.size.value == 10 * 2**30
    assert weights.where == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert weights.size.value is not None
    assert "at least" in weights.size.source
    unknown_class = plan_run(
        observed_run(spec), knowledge(spec, references=References(runner_class(), {}), why={"class": "not read"})
    )
    assert unknown_class.disk[1].size.value is None
    assert unknown_class.cells[0].cost.reason == "not read"


@pytest.mark.parametrize(
    ("prices", "device", "value"),
    [
        (PRICES, "NVIDIA-H100-80GB-HBM3", 2.5),
        (PRICES, "NVIDIA-L40S", None),
        (PRICES, None, None),
        ([PRICES[0] | {"device": "*"}], None, 2.5),
        ([], "NVIDIA-H100-80GB-HBM3", None),
    ],
)
def test_price_is_of_the_gpu_that_the_nodes_show(
    prices: list[dict[str, str]], device: str | None, value: float | None
) -> None:
    spec = run_spec()
    refs = replace(references(spec), runner_class=runner_class(accounting={"prices": prices}))
    labels = {"nvidia.com/gpu.product": device} if device else {}
    known = knowledge(
        spec,
        references=refs,
        nodes={"a": node("a", labels=labels)},
        heads=(LedgerHead("wan", "default", "default", 3600.0, 1),),
    )
    cost = plan_run(observed_run(spec), known).cells[0].cost
    assert cost.value == value
    assert cost.source if value else cost.reason


def test_page_says_where_every_figure_is_from() -> None:
    spec = run_spec(models=["wan", "ltx"])
    plan = plan_run(observed_run(spec), knowledge(spec, heads=(LedgerHead("wan", "default", "default", 60.0, 1),)))
    page = plan_page(plan)
    sources = next(table for table in page.tables if table.title.startswith("Where"))
    texts = [row[2].text for row in sources.rows]
    assert any(text.startswith("ledger: 1 result of the same names") for text in texts)
    assert any(text.startswith("unknown: no earlier result") for text in texts)
    assert "GPU-hours: -" in page.heading[0].text


GATES = [
    {"name": "no-slower", "metric": "latency", "against": {"baseline": "june"}, "test": "NoWorseThan", "margin": "2%"},
    {"name": "as-june", "metric": "latency", "against": {"baseline": "june"}, "test": "Equivalent", "margin": "2%"},
    {"name": "below-2-s", "metric": "latency", "against": {"bound": "2.2s"}, "test": "AtMost"},
    {"name": "no-flicker", "metric": "flicker", "against": {"bound": "0.1"}, "test": "AtMost"},
]
MEANS = (2_000_000, 2_020_000, 1_990_000, 2_050_000)


def gated(shards: int, **changes: Any) -> Any:
    spec = run_spec(measurement={"shards": shards}, gates=GATES, baselines=[{"name": "june"}])
    scene = Scene.of(measurement={"shards": shards})
    one_run = {"run": RunReference(name="old", uid="uid-old")}
    results = {
        f"r{number}": earlier(scene, number, mean, shard=number + 1, **one_run) for number, mean in enumerate(MEANS)
    }
    return plan_run(observed_run(spec), knowledge(spec, **({"results": results} | changes)))


def test_a_gates_chance_is_that_of_its_interval_at_the_spread_of_earlier_shards() -> None:
    plan = gated(6)
    spread = math.sqrt(statistics.variance([math.log(mean) for mean in MEANS]))
    no_slower, as_june, below, flicker = plan.gates
    # The upper end of a two-sided 95 % interval below the margin; Equivalent has two one-sided tests at 0.05.
    assert no_slower.power == pytest.approx(power_of_pass(0.0, math.log(1.02), spread, 6, 0.95))
    assert as_june.power == pytest.approx(power_of_equivalence(0.0, math.log(1.02), spread, 6, 0.05))
    distance = 2_200_000 - sum(MEANS) / 4
    assert below.power == pytest.approx(
        power_of_difference(distance, spread * sum(MEANS) / 4, 6, 0.05, Design.PAIRED), abs=1e-6
    )
    # What fails the gate in 80 of 100 runs: worse than the margin by what the interval can tell apart from it.
    assert no_slower.finds is not None
    worse = math.log1p(no_slower.finds)
    assert power_of_failure(worse, math.log(1.02), spread, 6) == pytest.approx(0.8, abs=1e-4)
    assert below.finds is not None
    above = below.finds - 2_200_000
    assert power_of_difference(above, spread * sum(MEANS) / 4, 6, 0.05, Design.PAIRED) == pytest.approx(0.8, abs=1e-4)
    assert (flicker.power, flicker.shards, flicker.finds) == (None, None, None)
    assert "by prompt" in (flicker.reason or "")
    assert no_slower.shards is not None
    assert gated(no_slower.shards).gates[0].power >= 0.8 > gated(no_slower.shards - 1).gates[0].power


def test_a_gates_chance_against_a_baseline_is_that_of_the_shards_which_the_baseline_has() -> None:
    """More shards of the run alone do not make the baseline's interval narrower."""
    scene = Scene.of()
    june = [earlier(scene, number, 2_000_000 + number, shard=number) for number in (1, 2, 3)]
    spread = math.sqrt(statistics.variance([math.log(mean) for mean in MEANS]))
    plan = gated(12, baselines={"june": tuple(june)})
    no_slower, as_june, below, _ = plan.gates
    assert (no_slower.against, as_june.against, below.against) == (3, 3, None)
    assert no_slower.power == pytest.approx(power_of_pass(0.0, math.log(1.02), spread, 12, 0.95, against=3))
    assert as_june.power == pytest.approx(power_of_equivalence(0.0, math.log(1.02), spread, 12, 0.05, against=3))
    assert no_slower.finds is not None
    seen = power_of_difference(math.log1p(no_slower.finds) - math.log(1.02), spread, 12, against=3)
    assert seen == pytest.approx(0.8, abs=1e-4)
    assert no_slower.power < 0.5 < gated(12).gates[0].power
    assert no_slower.shards is None
    texts = [line.text for line in plan_page(plan).notes]
    assert any("baseline june: power is against the 3 shards" in text for text in texts)
    texts = [line.text for line in plan_page(gated(12)).notes]
    assert any("as many shards as planned are assumed" in text for text in texts)
    one = gated(12, baselines={"june": tuple(june[:1])}).gates[0]
    assert (one.power, one.shards) == (None, None)
    assert "the baseline has 1 shard of this cell" in (one.reason or "")


def test_the_margin_of_what_should_be_high_is_a_share_of_it() -> None:
    """The gate passes where 1 - ratio is below the margin: log(0.8), not -log(1.2), is the edge of 20 %."""
    gate = {"name": "fast", "metric": "videosPerHour", "against": {"baseline": "june"}, "test": "NoWorseThan"}
    gates = [
        gate | {"margin": "20%"},
        gate | {"name": "same", "test": "Equivalent", "margin": "20%"},
        gate | {"name": "any", "margin": "150"},
    ]
    spec = run_spec(measurement={"shards": 3}, gates=gates, baselines=[{"name": "june"}])
    scene, rates = Scene.of(measurement={"shards": 3}), (100.0, 120.0, 90.0, 110.0)
    one_run = {"run": RunReference(name="old", uid="uid-old")}
    results = {
        f"r{number}": earlier(scene, number, 1_000, shard=number + 1, figures=Figures(videos_per_hour=rate), **one_run)
        for number, rate in enumerate(rates)
    }
    fast, same, anything = plan_run(observed_run(spec), knowledge(spec, results=results)).gates
    spread = math.sqrt(statistics.variance([math.log(rate) for rate in rates]))
    assert fast.power == pytest.approx(power_of_pass(0.0, -math.log(0.8), spread, 3, 0.95))
    assert same.power == pytest.approx(power_of_equivalence(0.0, math.log(1.2), spread, 3, 0.05))
    assert fast.finds is not None
    assert power_of_difference(math.log(0.8) - math.log1p(fast.finds), spread, 3) == pytest.approx(0.8, abs=1e-4)
    assert (anything.power, anything.finds) == (None, None)
    assert "allows everything" in (anything.reason or "")


class Listing:
    """A cluster that lists these objects for these labels, and refuses to for others."""

    def __init__(self, held: dict[str, list[dict[str, Any]]]) -> None:
        self.held = held

    def find(self, resource: Any, *, namespace: str, labels: str) -> list[dict[str, Any]]:
        if labels not in self.held:
            raise ClusterError(f"you may not list {resource.plural} of {namespace} with {labels}")
        return self.held[labels]


def test_a_plan_reads_what_baselines_hold_and_leaves_out_what_it_may_not() -> None:
    chosen = {"name": "release", "selector": {"matchLabels": {"b": "2", "a": "1"}}}
    spec = run_spec(gates=GATES, baselines=[{"name": "june"}, chosen, {"name": "hidden"}])
    result = manifest_of(earlier(Scene.of(), 1, 2_000_000))
    cluster: Any = Listing({"vidbench.io/baseline=june": [result, {"metadata": {"name": "x"}}], "a=1,b=2": []})
    found = read_baselines(cluster, observed_run(spec), "lab")
    assert {name: len(results) for name, results in found.items()} == {"june": 1, "release": 0}


def test_a_planned_chance_to_pass_is_how_often_the_gate_passes() -> None:
    """Twice the same, 2,000 times, drawn with the spread that the plan saw; Welch's interval by scipy."""
    shards, repeats = 6, 2_000
    planned = gated(shards).gates[0]
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(repeats):
        drawn = np.exp(rng.normal(math.log(2e6), planned.spread.value, (2, shards)))
        low_high = stats.ttest_ind(*np.log(drawn), equal_var=False).confidence_interval(0.95)
        passed += low_high.high < math.log(1.02)
    assert passed / repeats == pytest.approx(planned.power, abs=0.035)


def test_a_gate_of_which_nothing_is_known_says_what_could_not_be_read() -> None:
    plan = gated(3, results=None, why={"ledger": "you may not list results"})
    assert [gate.power for gate in plan.gates] == [None] * 4
    assert plan.gates[0].reason == "you may not list results"
    assert "by prompt" in (plan.gates[3].reason or "")
    other_clip = ClipFacts(height=8, width=8, frames_requested=1, steps=1)
    scene = Scene.of()
    elsewhere = {f"r{n}": earlier(scene, n, mean, clip=other_clip) for n, mean in enumerate(MEANS)}
    assert "no earlier run" in (gated(3, results=elsewhere).gates[2].reason or "")


def test_the_page_shows_what_gates_can_expect() -> None:
    page = plan_page(gated(6))
    table = next(table for table in page.tables if table.title == "Gates")
    assert [row[0].text for row in table.rows] == [gate["name"] for gate in GATES]
    data = plan_data(gated(6))["gates"]
    assert [entry["gate"] for entry in data] == [gate["name"] for gate in GATES]
    assert 0 < data[0]["power"] < 1
    assert any("probability of Pass with these shards, if the truth is" in line.text for line in page.notes)

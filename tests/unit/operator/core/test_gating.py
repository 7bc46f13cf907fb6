"""What a run's status says of its gates: while it runs, when it has ended, and where nothing was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from lupa.luajit21 import LuaRuntime
from support.builders import NOW, Scene, latencies, observed_run, run_spec
from support.documented_pipelines import argo_health

from vidbench_api.figures import Figures
from vidbench_api.identity import result_name
from vidbench_api.measured import Environment
from vidbench_api.names import ConditionReason, Outcome, RowPhase, RunPhase, Validity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, Condition
from vidbench_operator.core.gating import MOST_BASELINE_RESULTS, selectors_of, states_something
from vidbench_operator.core.observed import Ledger
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.results import finished_shard
from vidbench_operator.core.status import failed_status, is_terminal

GATE: dict[str, Any] = {
    "name": "no-slower", "metric": "latency", "against": {"variant": "base"}, "test": "NoWorseThan", "margin": "2%",
}  # fmt: skip
STEADY = (10.0, 10.02, 9.98)
SLOW = (20.0, 20.02, 19.98)


def stage(shards: int = 3, **spec: Any) -> Scene:
    given = {"variants": ["base", "fast"], "measurement": {"shards": shards}, "gates": [GATE]} | spec
    return Scene.of(**given)


def measured(scene: Scene, **means: Sequence[float]) -> tuple[Scene, dict[str, BenchmarkResultSpec]]:
    """The scene in which the shards of variants have ended with these mean latencies, and their results by name."""
    results: dict[str, BenchmarkResultSpec] = {}
    for variant, seconds in means.items():
        cell = scene.cell_of("wan", variant=variant)
        for index, mean in enumerate(seconds, 1):
            spec = scene.result(
                cell,
                index,
                series=(latencies(round(mean * 1e6)),),
                environment=Environment(device="NVIDIA H100", gpu_uuid=f"GPU-{variant}-{index}"),
            )
            name = result_name(scene.run.name, cell.id, index)
            results[name] = spec
            changed = finished_shard(scene.shard(cell, index), name, spec, NOW + 60)
            fields = {key: getattr(changed, key) for key in type(changed).model_fields if key != "index"}
            scene = scene.with_shard(cell, index, **fields)
    return scene, results


def end(scene: Scene, results: dict[str, BenchmarkResultSpec], **ledger: Any) -> BenchmarkRunStatus:
    """The status after the pass that ends the run."""
    plan = scene.decide_live(at=70, results=results, ledger=Ledger(results, **ledger))
    assert plan.status is not None
    assert is_terminal(plan.status)
    return plan.status


def condition(status: BenchmarkRunStatus, kind: str) -> Condition:
    return next(entry for entry in status.conditions if entry.type == kind)


def states(status: BenchmarkRunStatus) -> dict[str, tuple[str, str]]:
    return {entry.type: (entry.status, entry.reason) for entry in status.conditions if entry.type != "Accepted"}


def test_a_run_asks_for_the_ledger_before_it_ends() -> None:
    scene, results = measured(stage(), base=STEADY, fast=STEADY)
    plan = scene.decide_live(at=70, results=results)
    assert plan == Plan(needs_ledger=True, results=plan.results)


def test_a_run_that_states_nothing_asks_for_nothing() -> None:
    scene, results = measured(stage(gates=[]), base=STEADY, fast=STEADY)
    plan = scene.decide_live(at=70, results=results)
    assert not plan.needs_ledger
    assert plan.status is not None
    assert is_terminal(plan.status)
    assert "GatesPassed" not in states(plan.status)
    assert (plan.status.gates, plan.status.gates_text) == ((), None)


def test_all_gates_passed() -> None:
    status = end(*measured(stage(), base=STEADY, fast=(9.0, 9.02, 8.98)))
    assert states(status) == {
        "GatesPassed": ("True", "AllPassed"),
        "Complete": ("True", "AllSucceeded"),
        "Failed": ("False", "AllSucceeded"),
        "Reconciling": ("False", "AllSucceeded"),
        "Ready": ("True", "AllSucceeded"),
        "Stalled": ("False", "AllSucceeded"),
    }
    (gate,) = status.gates
    assert (gate.verdict, gate.passed, gate.cells, status.gates_text) == ("Pass", 1, 1, "1/1")
    (evidence,) = gate.evidence
    assert (evidence.shards, evidence.against_shards, evidence.gpus, evidence.device) == (3, 3, 6, "NVIDIA H100")
    assert evidence.unit == "share"
    assert evidence.estimate == pytest.approx(-0.1, abs=0.01)
    assert evidence.low is not None
    assert evidence.high is not None
    assert evidence.low < evidence.estimate < evidence.high < 0
    assert "for NVIDIA H100 (6 GPUs)" in gate.message


def test_a_gate_on_an_interval_with_outliers_says_so() -> None:
    bound = {"name": "bound", "metric": "latency", "against": {"bound": "60s"}, "test": "AtMost"}
    scene, results = measured(stage(gates=[bound, GATE]), base=STEADY, fast=STEADY)
    assert all("outliers" not in gate.message for gate in end(scene, results).gates)
    slow = (latencies(*[10_000_000] * 9, 15_000_000),)
    name = next(name for name, spec in results.items() if spec.cell.variant == "fast")
    held = results | {name: results[name].model_copy(update={"series": slow})}
    first, second = end(scene, held).gates
    assert (first.verdict, first.passed) == ("Pass", 2)
    assert "; with outliers it may cover less) for" in first.message
    assert "; with outliers it may cover less) for" in second.message
    other = next(name for name, spec in results.items() if spec.cell.variant == "base")
    slower = results[other].model_copy(update={"series": slow})
    assert "intervals of 1 other cell are with outliers as well" in end(scene, held | {other: slower}).gates[0].message


def test_a_failed_gate_is_complete_and_stalled() -> None:
    scene, results = measured(stage(), base=STEADY, fast=SLOW)
    plan = scene.decide_live(at=70, results=results, ledger=Ledger(results))
    status = plan.status
    assert status is not None
    assert states(status) == {
        "GatesPassed": ("False", "GateFailed"),
        "Complete": ("True", "AllSucceeded"),
        "Failed": ("False", "AllSucceeded"),
        "Reconciling": ("False", "AllSucceeded"),
        "Ready": ("False", "GateFailed"),
        "Stalled": ("True", "GateFailed"),
    }
    assert (status.phase, status.gates_text, status.gates[0].verdict) == (RunPhase.SUCCEEDED, "0/1", "Fail")
    message = condition(status, "GatesPassed").message
    for words in ("0 of 1 gates passed", "no-slower", "wan/default/fast", "+100.0 %", "BeyondMargin"):
        assert words in message
    assert "gates passed" in (status.message or "")
    assert [event.reason for event in plan.events] == ["RunComplete", "GatesNotPassed"]


@pytest.mark.parametrize(
    ("lenient", "value", "reason", "ready", "text"),
    [("Fail", "False", "GateInconclusive", "False", "0/1"), ("Pass", "True", "AllPassed", "True", "1/1")],
)
def test_one_shard_is_inconclusive_and_counts_as_the_run_says(
    lenient: str, value: str, reason: str, ready: str, text: str
) -> None:
    scene = stage(1, gates=[GATE | {"onInconclusive": lenient}])
    status = end(*measured(scene, base=STEADY[:1], fast=STEADY[:1]))
    assert states(status)["GatesPassed"] == (value, reason)
    assert states(status)["Ready"][0] == ready
    (gate,) = status.gates
    assert (gate.verdict, gate.reason, status.gates_text) == ("Inconclusive", "OneShard", text)
    assert gate.evidence[0].decides
    assert gate.evidence[0].low is None


def test_a_cell_without_results_is_inconclusive() -> None:
    scene, results = measured(stage(), base=STEADY)
    cell = scene.cell_of("wan", variant="fast")
    for index in (1, 2, 3):
        scene = scene.with_shard(
            cell, index, phase=RowPhase.FINISHED, outcome=Outcome.FAILED, validity=Validity.INVALID, reason="NaNOutput"
        )
    status = end(scene, results)
    assert status.phase is RunPhase.PARTIALLY_SUCCEEDED
    assert states(status)["GatesPassed"] == ("False", "GateInconclusive")
    assert status.gates[0].reason == "NoResults"


def test_while_it_runs_gates_are_unknown_with_what_there_is() -> None:
    scene, results = measured(stage(), base=STEADY[:2], fast=SLOW[:1])
    plan = scene.decide_live(at=70, results=results)
    status = plan.status
    assert status is not None
    assert states(status)["GatesPassed"] == ("Unknown", "GatesPending")
    (gate,) = status.gates
    assert (gate.verdict, status.gates_text) == ("Unknown", "?/1")
    assert gate.message.startswith("3 of 6 shards have ended")
    (evidence,) = gate.evidence
    assert (evidence.estimate, evidence.shards, evidence.against_shards) == (pytest.approx(0.998, abs=1e-3), 1, 2)
    assert (evidence.low, evidence.high) == (None, None)


def test_looking_again_at_a_run_that_goes_on_writes_nothing() -> None:
    scene, _ = measured(stage(), base=STEADY[:2])
    first = scene.decide_live(at=70)
    assert first.status is not None
    again = scene.after(first).decide_live(at=70)
    assert again.status is None


@pytest.mark.parametrize("across", ["None", "Model", "Hardware", "Variant"])
def test_a_baseline_is_asked_for_by_labels_outcome_and_the_names_that_must_be_equal(across: str) -> None:
    spec = run_spec(
        variants=["b", "a"],
        baselines=[{"name": "old", "across": across}, {"name": "unused"}],
        gates=[GATE | {"against": {"baseline": "old"}}],
    )
    names = {
        "Model": "vidbench.io/model in (wan)",
        "Hardware": "vidbench.io/hardware in (default)",
        "Variant": "vidbench.io/variant in (a,b)",
    }
    first = ["vidbench.io/baseline=old", "vidbench.io/outcome=Succeeded", "vidbench.io/validity=Valid"]
    assert selectors_of(spec) == {"old": ",".join([*first, *(text for axis, text in names.items() if axis != across)])}


def test_a_baseline_of_ones_own_labels() -> None:
    labels = {"vidbench.io/run": "last-night", "team": "video"}
    spec = run_spec(
        baselines=[{"name": "old", "selector": {"matchLabels": labels}}],
        analysis={"hypotheses": [GATE | {"against": {"baseline": "old"}}]},
    )
    assert selectors_of(spec)["old"].startswith("team=video,vidbench.io/run=last-night,vidbench.io/outcome=Succeeded,")


def test_a_baseline_is_compared_with() -> None:
    scene = stage(baselines=[{"name": "old"}], gates=[GATE | {"against": {"baseline": "old"}}])
    scene, results = measured(scene, base=STEADY, fast=STEADY)
    old = tuple(
        spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "old"})})
        for spec in results.values()
        if spec.cell.variant == "base"
    )
    status = end(scene, results, baselines={"old": old})
    (gate,) = status.gates
    assert (gate.verdict, gate.reason, gate.passed, gate.cells) == ("Inconclusive", "NoBaseline", 1, 2)
    assert gate.evidence[0].verdict == "Inconclusive", "what decides comes first"


def test_hypotheses_decide_nothing() -> None:
    scene = stage(gates=[], analysis={"hypotheses": [GATE]})
    status = end(*measured(scene, base=STEADY, fast=SLOW))
    assert "GatesPassed" not in states(status)
    assert states(status)["Ready"] == ("True", "AllSucceeded")
    (found,) = status.hypotheses
    assert (found.verdict, found.role, status.gates_text) == ("Refuted", "Primary", None)
    assert found.evidence[0].p_ppm is not None
    assert found.evidence[0].p_ppm > 900_000


def test_a_run_that_ends_without_a_measurement_passes_no_gate() -> None:
    run = observed_run(run_spec(variants=["base", "fast"], gates=[GATE]))
    status = failed_status(run, ConditionReason.NO_CELLS, "no cell", NOW + 3)
    assert states(status)["GatesPassed"] == ("False", "NotEvaluated")
    assert states(status)["Stalled"] == ("True", "NoCells")
    assert (status.gates[0].verdict, status.gates_text) == ("Inconclusive", "0/1")


def test_a_cancelled_run_is_failed_whatever_its_gates_say() -> None:
    scene, results = measured(stage(cancel="Immediate"), base=STEADY, fast=(9.0, 9.02))
    status = end(scene, results)
    assert status.phase is RunPhase.CANCELLED
    assert states(status)["GatesPassed"] == ("True", "AllPassed"), "two shards of three were enough to decide"
    assert states(status)["Ready"] == ("False", "Cancelled")


def test_the_largest_evidence_fits_its_budget() -> None:
    """16 gates over 40 cells: each shows eight of them."""
    variants = ["base", *(f"v{number}" for number in range(40))]
    gates = [GATE | {"name": f"gate-{number}"} for number in range(16)]
    scene = Scene.of(variants=variants, measurement={"shards": 2}, gates=gates, analysis={"hypotheses": gates})
    scene, results = measured(scene, **dict.fromkeys(variants, STEADY[:2]))
    status = end(scene, results)
    assert {len(gate.evidence) for gate in status.gates} == {8}
    assert {gate.cells for gate in status.gates} == {40}
    wire = status.to_wire()
    size = len(json.dumps({"gates": wire["gates"], "hypotheses": wire["hypotheses"]}))
    assert size < 128 * 1024


def test_stating_something_is_gates_or_hypotheses() -> None:
    assert not states_something(run_spec(baselines=[{"name": "old"}]))
    assert states_something(
        run_spec(analysis={"hypotheses": [GATE | {"against": {"bound": "1s"}, "test": "AtMost", "margin": None}]})
    )
    assert MOST_BASELINE_RESULTS >= 600, "a whole run is a baseline"
    assert replace(stage().run).spec.gates


def test_the_worst_cell_comes_first_where_more_is_better() -> None:
    gate = GATE | {"metric": "videosPerHour"}
    scene, results = measured(
        stage(variants=["base", "fast", "slow"], gates=[gate]), base=STEADY, fast=(10.5, 10.52, 10.48), slow=SLOW
    )
    results = {
        name: spec.model_copy(
            update={"figures": Figures.model_construct(videos_per_hour=3.6e9 / spec.series[0].statistics.mean)}
        )
        for name, spec in results.items()
    }
    (found,) = end(scene, results).gates
    assert [entry.cell for entry in found.evidence] == [
        scene.cell_of("wan", variant=name).id for name in ("slow", "fast")
    ]
    assert "/slow: " in found.message


def test_a_supported_hypothesis_counts_the_cells_that_support_it() -> None:
    """One-sided 5 % is met where the two-sided interval of 95 % still holds the bound."""
    claim = {"name": "h", "metric": "latency", "against": {"bound": "10.013s"}, "test": "AtMost", "where": {"variants": ["base"]}}  # fmt: skip
    scene, results = measured(stage(4, analysis={"hypotheses": [claim]}), base=(10.0, 10.01, 9.985, 10.002), fast=(9.0, 9.1, 9.2, 9.3))  # fmt: skip
    (found,) = end(scene, results).hypotheses
    assert (found.verdict, found.supported, found.cells) == ("Supported", 1, 1)
    assert "1 of 1 cells pass" in found.message
    assert [entry.verdict for entry in found.evidence] == ["Pass"]


def argo_says(status: BenchmarkRunStatus | None) -> tuple[str, str]:
    """What Argo CD would show of a run, by the Lua of docs/gates.md."""
    lua = LuaRuntime()
    body = {} if status is None else {"status": json.loads(json.dumps(status.to_wire()))}
    health = lua.eval(f"function(obj) {argo_health()} end")(lua.table_from(body, recursive=True))
    return health["status"], health["message"]


def test_argo_cd_sees_what_the_conditions_say() -> None:
    assert argo_says(None) == ("Progressing", "waiting for the operator")
    scene, results = measured(stage(), base=STEADY[:2])
    running = scene.decide_live(at=70, results=results).status
    assert running is not None
    assert argo_says(running)[0] == "Progressing"
    passed = end(*measured(stage(), base=STEADY, fast=STEADY))
    assert argo_says(passed) == ("Healthy", condition(passed, "Ready").message)
    failed = end(*measured(stage(), base=STEADY, fast=SLOW))
    assert argo_says(failed) == ("Degraded", condition(failed, "Stalled").message)
    scene, results = measured(stage(suspend=True), base=STEADY[:2])
    held = scene.decide_live(at=70, results=results).status
    assert held is not None
    assert argo_says(held)[0] == "Suspended"

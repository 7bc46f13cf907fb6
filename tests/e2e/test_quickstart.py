"""The example that `make demo` applies, through chart, operator, kubelet and real pipelines: is every figure true?"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
import yaml
from bench.report import provenance, write
from support.e2e_cluster import E2ECluster, RunView
from support.e2e_quickstart import FAILED_CELLS, MEASURED_CELLS, Quickstart
from support.shared_cores import is_valid_but_for_the_machine
from typer.testing import CliRunner

from demo import steps
from vidbench_api.measured import SeriesName
from vidbench_api.names import ANNOTATION_SECONDS, LABEL_RUN, Outcome, RunPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_cli.app import app

PHASES = (
    SeriesName.PREPARE,
    SeriesName.TEXT_ENCODE,
    SeriesName.IMAGE_ENCODE,
    SeriesName.DENOISE,
    SeriesName.VAE_DECODE,
    SeriesName.AUDIO,
    SeriesName.POSTPROCESS,
    SeriesName.OTHER,
)
SAMPLES = 5
GUIDED_CALLS_PER_STEP = 2
"""Wan guides by default: the denoiser is called with and without the prompt at every step."""


def test_quickstart_measures_four_cells_and_names_why_two_failed(quickstart: Quickstart) -> None:
    view = quickstart.view
    assert view.status.phase is RunPhase.PARTIALLY_SUCCEEDED
    assert view.condition("Complete") == "True"
    assert view.condition("Failed") == "False"
    assert {name: (result.outcome, result.reason) for name, result in view.results.items()} == {
        **dict.fromkeys(MEASURED_CELLS, (Outcome.SUCCEEDED, None)),
        **dict.fromkeys(FAILED_CELLS, (Outcome.FAILED, "ModelLoadFailed")),
    }


def test_quickstart_failures_cost_one_attempt_and_say_which_folder(quickstart: Quickstart) -> None:
    for name in FAILED_CELLS:
        result = quickstart.view.results[name]
        assert result.attempts == 1
        assert "/models/broken" in (result.message or "")


def test_quickstart_figures_of_every_row_are_those_of_its_result(quickstart: Quickstart) -> None:
    for name, result in quickstart.view.results.items():
        row = quickstart.view.row(name)
        latency = result.find_series(SeriesName.LATENCY)
        assert (row.outcome, row.reason, row.shards[0].result) == (
            result.outcome,
            result.reason,
            f"quickstart-{row.id}-1",
        )
        if latency is None:
            assert (row.latency_microseconds, row.spread_microseconds, row.samples) == (None, None, None)
            continue
        assert row.latency_microseconds == round(latency.statistics.mean)
        assert row.spread_microseconds == round(latency.statistics.standard_deviation or -1)
        assert row.samples == latency.statistics.count
        assert result.memory is not None
        assert result.memory.host is not None
        assert (row.memory_mebibytes, row.memory_of) == (round(result.memory.host / 2**20), "Host")


def test_quickstart_results_are_valid_and_complete(quickstart: Quickstart) -> None:
    for name in MEASURED_CELLS:
        result = quickstart.view.results[name]
        assert is_valid_but_for_the_machine(result.validity), result.validity
        latency = result.find_series(SeriesName.LATENCY)
        assert latency is not None
        assert (latency.statistics.count, len(latency.values), result.samples_done) == (SAMPLES, SAMPLES, SAMPLES)
        assert latency.statistics.standard_deviation
        assert result.columns_dropped == ()


def test_quickstart_absent_energy_has_its_reason(quickstart: Quickstart) -> None:
    for name in MEASURED_CELLS:
        result = quickstart.view.results[name]
        assert result.find_series(SeriesName.ENERGY) is None
        assert result.unmeasured.get("energy"), result.unmeasured


@pytest.mark.parametrize("variant", ["short", "long"])
def test_mid_size_phases_sum_to_the_latency_and_little_is_unexplained(quickstart: Quickstart, variant: str) -> None:
    means = _means(quickstart.view.results[f"mid-wan/cpu/{variant}"])
    latency = means[SeriesName.LATENCY]
    phases = {name: means[name] for name in PHASES if name in means}
    # Means are rounded to a thousandth of a microsecond each.
    assert sum(phases.values()) == pytest.approx(latency, abs=0.01)
    assert phases[SeriesName.OTHER] <= 0.02 * latency
    assert phases[SeriesName.DENOISE] > 0.5 * latency, "a mid-size model on a CPU mostly denoises"
    assert latency > 500_000, "figures of the mid-size model are to be far above the clock's and the scheduler's grain"


@pytest.mark.parametrize(("variant", "steps"), [("short", 2), ("long", 4)])
def test_mid_size_modules_are_called_as_often_as_they_should_be(
    quickstart: Quickstart, variant: str, steps: int
) -> None:
    result = quickstart.view.results[f"mid-wan/cpu/{variant}"]
    expected = {
        SeriesName.DENOISER_CALLS: GUIDED_CALLS_PER_STEP * steps,
        SeriesName.TEXT_ENCODE_CALLS: 2,
        SeriesName.VAE_DECODE_CALLS: 1,
    }
    for name, calls in expected.items():
        series = result.find_series(name)
        assert series is not None, name
        # Hooks of the first video may be gone for later ones, so the first alone proves nothing.
        assert (series.values[0], series.values[2]) == (calls, calls), name
        assert result.expected_calls[name.value] == calls


def test_twice_the_steps_take_longer_to_denoise(quickstart: Quickstart) -> None:
    # The fastest sample of each: whatever else runs on this machine can only make one slower.
    short, long = (
        quickstart.view.results[f"mid-wan/cpu/{variant}"].find_series(SeriesName.DENOISE)
        for variant in ("short", "long")
    )
    assert short is not None
    assert long is not None
    assert long.statistics.min > 1.4 * short.statistics.min


def test_quickstart_delivers_as_many_frames_as_were_asked_for(quickstart: Quickstart) -> None:
    for name in MEASURED_CELLS:
        result = quickstart.view.results[name]
        assert result.clip is not None
        assert (result.clip.frames_requested, result.clip.frames_delivered) == (9, 9)


def test_quickstart_results_say_where_they_come_from(quickstart: Quickstart) -> None:
    view = quickstart.view
    for result in view.results.values():
        assert result.run.uid == view.uid
        assert result.request_digest == view.status.request_digest
        assert result.origin.pod_uid
        assert result.origin.node
        assert result.origin.image_id
    assert len({result.origin.pod_uid for result in view.results.values()}) == len(view.results)


def test_quickstart_never_ran_two_cells_at_once(quickstart: Quickstart) -> None:
    spans = sorted((result.origin.started_at, result.origin.finished_at) for result in quickstart.view.results.values())
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans)), spans  # type: ignore[operator]


def test_operator_served_the_run_without_a_warning(quickstart: Quickstart) -> None:
    mine = f"{quickstart.namespace}/quickstart"
    lines = [line for line in quickstart.operator_log if line.get("run", mine) == mine]
    assert any("run" in line for line in lines)
    assert [line for line in lines if line["level"] not in ("debug", "info")] == []


def _means(result: BenchmarkResultSpec) -> dict[SeriesName, float]:
    return {series.name: series.statistics.mean for series in result.series}


def test_quickstart_names_its_fastest_cell(quickstart: Quickstart) -> None:
    view: RunView = quickstart.view
    latencies = {name: _means(view.results[name])[SeriesName.LATENCY] for name in MEASURED_CELLS}
    fastest = min(latencies, key=lambda name: latencies[name])
    assert view.status.fastest is not None
    assert view.status.fastest.text.startswith(fastest)
    assert view.status.fastest.latency_microseconds == round(latencies[fastest])


def test_what_a_plan_expects_of_the_ledger_is_printed_beside_what_it_takes(
    cluster: E2ECluster, quickstart: Quickstart, tmp_path: Path
) -> None:
    """Two of the cells again, as a run of another name: the plan knows their times from the quickstart."""
    objects = list(yaml.safe_load_all((steps.ROOT / "examples/quickstart.yaml").read_text()))
    run = next(entry for entry in objects if entry["kind"] == "BenchmarkRun")
    run["metadata"]["name"] = "again"
    run["spec"]["models"] = [{"name": "tiny-ltx"}]
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(run))
    where = ["-n", quickstart.namespace, "--kubeconfig", str(cluster.kubeconfig)]
    answer = CliRunner().invoke(app, ["plan", "-f", str(file), "-o", "json", *where], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    cells = json.loads(answer.stdout)["cells"]
    assert [cell["secondsPerShard"]["source"].split(":")[0] for cell in cells] == ["ledger"] * 2
    cluster.apply(run | {"metadata": run["metadata"] | {"namespace": quickstart.namespace}})
    cluster.wait_until_ended(quickstart.namespace, "again", 180)
    found = cluster.objects("BenchmarkResult", quickstart.namespace, f"{LABEL_RUN}=again")
    took = sum(int(entry["metadata"]["annotations"][ANNOTATION_SECONDS]) for entry in found)
    cluster.kubectl("delete", "br", "again", "-n", quickstart.namespace)
    expected = sum(cell["secondsPerShard"]["value"] for cell in cells)
    figures = {"expectedSeconds": expected, "takenSeconds": took, "ratio": round(expected / took, 3)}
    write("plan", {"benchmark": "plan", **provenance(os.getloadavg()[0]), "shards": len(found), **figures})
    print(f"\nplan: {expected:.0f} s expected, {took} s taken: ratio {expected / took:.3f}")
    assert 1 / 3 < expected / took < 3, "the same work on the same node: something else was estimated"

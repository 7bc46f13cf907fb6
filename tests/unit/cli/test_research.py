"""`vidbench research`: reports of runs whose truth is known, byte by byte the same, and plans that promise what power is."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.builders import Scene, latencies
from support.kubeconfigs import closed_port, write_kubeconfig
from support.ledgers import cell_of_run, manifest_of, shard_of
from typer.testing import CliRunner

from vidbench_analysis.power import Design, power_of_difference, power_of_equivalence, power_of_pass
from vidbench_api.measured import QualityFacts, Series, SeriesName, Statistics
from vidbench_cli.app import app

BASE = (10.00, 10.02, 9.98, 10.01)
FAST = (11.02, 10.98, 11.01, 11.00)
SPEC: dict[str, Any] = {
    "models": [{"name": "wan"}],
    "hardware": [{"name": "h100"}],
    "variants": [{"name": "short"}, {"name": "fast"}],
    "workload": {"prompts": [{"id": "cat", "text": "A cat & a dog"}], "seeds": {"base": 0, "count": 3}},
    "measurement": {"shards": 4},
    "baselines": [{"name": "june"}],
    "analysis": {
        "hypotheses": [
            {
                "name": "fast-is-no-worse",
                "metric": "latency",
                "where": {"variants": ["fast"]},
                "against": {"variant": "short"},
                "test": "NoWorseThan",
                "margin": "2%",
            },
            {
                "name": "as-in-june",
                "metric": "latency",
                "where": {"variants": ["short"]},
                "against": {"baseline": "june"},
                "test": "Equivalent",
                "margin": "2%",
            },
            {
                "name": "below-10-and-a-half",
                "role": "Secondary",
                "metric": "latency",
                "against": {"bound": "10.5s"},
                "test": "AtMost",
            },
        ]
    },
}


def run_manifest(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "vidbench.io/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": "nightly", "namespace": "lab", "uid": "uid-of-nightly"},
        "spec": SPEC | changes,
    }


def ledger_items() -> list[dict[str, Any]]:
    """Fast is 10 % slower than short, which is as it was in June; one shard ran out of memory."""
    items = [manifest_of(spec) for spec in cell_of_run(BASE, variant="short")]
    items += [manifest_of(spec) for spec in cell_of_run(FAST, variant="fast")]
    items += [manifest_of(shard_of(None, variant="fast", shard=9))]
    items += [manifest_of(spec, baseline="june") for spec in cell_of_run(tuple(reversed(BASE)), run="june-run")]
    return items


def write(path: Path, items: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return str(path)


def report(*words: str) -> str:
    done = CliRunner().invoke(app, ["research", "report", *words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def line_of(text: str, *beginnings: str) -> list[str]:
    """The cells of the first line of a Markdown table that begins so."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and cells[: len(beginnings)] == list(beginnings):
            return cells
    raise AssertionError(f"no line {beginnings} in\n{text}")


def test_a_report_says_what_was_found(tmp_path: Path) -> None:
    text = report("nightly", "--from", write(tmp_path / "l.json", [run_manifest(), *ledger_items()]))
    assert line_of(text, "fast-is-no-worse", "Primary", "Refuted")[3] == "0 of 1"
    assert line_of(text, "as-in-june", "Primary", "Supported")[3] == "1 of 1"
    assert line_of(text, "below-10-and-a-half", "Secondary", "Refuted")[3] == "1 of 2"
    evidence = [cell.replace("\\", "") for cell in line_of(text, "fast-is-no-worse", "wan/h100/fast")]
    assert evidence[2].startswith("+10.0 % (+9.")
    assert (evidence[3], evidence[7]) == ("4 and 4", "Fail")
    assert float(evidence[6]) > 5
    assert line_of(text, "wan/h100/fast")[1].startswith("11.00 s")
    assert "OutOfMemoryCuda" in text
    assert "Of 9 results of 2 cells 8 count" in text.replace("\\", "")
    assert "2026-01-02T03:01:00Z to 2026-01-02T03:09:30Z" in text
    assert "A cat" not in text


def test_corrected_p_are_never_smaller_and_are_corrected_within_a_role(tmp_path: Path) -> None:
    noisy = (10.0, 10.3, 9.8, 10.1)
    items = [manifest_of(spec) for spec in cell_of_run(noisy, variant="short")]
    items += [manifest_of(spec) for spec in cell_of_run((10.1, 9.9, 10.2, 10.0), variant="fast")]
    items += [manifest_of(spec, baseline="june") for spec in cell_of_run((10.05, 9.85, 10.2, 10.1), run="june-run")]
    spec = {"analysis": SPEC["analysis"]}
    text = report("nightly", "--from", write(tmp_path / "l.json", [run_manifest(**spec), *items]))
    rows = [
        line_of(text, name, cell)
        for name, cell in (("fast-is-no-worse", "wan/h100/fast"), ("as-in-june", "wan/h100/short"))
    ]
    raw, corrected = ([float(row[column]) for row in rows] for column in (4, 5))
    assert max(raw) > 0.01
    assert min(corrected) == pytest.approx(2 * min(raw), abs=0.0011)
    assert max(corrected) == pytest.approx(max(*raw, 2 * min(raw)), abs=0.0011)


@pytest.mark.parametrize("language", ["markdown", "latex"])
def test_the_same_input_gives_the_same_bytes_in_whatever_order(tmp_path: Path, language: str) -> None:
    items = ledger_items()
    first = report("nightly", "--as", language, "--from", write(tmp_path / "l.json", [run_manifest(), *items]))
    random.Random(7).shuffle(items)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, item in enumerate([*items, run_manifest()]):
        (folder / f"{number:02d}.json").write_text(json.dumps(item))
    again = tmp_path / "report"
    report("nightly", "--as", language, "--from", str(folder), "--to", str(again))
    assert again.read_text(encoding="utf-8") == first
    assert len(first) > 3_000


def test_another_figure_gives_another_digest(tmp_path: Path) -> None:
    def digest(items: list[dict[str, Any]]) -> str:
        text = report("nightly", "--from", write(tmp_path / "l.json", [run_manifest(), *items]))
        return next(
            line for line in text.splitlines() if "SHA\\-256 of the results" in line or "SHA-256 of the results" in line
        )

    changed = ledger_items()
    changed[0]["spec"]["series"][0]["values"][0] += 1
    assert digest(ledger_items()) != digest(changed)


def test_without_hypotheses_all_is_exploratory_and_said_so(tmp_path: Path) -> None:
    text = report(
        "nightly", "--from", write(tmp_path / "l.json", [run_manifest(analysis={}, baselines=[]), *ledger_items()])
    )
    assert "No hypothesis was registered" in text
    assert "Tests of the hypotheses" not in text
    assert line_of(text, "wan/h100", "fast", "latency")[7] == "Worse"


def test_one_shard_and_few_gpus_are_limits(tmp_path: Path) -> None:
    items = [
        manifest_of(shard_of(10.0, variant="short")),
        *[manifest_of(s) for s in cell_of_run((10.0, 10.1), variant="fast")],
    ]
    text = report("nightly", "--from", write(tmp_path / "l.json", [run_manifest(analysis={}, baselines=[]), *items]))
    assert "**One process**: wan/h100/short" in text
    assert "**These GPUs**: wan/h100/fast" in text
    assert line_of(text, "wan/h100", "fast", "latency")[8] == "OneShard"


def plan(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["research", "plan", *words, "-o", "json"])
    assert done.exit_code == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_plan_shows_the_power_that_the_spread_of_earlier_runs_allows(tmp_path: Path) -> None:
    earlier = [manifest_of(spec) for spec in cell_of_run((10.0, 10.2, 9.9, 10.1), run="old", variant="fast")]
    manifest = tmp_path / "run.json"
    manifest.write_text(json.dumps(run_manifest()))
    rows = plan("-f", str(manifest), "--from", write(tmp_path / "l.json", earlier))
    found = {(row["hypothesis"], row["cell"]["variant"]): row for row in rows}
    fast = found["fast-is-no-worse", "fast"]
    logs = [math.log(value) for value in (10.0, 10.2, 9.9, 10.1)]
    mean = sum(logs) / 4
    spread = math.sqrt(sum((value - mean) ** 2 for value in logs) / 3)
    assert fast["spread"] == pytest.approx(spread, rel=1e-4)
    assert fast["spreadFrom"] == {"shards": 4, "runs": 1}
    # Two primary tests: each at 0.025, one-sided.
    assert fast["alpha"] == pytest.approx(0.025)
    assert fast["power"] == pytest.approx(power_of_pass(0.0, math.log(1.02), spread, 4, 0.95), abs=1e-3)
    shards = fast["shardsNeeded"]
    assert power_of_pass(0.0, math.log(1.02), spread, shards, 0.95) >= 0.8
    assert power_of_pass(0.0, math.log(1.02), spread, shards - 1, 0.95) < 0.8
    bound = found["below-10-and-a-half", "fast"]
    chance = power_of_difference(0.45, spread * 10.05, 4, 2 * bound["alpha"], Design.PAIRED)
    assert bound["power"] == pytest.approx(chance, abs=1e-3)
    # Of the other cell nothing is known, and nothing is guessed.
    unknown = found["as-in-june", "short"]
    assert (unknown["power"], unknown["shardsNeeded"], unknown["spread"]) == (None, None, None)
    assert unknown["reason"] == "no earlier run of this cell has two valid shards with this metric"


def test_a_plan_counts_the_shards_that_a_baseline_has(tmp_path: Path) -> None:
    earlier = [manifest_of(spec, baseline="june") for spec in cell_of_run((10.0, 10.2), run="june-run")]
    earlier += [manifest_of(spec) for spec in cell_of_run((10.0, 10.2, 9.9, 10.1), run="old")]
    manifest = tmp_path / "run.json"
    manifest.write_text(json.dumps(run_manifest()))
    words = ("-f", str(manifest), "--from", write(tmp_path / "l.json", earlier))
    row = next(row for row in plan(*words) if row["hypothesis"] == "as-in-june")
    chance = power_of_equivalence(0.0, math.log(1.02), row["spread"], 4, row["alpha"], against=2)
    assert (row["againstShards"], row["power"]) == (2, pytest.approx(chance, abs=1e-3))


def test_a_spread_may_be_assumed_and_is_called_so(tmp_path: Path) -> None:
    manifest = tmp_path / "run.json"
    manifest.write_text(json.dumps(run_manifest()))
    words = ["-f", str(manifest), "--from", write(tmp_path / "l.json", [manifest_of(shard_of(1.0, model="other"))])]
    rows = plan(*words, "--spread", "1%")
    assert rows[0]["spreadFrom"] == {"shards": 0, "runs": 0}
    assert 0 < rows[0]["power"] < 1
    assert "assumed" in CliRunner().invoke(app, ["research", "plan", *words, "--spread", "1%"]).stdout
    bound = next(row for row in rows if row["hypothesis"] == "below-10-and-a-half")
    assert (bound["power"], bound["reason"]) == (None, "a bound needs an earlier mean")


def test_a_report_reads_standard_input_as_it_reads_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "l.json", [run_manifest(), *ledger_items()])
    piped = CliRunner().invoke(app, ["research", "report", "nightly", "--from", "-"], input=Path(file).read_text())
    assert piped.exit_code == 0, piped.stderr
    assert piped.stdout == report("nightly", "--from", file)


def test_mistakes_are_named(tmp_path: Path) -> None:
    ledger = write(tmp_path / "l.json", [run_manifest(), *ledger_items()])
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(run_manifest(analysis={})))
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(run_manifest(models=[])))
    cases = (
        (["plan"], "give the name of a run"),
        (["report"], "give the name of a run"),
        (["plan", "-f", str(bare), "--from", ledger], "names no hypothesis"),
        (["plan", "-f", str(broken), "--from", ledger], "spec.models"),
        (["plan", "nightly", "--from", ledger, "--spread", "5"], "is no share"),
        (["report", "weekly", "--from", ledger], "there are 0 BenchmarkRuns weekly"),
        (["report", "nightly", "--from", ledger, "-m", "speed"], "is no metric"),
        (["report", "nightly", "--from", ledger, "--to", str(tmp_path / "no" / "where")], "cannot be written"),
    )
    for words, said in cases:
        done = CliRunner().invoke(app, ["research", *words])
        assert done.exit_code == 2, (words, done.output)
        assert said in done.stderr, words


def test_a_plan_of_a_manifest_needs_no_cluster_and_a_report_does(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", f"https://127.0.0.1:{closed_port()}")
    done = CliRunner().invoke(app, ["research", "report", "nightly", "--kubeconfig", kubeconfig])
    assert done.exit_code == 3
    assert "no cluster answers" in done.stderr


def test_a_folder_of_a_local_run_is_read_with_its_prompts(tmp_path: Path) -> None:
    """Quality counts by prompt: without the request document there is no interval, with it there is."""
    prompts = [{"id": name, "text": f"A {name} walks."} for name in ("cat", "dog", "owl")]
    scene = Scene.of(models=["wan"], workload={"prompts": prompts, "seeds": {"base": 0, "count": 1}})
    flicker = Series(
        name=SeriesName.FLICKER, unit="partsPerMillion", statistics=Statistics.of([50, 60, 73]), values=(50, 60, 73)
    )
    facts = QualityFacts(comparable=True, microseconds=1)
    spec = scene.result(series=(latencies(2_000_000, 2_100_000, 2_200_000), flicker), quality=facts)
    folder = tmp_path / "nightly"
    (folder / "results").mkdir(parents=True)
    run = {"kind": "BenchmarkRun", "metadata": {"name": "nightly"}, "spec": scene.run.spec.to_wire()}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    (folder / "run.json").write_text(json.dumps(run | {"metadata": {"name": "nightly", "uid": scene.run.uid}}))
    (folder / "results" / "one.json").write_text(json.dumps(manifest_of(spec)))
    (folder / "events.jsonl").write_text('{"half": ')
    words = ["nightly", "--from", str(folder), "-m", "flicker"]
    assert line_of(report(*words), "wan/default/default")[6] == "PromptsUnknown"
    (folder / "request.json").write_text(scene.document.to_text())
    found = line_of(report(*words), "wan/default/default")
    assert found[1].startswith("61.00 ppm")
    assert found[6] == ""

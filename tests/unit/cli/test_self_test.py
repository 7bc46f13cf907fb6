"""`vidbench self-test`: a cell against itself, and what that allows to claim."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.builders import Scene, latencies
from support.ledgers import cell_of_run, manifest_of, shard_of
from typer.testing import CliRunner

from vidbench_analysis.power import power_of_difference
from vidbench_api.identity import digest_of
from vidbench_api.measured import QualityFacts, Series, SeriesName, Statistics
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_cli.app import app

SAME = digest_of("the same")
FIRST = (10.0, 10.1, 9.9, 10.05, 9.95)
SECOND = (10.02, 9.93, 10.07, 9.97, 10.01)


def twins(first: tuple[float, ...], second: tuple[float, ...], **changes: Any) -> list[BenchmarkResultSpec]:
    fields = {"generation_hash": SAME} | changes
    return [
        *cell_of_run(first, variant="first", **fields),
        *(
            shard_of(mean, shard=number, gpu=f"GPU-other-{number}", variant="second", **fields)
            for number, mean in enumerate(second, 1)
        ),
    ]


def invoke(tmp_path: Path, results: list[BenchmarkResultSpec], *words: str) -> Any:
    ledger = tmp_path / "l.json"
    ledger.write_text(json.dumps({"items": [manifest_of(spec) for spec in results]}))
    return CliRunner().invoke(app, ["self-test", "--run", "nightly", "--from", str(ledger), *words])


def test_a_quiet_cell_says_which_effect_may_be_claimed(tmp_path: Path) -> None:
    done = invoke(tmp_path, twins(FIRST, SECOND), "-o", "json", "-m", "latency")
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["quiet"], row["shards"]) == (True, 5)
    assert row["ratio"]["low"] < 1 < row["ratio"]["high"]
    # With the effect that it says these shards see it in four of five experiments, by the definition of power.
    assert power_of_difference(math.log1p(row["smallestEffect"]), row["spread"], 5) == pytest.approx(0.80, abs=1e-6)
    assert row["shardsNeeded"]["1%"] > row["shardsNeeded"]["2%"] >= row["shardsNeeded"]["5%"] >= 2


def test_a_cell_that_differs_from_itself_may_claim_no_less_than_that(tmp_path: Path) -> None:
    done = invoke(tmp_path, twins(FIRST, tuple(1.08 * seconds for seconds in SECOND)), "-o", "json", "-m", "latency")
    (row,) = json.loads(done.stdout)
    assert row["quiet"] is False
    assert row["smallestEffect"] >= 0.08
    assert row["smallestEffect"] == pytest.approx(row["ratio"]["high"] - 1)
    shown = invoke(tmp_path, twins(FIRST, tuple(1.08 * seconds for seconds in SECOND)))
    assert "a cell differed from itself" in shown.stdout


def test_one_shard_each_claims_nothing(tmp_path: Path) -> None:
    done = invoke(tmp_path, twins((10.0,), (10.1,)), "-o", "json", "-m", "latency")
    (row,) = json.loads(done.stdout)
    assert (row["quiet"], row["smallestEffect"], row["reason"]) == (None, None, "OneShard")


def test_variants_that_differ_are_no_self_test(tmp_path: Path) -> None:
    results = [*cell_of_run(FIRST, variant="first"), *cell_of_run(SECOND, variant="second")]
    done = invoke(tmp_path, results)
    assert done.exit_code == 2
    assert "no two variants that ask for the same" in done.stderr


def test_the_run_that_it_applies_has_one_cell_twice() -> None:
    words = ["wan21-1-3b", "--dry-run", "--random-weights", "-l", "nvidia.com/gpu.product=H100", "--shards", "3"]
    done = CliRunner().invoke(app, ["self-test", *words])
    assert done.exit_code == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    spec = BenchmarkRunSpec.model_validate(manifest["spec"])
    first, second = spec.variants
    assert first.model_copy(update={"name": "x"}) == second.model_copy(update={"name": "x"})
    assert (spec.measurement.shards, spec.models[0].weights) == (3, "Random")
    assert spec.hardware[0].node_selector == {"nvidia.com/gpu.product": "H100"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a model to measure, or --run NAME"),
        (["wan", "--run", "x"], "give a model to measure, or --run NAME"),
        (["wan", "--from", "l.json", "--dry-run"], "leave out --from"),
        (["--run", "x", "--shards", "5"], "--shards: of a run that is applied"),
        (["--run", "x", "-l", "a=b", "--follow", "--name", "y"], "--name, --selector, --follow: of a run"),
        (["--run", "x", "--dry-run", "--random-weights", "--gpus", "1"], "--gpus, --random-weights, --dry-run: of a"),
        (["--run", "x", "--runner-class", "y", "--samples", "5"], "--runner-class, --samples: of a run"),
        (["wan", "-m", "energy", "--margin", "1%"], "--metric, --margin: of the result that is shown"),
        (["wan", "-o", "json", "--dry-run", "--follow"], "--output: of the result that is shown"),
        (["Not A Model", "--dry-run"], "spec.models.0.name"),
        (["wan", "-l", "gpu", "--dry-run"], "is no label"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["self-test", *words])
    assert done.exit_code == 2
    assert said in done.stderr


def test_quality_of_twins_is_compared_by_prompt(tmp_path: Path) -> None:
    prompts = [{"id": name, "text": f"A {name}."} for name in ("cat", "dog", "owl")]
    workload = {"prompts": prompts, "seeds": {"base": 0, "count": 1}}
    scene = Scene.of(variants=["first", "second"], workload=workload)
    columns = {"first": (50, 60, 73), "second": (51, 58, 74)}
    items = []
    for cell in scene.document.cells:
        values = columns[cell.variant]
        flicker = Series(
            name=SeriesName.FLICKER, unit="partsPerMillion", statistics=Statistics.of(values), values=values
        )
        series = (latencies(2_000_000, 2_100_000, 2_200_000), flicker)
        items.append(
            manifest_of(scene.result(cell, series=series, quality=QualityFacts(comparable=True, microseconds=1)))
        )
    (tmp_path / "results.json").write_text(json.dumps({"items": items}))
    words = ["self-test", "--run", "nightly", "--from", str(tmp_path), "-m", "flicker", "-o", "json"]
    (row,) = json.loads(CliRunner().invoke(app, words).stdout)
    assert (row["quiet"], row["reason"]) == (None, "PromptsUnknown")
    (tmp_path / "request.json").write_text(scene.document.to_text())
    (row,) = json.loads(CliRunner().invoke(app, words).stdout)
    assert (row["quiet"], row["reason"]) == (True, "WideInterval")


def test_a_margin_of_one_metric_leaves_the_others_theirs(tmp_path: Path) -> None:
    """The cell differs from itself by 1.5 %: with 5 % that does not matter, with 2 % it may."""

    def is_quiet(*words: str) -> bool:
        done = invoke(tmp_path, twins(FIRST, tuple(1.015 * seconds for seconds in SECOND)), "-o", "json", *words)
        assert done.exit_code == 0, done.output
        return bool({row["metric"]: row["quiet"] for row in json.loads(done.stdout)}["latency"])

    assert not is_quiet()
    assert not is_quiet("--margin", "energy=5%")
    assert not is_quiet("-m", "memory,latency", "--margin", "memory=5%")
    assert is_quiet("--margin", "5%")
    assert is_quiet("--margin", "latency=5%")

"""`vidbench compare` on results whose truth is known, and what it says to a person who asks amiss."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from support.builders import Scene, latencies
from support.kubeconfigs import closed_port, write_kubeconfig
from support.ledgers import cell_of_run, manifest_of, shard_of
from typer.testing import CliRunner

from vidbench_analysis.metrics import find_metric
from vidbench_api.identity import request_name
from vidbench_api.measured import ClipFacts, QualityFacts, Series, SeriesName, Statistics
from vidbench_api.names import Comparability, RowPhase
from vidbench_api.result import BenchmarkResultSpec, RunReference
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, ShardStatus
from vidbench_cli.app import app
from vidbench_cli.cluster import Cluster
from vidbench_cli.errors import NotFoundError
from vidbench_cli.ledger import ClusterLedger
from vidbench_cli.prompts import find_samples
from vidbench_store.location import find_location
from vidbench_store.store import Store

BASE = (10.00, 10.02, 9.98, 10.01)
SLOWER = tuple(seconds * 1.10 for seconds in BASE)


def write_ledger(path: Path, results: Iterable[BenchmarkResultSpec], **labels: Any) -> str:
    items = [manifest_of(spec, **labels) for spec in results]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return str(path)


def compare(ledger: str, *words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["compare", *words, "--from", ledger, "-o", "json"])
    assert done.exit_code == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Run `after` is 10 % slower than `before` in one cell, the same in the other."""
    results = [
        *cell_of_run(BASE, run="before"),
        *cell_of_run(BASE, run="before", variant="long"),
        *cell_of_run(SLOWER, run="after"),
        *cell_of_run(tuple(reversed(BASE)), run="after", variant="long"),
    ]
    return write_ledger(tmp_path / "ledger.json", results)


def test_a_run_that_is_ten_percent_slower_is_worse(ledger: str) -> None:
    rows = {(row["cell"]["variant"], row["metric"]): row for row in compare(ledger, "before", "after")}
    slow = rows["short", "latency"]
    assert slow["verdict"] == "Worse"
    assert slow["ratio"]["value"] == pytest.approx(1.10, rel=1e-4)
    assert slow["ratio"]["low"] < 1.10 < slow["ratio"]["high"]
    assert slow["pHolm"] >= slow["p"]
    assert rows["long", "latency"]["verdict"] == "Equivalent"
    # Memory is the same to the byte, energy was not measured and gets no line.
    assert rows["short", "memory"]["verdict"] == "Identical"
    assert {metric for _, metric in rows} == {"latency", "memory"}


def test_the_other_way_round_it_is_better(ledger: str) -> None:
    row = compare(ledger, "after:wan/h100/short", "before:wan/h100/short", "-m", "latency")[0]
    assert (row["verdict"], row["cell"]) == ("Better", {})
    assert row["ratio"]["value"] == pytest.approx(1 / 1.10, rel=1e-4)


def test_variants_within_a_run_are_matched_by_model_and_hardware(ledger: str) -> None:
    (row,) = compare(ledger, "after", "--by", "variant", "-m", "latency", "--against", "long")
    assert row["cell"] == {"model": "wan", "hardware": "h100"}
    assert (row["reference"]["label"], row["subject"]["label"], row["verdict"]) == ("long", "short", "Worse")


def test_runs_are_split_in_the_order_in_which_they_were_named(ledger: str) -> None:
    rows = compare(ledger, "before", "after", "--by", "run", "-m", "latency")
    assert {row["reference"]["label"] for row in rows} == {"before"}


def test_two_cells_pinned_in_both_are_one_pair(ledger: str) -> None:
    (row,) = compare(ledger, "after:wan/h100/long", "after:*/*/short", "-m", "latency")
    assert row["cell"] == {"model": "wan", "hardware": "h100"} or row["cell"] == {}
    assert row["verdict"] == "Worse"


def test_a_baseline_stands_for_its_results(tmp_path: Path) -> None:
    items = [manifest_of(spec, baseline="june") for spec in cell_of_run(BASE, run="old")]
    items += [manifest_of(spec) for spec in cell_of_run(SLOWER, run="new")]
    folder = tmp_path / "ledger"
    folder.mkdir()
    for number, item in enumerate(items):
        (folder / f"{number}.json").write_text(json.dumps(item))
    (row,) = compare(str(folder), "baseline/june", "new", "-m", "latency")
    assert (row["verdict"], row["reference"]["shards"]) == ("Worse", 4)


def test_one_shard_is_inconclusive_and_says_what_would_decide(tmp_path: Path) -> None:
    ledger = write_ledger(tmp_path / "l.json", [shard_of(1.0, run="a"), shard_of(1.2, run="b")])
    (row,) = compare(ledger, "a", "b", "-m", "latency")
    assert (row["verdict"], row["reason"], row["moreShards"]) == ("Inconclusive", "OneShard", 2)
    assert row["ratio"]["low"] is None


def test_a_service_is_not_compared_with_a_device(tmp_path: Path) -> None:
    served = cell_of_run(SLOWER, run="b", comparability=Comparability.SERVICE)
    ledger = write_ledger(tmp_path / "l.json", [*cell_of_run(BASE, run="a"), *served])
    (row,) = compare(ledger, "a", "b", "-m", "latency")
    assert (row["verdict"], row["reason"]) == ("Inconclusive", "DifferentKind")


def test_mock_results_count_for_nothing(tmp_path: Path) -> None:
    mocked = cell_of_run(BASE, run="b", comparability=Comparability.MOCK)
    ledger = write_ledger(tmp_path / "l.json", [*cell_of_run(BASE, run="a"), *mocked])
    (row,) = compare(ledger, "a", "b", "-m", "latency")
    assert (row["verdict"], row["reason"]) == ("Inconclusive", "NoResults")
    assert row["leftOut"]["b"] == [{"reason": "Mock", "count": 4, "details": []}]


def test_what_else_differs_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    other = ClipFacts(height=720, width=1280, frames_requested=33, steps=30)
    results = [
        *cell_of_run(BASE, run="a"),
        *cell_of_run(SLOWER, run="b", clip=other, weights="Random"),
        shard_of(None, run="b", shard=9),
    ]
    ledger = write_ledger(tmp_path / "l.json", results)
    done = CliRunner().invoke(app, ["compare", "a", "b", "--from", ledger])
    assert done.exit_code == 0
    assert "clip: 1280x720x33 in 30 steps against 832x480x33 in 30 steps" in done.stdout
    assert "weights: Random against Pretrained" in done.stdout
    assert "b: 1 left out, OutOfMemory (OutOfMemoryCuda)" in done.stdout


def test_equal_output_is_said_only_where_all_digests_are_there(tmp_path: Path) -> None:
    def output_of(first: str | None, second: str | None) -> str:
        results = [
            *cell_of_run(BASE, run="a", output_digest=first),
            *cell_of_run(SLOWER, run="b", output_digest=second),
        ]
        ledger = write_ledger(tmp_path / "l.json", results)
        (row,) = compare(ledger, "a", "b", "-m", "latency")
        # Equal pixels say nothing about equal times.
        assert row["verdict"] == "Worse"
        return str(row["output"])

    assert output_of("a" * 64, "a" * 64) == "Identical"
    assert output_of("a" * 64, "b" * 64) == "Different"
    assert output_of("a" * 64, None) == "NotKnown"


def test_digests_over_another_number_of_samples_say_nothing(tmp_path: Path) -> None:
    fewer = Series(
        name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of([10_000_000]), values=(10_000_000,)
    )
    short = cell_of_run(BASE, run="b", output_digest="b" * 64, series=(fewer,), samples_done=1)
    ledger = write_ledger(tmp_path / "l.json", [*cell_of_run(BASE, run="a", output_digest="a" * 64), *short])
    assert compare(ledger, "a", "b", "-m", "latency")[0]["output"] == "NotKnown"


def test_only_the_latest_run_of_a_name_counts(tmp_path: Path) -> None:
    old = [
        spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "older"})}) for spec in cell_of_run(SLOWER)
    ]
    old = [
        spec.model_copy(
            update={"origin": spec.origin.model_copy(update={"finished_at": "2025-01-01T00:00:00Z"}), "shard": 9 + n}
        )
        for n, spec in enumerate(old)
    ]
    ledger = write_ledger(tmp_path / "l.json", [*old, *cell_of_run(BASE), *cell_of_run(BASE, run="b")])
    done = CliRunner().invoke(app, ["compare", "nightly", "b", "--from", ledger])
    assert "4 results of 1 earlier runs called nightly were left out" in done.stdout
    assert "Identical" in done.stdout


MISTAKES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("before",), "compare it with what?"),
    (("before", "before"), "given twice"),
    (("before", "afterr"), "there are results of: after, before"),
    (("before", "after:wan/h100/tall"), "it has: wan/h100/long, wan/h100/short"),
    (("before", "baseline/june"), "vidbench baseline set june RUN"),
    (("before", "model/wan"), "neither run nor baseline"),
    (("before", "a/b/c"), "neither run nor baseline"),
    (("before", "after:a/b/c/d"), "names no cell"),
    (("before", "Not A Name"), "can be no name"),
    (("before", "after", "-m", "speed"), "is no metric"),
    (("before", "after", "--margin", "2 percent"), "a margin is a share like 2%"),
    (("before", "after", "--margin", "speed=2%"), "is no metric"),
    (("before", "after", "--by", "colour"), "is no axis"),
    (("before", "after", "--by", "model"), "have one model only: wan"),
    (("before", "after", "--against", "x"), "they are: before, after"),
    (("before", "after", "--pairing", "Maybe"), "neither None nor Node"),
    (("before", "after", "--store", "default"), "two places"),
)


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_what_is_wrong_is_said_with_what_to_do(ledger: str, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["compare", *words, "--from", ledger])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is neither JSON nor YAML"),
        ("{}", "there is no BenchmarkResult"),
        ("x: 2024-13-45", "is neither JSON nor YAML"),
        ("[" * 100_000, "is neither JSON nor YAML"),
        ("a: " + "[" * 5000, "is neither JSON nor YAML"),
        ('{"kind": "BenchmarkResult", "metadata": "x"}', "metadata: must be an object"),
        ('{"kind": "BenchmarkResult", "metadata": {"labels": ["x"]}}', "metadata.labels: must be an object"),
        ('{"kind": "BenchmarkResult", "metadata": {"name": "x"}, "spec": {"shard": 0}}', "'x' does not fit: spec."),
    ],
)
def test_files_that_are_no_ledger(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "l.json"
    path.write_text(content)
    done = CliRunner().invoke(app, ["compare", "a", "b", "--from", str(path)])
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compare", "a", "b", "--from", str(tmp_path / "none.json")])
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", f"https://127.0.0.1:{closed_port()}")
    done = CliRunner().invoke(app, ["compare", "a", "b", "--kubeconfig", kubeconfig])
    assert done.exit_code == 3
    assert "no cluster answers" in done.stderr


@pytest.mark.parametrize("output", ["table", "wide", "yaml", "csv", "markdown"])
def test_every_format_shows_the_same_figures(ledger: str, output: str) -> None:
    done = CliRunner().invoke(app, ["compare", "before", "after", "--from", ledger, "-o", output])
    assert done.exit_code == 0
    assert "Worse" in done.stdout


@pytest.mark.parametrize("output", ["table", "wide", "markdown", "csv"])
def test_an_interval_with_outliers_says_so_where_people_read_it(tmp_path: Path, output: str) -> None:
    slow = shard_of(10.0, run="after", series=(latencies(*[10_000_000] * 9, 15_000_000),))
    results = [*cell_of_run(BASE, run="before"), slow, *cell_of_run(BASE, run="after")[1:]]
    ledger = write_ledger(tmp_path / "ledger.json", results)
    words = ["compare", "before", "after", "-m", "latency", "--from", ledger, "-o", output]
    text = CliRunner().invoke(app, words, env={"COLUMNS": "400"}).stdout
    if output == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert (row["referenceDoubts"], row["subjectDoubts"]) == ("", "Outliers")
    else:
        assert text.count(", with outliers") == 1
    one = write_ledger(tmp_path / "one.json", [slow, *cell_of_run(BASE, run="before")])
    words[words.index(ledger)] = one
    text = CliRunner().invoke(app, words, env={"COLUMNS": "400"}).stdout
    assert ("WithinProcess, Outliers" if output == "csv" else ", within one process, with outliers") in text


def test_a_figure_in_a_sheet_has_its_unit(ledger: str) -> None:
    done = CliRunner().invoke(app, ["compare", "before", "after", "-m", "latency", "--from", ledger, "-o", "csv"])
    units = [row["unit"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert units == [figure["unit"] for figure in compare(ledger, "before", "after", "-m", "latency")]
    assert all(units)


def test_a_store_gives_what_its_file_gives(ledger: str, tmp_path: Path) -> None:
    place = str(tmp_path / "ledger.sqlite")
    made = CliRunner().invoke(app, ["init-db", "--store", place])
    assert made.exit_code == 0, made.output
    documents = [
        item | {"metadata": item["metadata"] | {"uid": f"uid-{number}", "creationTimestamp": "2026-01-02T03:04:05Z"}}
        for number, item in enumerate(json.loads(Path(ledger).read_text())["items"])
    ]
    with Store.open(find_location(place)) as store:
        store.write("lab", documents)
    words = ["compare", "before", "after", "-m", "latency", "-o", "json"]
    from_store = CliRunner().invoke(app, [*words, "--store", place])
    assert from_store.exit_code == 0, from_store.stderr
    assert json.loads(from_store.stdout) == compare(ledger, "before", "after", "-m", "latency")
    shown = CliRunner().invoke(app, [*words[:-2], "--store", place]).stdout
    assert "results that the run after reused are not among these" in " ".join(shown.split())
    unknown = CliRunner().invoke(app, ["compare", "before", "afterr", "--store", place])
    assert unknown.exit_code == 3
    assert "there are results of: after, before" in unknown.stderr
    nothing = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "none.sqlite")])
    assert nothing.exit_code == 3
    assert "vidbench init-db" in nothing.stderr


def test_ranks_are_tested_where_somebody_asks(tmp_path: Path) -> None:
    before = (10.00, 10.02, 9.98, 10.01, 10.03, 9.97)
    after = tuple(seconds * 1.10 for seconds in before)
    ledger = write_ledger(
        tmp_path / "ledger.json", [*cell_of_run(before, run="before"), *cell_of_run(after, run="after")]
    )
    assert "ranks" not in compare(ledger, "before", "after")[0]
    (row,) = compare(ledger, "before", "after", "-m", "latency", "--ranks")
    # All six of one side above all six of the other: the most extreme of C(12, 6) orders, on both sides.
    assert row["ranks"] == {
        "test": "MannWhitney",
        "p": pytest.approx(2 / 924),
        "smallest": pytest.approx(2 / 924),
        "reason": None,
    }
    shown = CliRunner().invoke(app, ["compare", "before", "after", "--from", ledger, "--ranks"]).stdout
    assert "P RANKS" in shown
    assert "decides no verdict" in shown


def test_three_shards_each_are_too_few_for_ranks(tmp_path: Path) -> None:
    results = [*cell_of_run(BASE[:3], run="before"), *cell_of_run(SLOWER[:3], run="after")]
    (row,) = compare(write_ledger(tmp_path / "l.json", results), "before", "after", "-m", "latency", "--ranks")
    assert (row["verdict"], row["ranks"]["p"], row["ranks"]["reason"]) == ("Worse", None, "TooFew")


def test_pairs_are_ranked_as_pairs(tmp_path: Path) -> None:
    seconds = tuple(10.0 + number for number in range(6))
    slower = tuple(value * (1.01 + number / 1000) for number, value in enumerate(seconds))
    results = [*cell_of_run(seconds, run="one"), *cell_of_run(slower, run="one", variant="long")]
    ledger = write_ledger(tmp_path / "l.json", results)
    (row,) = compare(
        ledger, "one", "--by", "variant", "--against", "short", "-m", "latency", "--pairing", "Node", "--ranks"
    )
    assert (row["method"], row["ranks"]["test"]) == ("PairedByDevice", "Wilcoxon")
    assert row["ranks"]["p"] == pytest.approx(2 / 64)


def test_random_weights_are_marked(tmp_path: Path) -> None:
    results = [*cell_of_run(BASE, run="before", weights="Random"), *cell_of_run(SLOWER, run="after", weights="Random")]
    ledger = write_ledger(tmp_path / "l.json", results)
    for words in (["compare", "before", "after"], ["research", "frontier"], ["research", "fleet"]):
        done = CliRunner().invoke(app, [*words, "--from", ledger])
        assert "random weights: wan" in done.stdout, done.output
    plain = write_ledger(tmp_path / "plain.json", [*cell_of_run(BASE, run="before"), *cell_of_run(SLOWER, run="after")])
    assert "random weights" not in CliRunner().invoke(app, ["compare", "before", "after", "--from", plain]).stdout


def test_a_margin_without_its_per_cent_is_asked_about(ledger: str) -> None:
    done = CliRunner().invoke(app, ["compare", "before", "after", "--from", ledger, "--margin", "2"])
    assert done.exit_code == 2
    assert "without its %" in done.stderr
    (row, _other) = compare(ledger, "before", "after", "-m", "latency", "--margin", "20000")
    assert row["margin"] == "20000"


PROMPTS = ("cat", "dog", "owl")


def assessed(scene: Scene, flicker: tuple[int, ...], **changes: Any) -> BenchmarkResultSpec:
    """A result of one sample of each prompt whose frames were looked at."""
    column = Series(name=SeriesName.FLICKER, unit="partsPerMillion", statistics=Statistics.of(flicker), values=flicker)
    series = (latencies(2_000_000, 2_100_000, 2_200_000), column)
    return scene.result(series=series, quality=QualityFacts(comparable=True, microseconds=1), **changes)


def two_runs(second: tuple[int, ...], **changes: Any) -> tuple[Scene, list[dict[str, Any]]]:
    """The results of runs `before` and `after`, and the document of the latter."""
    workload = {"prompts": [{"id": name, "text": f"A {name}."} for name in PROMPTS], "seeds": {"base": 0, "count": 1}}
    before = Scene.of(uid="1", workload=workload)
    after = Scene.of(uid="2", workload=workload)
    runs = ((before, "before", (50, 60, 73)), (after, "after", second))
    specs = [
        assessed(scene, flicker, run=RunReference(name=name, uid=scene.run.uid), **changes)
        for scene, name, flicker in runs
    ]
    return after, [manifest_of(spec) for spec in specs]


def configmap(scene: Scene) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"request.json": scene.document.to_text()},
    }


@pytest.mark.parametrize("place", ["beside", "alone", "stdin", "local"])
def test_quality_is_compared_by_prompt_where_request_documents_are(tmp_path: Path, place: str) -> None:
    """The document of one run says the prompts of both: what decides pixels is the same, prompts and seeds included."""
    scene, items = two_runs((150, 161, 172))
    text = json.dumps({"items": [*items, configmap(scene)] if place in ("beside", "stdin") else items})
    (tmp_path / "results.json").write_text(text)
    if place == "alone":
        (tmp_path / "requests.json").write_text(json.dumps(configmap(scene)))
    if place == "local":
        (tmp_path / "request.json").write_text(scene.document.to_text())
    source = "-" if place == "stdin" else str(tmp_path)
    words = ["compare", "before", "after", "-m", "flicker", "--from", source, "-o", "json"]
    done = CliRunner().invoke(app, words, input=text)
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["verdict"], row["method"]) == ("Worse", "PairedByPrompt")
    assert row["difference"]["value"] == pytest.approx(100)


def test_without_request_documents_only_the_same_output_decides_quality(tmp_path: Path) -> None:
    ledger = tmp_path / "l.json"
    _, items = two_runs((150, 161, 172))
    ledger.write_text(json.dumps({"items": items}))
    (row,) = compare(str(ledger), "before", "after", "-m", "flicker")
    assert (row["verdict"], row["reason"]) == ("Inconclusive", "PromptsUnknown")
    assert "request documents" in row["decides"]
    _, items = two_runs((50, 60, 73), output_digest="a" * 64)
    ledger.write_text(json.dumps({"items": items}))
    (row,) = compare(str(ledger), "before", "after", "-m", "flicker")
    assert (row["verdict"], row["reason"]) == ("Identical", "SameOutput")


def test_a_cluster_is_asked_for_the_documents_of_runs_whose_frames_are_compared() -> None:
    scene, items = two_runs((150, 161, 172))
    specs = [BenchmarkResultSpec.model_validate(item["spec"]) for item in items]
    asked: list[str] = []

    class Stand:
        """A cluster that has one of the documents."""

        def get(self, _resource: Any, name: str) -> dict[str, Any]:
            asked.append(name)
            if name.startswith("after-request-"):
                return configmap(scene)
            raise NotFoundError("it is gone")

    ledger = ClusterLedger(cast("Cluster", Stand()))
    assert find_samples(ledger, specs, [find_metric("latency")]) == {}
    assert asked == []
    found = find_samples(ledger, specs, [find_metric("flicker")])
    assert asked == [request_name("after", "2"), request_name("before", "1")]
    assert [[sample.prompt for sample in found[spec.request_digest]] for spec in specs] == [list(PROMPTS)] * 2


REUSED = cell_of_run(BASE, run="before")
OWN = cell_of_run(SLOWER, run="after", variant="long")


def run_that_reused(created: str = "2026-01-03T00:00:00Z", **metadata: str) -> dict[str, Any]:
    """Run `after`: it measured one cell, and took the other from run `before` as a cell of another name."""
    rows = tuple(
        CellRow(
            id=f"0000000{number}",
            model="wan",
            hardware="h100",
            variant=variant,
            phase=RowPhase.FINISHED,
            shards=tuple(
                ShardStatus(index=spec.shard, phase=RowPhase.FINISHED, result=manifest_of(spec)["metadata"]["name"])
                for spec in specs
            ),
        )
        for number, (variant, specs) in enumerate((("default", REUSED), ("long", OWN)))
    )
    named = {"name": "after", "namespace": "lab", "uid": "uid-of-after", "creationTimestamp": created} | metadata
    return {"kind": "BenchmarkRun", "metadata": named, "status": BenchmarkRunStatus(rows=rows).to_wire()}


def variants_of_after(path: Path, *words: str) -> Any:
    return CliRunner().invoke(
        app, ["compare", "after", "--by", "variant", "--from", str(path), "-m", "latency", *words]
    )


@pytest.mark.parametrize("place", ["beside", "alone"])
def test_what_a_run_reused_is_found_in_files_that_have_the_run(tmp_path: Path, place: str) -> None:
    items = [manifest_of(spec) for spec in (*REUSED, *OWN)]
    if place == "alone":
        (tmp_path / "runs.json").write_text(json.dumps(run_that_reused()))
        (tmp_path / "log.jsonl").write_text('{"message": "BenchmarkRun after was')
    else:
        items.append(run_that_reused())
    (tmp_path / "l.json").write_text(json.dumps({"items": items}))
    done = variants_of_after(tmp_path, "--against", "default", "-o", "json")
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["subject"]["label"], row["reference"]["shards"], row["verdict"]) == ("long", 4, "Worse")
    shown = " ".join(variants_of_after(tmp_path).stdout.split())
    assert "4 results were reused from earlier runs" in shown
    assert "names" not in shown


def test_what_a_run_reused_and_no_file_has_is_said(tmp_path: Path) -> None:
    ledger = tmp_path / "l.json"
    own = [manifest_of(spec) for spec in OWN]
    ledger.write_text(json.dumps({"items": [*own, *(manifest_of(spec) for spec in REUSED[:3]), run_that_reused()]}))
    assert "1 result that the run after names is not in" in " ".join(variants_of_after(ledger).stdout.split())
    # Without the run nobody knows what it reused; nor does an earlier one of that name.
    earlier = run_that_reused("2025-01-01T00:00:00Z", uid="earlier")
    for runs in ([], [earlier]):
        ledger.write_text(json.dumps({"items": [*own, *(manifest_of(spec) for spec in REUSED), *runs]}))
        done = CliRunner().invoke(app, ["compare", "before", "after", "--from", str(ledger)])
        assert "the run after is not in" in " ".join(done.stdout.split())


def test_a_run_that_measured_nothing_itself_is_what_it_reused(tmp_path: Path) -> None:
    """A second run of the same name that found all of it measured."""
    run = run_that_reused(name="before", uid="second")
    ledger = write_ledger(tmp_path / "l.json", [*REUSED, *cell_of_run(SLOWER, run="other")])
    Path(ledger).write_text(json.dumps({"items": [*json.loads(Path(ledger).read_text())["items"], run]}))
    (row,) = compare(ledger, "before:wan/h100/default", "other:wan/h100/short", "-m", "latency")
    assert (row["verdict"], row["reference"]["shards"]) == ("Worse", 4)


def test_a_run_of_another_version_in_a_file_is_named(tmp_path: Path) -> None:
    run = run_that_reused() | {"status": {"rows": "many"}}
    (tmp_path / "l.json").write_text(json.dumps({"items": [*(manifest_of(spec) for spec in OWN), run]}))
    done = variants_of_after(tmp_path / "l.json")
    assert done.exit_code == 2
    assert "BenchmarkRun 'after' was written by another version" in done.stderr


def test_a_margin_of_one_metric_leaves_the_default_to_the_others(ledger: str) -> None:
    rows = compare(ledger, "before", "after", "-m", "latency,memory", "--margin", "memory=5%")
    assert {(row["metric"], row["margin"]) for row in rows} == {("latency", "2%"), ("memory", "5%")}
    assert {row["verdict"] for row in rows if row["metric"] == "latency"} == {"Worse", "Equivalent"}

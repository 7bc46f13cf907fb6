"""What a Kubernetes user types, and what they expect to see."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from support.e2e_cluster import E2ECluster
from support.e2e_quickstart import FAILED_CELLS, MEASURED_CELLS, Quickstart
from support.e2e_runs import scripted_run

from demo import steps
from vidbench_api.names import LABEL_RUN_UID, RunPhase
from vidbench_cli.run_page import spread_text


def _table(text: str) -> list[dict[str, str]]:
    """Read kubectl's table by the columns' positions: a cell may be empty or hold spaces."""
    heading, *lines = text.rstrip("\n").splitlines()
    names = list(re.finditer(r"\S+", heading))
    ends = [*(name.start() for name in names[1:]), None]
    return [
        {name.group(): line[name.start() : end].strip() for name, end in zip(names, ends, strict=True)}
        for line in lines
    ]


def test_get_br_shows_the_report_in_one_line(cluster: E2ECluster, quickstart: Quickstart) -> None:
    (line,) = _table(cluster.kubectl("get", "br", "-n", quickstart.namespace))
    assert list(line) == ["NAME", "PHASE", "PROGRESS", "ACTIVE", "FAILED", "OOM", "FASTEST", "GATES", "AGE"]
    assert quickstart.view.status.fastest is not None
    assert {**line, "AGE": ""} == {
        "NAME": "quickstart",
        "PHASE": "PartiallySucceeded",
        "PROGRESS": "6/6",
        "ACTIVE": "0",
        "FAILED": "2",
        "OOM": "0",
        "FASTEST": quickstart.view.status.fastest.text,
        "GATES": "",
        "AGE": "",
    }


def test_get_br_wide_adds_limits_cost_and_a_sentence(cluster: E2ECluster, quickstart: Quickstart) -> None:
    (line,) = _table(cluster.kubectl("get", "br", "-n", quickstart.namespace, "-o", "wide"))
    assert line["GPU-SECONDS"] == "0"
    assert line["LIMITED-BY"] == "Nothing"
    assert line["MESSAGE"].startswith("6 of 6 cells finished: 4 succeeded, 2 failed (broken/cpu/")


def test_get_all_of_the_category_finds_runs(cluster: E2ECluster, quickstart: Quickstart) -> None:
    names = cluster.kubectl("get", "vidbench", "-n", quickstart.namespace, "-o", "name").split()
    assert "benchmarkrun.vidbench.io/quickstart" in names
    assert "videomodel.vidbench.io/broken" in names


def test_describe_br_shows_conditions_rows_and_events(cluster: E2ECluster, quickstart: Quickstart) -> None:
    def described() -> str | None:
        """Events are written after the status that tells of the end."""
        text = cluster.kubectl("describe", "br", "quickstart", "-n", quickstart.namespace)
        _, _, events = text.partition("Events:")
        reasons = ("Accepted", "ShardFinished", "AttemptFailed", "RunComplete")
        return text if all(reason in events for reason in reasons) else None

    text = cluster.wait_for("all Events", described, 30, quickstart.namespace)
    for expected in ("SomeCellsFailed", "ModelLoadFailed", "Latency Microseconds"):
        assert expected in text


def test_wait_for_complete_returns_for_an_ended_run(cluster: E2ECluster, quickstart: Quickstart) -> None:
    said = cluster.kubectl(
        "wait", "--for=condition=Complete", "br/quickstart", "-n", quickstart.namespace, "--timeout=5s"
    )
    assert "condition met" in said


def test_get_bres_by_label_finds_results_of_a_model(cluster: E2ECluster, quickstart: Quickstart) -> None:
    lines = _table(cluster.kubectl("get", "bres", "-n", quickstart.namespace, "-l", "vidbench.io/model=mid-wan"))
    named = {shard.result for row in quickstart.view.status.rows for shard in row.shards}
    # What something disturbed is measured again: its first result stays, and says what it is.
    assert {line["VALIDITY"] for line in lines if line["NAME"] not in named} <= {"Invalid"}
    shown = [line for line in lines if line["NAME"] in named]
    assert sorted((line["MODEL"], line["VARIANT"], line["OUTCOME"]) for line in shown) == [
        ("mid-wan", "long", "Succeeded"),
        ("mid-wan", "short", "Succeeded"),
    ]
    for line in shown:
        assert line["LATENCY"] == quickstart.view.results[f"mid-wan/cpu/{line['VARIANT']}"].latency_text
        assert line["LATENCY"].endswith("(5)")


def test_explain_documents_the_spec_and_its_fields(cluster: E2ECluster) -> None:
    text = cluster.kubectl("explain", "br.spec")
    for field in ("models", "hardware", "variants", "workload", "parallelism", "timeouts"):
        assert f"\n  {field}\t" in text, text
    assert "Denoising steps" in cluster.kubectl("explain", "br.spec.variants.steps")


def test_vidbench_get_shows_every_cell_with_the_figures_of_its_result(quickstart: Quickstart) -> None:
    words = [sys.executable, "-m", "vidbench_cli", "get", "quickstart", "-n", quickstart.namespace]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, cwd=steps.ROOT, env={**os.environ}).stdout
    lines = {
        found.group(): found.string
        for line in shown.splitlines()
        if (found := re.match(r"[^/ ]+/[^/ ]+/\S+(?= )", line))
    }
    assert set(lines) == {*MEASURED_CELLS, *FAILED_CELLS}
    for name in MEASURED_CELLS:
        row = quickstart.view.row(name)
        assert row.latency_microseconds is not None
        assert row.spread_microseconds is not None
        seconds = f"{row.latency_microseconds / 1e6:.3f} s ± {spread_text(row.spread_microseconds)} (5)"
        assert seconds in lines[name]
        assert f"{row.memory_mebibytes} MiB host" in lines[name]
    for name in FAILED_CELLS:
        assert "Failed" in lines[name]
        assert f"{name}: ModelLoadFailed: " in shown


def test_scale_changes_how_many_jobs_run(cluster: E2ECluster, namespace: str, scripted_class: str) -> None:
    cluster.apply(*scripted_run(namespace, "scaled", scripted_class, cells=4, seconds=2, parallelism=0))

    def held() -> bool:
        view = cluster.run(namespace, "scaled")
        return "spec.parallelism is 0" in (view.status.message or "")

    cluster.wait_for("the run to be held by parallelism 0", held, 30, namespace)
    assert cluster.objects("Job", namespace) == []
    cluster.kubectl("scale", "br/scaled", "-n", namespace, "--replicas=1")
    most = 0

    def finished() -> bool:
        nonlocal most
        # Not Jobs: one whose pod has succeeded makes room before the Job controller says that it is complete.
        most = max(most, len(cluster.live_pods(namespace)))
        return cluster.run(namespace, "scaled").ended

    cluster.wait_for("the scaled run to end", finished, 120, namespace)
    assert most == 1
    assert cluster.run(namespace, "scaled").status.phase is RunPhase.SUCCEEDED


def test_delete_leaves_results_and_nothing_else(cluster: E2ECluster, namespace: str, scripted_class: str) -> None:
    quick, slow = (
        {"name": name, "arguments": {"sample_seconds": text}} for name, text in (("quick", "0"), ("slow", "60"))
    )
    cluster.apply(*scripted_run(namespace, "doomed", scripted_class, variants=[quick, slow]))

    def half_done() -> bool:
        view = cluster.run(namespace, "doomed")
        return len(view.results) == 1 and len(cluster.live_pods(namespace)) == 1

    cluster.wait_for("one result and one running pod", half_done, 60, namespace)
    uid = cluster.run(namespace, "doomed").uid
    selector = f"{LABEL_RUN_UID}={uid}"
    assert cluster.objects("ConfigMap", namespace, selector), "the request document carries the run's label"
    cluster.kubectl("delete", "br/doomed", "-n", namespace)

    def leftovers() -> list[str]:
        kinds = ("Job", "Pod", "ConfigMap")
        return [item["metadata"]["name"] for kind in kinds for item in cluster.objects(kind, namespace, selector)]

    cluster.wait_for("Jobs, pods and ConfigMap to be gone", lambda: not leftovers(), 60, namespace)
    (result,) = cluster.objects("BenchmarkResult", namespace, selector)
    assert result["spec"]["cell"]["variant"] == "quick"

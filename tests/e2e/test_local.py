"""The quickstart without a cluster beside the quickstart on it: the same file, the same pipelines, the same results in kind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from support.e2e_cluster import cell_name
from support.e2e_quickstart import Quickstart
from support.local_runs import local_command, local_results

from demo import steps
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus

CELLS = ("tiny-ltx/cpu/short", "broken/cpu/short")
APART = {"startSeconds", "imageId", "artifacts", "failures"}
"""What differs by itself: a pod has an image and takes time to start, a local run stores everything, attempts were interrupted."""


def test_a_local_run_goes_on_after_an_interruption_and_its_results_are_a_clusters_in_kind(
    quickstart: Quickstart, tmp_path: Path
) -> None:
    file, directory = tmp_path / "quickstart.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump_all(two_cells()))
    with start(file, directory) as interrupted:
        wait_for_a_result(interrupted, directory)
        interrupted.send_signal(signal.SIGINT)
        interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    kept = {path: path.read_bytes() for path in (directory / "results").iterdir()}
    assert 0 < len(kept) < len(CELLS), sorted(kept)
    with start(file, directory) as resumed:
        answer, _errors = resumed.communicate(timeout=300)
    found = json.loads(answer)
    assert {path: path.read_bytes() for path in kept} == kept
    status = BenchmarkRunStatus.model_validate(found["run"]["status"])
    results = {cell_name(spec.cell): spec for spec in local_results(directory)}
    assert set(results) == set(CELLS)
    for name in CELLS:
        mine, other = results[name], quickstart.view.results[name]
        assert (mine.outcome, mine.reason, mine.samples_done) == (other.outcome, other.reason, other.samples_done)
        assert [series.name for series in mine.series] == [series.name for series in other.series]
        assert shape(mine) == shape(other)
    of_cluster = [row for row in quickstart.view.status.rows if cell_name(row) in CELLS]
    assert [keys(row.model_dump(mode="json", by_alias=True, exclude_none=True)) for row in status.rows] == [
        keys(row.model_dump(mode="json", by_alias=True, exclude_none=True)) for row in of_cluster
    ]


def two_cells() -> list[dict[str, Any]]:
    """The example with a cell that is measured and one that fails: enough for an interruption between them."""
    objects = list(yaml.safe_load_all((steps.ROOT / "examples/quickstart.yaml").read_text()))
    run = next(entry for entry in objects if entry["kind"] == "BenchmarkRun")
    run["spec"]["models"] = [{"name": "tiny-ltx"}, {"name": "broken"}]
    run["spec"]["variants"] = [variant for variant in run["spec"]["variants"] if variant["name"] == "short"]
    return objects


def start(file: Path, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*local_command(file, directory), "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_for_a_result(process: subprocess.Popen[str], directory: Path) -> None:
    deadline = time.monotonic() + 180
    while not list(directory.glob("results/*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def shape(result: BenchmarkResultSpec) -> Any:
    return keys(result.model_dump(mode="json", by_alias=True, exclude_none=True))


def keys(value: Any) -> Any:
    """Return what is there, without what it says; of lists of objects their first entry."""
    if isinstance(value, dict):
        return {key: keys(entry) for key, entry in value.items() if key not in APART}
    return keys(value[0]) if isinstance(value, list) and value and isinstance(value[0], dict) else None

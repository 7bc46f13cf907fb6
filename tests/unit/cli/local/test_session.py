"""Whole local runs with real runner processes on a model that only waits: interrupted, killed, side by side, and what they leave.

The reconciler, the processes and the files are the real ones; the mock backend needs no torch, so a shard takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.published_schemas import problems

from vidbench_api.names import Outcome, RunPhase
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_api.verdict import Stage
from vidbench_cli.local.files import RunDirectory
from vidbench_cli.local.machine import Gpu, Machine, find_machine
from vidbench_cli.local.session import LocalOptions, LocalOutcome, read_directory, run_locally
from vidbench_cli.local.world import World
from vidbench_cli.manifest_files import read_objects
from vidbench_cli.runs import RunView
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.core.timestamps import parse_time

CRDS = Path(__file__).resolve().parents[4] / "crds"
PATIENCE_SECONDS = 120.0


class Listener:
    """Hears what a session says."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def event(self, event: EmitEvent) -> None:
        self.events.append(f"{event.reason.value}: {event.message}")

    def look(self, world: World) -> None:
        pass


def manifest(folder: Path, clip_milliseconds: int = 50, seeds: int = 3, **spec: Any) -> Path:
    """Write a manifest of a run of one mock model, and of a folder that is not there."""
    objects = (
        {
            "apiVersion": "vidbench.io/v1alpha1",
            "kind": "VideoModel",
            "metadata": {"name": "dry"},
            "spec": {
                "source": {"mock": {"loadMilliseconds": 1, "clipMilliseconds": clip_milliseconds}},
                "defaults": {"height": 32, "width": 32, "frames": 9, "steps": 2},
            },
        },
        {
            "apiVersion": "vidbench.io/v1alpha1",
            "kind": "BenchmarkRun",
            "metadata": {"name": "dry-run"},
            "spec": {
                "models": [{"name": "dry"}],
                "hardware": [{"name": "cpu", "gpus": 0}],
                "workload": {"prompts": [{"id": "cat", "text": "A cat."}], "seeds": {"count": seeds}},
                "artifacts": {"keepVideos": "None"},
                # A machine under load makes figures Invalid; how often that is tried again is not what is tested here.
                "validity": {"onInvalid": "Flag"},
                **spec,
            },
        },
    )
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path


def measure(path: Path, *, parallel: int = 1, machine: Machine | None = None) -> tuple[LocalOutcome, Listener]:
    listener = Listener()
    options = LocalOptions(tuple(read_objects([str(path)])), path.parent / "out", parallel)
    return run_locally(options, listener, machine=machine), listener


def begin(path: Path, parallel: int = 1) -> subprocess.Popen[str]:
    """Start a session as a process of its own."""
    words = [sys.executable, "-m", "vidbench_cli", "benchmark", "--local", "-f", str(path), "--directory"]
    words += [str(path.parent / "out"), "--parallel", str(parallel), "-o", "json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], bool], session: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert session.poll() is None, session.communicate()
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}


def runners_of(directory: Path) -> list[int]:
    """The processes that live and have a runner's environment of this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"VIDBENCH_REQUEST_PATH={directory}".encode() in environment:
                found.append(int(entry.name))
    return found


def spans(view: RunView) -> list[tuple[float, float]]:
    origins = [result.origin for result in view.results.values()]
    return [(parse_time(origin.started_at) or 0.0, parse_time(origin.finished_at) or 0.0) for origin in origins]


def problems_with_crd(kind: str, body: dict[str, Any]) -> list[str]:
    crd = yaml.safe_load((CRDS / f"{kind}.vidbench.io.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return [error.message for error in Draft202012Validator(schema).iter_errors(body)]


def test_a_run_gives_the_objects_that_a_cluster_would_hold(tmp_path: Path) -> None:
    outcome, listener = measure(manifest(tmp_path))
    assert not outcome.interrupted
    assert outcome.view.status.phase is RunPhase.SUCCEEDED
    assert (outcome.view.condition("Complete"), outcome.view.condition("Failed")) == ("True", "False")
    assert any(event.startswith("ShardFinished") for event in listener.events)
    stored = RunDirectory(tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert problems_with_crd("benchmarkruns", run) == []
    assert run["metadata"].keys() == {"name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp"}
    (name, result), *others = stored.read_results().items()
    assert others == []
    assert problems("benchmarkresult", result) == []
    assert problems_with_crd("benchmarkresults", result) == []
    row = BenchmarkRunStatus.model_validate(run["status"]).rows[0]
    assert row.shards[0].result == name
    spec = outcome.view.results[name]
    assert (spec.outcome, spec.samples_done, spec.origin.attempt, spec.origin.exit_code) == (Outcome.SUCCEEDED, 3, 1, 0)
    assert spec.environment_hash, "the machine shows what its environment is"
    log = stored.attempt(spec.origin.job_name or "") / "log.txt"
    assert "final: Succeeded" in log.read_text()
    assert read_directory(tmp_path / "out") == outcome.view


def test_a_run_that_has_ended_is_shown_and_not_measured_again(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    first, _ = measure(path)
    before = files_of(tmp_path / "out" / "results")
    second, listener = measure(path)
    assert "has ended before" in listener.notes[0]
    assert (second.view, files_of(tmp_path / "out" / "results")) == (first.view, before)


@pytest.mark.pipelines
def test_killed_in_mid_run_it_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    path = manifest(tmp_path, clip_milliseconds=400, seeds=5, measurement={"shards": 3})
    results = tmp_path / "out" / "results"
    session = begin(path)
    # Before its first sample it may not have been written down that the second attempt began; then it is no other one.
    wait_for(lambda: len(files_of(results)) == 1 and _samples(tmp_path), session)
    session.send_signal(signal.SIGKILL)
    session.communicate()
    kept = files_of(results)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while runners_of(tmp_path / "out"):
        assert time.monotonic() < deadline, "a runner outlived the session that started it"
        time.sleep(0.05)
    outcome, _ = measure(path)
    assert outcome.view.status.phase is RunPhase.SUCCEEDED
    after = files_of(results)
    assert len(after) == 3
    assert kept.items() <= after.items(), "what was finished is kept to the byte"
    attempts = sorted(result.origin.attempt for result in outcome.view.results.values())
    assert attempts == [1, 1, 2], "only the shard that was cut off was begun again"
    cut = next(
        row.shards[index] for row in outcome.view.status.rows for index in range(3) if row.shards[index].disruptions
    )
    assert (cut.disruptions, cut.retries, cut.unknown_failures, cut.failures[0].reason) == (1, 0, 0, "NodeShutdown")


@pytest.mark.pipelines
def test_interrupted_it_says_so_and_goes_on(tmp_path: Path) -> None:
    path = manifest(tmp_path, clip_milliseconds=500, seeds=6)
    session = begin(path)
    wait_for(lambda: _samples(tmp_path), session)
    session.send_signal(signal.SIGINT)
    shown, said = session.communicate(timeout=PATIENCE_SECONDS)
    assert session.returncode == 130
    assert "the same command goes on" in said
    assert json.loads(shown)["run"]["status"]["phase"] == "Running"
    assert runners_of(tmp_path / "out") == []
    (state,) = RunDirectory(tmp_path / "out").read_attempts().values()
    assert (state["exit_code"], state["pod_reason"]) == (90, "NodeShutdown")
    outcome, _ = measure(path)
    (result,) = outcome.view.results.values()
    assert (outcome.view.status.phase, result.origin.attempt, result.samples_done) == (RunPhase.SUCCEEDED, 2, 6)


def _samples(folder: Path) -> bool:
    """Whether an attempt is taking samples, by what its runner wrote ahead."""
    from vidbench_cli.local.attempt import verdict_in

    verdicts = (verdict_in(path.read_text()) for path in folder.glob("out/attempts/*/message"))
    return any(verdict is not None and not verdict.final and verdict.stage is Stage.SAMPLING for verdict in verdicts)


@pytest.mark.pipelines
def test_two_at_once_run_beside_each_other_and_no_more(tmp_path: Path) -> None:
    path = manifest(tmp_path, clip_milliseconds=500, measurement={"shards": 3})
    outcome, listener = measure(path, parallel=2)
    assert "disturb" in listener.notes[0]
    moments = sorted(spans(outcome.view))
    assert len(moments) == 3
    assert moments[1][0] < moments[0][1], "the second began before the first had ended"
    assert moments[2][0] >= min(moments[0][1], moments[1][1]), "the third had to wait for one of them"


@pytest.mark.pipelines
def test_each_process_gets_gpus_of_its_own_and_waits_for_them(tmp_path: Path) -> None:
    here = find_machine(list_gpus=list)
    gpus = (Gpu("GPU-a", "NVIDIA H200", "1", 100), Gpu("GPU-b", "NVIDIA H200", "1", 100))
    machine = Machine(
        here.name, gpus, here.cpus, here.memory_mebibytes, here.architecture, here.kernel, here.machine_id
    )
    hardware = [{"name": "one"}, {"name": "both", "gpus": 2}, {"name": "four", "gpus": 4}]
    outcome, listener = measure(
        manifest(tmp_path, clip_milliseconds=400, hardware=hardware), parallel=3, machine=machine
    )
    by_hardware = {result.cell.hardware: result for result in outcome.view.results.values()}
    states = RunDirectory(tmp_path / "out").read_attempts().values()
    devices = {state["gpus"]: state["devices"] for state in states}
    assert (len(devices[1]), sorted(devices[2]), devices[4]) == (1, ["GPU-a", "GPU-b"], [])
    assert by_hardware["four"].reason == "Unschedulable"
    assert "4 GPUs, and this machine has 2" in (by_hardware["four"].message or "")
    assert "'four'" in listener.notes[0]
    (one, both) = sorted(
        (by_hardware[name].origin for name in ("one", "both")), key=lambda origin: origin.started_at or ""
    )
    assert (both.started_at or "") >= (one.finished_at or ""), "no GPU is lent twice"


def test_a_failing_cell_is_explained_and_touches_no_other(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    objects = list(yaml.safe_load_all(path.read_text()))
    objects[1]["spec"]["hardware"].append({"name": "h100", "gpus": 8})
    path.write_text(yaml.safe_dump_all(objects))
    outcome, _ = measure(path)
    assert outcome.view.status.phase is RunPhase.PARTIALLY_SUCCEEDED
    reasons = {row.hardware: row.reason for row in outcome.view.status.rows}
    assert reasons == {"cpu": None, "h100": "Unschedulable"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("another", "another manifest"),
        ("suspended", "spec.suspend is true"),
        ("damaged", r"run\.json"),
        ("missing", r"damaged: run\.yaml is missing"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(tmp_path: Path, change: str, said: str) -> None:
    from vidbench_cli.errors import UsageError

    path = manifest(tmp_path, suspend=change == "suspended")
    if change != "suspended":
        directory = RunDirectory(tmp_path / "out")
        directory.path.mkdir()
        directory.write_run({"kind": "BenchmarkRun"})
        directory.manifest.write_text("kind: BenchmarkRun\n" if change == "another" else path.read_text())
    if change == "missing":
        directory.manifest.unlink()
    with pytest.raises(UsageError, match=said) as caught:
        measure(path)
    assert caught.value.remedy
    assert not list(tmp_path.glob("out/attempts/*"))


def test_time_in_which_nobody_worked_does_not_count(tmp_path: Path) -> None:
    path = manifest(tmp_path, timeouts={"runSeconds": 3600})
    measure(path)
    body = json.loads((tmp_path / "out" / "run.json").read_text())
    shard = body["status"]["rows"][0]["shards"][0]
    # As if it had been killed before its only shard was begun, and taken up again a day later.
    body["status"] |= {"conditions": [], "phase": "Running", "completionTime": None}
    body["status"]["rows"][0] |= {"phase": "Pending", "outcome": None, "shards": [{"index": shard["index"]}]}
    day_ago = time.time() - 86_400
    body["metadata"]["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(day_ago))
    (tmp_path / "out" / "run.json").write_text(json.dumps(body))
    for path_of_result in (tmp_path / "out" / "results").iterdir():
        path_of_result.unlink()
    os.utime(tmp_path / "out" / "lock", (day_ago, day_ago))
    again, _ = measure(path)
    assert again.view.status.phase is RunPhase.SUCCEEDED, again.view.status.message
    assert again.view.status.paused_seconds >= 86_000

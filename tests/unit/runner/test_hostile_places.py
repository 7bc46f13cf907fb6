"""The whole runner, in processes of its own, where storage refuses and processes die: each end is its own verdict.

Clips are a mock's, so that nothing here needs a model; what hostile weights do is in `test_hostile_weights.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.published_schemas import problems_of_verdict
from support.requests import CELL, request_document

from vidbench_api.measured import SeriesName
from vidbench_api.message import MessageError, decode
from vidbench_api.names import ExitCode, Outcome, Reason, Validity
from vidbench_api.verdict import Verdict


def command(folder: Path, artifacts: Path | None, clip_milliseconds: int, count: int) -> list[str]:
    request = request_document(
        cell={
            "backend": "mock", "source": {"mock": {"loadMilliseconds": 0, "clipMilliseconds": clip_milliseconds}},
            "height": 128, "width": 128, "frames": 17,
        },
        seeds={"base": 0, "count": count},
        artifacts={"keepVideos": "All"},
    )  # fmt: skip
    (folder / "request.json").write_text(request.to_text())
    run = [
        sys.executable, "-m", "vidbench_runner", "run", "--request", str(folder / "request.json"), "--cell", CELL,
        "--message", str(folder / "message"),
    ]  # fmt: skip
    return run if artifacts is None else [*run, "--artifacts", str(artifacts)]


def verdict_in(folder: Path) -> Verdict:
    return decode((folder / "message").read_text())


def can_mount() -> bool:
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode
    )


PLACES = [
    pytest.param("ro", "artifacts", id="a read-only folder"),
    pytest.param("size=16k", "artifacts", id="a full disk"),
    pytest.param("size=16k", "temporary", id="a full disk of temporary files"),
]


@pytest.mark.skipif(not can_mount(), reason="mounts in a namespace of their own need root")
@pytest.mark.parametrize(("option", "part"), PLACES)
def test_place_that_takes_nothing_costs_the_files_and_not_the_figures(tmp_path: Path, option: str, part: str) -> None:
    places = {name: tmp_path / name for name in ("artifacts", "temporary")}
    for place in places.values():
        place.mkdir()
    inner = command(tmp_path, places["artifacts"], 20, 2)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"', option,
         str(places[part]), *inner],
        check=False, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(places["temporary"])}, timeout=120,
    )  # fmt: skip
    verdict = verdict_in(tmp_path)
    assert (done.returncode, verdict.reason) == (ExitCode.STORAGE_FAILED, Reason.STORAGE_FAILED), done.stderr[-2000:]
    assert (verdict.outcome, verdict.samples_done) == (Outcome.FAILED, 2)
    latency = verdict.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert latency.statistics.count == 2, "what was measured is told all the same"
    assert problems_of_verdict(verdict) == []


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(folder, None, 150, 60), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_for_samples(folder: Path, count: int) -> None:
    problem = ""
    for _ in range(600):
        try:
            done = verdict_in(folder).samples_done
            problem = f"{done} samples"
            if done >= count:
                return
        except (OSError, MessageError) as error:
            # Not there yet, or just being written: it is read again, and told if it stays so.
            problem = repr(error)
        time.sleep(0.1)
    raise AssertionError(f"no {count} samples within a minute, but {problem}")


def test_killed_worker_is_told_by_its_supervisor(tmp_path: Path) -> None:
    runner = start(tmp_path)
    wait_for_samples(tmp_path, 2)
    [worker] = psutil.Process(runner.pid).children()
    worker.kill()
    assert runner.wait(60) == ExitCode.KILLED
    verdict = verdict_in(tmp_path)
    assert (verdict.final, verdict.outcome, verdict.reason) == (True, Outcome.FAILED, Reason.KILLED)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL
    assert verdict.samples_done >= 2
    assert problems_of_verdict(verdict) == []


def test_all_processes_killed_at_once_leave_what_was_written_ahead(tmp_path: Path) -> None:
    runner = start(tmp_path)
    wait_for_samples(tmp_path, 2)
    family = [psutil.Process(runner.pid), *psutil.Process(runner.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        process.kill()
    assert runner.wait(60) == -signal.SIGKILL
    verdict = verdict_in(tmp_path)
    assert (verdict.final, verdict.outcome) == (False, None), "nobody was left to say how it ended"
    assert verdict.samples_done >= 2
    assert problems_of_verdict(verdict) == []

"""The worker's parts that a trial does not see: interruptions, artifacts, provenance, the command line."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.requests import CELL, request_document
from support.scripted_model import clip

from vidbench_api.message import decode
from vidbench_api.names import ExitCode
from vidbench_runner.artifacts import ArtifactStore, Destination, KeepVideos, NoArtifacts, write_video
from vidbench_runner.assignment import Assignment, AssignmentError
from vidbench_runner.core.endings import Interruption, StorageFailure
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.ports import DeviceReading
from vidbench_runner.provenance import find_environment
from vidbench_runner.worker import Interrupts

REQUEST = plan_trial(request_document(), Attempt("d", CELL, 1, 1)).samples[0].clip


def frames(count: int = 5, height: int = 18, width: int = 34, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def read_back(file: Path) -> Any:
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    read = []
    while (frame := capture.read())[0]:
        read.append(frame[1][:, :, ::-1])
    capture.release()
    return np.array(read)


@pytest.mark.parametrize(
    ("height", "width"),
    [pytest.param(18, 34, id="small"), pytest.param(8, 8, id="tiny"), pytest.param(480, 832, id="as models deliver")],
)
def test_worker_video_holds_every_bit_of_the_frames(tmp_path: Path, height: int, width: int) -> None:
    expected = frames(3, height, width)
    write_video(tmp_path / "clip.mkv", expected, 16)
    assert np.array_equal(read_back(tmp_path / "clip.mkv"), expected)


@pytest.mark.parametrize(("height", "width"), [(17, 33), (17, 34), (18, 33), (481, 833)])
def test_worker_video_of_an_odd_size_holds_every_bit_and_repeats_the_edge(
    tmp_path: Path, height: int, width: int
) -> None:
    expected = frames(3, height, width)
    stored_height, stored_width = write_video(tmp_path / "clip.mkv", expected, 16)
    assert (stored_height, stored_width) == (height + height % 2, width + width % 2)
    stored = read_back(tmp_path / "clip.mkv")
    assert stored.shape == (3, stored_height, stored_width, 3)
    assert np.array_equal(stored[:, :height, :width], expected)
    assert np.array_equal(stored[:, -1, :width], expected[:, -1])
    assert np.array_equal(stored[:, :height, -1], expected[:, :, -1])


def test_worker_artifacts_say_how_large_the_stored_video_is(tmp_path: Path) -> None:
    artifacts = store(str(tmp_path))
    artifacts.keep(sample(0), frames(3, 17, 34))
    artifacts.store()
    line = json.loads((tmp_path / "nightly" / "0123abcd" / "1" / "1" / "samples.jsonl").read_text())
    assert (line["video"]["height"], line["video"]["width"]) == (18, 34)


def test_worker_video_that_cannot_be_written_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure):
        write_video(tmp_path / "absent" / "clip.mkv", frames(), 16)


def sample(number: int, *, warmup: bool = False) -> MeasuredSample:
    made = replace(clip(REQUEST), frames=None)
    return MeasuredSample(
        number, warmup, "cat", 7 + number, made, f"digest-{number}", Energy(None, 5, "cpu"), DeviceReading()
    )


def store(directory: str, keep: KeepVideos = "First") -> ArtifactStore:
    return ArtifactStore(Destination(directory, "claim://results/team", "nightly/0123abcd/1/1"), keep, 16)


@pytest.mark.parametrize(
    ("keep", "videos"),
    [
        pytest.param("None", [], id="no videos"),
        pytest.param("First", ["sample-000.mkv"], id="the first measured one"),
        pytest.param("All", ["sample-000.mkv", "sample-001.mkv"], id="all measured ones"),
    ],
)
def test_worker_artifacts_hold_every_sample_and_the_videos_asked_for(
    tmp_path: Path, keep: KeepVideos, videos: list[str]
) -> None:
    artifacts = store(str(tmp_path), keep)
    contents = [frames(seed=number) for number in range(3)]
    artifacts.keep(sample(0, warmup=True), contents[0])
    artifacts.keep(sample(0), contents[1])
    artifacts.keep(sample(1), contents[2])
    facts = artifacts.store()
    folder = tmp_path / "nightly" / "0123abcd" / "1" / "1"
    content = (folder / "samples.jsonl").read_bytes()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [(line["name"], line["warmup"]) for line in lines] == [
        ("warmup-000", True), ("sample-000", False), ("sample-001", False),
    ]  # fmt: skip
    assert sum(time or 0 for time in lines[1]["phaseNanoseconds"].values()) == lines[1]["latencyNanoseconds"]
    assert lines[1]["phaseNanoseconds"]["audio"] is None
    assert sorted(path.name for path in folder.glob("*.mkv")) == videos
    for line, expected in zip(lines[1:], contents[1:], strict=True):
        if f"{line['name']}.mkv" in videos:
            file = folder / line["video"]["file"]
            assert line["video"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert np.array_equal(read_back(file), expected)
        else:
            assert "video" not in line
    assert facts is not None
    assert facts.digest == hashlib.sha256(content).hexdigest()
    assert facts.uri == "claim://results/team/nightly/0123abcd/1/1"


def test_worker_artifacts_go_wherever_fsspec_reaches() -> None:
    import fsspec

    artifacts = store("memory://results")
    artifacts.keep(sample(0), frames())
    artifacts.store()
    found = fsspec.filesystem("memory").ls("/results/nightly/0123abcd/1/1", detail=False)
    assert sorted(Path(path).name for path in found) == ["sample-000.mkv", "samples.jsonl"]


def test_worker_artifacts_of_no_sample_are_none(tmp_path: Path) -> None:
    assert store(str(tmp_path)).store() is None
    assert NoArtifacts().store() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", ["None", "First", "All"])
def test_worker_artifacts_that_cannot_be_stored_are_told_at_the_end(tmp_path: Path, keep: KeepVideos) -> None:
    (tmp_path / "nightly").write_text("a file where a folder should be")
    artifacts = store(str(tmp_path), keep)
    artifacts.keep(sample(0), frames())
    artifacts.keep(sample(1), frames())
    with pytest.raises(StorageFailure, match="nightly"):
        artifacts.store()


def interrupt(interrupts: Interrupts) -> None:
    interrupts.handle(signal.SIGTERM, None)


def test_worker_interruption_is_raised_once() -> None:
    interrupts = Interrupts()
    with pytest.raises(Interruption):
        interrupt(interrupts)
    interrupt(interrupts)


def test_worker_interruption_waits_for_a_report_to_end() -> None:
    interrupts, reported = Interrupts(), []
    report = interrupts.held()
    report.__enter__()
    interrupt(interrupts)
    reported.append("whole")
    with pytest.raises(Interruption):
        report.__exit__(None, None, None)
    assert reported == ["whole"]


def test_worker_interruption_does_not_stop_storing() -> None:
    interrupts = Interrupts()
    interrupts.ignore()
    interrupt(interrupts)
    with interrupts.held():
        interrupt(interrupts)


def test_worker_dies_if_its_supervisor_is_gone_already() -> None:
    code = "from vidbench_runner.processes import die_with_parent\ndie_with_parent(1 << 30)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "ProcessLookupError" in done.stderr


def test_worker_environment_names_versions_that_are_installed(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Test CPU @ 3 GHz\n")
    environment = find_environment(tmp_path / "cpuinfo")
    import torch

    assert (environment.cpu, environment.device) == ("Test CPU @ 3 GHz", "cpu")
    assert environment.torch == torch.__version__.partition("+")[0]
    assert environment.cuda is None or environment.cuda.startswith(str(torch.version.cuda))
    assert find_environment(tmp_path / "absent").cpu is None


ASSIGNMENT = Assignment("/r.json", "a" * 64, CELL, 2, 3, "/m", 2048, "/artifacts", pretended_gpus=True)


def test_worker_assignment_survives_the_environment() -> None:
    assert Assignment.from_environment(ASSIGNMENT.to_environment()) == ASSIGNMENT
    plain = replace(ASSIGNMENT, artifacts=None, pretended_gpus=False)
    assert Assignment.from_environment(plain.to_environment()) == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("VIDBENCH_CELL", "0123ABCD", id="cell in capitals"),
        pytest.param("VIDBENCH_CELL", "../../ab", id="cell that leads elsewhere"),
        pytest.param("VIDBENCH_SHARD", "0", id="shard 0"),
        pytest.param("VIDBENCH_SHARD", "65", id="too many shards"),
        pytest.param("VIDBENCH_ATTEMPT", "-1", id="negative attempt"),
        pytest.param("VIDBENCH_REQUEST_DIGEST", "a" * 16, id="short digest"),
        pytest.param("VIDBENCH_MESSAGE_LIMIT", "many", id="limit in words"),
    ],
)
def test_worker_assignment_refuses_nonsense_by_name(name: str, value: str) -> None:
    with pytest.raises(AssignmentError, match=name):
        Assignment.from_environment(ASSIGNMENT.to_environment() | {name: value})


def test_worker_message_limit_never_exceeds_what_the_kubelet_reads() -> None:
    environment = ASSIGNMENT.to_environment() | {"VIDBENCH_MESSAGE_LIMIT": "9999"}
    assert Assignment.from_environment(environment).message_limit == 4096


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vidbench_runner", "run", *arguments], check=False, capture_output=True, text=True,
        timeout=60, env=os.environ | environment,
    )  # fmt: skip


def test_worker_command_line_reports_an_unreadable_request(tmp_path: Path) -> None:
    message = tmp_path / "message"
    done = run_command("--request", str(tmp_path / "none.json"), "--cell", CELL, "--message", str(message))
    assert done.returncode == ExitCode.INVALID_REQUEST
    assert decode(message.read_text()).reason == "InvalidRequest"
    assert json.loads(done.stdout)["reason"] == "InvalidRequest"

"""The whole runner over real pipelines: supervisor, worker, folder on disk, message and artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.requests import CELL, request_document
from support.shared_cores import is_valid_but_for_the_machine

from vidbench_api.measured import SeriesName
from vidbench_api.message import decode
from vidbench_api.names import ExitCode
from vidbench_api.verdict import Verdict
from vidbench_runner.backends.boundaries import MonotonicClock
from vidbench_runner.quality.assessment import FrameAssessor

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(900)]

PHASES = ("prepare", "textEncode", "denoise", "vaeDecode", "postprocess", "other")


def save(preset: str, folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "vidbench_runner.backends.tiny", "save", "--preset", preset, "--out", str(folder)],
        check=True, capture_output=True, timeout=400,
    )  # fmt: skip


def measure(folder: Path, cell: dict[str, Any], name: str = "run") -> tuple[int, Verdict, Path]:
    request, message, artifacts = (folder / f"{name}-{part}" for part in ("request.json", "message", "artifacts"))
    request.write_text(request_document(cell={"framesPerSecond": 8} | cell).to_text())
    done = subprocess.run(
        [
            sys.executable, "-m", "vidbench_runner", "run", "--request", str(request), "--cell", CELL,
            "--message", str(message), "--artifacts", str(artifacts),
        ],
        check=False, capture_output=True, text=True, timeout=400, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return done.returncode, decode(message.read_text()), artifacts / "nightly" / CELL / "1" / "1"


def read_video(file: Path) -> Any:
    """The RGB frames of a stored video of even size."""
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][:, :, ::-1])
    capture.release()
    return np.array(frames)


def test_worker_measures_a_saved_pipeline_end_to_end(tmp_path: Path) -> None:
    save("wan", tmp_path / "model")
    cell = {"backend": "diffusers", "source": {"path": str(tmp_path / "model")}, "pipelineClass": "WanPipeline"}
    code, verdict, stored = measure(tmp_path, cell)
    assert (code, verdict.final, verdict.samples_done) == (0, True, 3)
    assert verdict.validity is not None
    assert is_valid_but_for_the_machine(verdict.validity), verdict.validity
    assert verdict.loaded is not None
    assert verdict.loaded.pipeline_class == "WanPipeline"
    assert verdict.clip is not None
    assert verdict.clip.frames_delivered == 5
    means = {series.name.value: series.statistics.mean for series in verdict.series}
    assert sum(means[phase] for phase in PHASES) == pytest.approx(means["latency"], abs=0.01)
    assert verdict.expected_calls == {"denoiserCalls": 4, "textEncodeCalls": 2, "vaeDecodeCalls": 1}
    for calls, expected in verdict.expected_calls.items():
        series = verdict.find_series(SeriesName(calls))
        assert series is not None
        assert series.values == (expected,) * 3
    assert verdict.unmeasured["energy"]
    assert verdict.unmeasured["memoryAllocated"] == "cpu"

    content = (stored / "samples.jsonl").read_bytes()
    assert verdict.artifacts is not None
    assert verdict.artifacts.digest == hashlib.sha256(content).hexdigest()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["warmup"] for line in lines] == [True, False, False, False]
    assert lines[0]["latentsSha256"] == lines[1]["latentsSha256"] is not None
    assert len({line["latentsSha256"] for line in lines}) == 3, "another seed makes other latents"
    assert lines[0]["framesSha256"] == lines[1]["framesSha256"], "the warm-up makes the first sample's clip"
    shown = FrameAssessor(MonotonicClock()).assess(read_video(stored / lines[1]["video"]["file"]), lambda _word: None)
    assert lines[1]["quality"]["figures"] == {name.value: figure for name, figure in shown.figures.items()}
    assert lines[1]["quality"]["reasons"] == {name.value: reason for name, reason in shown.reasons.items()}
    assert verdict.find_series(SeriesName.FLICKER) is not None
    assert verdict.quality is not None

    again_code, again, _ = measure(tmp_path, cell, "again")
    assert again_code == 0
    assert again.output_digest == verdict.output_digest, "another process makes the same pixels"


def test_worker_model_that_does_not_load_is_its_own_reason(tmp_path: Path) -> None:
    save("broken", tmp_path / "model")
    code, verdict, stored = measure(tmp_path, {"backend": "diffusers", "source": {"path": str(tmp_path / "model")}})
    assert (code, verdict.reason, verdict.stage) == (ExitCode.MODEL_LOAD_FAILED, "ModelLoadFailed", "loading")
    assert verdict.samples_done == 0
    assert [file.name for file in stored.iterdir()] == ["verdict.json"], "there is no sample, but an answer"

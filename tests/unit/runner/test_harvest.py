"""Harvesting as a process: what a real worker has stored is reported by another process, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import scripted_model
from support.requests import CELL, request_document

from vidbench_api.message import decode
from vidbench_api.names import (
    ENV_ARTIFACTS,
    ENV_ATTEMPT,
    ENV_CELL,
    ENV_HARVEST,
    ENV_MESSAGE_PATH,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    ENV_SHARD,
    ExitCode,
    Outcome,
    Validity,
)
from vidbench_api.verdict import Verdict

TESTS = Path(scripted_model.__file__).parents[1]
SUPERVISE = (
    "import os, sys\nfrom vidbench_runner.supervisor import supervise\n"
    "sys.exit(supervise(os.environ, (sys.executable, sys.argv[1])))"
)


@dataclass
class Stored:
    """An attempt, its artifacts, and harvests of them."""

    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "artifacts" / "nightly" / CELL / "1" / "1"

    def environment(self, message: str, **changes: str) -> dict[str, str]:
        return {
            **os.environ,
            ENV_REQUEST_PATH: str(self.folder / "request.json"),
            ENV_REQUEST_DIGEST: request_document().digest,
            ENV_CELL: CELL,
            ENV_SHARD: "1",
            ENV_ATTEMPT: "1",
            ENV_MESSAGE_PATH: str(self.folder / message),
            ENV_ARTIFACTS: f"file://{self.folder}/artifacts",
            "PYTHONPATH": str(TESTS),
            **changes,
        }

    def measure(self, script: str) -> Verdict:
        subprocess.run(
            [sys.executable, "-c", SUPERVISE, scripted_model.__file__], env=self.environment("message", SCRIPT=script),
            check=False, capture_output=True, timeout=150,
        )  # fmt: skip
        return decode((self.folder / "message").read_text())

    def harvest(self, *arguments: str, **changes: str) -> tuple[int, Verdict | None, str]:
        message = self.folder / "harvested"
        message.unlink(missing_ok=True)
        if not arguments:
            changes = {ENV_HARVEST: "true"} | changes
        done = subprocess.run(
            [sys.executable, "-m", "vidbench_runner", *arguments], env=self.environment("harvested", **changes),
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, decode(message.read_text()) if message.exists() else None, done.stderr


@pytest.fixture(scope="module")
def success(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stored, Verdict]:
    stored = Stored(tmp_path_factory.mktemp("stored"))
    (stored.folder / "request.json").write_text(request_document().to_text())
    return stored, stored.measure("clip clip slow clip")


@pytest.mark.parametrize("arguments", [pytest.param((), id="as a Job says"), pytest.param(("harvest",), id="by hand")])
def test_harvest_says_what_the_attempt_said(success: tuple[Stored, Verdict], arguments: tuple[str, ...]) -> None:
    stored, said = success
    code, verdict, log = stored.harvest(*arguments)
    assert code == 0, log
    assert verdict == said
    assert verdict is not None
    assert (verdict.final, verdict.outcome, verdict.samples_done) == (True, Outcome.SUCCEEDED, 3)
    assert verdict.artifacts is not None


def test_verdict_is_stored_after_everything_else(success: tuple[Stored, Verdict]) -> None:
    stored, _ = success
    changed = {file.name: file.stat().st_mtime_ns for file in stored.files.iterdir()}
    assert set(changed) == {"samples.jsonl", "sample-000.mkv", "verdict.json"}
    assert max(changed, key=lambda name: changed[name]) == "verdict.json"


def test_harvest_of_samples_without_a_verdict_is_partial(success: tuple[Stored, Verdict], tmp_path: Path) -> None:
    stored, said = success
    text = (stored.files / "verdict.json").read_text()
    try:
        for spoilt in (None, text[:100]):
            (stored.files / "verdict.json").unlink(missing_ok=True)
            if spoilt is not None:
                (stored.files / "verdict.json").write_text(spoilt)
            code, verdict, log = stored.harvest()
            assert code == 0, log
            assert verdict is not None
            assert (verdict.final, verdict.samples_done, verdict.series) == (False, 3, said.series)
            assert verdict.validity is not None
            assert verdict.validity.state is Validity.PARTIAL
    finally:
        (stored.files / "verdict.json").write_text(text)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({ENV_ATTEMPT: "2"}, ExitCode.NOTHING_STORED, id="another attempt: its folder is not there"),
        pytest.param({ENV_ARTIFACTS: ""}, ExitCode.NOTHING_STORED, id="a run that stores nothing"),
        pytest.param({ENV_CELL: "ffffffff"}, ExitCode.INVALID_REQUEST, id="a cell that the request does not have"),
        pytest.param({ENV_REQUEST_DIGEST: "0" * 64}, ExitCode.INVALID_REQUEST, id="a request that was changed"),
        pytest.param({ENV_ARTIFACTS: "nowhere://x"}, ExitCode.STORAGE_FAILED, id="a place that cannot be read"),
    ],
)
def test_harvest_that_finds_nothing_says_so_by_its_exit_code_and_leaves_no_message(
    success: tuple[Stored, Verdict], changes: dict[str, str], code: ExitCode
) -> None:
    status, verdict, log = success[0].harvest(**changes)
    assert (status, verdict) == (code, None), log
    assert "Traceback" not in log


def test_harvest_takes_no_other_attempts_verdict(success: tuple[Stored, Verdict], tmp_path: Path) -> None:
    """Whoever may write to the claim may put any file anywhere in it."""
    stored, _ = success
    other = Stored(tmp_path)
    (tmp_path / "request.json").write_text(request_document().to_text())
    foreign = json.loads((stored.files / "verdict.json").read_text())
    foreign["verdict"]["attempt"] = 7
    other.files.mkdir(parents=True)
    (other.files / "verdict.json").write_text(json.dumps(foreign))
    code, verdict, log = other.harvest()
    assert (code, verdict) == (ExitCode.NOTHING_STORED, None)
    assert "checksum" in log


def test_failure_is_stored_too(tmp_path: Path) -> None:
    stored = Stored(tmp_path)
    (tmp_path / "request.json").write_text(request_document().to_text())
    said = stored.measure("clip out-of-memory")
    code, verdict, log = stored.harvest()
    assert code == 0, log
    assert verdict == said
    assert verdict is not None
    assert (verdict.outcome, verdict.stage, verdict.phase) == (Outcome.OUT_OF_MEMORY, "sampling", "vae_decode")


def test_harvest_imports_nothing_big() -> None:
    program = (
        "import json, sys\nimport vidbench_runner.harvest, fsspec\n"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not set(json.loads(loaded.stdout)) & {"torch", "diffusers", "transformers", "cv2", "numpy", "pynvml"}

"""The supervisor over real worker processes: the real worker code with a scripted model, killed in every way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import scripted_model
from support.requests import CELL, request_document

from vidbench_api.measured import SeriesName
from vidbench_api.message import MessageError, decode
from vidbench_api.names import (
    ENV_ATTEMPT,
    ENV_CELL,
    ENV_MESSAGE_PATH,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    ENV_SHARD,
    ExitCode,
    Outcome,
    Validity,
)
from vidbench_api.request import RequestDocument
from vidbench_api.verdict import Verdict

TESTS = Path(scripted_model.__file__).parents[1]
SUPERVISE = """
import logging, os, sys
from vidbench_runner.supervisor import Pace, supervise
logging.basicConfig(stream=sys.stderr)
def number(name, default):
    return float(os.environ.get(name, default))
pace = Pace(
    look=0.05, look_sampling=0.05, watch=0.1, activity_share=number("ACTIVITY_SHARE", "0.02"),
    write_phase=number("WRITE_PHASE", "0.1"), write_share=number("WRITE_SHARE", "1"), grace=number("GRACE", "5"), dump=2.0,
)
sys.exit(supervise(os.environ, (sys.executable, sys.argv[1]), pace))
"""


LINGERING_WORKER = f"""
import contextlib, runpy, sys, time
sys.argv[0] = {scripted_model.__file__!r}
with contextlib.suppress(SystemExit):
    runpy.run_path(sys.argv[0], run_name="__main__")
time.sleep(20)
"""


@dataclass
class Attempt:
    """One supervised attempt in a process of its own, as in a pod."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    text: str | None = None
    worker_script: Path = Path(scripted_model.__file__)
    log: str = ""

    @property
    def message(self) -> Path:
        return self.folder / "message"

    def start(
        self, script: str = "", document: RequestDocument | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        text = self.text or (document or request_document()).to_text()
        digest = RequestDocument.from_text(text).digest if self.text is None else "1" * 64
        (self.folder / "request.json").write_text(text)
        variables = os.environ | {
            ENV_REQUEST_PATH: str(self.folder / "request.json"),
            ENV_REQUEST_DIGEST: digest,
            ENV_CELL: CELL,
            ENV_SHARD: "1",
            ENV_ATTEMPT: "1",
            ENV_MESSAGE_PATH: str(self.message),
            "PYTHONPATH": str(TESTS),
            "SCRIPT": script,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(self.worker_script)], env=variables | environment, text=True,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, script: str = "", document: RequestDocument | None = None, **environment: str) -> tuple[int, Verdict]:
        process = self.start(script, document, **environment)
        _, self.log = process.communicate(timeout=150)
        return process.returncode, self.verdict()

    def verdict(self) -> Verdict:
        return decode(self.message.read_text())

    def wait_for(self, condition: Callable[[Verdict], bool]) -> Verdict:
        """Return the first verdict of the message file that meets the condition."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                verdict = self.verdict()
            except (MessageError, FileNotFoundError):
                verdict = None
            if verdict is not None and condition(verdict):
                return verdict
            time.sleep(0.02)
        raise AssertionError(f"the message never came: {verdict}")

    def worker(self, process: subprocess.Popen[str]) -> psutil.Process:
        return psutil.Process(process.pid).children()[0]


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    started = Attempt(tmp_path)
    yield started
    for process in started.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def latencies(verdict: Verdict) -> int:
    series = verdict.find_series(SeriesName.LATENCY)
    return series.statistics.count if series is not None else 0


def test_supervisor_finished_trial_is_reported_with_exit_code_0(attempt: Attempt) -> None:
    code, verdict = attempt.run("clip clip slow clip")
    assert (code, verdict.outcome, verdict.final) == (0, Outcome.SUCCEEDED, True)
    assert (verdict.samples_done, latencies(verdict)) == (3, 3)
    assert verdict.request_digest == request_document().digest[:16]
    assert verdict.environment is not None
    assert verdict.environment.torch is not None
    assert verdict.environment.device == "cpu"


@pytest.mark.parametrize(
    ("script", "code", "reason", "outcome", "done"),
    [
        pytest.param("nan", ExitCode.NAN_OUTPUT, "NaNOutput", Outcome.FAILED, 0, id="NaN"),
        pytest.param(
            "clip clip out-of-memory", ExitCode.OUT_OF_MEMORY_CUDA, "OutOfMemoryCuda", Outcome.OUT_OF_MEMORY, 1, id="GPU full"
        ),
        pytest.param(
            "clip memory-error", ExitCode.OUT_OF_MEMORY_HOST, "OutOfMemoryHost", Outcome.OUT_OF_MEMORY, 0, id="MemoryError"
        ),
        pytest.param("clip clip bug", ExitCode.INTERNAL_ERROR, "InternalError", Outcome.FAILED, 1, id="a bug"),
        pytest.param("clip clip sigkill", ExitCode.KILLED, "Killed", Outcome.FAILED, 1, id="kill -9 by somebody"),
        pytest.param("clip clip sigsegv", ExitCode.INTERNAL_ERROR, "InternalError", Outcome.FAILED, 1, id="a crash"),
        pytest.param("clip clip leave", ExitCode.INTERNAL_ERROR, "InternalError", Outcome.FAILED, 1, id="leaves silently"),
    ],
)  # fmt: skip
def test_supervisor_failure_has_its_reason_its_exit_code_and_what_was_measured(
    attempt: Attempt, script: str, code: int, reason: str, outcome: Outcome, done: int
) -> None:
    status, verdict = attempt.run(script)
    assert (status, verdict.reason, verdict.outcome, verdict.final) == (code, reason, outcome, True)
    assert (verdict.samples_done, latencies(verdict)) == (done, done)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL


def test_supervisor_names_the_phase_in_which_a_worker_was_killed(attempt: Attempt) -> None:
    _, verdict = attempt.run("clip clip sigkill")
    assert (verdict.stage, verdict.phase) == ("sampling", "vae_decode")


def test_supervisor_logs_the_traceback_of_a_bug(attempt: Attempt) -> None:
    _, verdict = attempt.run("clip bug")
    assert verdict.message == "sample 1 of 3: ZeroDivisionError: scripted bug"
    assert "Traceback" in attempt.log
    assert "scripted_model.py" in attempt.log


def test_supervisor_ignores_garbage_on_the_pipe(attempt: Attempt) -> None:
    code, verdict = attempt.run("clip garbage garbage")
    assert (code, verdict.samples_done) == (0, 3)
    assert "no verdict" in attempt.log


def test_supervisor_told_to_stop_keeps_what_was_measured(attempt: Attempt) -> None:
    process = attempt.start("clip clip clip sleep", GRACE="30")
    attempt.wait_for(lambda verdict: verdict.samples_done == 2)
    worker = attempt.worker(process)
    started = time.monotonic()
    process.terminate()
    assert process.wait(60) == ExitCode.INTERRUPTED
    assert time.monotonic() - started < 25, "a worker that can stop is not waited for"
    verdict = attempt.verdict()
    assert (verdict.reason, verdict.outcome, verdict.samples_done) == ("Interrupted", Outcome.FAILED, 2)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL
    assert not worker.is_running()


def test_supervisor_worker_that_does_not_stop_is_killed(attempt: Attempt) -> None:
    process = attempt.start("clip clip sleep", GRACE="0.5")
    attempt.wait_for(lambda verdict: verdict.samples_done == 1)
    attempt.worker(process).suspend()
    process.terminate()
    assert process.wait(60) == ExitCode.INTERRUPTED
    assert attempt.verdict().samples_done == 1


def test_supervisor_hung_worker_is_killed_with_its_stack_in_the_log(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 2})
    code, verdict = attempt.run("clip clip sleep", document)
    assert (code, verdict.reason, verdict.samples_done) == (ExitCode.HUNG, "Hung", 1)
    assert "_sleep" in attempt.log, "faulthandler writes where the worker hangs"


def test_supervisor_busy_worker_without_heartbeats_is_not_taken_for_hung(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 2})
    code, verdict = attempt.run("clip busy", document)
    assert (code, verdict.samples_done) == (0, 3)


def test_supervisor_looks_at_the_processes_again_before_it_ends_a_worker_for_its_silence(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 2})
    code, verdict = attempt.run("clip busy", document, ACTIVITY_SHARE="1000")
    assert (code, verdict.samples_done) == (0, 3)


def test_supervisor_that_hardly_looks_at_the_processes_still_ends_a_worker_that_hangs(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 2})
    code, verdict = attempt.run("clip clip sleep", document, ACTIVITY_SHARE="1000")
    assert (code, verdict.reason, verdict.samples_done) == (ExitCode.HUNG, "Hung", 1)


def test_supervisor_slow_load_that_gets_on_is_not_taken_for_hung(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 1})
    code, verdict = attempt.run("clip", document, SCRIPT_LOAD="trickle 6")
    assert (code, verdict.samples_done) == (0, 3), "it was silent for three times its limit, and computed"


def test_supervisor_load_that_hangs_is_killed_before_its_own_limit(attempt: Attempt) -> None:
    document = request_document(timeouts={"noProgressSeconds": 2, "loadSeconds": 600})
    code, verdict = attempt.run("", document, SCRIPT_LOAD="600")
    assert (code, verdict.reason, verdict.stage) == (ExitCode.HUNG, "Hung", "loading")


def test_supervisor_load_that_takes_too_long_is_ended(attempt: Attempt) -> None:
    document = request_document(timeouts={"loadSeconds": 4})
    code, verdict = attempt.run("", document, SCRIPT_LOAD="60")
    assert (code, verdict.reason) == (ExitCode.LOAD_DEADLINE, "LoadDeadlineExceeded")
    assert verdict.stage in {"starting", "loading"}


def test_supervisor_shard_deadline_leaves_a_partial_result(attempt: Attempt) -> None:
    document = request_document(timeouts={"shardSeconds": 8})
    code, verdict = attempt.run("clip clip clip sleep", document)
    assert (code, verdict.reason) == (ExitCode.SHARD_DEADLINE, "ShardDeadlineExceeded")
    assert (verdict.outcome, latencies(verdict)) == (Outcome.FAILED, verdict.samples_done)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL


def test_supervisor_killed_takes_the_worker_along(attempt: Attempt) -> None:
    process = attempt.start("clip clip sleep")
    attempt.wait_for(lambda verdict: verdict.samples_done == 1)
    worker = attempt.worker(process)
    process.kill()
    process.wait()
    worker.wait(timeout=10)
    assert not worker.is_running()


FORKING_WORKER = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"])
with open(sys.argv[0] + ".pid", "w") as file:
    file.write(str(child.pid))
"""


def test_supervisor_leaves_no_descendant_of_the_worker(attempt: Attempt, tmp_path: Path) -> None:
    attempt.worker_script = tmp_path / "forking_worker.py"
    attempt.worker_script.write_text(FORKING_WORKER)
    code, verdict = attempt.run()
    assert (code, verdict.reason) == (ExitCode.INTERNAL_ERROR, "InternalError")
    orphan = int(Path(f"{attempt.worker_script}.pid").read_text())
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_supervisor_all_processes_killed_after_the_third_sample_leave_its_evidence(attempt: Attempt) -> None:
    """What a cgroup v2 out-of-memory kill does; see the design, section 4."""
    document = request_document(seeds={"base": 7, "count": 5})
    process = attempt.start("clip clip clip clip kill-everything", document)
    assert process.wait(150) == -signal.SIGKILL
    verdict = attempt.verdict()
    assert (verdict.final, verdict.outcome, verdict.samples_done, latencies(verdict)) == (False, None, 3, 3)
    assert (verdict.stage, verdict.phase) == ("sampling", "vae_decode")
    latency = verdict.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert len(latency.values) == 3
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL


def test_supervisor_writes_the_final_verdict_before_its_worker_has_left(attempt: Attempt, tmp_path: Path) -> None:
    """A teardown may hang, and the pod be killed meanwhile."""
    attempt.worker_script = tmp_path / "lingering_worker.py"
    attempt.worker_script.write_text(LINGERING_WORKER)
    process = attempt.start("clip clip clip")
    verdict = attempt.wait_for(lambda verdict: verdict.final)
    assert attempt.worker(process).is_running()
    assert verdict.outcome is Outcome.SUCCEEDED


def test_supervisor_writes_a_new_phase_at_once_since_memory_may_run_out_in_it(attempt: Attempt) -> None:
    process = attempt.start("postprocess-late-and-kill-everything", WRITE_PHASE="600")
    assert process.wait(150) == -signal.SIGKILL
    verdict = attempt.verdict()
    assert (verdict.stage, verdict.phase, verdict.samples_done) == ("warming_up", "postprocess", 0)
    assert verdict.memory is not None
    assert verdict.memory.host, "the peak so far"


def test_supervisor_writes_ahead_from_the_first_stage_on(attempt: Attempt) -> None:
    attempt.start("", SCRIPT_LOAD="60")
    verdict = attempt.wait_for(lambda verdict: verdict.stage == "loading")
    assert (verdict.final, verdict.samples_done) == (False, 0)


TELLING_WORKER = """
import os, pathlib, sys
pathlib.Path(os.environ["SEEN"]).write_text(repr(os.environ.get("CUDA_VISIBLE_DEVICES")))
"""


@pytest.mark.parametrize(("gpus", "shown"), [(0, "''"), (1, "'0'")])
def test_supervisor_hides_every_gpu_from_a_shard_that_has_none(
    attempt: Attempt, tmp_path: Path, gpus: int, shown: str
) -> None:
    attempt.worker_script, seen = tmp_path / "worker.py", tmp_path / "seen"
    attempt.worker_script.write_text(TELLING_WORKER)
    document = request_document(hardware=[{"name": "cpu", "gpus": gpus}])
    attempt.run(document=document, CUDA_VISIBLE_DEVICES="0", SEEN=str(seen))
    assert seen.read_text() == shown


HANGING_NVML = """
import time
class NVMLError(Exception):
    pass
def nvmlInit():
    time.sleep(600)
"""


def test_supervisor_starts_its_worker_although_the_driver_hangs(attempt: Attempt, tmp_path: Path) -> None:
    attempt.worker_script, seen = tmp_path / "worker.py", tmp_path / "seen"
    attempt.worker_script.write_text(TELLING_WORKER)
    (tmp_path / "pynvml.py").write_text(HANGING_NVML)
    _, verdict = attempt.run(PYTHONPATH=f"{tmp_path}{os.pathsep}{TESTS}", SEEN=str(seen))
    assert seen.exists()
    assert verdict.final


def test_supervisor_never_imports_torch(attempt: Attempt) -> None:
    code = (
        "import json, sys\nimport vidbench_runner.__main__\nimport vidbench_runner.supervisor\n"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = set(json.loads(loaded.stdout))
    assert "vidbench_api" in modules
    assert not modules & {"torch", "diffusers", "transformers", "cv2", "numpy", "pynvml", "fsspec"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("{}", "digest", id="another document"),
        pytest.param("not JSON", "digest", id="garbage"),
    ],
)
def test_supervisor_refuses_a_document_that_the_job_is_not_about(attempt: Attempt, text: str, word: str) -> None:
    attempt.text = text
    code, verdict = attempt.run(**{ENV_REQUEST_DIGEST: "1" * 64})
    assert (code, verdict.reason, verdict.final) == (ExitCode.INVALID_REQUEST, "InvalidRequest", True)
    assert verdict.message is not None
    assert word in verdict.message
    assert verdict.request_digest != "1" * 16, "the verdict is about what was read"


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        pytest.param({ENV_CELL: "ffffffff"}, "ffffffff", id="no such cell"),
        pytest.param({ENV_SHARD: "2"}, "shard 2", id="no such shard"),
        pytest.param({ENV_REQUEST_PATH: "/nowhere/request.json"}, "/nowhere/request.json", id="no document"),
    ],
)
def test_supervisor_refuses_a_request_that_it_cannot_use(
    attempt: Attempt, environment: dict[str, str], word: str
) -> None:
    code, verdict = attempt.run(**environment)
    assert (code, verdict.reason) == (ExitCode.INVALID_REQUEST, "InvalidRequest")
    assert verdict.message is not None
    assert word in verdict.message


def test_supervisor_refuses_a_document_of_the_right_digest_and_the_wrong_shape(
    attempt: Attempt, tmp_path: Path
) -> None:
    from vidbench_api.identity import digest_of

    (tmp_path / "wrong.json").write_text('{"cells": 5}')
    code, verdict = attempt.run(
        **{ENV_REQUEST_PATH: str(tmp_path / "wrong.json"), ENV_REQUEST_DIGEST: digest_of('{"cells": 5}')}
    )
    assert (code, verdict.reason) == (ExitCode.INVALID_REQUEST, "InvalidRequest")
    assert verdict.message is not None
    assert "run: Field required" in verdict.message


@pytest.mark.parametrize("name", [ENV_CELL, ENV_SHARD, ENV_ATTEMPT, ENV_REQUEST_DIGEST])
def test_supervisor_without_an_identity_says_so_on_stderr(attempt: Attempt, name: str) -> None:
    process = attempt.start(**{name: ""})
    _, log = process.communicate(timeout=90)
    assert process.returncode == ExitCode.INVALID_REQUEST
    assert name in log
    assert not attempt.message.exists()


def test_supervisor_that_cannot_report_measures_nothing(attempt: Attempt) -> None:
    process = attempt.start(**{ENV_MESSAGE_PATH: "/nowhere/message"})
    _, log = process.communicate(timeout=90)
    assert process.returncode == ExitCode.INTERNAL_ERROR
    assert "/nowhere/message" in log


MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup v1 of 160 MB, as this machine may have."""
    group = MEMORY_CGROUP / f"vidbench-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(160 * 1024 * 1024))
    except OSError as error:
        pytest.skip(f"no cgroup v1 that this user may limit: {error}")
    yield group
    end = time.monotonic() + 5
    while (group / "cgroup.procs").read_text() and time.monotonic() < end:
        time.sleep(0.05)
    group.rmdir()


def test_supervisor_tells_a_memory_limit_from_a_kill(attempt: Attempt, small_cgroup: Path) -> None:
    process = attempt.start("clip clip eat-memory")
    (small_cgroup / "cgroup.procs").write_text(str(process.pid))
    _, log = process.communicate(timeout=150)
    verdict = attempt.verdict()
    assert (process.returncode, verdict.reason) == (ExitCode.OUT_OF_MEMORY_HOST, "OutOfMemoryHost"), log
    assert verdict.outcome is Outcome.OUT_OF_MEMORY
    assert verdict.samples_done == 1
    assert (verdict.stage, verdict.phase) == ("sampling", "vae_decode")
    assert verdict.memory is not None
    assert verdict.memory.host is not None
    assert verdict.memory.host > 100 * 1024 * 1024, "what the killed worker had, although it could not say so"


def test_supervisor_pace_leaves_time_within_a_pods_grace_period() -> None:
    from vidbench_runner.supervisor import Pace

    pod_default = 30
    pace: Any = Pace()
    assert pace.grace + pace.dump + 2 * pace.look_sampling < pod_default / 2

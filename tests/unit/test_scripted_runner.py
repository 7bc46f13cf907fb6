"""The runner of the e2e tests speaks the real contract: what it leaves is read by the real code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import scripted_runner
from support.requests import CELL, request_document

from vidbench_api.message import decode
from vidbench_api.names import (
    ENV_ARTIFACTS,
    ENV_ATTEMPT,
    ENV_CELL,
    ENV_HARVEST,
    ENV_MESSAGE_PATH,
    ENV_NODE_NAME,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    ENV_SHARD,
    Outcome,
    Reason,
)
from vidbench_api.verdict import Phase, Stage, Verdict


def play(folder: Path, behaviour: str, cell: dict[str, Any] | None = None, **environment: str) -> tuple[int, str]:
    """Run one attempt in a process; return the exit code and the termination message."""
    document = request_document(
        cell={"backend": "diffusers", "source": {"path": f"/scripted/{behaviour}"}} | (cell or {}),
        timeouts={"noProgressSeconds": 1},
    )
    (folder / "request.json").write_text(document.to_text())
    message = folder / "message"
    message.write_text("")
    variables = os.environ | {
        ENV_REQUEST_PATH: str(folder / "request.json"),
        ENV_REQUEST_DIGEST: document.digest,
        ENV_CELL: CELL,
        ENV_SHARD: "1",
        ENV_ATTEMPT: "1",
        ENV_MESSAGE_PATH: str(message),
        ENV_ARTIFACTS: f"file://{folder}/artifacts",
        ENV_NODE_NAME: "pool-a-node-7",
    }
    done = subprocess.run(
        [sys.executable, scripted_runner.__file__], env=variables | environment, check=False, timeout=60
    )
    return done.returncode, message.read_text()


LATER, EARLIER = str(time.time() + 3600), str(time.time() - 3600)
CASES: list[Any] = [
    pytest.param("steady", {}, 0, None, id="steady"),
    pytest.param("oom-decode", {}, 81, Reason.OUT_OF_MEMORY_CUDA, id="runs out in the decoder"),
    pytest.param("oom-decode", {"vaeTiling": True}, 0, None, id="fits in tiles"),
    pytest.param("hang", {}, 89, Reason.HUNG, id="hangs until its watchdog ends it"),
    pytest.param("fail-on-node", {}, 91, Reason.DEVICE_FAULT, id="fails everywhere"),
    pytest.param(
        "fail-on-node", {"arguments": {"bad_node": "node-7"}}, 91, Reason.DEVICE_FAULT, id="fails on its node"
    ),
    pytest.param("fail-on-node", {"arguments": {"bad_node": "node-8"}}, 0, None, id="fails elsewhere"),
    pytest.param("fail-on-node", {"arguments": {"fail_before": LATER}}, 91, Reason.DEVICE_FAULT, id="fails as yet"),
    pytest.param("fail-on-node", {"arguments": {"fail_before": EARLIER}}, 0, None, id="fails no more"),
]


@pytest.mark.parametrize(("behaviour", "cell", "code", "reason"), CASES)
def test_behaviour_ends_by_its_exit_code_and_a_final_verdict(
    tmp_path: Path, behaviour: str, cell: dict[str, Any], code: int, reason: Reason | None
) -> None:
    status, text = play(tmp_path, behaviour, cell)
    verdict = decode(text)
    assert (status, verdict.final, verdict.reason) == (code, True, reason)
    if reason is Reason.OUT_OF_MEMORY_CUDA:
        assert (verdict.outcome, verdict.stage, verdict.phase) == (
            Outcome.OUT_OF_MEMORY, Stage.SAMPLING, Phase.VAE_DECODE,
        )  # fmt: skip


def test_verdict_that_is_lost_is_found_by_the_harvest_and_by_the_real_runner(tmp_path: Path) -> None:
    from vidbench_runner.core.plan import Attempt
    from vidbench_runner.core.stored import verdict_of

    assert play(tmp_path, "lose-verdict") == (0, "")
    code, text = play(tmp_path, "lose-verdict", **{ENV_HARVEST: "true"})
    found: Verdict = decode(text)
    assert (code, found.final, found.outcome, found.samples_done) == (0, True, Outcome.SUCCEEDED, 3)
    [file] = tmp_path.glob("artifacts/*/*/*/*/verdict.json")
    assert verdict_of(file.read_text(), Attempt(found.request_digest, CELL, 1, 1)) == found


@pytest.mark.parametrize("behaviour", ["silent", "garbage"])
def test_harvest_after_a_runner_that_stored_nothing_ends_with_96(tmp_path: Path, behaviour: str) -> None:
    assert play(tmp_path, behaviour, **{ENV_HARVEST: "true"}) == (96, "")

"""A runner for e2e tests that measures nothing: it reads its request and does what the model's path tells it to.

It runs in an image made from the operator's, starts within a second and speaks the runner's real contract, so that many
attempts can be made on a small machine. The end of the model's path names the behaviour:

| behaviour      | what it does                                                                                            |
|----------------|---------------------------------------------------------------------------------------------------------|
| `steady`       | takes `arguments.sample_seconds` a sample, reports each one ahead, succeeds                             |
| `silent`       | exits with 1 and says nothing                                                                           |
| `garbage`      | leaves 10 KiB that are no verdict                                                                       |
| `oom-decode`   | runs out of GPU memory in the decoder (exit 81); is `steady` where the cell has VAE tiling              |
| `hang`         | reports once, idles, and ends as Hung (exit 89) after timeouts.noProgressSeconds, as the real watchdog  |
| `stuck`        | reports once and idles for ever, as if the watchdog hung as well                                        |
| `lose-verdict` | is `steady` but leaves its verdict among the artifacts only, and no message                             |
| `fail-on-node` | fails with DeviceFault (exit 91) on a node whose name ends with `arguments.bad_node`, and as long as    |
|                | the clock is before `arguments.fail_before` (seconds since the epoch); on every node without the two    |

As a harvest it reports what `lose-verdict` left, and ends with 96 where nothing is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vidbench_api.identity import canonical_json, digest_of
from vidbench_api.measured import Environment, Series, SeriesName, Statistics
from vidbench_api.message import encode
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
    EXIT_CODE_OF_REASON,
    ExitCode,
    Outcome,
    Reason,
    Validity,
)
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.verdict import Phase, Stage, ValidityVerdict, Verdict

STORED_SCHEMA = "vidbench.io/stored-verdict/1"
GARBAGE_BYTES = 10 * 1024
CLAIMED_MICROSECONDS = 1_000
"""What each sample claims to have taken: a figure of nothing."""


def main() -> int:
    """Do what the model's path says; return the exit code."""
    # As PID 1 of its container, a process ignores SIGTERM unless it asks for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))
    document = RequestDocument.from_text(Path(os.environ[ENV_REQUEST_PATH]).read_text())
    cell = document.find_cell(os.environ[ENV_CELL])
    if cell is None or cell.source.path is None:
        return ExitCode.INVALID_REQUEST
    if os.environ.get(ENV_HARVEST) == "true":
        return harvest(document)
    behaviour = cell.source.path.rpartition("/")[2]
    return BEHAVIOURS.get(behaviour, steady)(cell, document)


def steady(cell: Cell, document: RequestDocument) -> int:
    """Report each sample ahead, then the whole."""
    report(measure(cell, document))
    return 0


def measure(cell: Cell, document: RequestDocument) -> Verdict:
    """Report each sample ahead; return the whole."""
    samples = len(document.samples())
    for done in range(samples):
        report(verdict(done, final=False))
        time.sleep(float(cell.arguments.get("sample_seconds") or 0))
    return verdict(samples, final=True)


def silent(_cell: Cell, _document: RequestDocument) -> int:
    """Say nothing."""
    return 1


def garbage(_cell: Cell, _document: RequestDocument) -> int:
    """Leave what is no verdict."""
    Path(os.environ[ENV_MESSAGE_PATH]).write_bytes(b"no verdict at all, " * (GARBAGE_BYTES // 19 + 1))
    return 0


def run_out_in_decode(cell: Cell, document: RequestDocument) -> int:
    """Run out of memory where a whole frame is decoded."""
    if cell.vae_tiling:
        return steady(cell, document)
    return fail(Reason.OUT_OF_MEMORY_CUDA, "scripted: out of memory in vae_decode", Stage.SAMPLING, Phase.VAE_DECODE)


def hang(_cell: Cell, document: RequestDocument) -> int:
    """Make no progress until the watchdog would end it."""
    report(verdict(0, final=False))
    time.sleep(document.timeouts.no_progress_seconds)
    return fail(Reason.HUNG, "scripted: no progress", Stage.SAMPLING, Phase.DENOISE)


def stick(_cell: Cell, _document: RequestDocument) -> int:
    """Make no progress, and have nothing that ends it."""
    report(verdict(0, final=False))
    while True:
        time.sleep(3600)


def lose_verdict(cell: Cell, document: RequestDocument) -> int:
    """Store the verdict as the runner does, and leave an empty message."""
    body = measure(cell, document).to_wire()
    file = stored_verdict(document)
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = {"schema": STORED_SCHEMA, "sha256": digest_of(canonical_json(body)), "verdict": body}
    file.write_text(json.dumps(stored))
    Path(os.environ[ENV_MESSAGE_PATH]).write_text("")
    return 0


def harvest(document: RequestDocument) -> int:
    """Report what `lose_verdict` left."""
    try:
        stored = json.loads(stored_verdict(document).read_text())
    except FileNotFoundError:
        return ExitCode.NOTHING_STORED
    report(Verdict.model_validate(stored["verdict"]))
    return 0


def stored_verdict(document: RequestDocument) -> Path:
    """The file of this attempt's verdict among the artifacts."""
    place = (document.run.name, os.environ[ENV_CELL], os.environ[ENV_SHARD], os.environ[ENV_ATTEMPT])
    return Path(os.environ[ENV_ARTIFACTS].removeprefix("file://")).joinpath(*place, "verdict.json")


def fail_on_node(cell: Cell, document: RequestDocument) -> int:
    """Fail by the node's name or the clock; always, if neither is given."""
    bad_node, fail_before = cell.arguments.get("bad_node"), cell.arguments.get("fail_before")
    by_node = bad_node is not None and os.environ[ENV_NODE_NAME].endswith(str(bad_node))
    by_clock = fail_before is not None and time.time() < float(fail_before)
    if by_node or by_clock or (bad_node is None and fail_before is None):
        return fail(Reason.DEVICE_FAULT, f"scripted: the GPU of {os.environ[ENV_NODE_NAME]} is gone", Stage.LOADING)
    return steady(cell, document)


BEHAVIOURS: dict[str, Callable[[Cell, RequestDocument], int]] = {
    "steady": steady,
    "silent": silent,
    "garbage": garbage,
    "oom-decode": run_out_in_decode,
    "hang": hang,
    "stuck": stick,
    "lose-verdict": lose_verdict,
    "fail-on-node": fail_on_node,
}


def fail(reason: Reason, message: str, stage: Stage, phase: Phase | None = None) -> int:
    """Report a failure; return its exit code."""
    memory = reason is Reason.OUT_OF_MEMORY_CUDA
    update = {
        "outcome": Outcome.OUT_OF_MEMORY if memory else Outcome.FAILED,
        "validity": ValidityVerdict(state=Validity.PARTIAL),
        "reason": reason.value,
        "message": message,
        "stage": stage,
        "phase": phase,
    }
    report(verdict(0, final=True).model_copy(update=update))
    return EXIT_CODE_OF_REASON[reason]


def verdict(samples_done: int, *, final: bool) -> Verdict:
    """Return what is to be believed of this attempt."""
    values = (CLAIMED_MICROSECONDS,) * samples_done
    latency = (
        Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
        if values
        else None
    )
    return Verdict(
        request_digest=os.environ[ENV_REQUEST_DIGEST][:16],
        cell=os.environ[ENV_CELL],
        shard=int(os.environ[ENV_SHARD]),
        attempt=int(os.environ[ENV_ATTEMPT]),
        final=final,
        outcome=Outcome.SUCCEEDED if final else None,
        validity=ValidityVerdict(state=Validity.VALID if final else Validity.PARTIAL),
        samples_done=samples_done,
        environment=Environment(device="none: scripted"),
        series=(latency,) if latency else (),
    )


def report(current: Verdict) -> None:
    """Write the termination message in place."""
    Path(os.environ[ENV_MESSAGE_PATH]).write_text(encode(current))


if __name__ == "__main__":
    sys.exit(main())

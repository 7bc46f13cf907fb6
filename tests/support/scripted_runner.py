"""A runner for e2e tests that measures nothing: it reads its request and does what the model's path tells it to.

It runs in an image made from the operator's, starts within a second and speaks the runner's real contract, so that many
attempts can be made on a small machine. `/scripted/steady` takes `arguments.sample_seconds` a sample, reports each one ahead
and succeeds; `/scripted/silent` exits with 1 and says nothing; `/scripted/garbage` leaves 10 KiB that are no verdict.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from vidbench_api.measured import Environment, Series, SeriesName, Statistics
from vidbench_api.message import encode
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
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.verdict import ValidityVerdict, Verdict

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
    behaviour = cell.source.path.rpartition("/")[2]
    if behaviour == "silent":
        return 1
    if behaviour == "garbage":
        Path(os.environ[ENV_MESSAGE_PATH]).write_bytes(b"no verdict at all, " * (GARBAGE_BYTES // 19 + 1))
        return 0
    return steady(cell, len(document.samples()))


def steady(cell: Cell, samples: int) -> int:
    """Report each sample ahead, then the whole."""
    seconds = float(cell.arguments.get("sample_seconds") or 0)
    for done in range(samples):
        report(verdict(done, final=False))
        time.sleep(seconds)
    report(verdict(samples, final=True))
    return 0


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

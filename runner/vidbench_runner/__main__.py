"""`python -m vidbench_runner`: one attempt, as the environment says (in a pod) or as arguments say (`run`).

Exits with the code that `vidbench_api.names.ExitCode` gives to what happened.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vidbench_api.identity import digest_of
from vidbench_api.message import MessageError, decode
from vidbench_api.names import ENV_HARVEST, MESSAGE_LIMIT
from vidbench_runner.assignment import Assignment
from vidbench_runner.harvest import harvest
from vidbench_runner.supervisor import supervise

UNKNOWN_DIGEST = "0" * 64
"""For a request file that cannot be read; the supervisor then says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parsed = _parser().parse_args(arguments)
    if parsed.command == "harvest" or (parsed.command is None and os.environ.get(ENV_HARVEST) == "true"):
        return harvest(os.environ)
    if parsed.command is None:
        return supervise(os.environ)
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    assignment = Assignment(
        request_path=str(parsed.request),
        request_digest=_digest(parsed.request),
        cell=parsed.cell,
        shard=parsed.shard,
        attempt=parsed.attempt,
        message_path=str(parsed.message),
        message_limit=parsed.message_limit,
        artifacts=parsed.artifacts,
        pretended_gpus=parsed.pretended_gpus,
    )
    code = supervise(dict(os.environ) | assignment.to_environment())
    try:
        verdict = decode(parsed.message.read_text(encoding="utf-8", errors="replace"))
    except (OSError, MessageError) as error:
        sys.stderr.write(f"{parsed.message} holds no verdict: {error}\n")
        return code
    sys.stdout.write(verdict.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
    return code


def _digest(request: Path) -> str:
    """The digest of the file: without a Job there is nothing that it could be compared with."""
    try:
        return digest_of(request.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return UNKNOWN_DIGEST


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vidbench_runner",
        description="Measures one shard of a benchmark. Without a command: as the VIDBENCH_... variables say.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser(
        "harvest",
        help="report the verdict that an attempt has stored, as the VIDBENCH_... variables say; measures nothing",
    )
    run = commands.add_parser("run", help="measure one shard without a pod")
    run.add_argument("--request", type=Path, required=True, help="request document (JSON)")
    run.add_argument("--cell", required=True, help="id of the cell in it, 8 hex digits")
    run.add_argument("--shard", type=int, default=1, help="default 1")
    run.add_argument("--attempt", type=int, default=1, help="default 1")
    run.add_argument("--message", type=Path, required=True, help="file for the verdict, as a termination message")
    run.add_argument("--message-limit", type=int, default=MESSAGE_LIMIT, help=f"bytes of it; default {MESSAGE_LIMIT}")
    run.add_argument("--artifacts", help="directory (path or URL) for raw samples and videos; default: none")
    run.add_argument("--pretended-gpus", action="store_true", help="running on the CPU instead of a GPU is no defect")
    return parser


if __name__ == "__main__":
    sys.exit(main())

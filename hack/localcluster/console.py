"""Progress lines for people, on stderr, so that stdout stays what a script asked for. Runs commands with legible errors."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LocalClusterError


def say(message: str) -> None:
    """Print one progress line."""
    print(f"localcluster: {message}", file=sys.stderr, flush=True)


def run(
    arguments: Sequence[str | Path],
    *,
    doing: str,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout_seconds: float | None = None,
) -> str:
    """Run a command to its end and return its stdout; `doing` names the step in the error of a failure."""
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            env=environment,
            cwd=directory,
            timeout=timeout_seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LocalClusterError(f"{doing}: the program {words[0]!r} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LocalClusterError(f"{doing}: no end after {timeout_seconds:g} s: {' '.join(words)}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-4000:]
        shown = textwrap.shorten(" ".join(words), 400, placeholder=" ...")
        raise LocalClusterError(f"{doing}: exit code {done.returncode} from: {shown}\n{said}")
    return done.stdout


def succeeds(arguments: Sequence[str | Path], *, timeout_seconds: float = 20) -> bool:
    """Say whether a command exists, ends in time, and exits with 0."""
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

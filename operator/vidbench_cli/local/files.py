"""The directory of a local run: what stands in for the API server. Files appear whole or not at all, and stay.

    run.yaml          the manifest, as it was given
    run.json          the BenchmarkRun with its status
    request.json      the request document
    results/          one BenchmarkResult a file, written once
    attempts/NAME/    state.json (the Job and its pod), message (termination message), log.txt
    artifacts/        raw samples and videos, RUN/CELL/SHARD/ATTEMPT/
    events.jsonl      what the operator would have said by Events
    lock              held while somebody works on it

Decides nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Object = dict[str, Any]


class BusyError(Exception):
    """Another process works on the directory."""


class DamagedError(Exception):
    """A file of the directory cannot be read; the text names it."""


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def manifest(self) -> Path:
        """The manifest as it was given."""
        return self.path / "run.yaml"

    @property
    def request(self) -> Path:
        """The request document."""
        return self.path / "request.json"

    @property
    def artifacts(self) -> Path:
        """What stands for the claim of artifacts."""
        return self.path / "artifacts"

    def attempt(self, job: str) -> Path:
        """Return the folder of an attempt, which is named like its Job."""
        return self.path / "attempts" / job

    def read_run(self) -> Object | None:
        """Return the BenchmarkRun; None if none was written. Raises DamagedError."""
        return _read_object(self.path / "run.json")

    def write_run(self, run: Object) -> None:
        """Replace the BenchmarkRun."""
        replace_file(self.path / "run.json", _text_of(run))

    def read_results(self) -> dict[str, Object]:
        """Return all BenchmarkResults by name. Raises DamagedError."""
        found = {}
        for path in sorted((self.path / "results").glob("*.json")):
            content = _read_object(path)
            if content is not None:
                found[path.stem] = content
        return found

    def create_result(self, name: str, result: Object) -> None:
        """Write a BenchmarkResult for ever. Raises FileExistsError."""
        create_file(self.path / "results" / f"{name}.json", _text_of(result))

    def read_attempts(self) -> dict[str, Object]:
        """Return the state of every attempt by the name of its Job. Raises DamagedError."""
        found = {}
        for path in sorted((self.path / "attempts").glob("*/state.json")):
            content = _read_object(path)
            if content is not None:
                found[path.parent.name] = content
        return found

    def write_attempt(self, job: str, state: Object) -> None:
        """Replace the state of an attempt."""
        replace_file(self.attempt(job) / "state.json", _text_of(state))

    def add_event(self, event: Object) -> None:
        """Append an Event."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others away for as long as the context lasts; makes the directory. Raises BusyError, OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise BusyError(file.read().strip()) from error
            yield

    def sign(self) -> None:
        """Say who holds the directory. Not before the time of the last sign of life was read."""
        (self.path / "lock").write_text(f"{os.getpid()}\n", encoding="utf-8")

    def sign_of_life(self) -> None:
        """Note that somebody works on the run: its clocks stand still while nobody does."""
        os.utime(self.path / "lock")

    def last_sign_of_life(self) -> float:
        """Return when somebody worked on the run last, in seconds since the epoch; now for a new directory."""
        try:
            return (self.path / "lock").stat().st_mtime
        except FileNotFoundError:
            return time.time()


def replace_file(path: Path, text: str) -> None:
    """Write a file whole, through to the disk, over what is there."""
    temporary = _write_beside(path, text)
    temporary.replace(path)
    _sync_folder(path.parent)


def create_file(path: Path, text: str) -> None:
    """Write a file whole, through to the disk. Raises FileExistsError, and then changes nothing."""
    temporary = _write_beside(path, text)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def _write_beside(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary = Path(name)
    temporary.chmod(0o644)
    return temporary


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text_of(content: Object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _read_object(path: Path) -> Object | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path}: it is no object")
    return content

"""Long-lived programs: start, signal, stop, find again from another process. Knows nothing of Kubernetes.

A program is found again by its pid and its start time, so that a pid that the machine gave to someone else is never hit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import LocalClusterError

# The kernel's "kill me when my parent dies" means the *thread* that started the program. All of them are therefore
# started by one thread that lives as long as this process, never by a test's short-lived worker thread.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="localcluster-launcher")


class Daemon:
    """One program with a log file and a pid file in a directory."""

    def __init__(self, name: str, directory: Path, *, die_with_parent: bool = False) -> None:
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._pid_path = directory / f"{name}.pid"
        self._die_with_parent = die_with_parent
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running program; None while it does not run."""
        if self._child is not None:
            if self._child.poll() is None:
                return self._child.pid
            # Someone else may have started it anew since; the pid file knows.
            self._child = None
        try:
            pid_text, start_time = self._pid_path.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        pid = int(pid_text)
        return pid if start_time_of(pid) == start_time else None

    @property
    def is_running(self) -> bool:
        """Whether the program runs (a stopped one, by SIGSTOP, runs too)."""
        return self.pid is not None

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Start the program unless it runs."""
        if self.is_running:
            return
        self._pid_path.parent.mkdir(parents=True, exist_ok=True)
        words = [str(argument) for argument in arguments]
        if self._die_with_parent and sys.platform == "linux" and shutil.which("setpriv"):
            words = ["setpriv", "--pdeathsig", "KILL", "--", *words]
        with self.log_path.open("ab") as log:
            launch = _LAUNCHER.submit(
                subprocess.Popen,
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
            try:
                child = launch.result()
            except OSError as error:
                raise LocalClusterError(f"{self.name} cannot be started: {error}") from error
        self._child = child
        self._pid_path.write_text(f"{child.pid} {start_time_of(child.pid) or '0'}\n")

    def send(self, number: int) -> None:
        """Send a signal if the program runs."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def stop(self, *, grace_seconds: float = 0) -> None:
        """End the program: ask, wait, then kill. Without grace it is killed at once. No error if it does not run."""
        if grace_seconds > 0:
            self.send(signal.SIGTERM)
            self._wait_gone(grace_seconds)
        if self.is_running:
            self.send(signal.SIGKILL)
            if not self._wait_gone(10):
                raise LocalClusterError(f"{self.name} (pid {self.pid}) is still there 10 s after SIGKILL")
        self._child = None
        self._pid_path.unlink(missing_ok=True)

    def _wait_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def last_words(self, lines: int = 15) -> str:
        """The end of the log, for error messages."""
        try:
            text = self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


def start_time_of(pid: int) -> str | None:
    """When a process started, in the machine's own ticks; None if there is none, or only its zombie."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip().replace(" ", "_") or None
    try:
        # The program's name comes second, in brackets, and may hold anything; what follows has fixed places.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_time = fields[0], fields[19]
    return None if state in {"Z", "X"} else start_time

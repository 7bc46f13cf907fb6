"""Runner processes: started so that none outlives us, told to stop, and ended with all that they started.

Knows nothing of what a runner does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from vidbench_api.names import ENV_POD_UID


class RunnerProcess:
    """One process in a session of its own, so that Ctrl-C at the terminal reaches it through us alone."""

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """Start it in a folder. Raises OSError."""
        command = (sys.executable, "-m", "vidbench_cli.local.launch", str(os.getpid()))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Tell it to end: a runner then says what it has measured."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """End it and all that it started, at once; return its exit status."""
        kill_tree(self._process.pid)
        return self._process.wait()


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants; nothing happens if there is none."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def is_runner_of(pid: int, pod_uid: str) -> bool:
    """Whether that process is the runner of that pod, and no other that got its number since."""
    try:
        return psutil.Process(pid).environ().get(ENV_POD_UID) == pod_uid
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False

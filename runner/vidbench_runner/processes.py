"""Processes as Linux has them: a worker that dies with its supervisor, what it uses, and the end of its whole group."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import psutil

from vidbench_runner.core.watchdog import Activity

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, the process `parent`, ends.

    Raises:
        OSError: the kernel refused.
        ProcessLookupError: the parent is gone already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        raise ProcessLookupError(f"the supervisor, process {parent}, is gone")


class ProcessGroup:
    """A process that was started in a group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        """Start it; it inherits these file descriptors.

        Raises:
            OSError: it cannot be started.
        """
        self._process = subprocess.Popen(
            command, env=dict(environment), pass_fds=tuple(descriptors), stdin=subprocess.DEVNULL, process_group=0
        )
        self._observed = psutil.Process(self._process.pid)
        self._activity = Activity(0.0, 0)
        self._last: dict[psutil.Process, Activity] = {}

    @property
    def pid(self) -> int:
        """Return the id of the process and of its group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; return the exit status, or None if it still runs after that long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill whatever is left of the group."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def activity(self) -> Activity:
        """Return what the process and its descendants used. It never falls: what an ended descendant used stays."""
        try:
            tree = [self._observed, *self._observed.children(recursive=True)]
        except psutil.NoSuchProcess:
            return self._activity
        processor, moved = self._activity.processor_seconds, self._activity.storage_bytes
        for process in tree:
            used, before = _used(process), self._last.get(process, Activity(0.0, 0))
            processor += max(0.0, used.processor_seconds - before.processor_seconds)
            moved += max(0, used.storage_bytes - before.storage_bytes)
            self._last[process] = used
        self._activity = Activity(processor, moved)
        return self._activity


def _used(process: psutil.Process) -> Activity:
    try:
        times = process.cpu_times()
        storage = process.io_counters()
        return Activity(
            times.user + times.system + times.children_user + times.children_system,
            storage.read_bytes + storage.write_bytes,
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return Activity(0.0, 0)

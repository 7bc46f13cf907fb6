"""Reads memory and CPU throttling of this process and its container from the kernel's files of cgroup v1 or v2.

And, for its health, the host's processors, memory and scratch space.

What a kernel or a container does not show is None. Knows no torch and no accelerator.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from vidbench_runner.ports import HostLook, HostReading

LOOK_SECONDS = 0.25
"""How long the processors are watched: some 25 ticks of each of them."""

_V1_MEMORY = ("memory",)
_V1_CPU = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
_NANOSECONDS_PER_MICROSECOND = 1000
_TICKS_WITH_IDLE = 5
"""Columns of /proc/stat up to the second one that is idle time: user, nice, system, idle, iowait."""


class CgroupMeter:
    """A `HostMeter`. The paths are for tests: where cgroups are mounted, what lists this process's, the kernel's files."""

    def __init__(
        self,
        cgroup_root: Path = Path("/sys/fs/cgroup"),
        own_cgroups: Path = Path("/proc/self/cgroup"),
        kernel_files: Path = Path("/proc"),
    ) -> None:
        self._root = cgroup_root
        self._paths = _own_paths(own_cgroups)
        self._kernel = kernel_files

    def read(self) -> HostReading:
        """Take one reading."""
        statistics = self._cpu_statistics()
        microseconds = statistics.get("throttled_usec")
        if microseconds is None and "throttled_time" in statistics:
            microseconds = statistics["throttled_time"] // _NANOSECONDS_PER_MICROSECOND
        return HostReading(
            peak_resident_bytes=_peak_resident_bytes(),
            cgroup_peak_bytes=self.memory_peak(),
            cpu_throttled_periods=statistics.get("nr_throttled"),
            cpu_throttled_microseconds=microseconds,
            cpu_periods=statistics.get("nr_periods"),
        )

    def look(self) -> HostLook:
        """Look at the host for `LOOK_SECONDS`."""
        before = _processor_ticks(self._kernel / "stat")
        time.sleep(LOOK_SECONDS)
        return HostLook(
            cpu_percent=busy_percent(before, _processor_ticks(self._kernel / "stat")),
            memory_available_bytes=_available_memory(self._kernel / "meminfo"),
            cgroup_memory_bytes=self._memory_now(),
            scratch_free_bytes=_free_scratch(),
        )

    def _memory_now(self) -> int | None:
        text = self._read("", "memory.current")
        for mount in _V1_MEMORY:
            text = text if text is not None else self._read(mount, "memory.usage_in_bytes")
        return int(text) if text is not None and text.strip().isdigit() else None

    def memory_peak(self) -> int | None:
        """Return the peak memory of the container's cgroup in bytes; None where it is not shown."""
        text = self._read("", "memory.peak")
        for mount in _V1_MEMORY:
            text = text if text is not None else self._read(mount, "memory.max_usage_in_bytes")
        return int(text) if text is not None and text.strip().isdigit() else None

    def _cpu_statistics(self) -> dict[str, int]:
        text = self._read("", "cpu.stat")
        for mount in _V1_CPU:
            text = text if text is not None else self._read(mount, "cpu.stat")
        pairs = (line.split() for line in (text or "").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def _read(self, mount: str, file: str) -> str | None:
        """A file of this process's cgroup in the hierarchy `mount` ("" is v2's).

        The path that the kernel states is tried first. A container often sees its own cgroup as the root of the mount
        while the stated path is the host's, so the mount's root comes second.
        """
        base = self._root / mount
        stated = self._paths.get(mount)
        folders = [base / stated.lstrip("/"), base] if stated is not None else [base]
        for folder in folders:
            try:
                return (folder / file).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError):
                continue
        return None


def busy_percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> int | None:
    """Return the busy share between two (busy, all) tick counts; None where there are none or no tick went by."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return min(100, max(0, round(100 * (after[0] - before[0]) / (after[1] - before[1]))))


def _processor_ticks(file: Path) -> tuple[int, int] | None:
    """Busy and all ticks of all processors: the first line of /proc/stat, which is the host's in a container as well."""
    try:
        fields = file.read_text(encoding="ascii").split("\n", 1)[0].split()
        ticks = [int(field) for field in fields[1:9]]
    except (OSError, ValueError):
        return None
    if fields[:1] != ["cpu"] or len(ticks) < _TICKS_WITH_IDLE:
        return None
    idle = sum(ticks[3:5])
    return sum(ticks) - idle, sum(ticks)


def _available_memory(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    fields = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(fields[0][1]) * 1024 if fields and fields[0][1].isdigit() else None


def _free_scratch() -> int | None:
    """Bytes that this user may still write to the file system of the temporary folder.

    An emptyDir with a size limit shows the node's disk: the kubelet enforces the limit by eviction.
    """
    try:
        state = os.statvfs(tempfile.gettempdir())
    except OSError:
        return None
    return state.f_bavail * state.f_frsize


def _own_paths(file: Path) -> dict[str, str]:
    """Path of this process's cgroup by hierarchy, from lines such as `4:cpu,cpuacct:/a/b` (v1) and `0::/a/b` (v2)."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.split(":", 2) for line in lines)
    return {field[1]: field[2] for field in fields if len(field) == 3}


def _peak_resident_bytes() -> int:
    """Peak resident set of this process.

    By the kernel's VmHWM, because `ru_maxrss` survives exec and then holds the peak of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if peaks and peaks[0].isdigit():
        return int(peaks[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

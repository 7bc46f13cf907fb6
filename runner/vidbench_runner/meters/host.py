"""Reads this process's and its container's memory and CPU throttling, from the kernel's files of cgroup v1 or v2.

What a kernel or a container does not show is None. Knows no torch and no accelerator.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from vidbench_runner.ports import HostReading

_V1_MEMORY = ("memory",)
_V1_CPU = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
_NANOSECONDS_PER_MICROSECOND = 1000


class CgroupMeter:
    """A `HostMeter`. The two paths are for tests: where cgroups are mounted, and what lists this process's."""

    def __init__(
        self, cgroup_root: Path = Path("/sys/fs/cgroup"), own_cgroups: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._root = cgroup_root
        self._paths = _own_paths(own_cgroups)

    def read(self) -> HostReading:
        """Take one reading."""
        statistics = self._cpu_statistics()
        microseconds = statistics.get("throttled_usec")
        if microseconds is None and "throttled_time" in statistics:
            microseconds = statistics["throttled_time"] // _NANOSECONDS_PER_MICROSECOND
        return HostReading(
            peak_resident_bytes=_peak_resident_bytes(),
            cgroup_peak_bytes=self._memory_peak(),
            cpu_throttled_periods=statistics.get("nr_throttled"),
            cpu_throttled_microseconds=microseconds,
        )

    def _memory_peak(self) -> int | None:
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

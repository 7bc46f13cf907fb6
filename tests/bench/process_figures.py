"""What the kernel says of a process: memory, and processor time. Linux only."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessFigures:
    """One reading."""

    resident_mebibytes: float
    peak_mebibytes: float
    """The kernel's own high-water mark (VmHWM), so that no peak is missed between readings."""

    cpu_seconds: float
    """User and system time of all threads since the start."""


def read_process(pid: int) -> ProcessFigures:
    """Read `/proc`; raises FileNotFoundError if there is no such process."""
    status = Path(f"/proc/{pid}/status").read_text()
    # The program's name comes second, in brackets, and may hold anything; what follows has fixed places.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ProcessFigures(
        resident_mebibytes=_mebibytes(status, "VmRSS"),
        peak_mebibytes=_mebibytes(status, "VmHWM"),
        cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
    )


@dataclass(frozen=True)
class Handles:
    """What a process holds of the kernel's."""

    threads: int
    file_descriptors: int
    sockets: int
    """Of the file descriptors."""


def read_handles(pid: int) -> Handles:
    """Read `/proc`; raises FileNotFoundError if there is no such process."""
    directory = Path(f"/proc/{pid}/fd")
    targets = []
    for entry in directory.iterdir():
        # One that was closed since the directory was read is none any more.
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    return Handles(
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
        file_descriptors=len(targets),
        sockets=sum(target.startswith("socket:") for target in targets),
    )


def _mebibytes(status: str, key: str) -> float:
    match = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    if match is None:
        raise ValueError(f"/proc/PID/status has no {key}")
    return round(int(match.group(1)) / 1024, 1)

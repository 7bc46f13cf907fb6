"""Whether the kernel killed a process of this container for its memory, and how much such a process had.

A SIGKILL alone does not say who sent it. The cgroup's count of OOM kills rises with each process that the killer ended.
"""

from __future__ import annotations

import resource
from pathlib import Path

_FILES = (("memory", "memory.oom_control"), ("", "memory.events"))
"""Controller (cgroup v1; none is v2) and the file with a line `oom_kill N`."""


class OomKills:
    """Counts the OOM kills in the cgroup of a process."""

    def __init__(self, cgroups: Path = Path("/sys/fs/cgroup"), memberships: Path = Path("/proc/self/cgroup")) -> None:
        self._files = [file for file in _candidates(cgroups, memberships) if _kills(file) is not None][:1]
        self._before = self._count()

    @property
    def readable(self) -> bool:
        """Whether this machine tells at all."""
        return bool(self._files)

    def since_start(self) -> int:
        """Return how many processes were killed for memory since this object was made; 0 if that cannot be told."""
        return self._count() - self._before

    def _count(self) -> int:
        return sum(_kills(file) or 0 for file in self._files)


def peak_of_ended_children() -> int | None:
    """Return the largest resident set, in bytes, of the children that were waited for; None before the first one."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 or None


def _candidates(cgroups: Path, memberships: Path) -> list[Path]:
    """Return where the file may be: below the process's own path, or at the root, which is what a container sees."""
    paths: dict[str, str] = {}
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path.lstrip("/")
    return [
        cgroups / controller / directory / name
        for controller, name in _FILES
        for directory in dict.fromkeys((paths.get(controller, ""), ""))
    ]


def _kills(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    counts = [line.split()[1] for line in lines if line.startswith("oom_kill ") and len(line.split()) == 2]
    return int(counts[0]) if counts and counts[0].isdigit() else None

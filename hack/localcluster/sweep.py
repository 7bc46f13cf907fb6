"""Finds and removes what containers leave on a machine: processes, mounts, cgroups, links. Touches only what is ours."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .console import run, succeeds
from .errors import LocalClusterError

_POD_CGROUPS = "kubepods"


def kill_containers(containerd_socket: Path) -> None:
    """Kill every process in a pod, then the shims that watched over them for our containerd."""
    _repeat_until_none("processes of pods", pod_processes)
    _repeat_until_none("containerd shims", lambda: shims(containerd_socket))


def pod_processes() -> list[int]:
    """Pids of everything that runs in a pod's cgroup."""
    return sorted({int(pid) for group in pod_cgroups() for pid in _lines(group / "cgroup.procs")})


def shims(containerd_socket: Path) -> list[int]:
    """Pids of the shims that belong to the containerd at this socket."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        words = b"".join(_read_bytes(directory / "cmdline")).decode(errors="replace").split("\0")
        if Path(words[0]).name.startswith("containerd-shim") and str(containerd_socket) in words:
            found.append(int(directory.name))
    return found


def pod_cgroups() -> list[Path]:
    """Directories of the pods' cgroups in every hierarchy, the deepest first."""
    base = Path("/sys/fs/cgroup")
    tops = [base / _POD_CGROUPS, *base.glob(f"*/{_POD_CGROUPS}")]
    found = {Path(directory) for top in tops for directory, _, _ in os.walk(top)}
    return sorted(found, key=lambda path: (-len(path.parts), str(path)))


def remove_cgroups() -> None:
    """Remove the pods' cgroups; the kernel may take a moment to let them go."""
    deadline = time.monotonic() + 5
    while groups := pod_cgroups():
        for group in groups:
            try:
                group.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LocalClusterError(f"the cgroup {group} cannot be removed: {error}") from error
        time.sleep(0.05)


def mounts_below(root: Path, mountinfo: str | None = None) -> list[Path]:
    """Mount points at or below a directory, the latest first."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    points = [Path(_unescaped(line.split()[4])) for line in text.splitlines()]
    return [point for point in reversed(points) if point == root or root in point.parents]


def unmount_below(root: Path) -> None:
    """Unmount everything at or below a directory."""
    for point in mounts_below(root):
        if not succeeds(["umount", point]) and point in mounts_below(root):
            # Something still looks at it; it disappears when that ends.
            run(["umount", "--lazy", point], doing=f"unmounting {point}")


def remove_tree(root: Path) -> None:
    """Delete a directory, never through a mount into something else."""
    remaining = mounts_below(root)
    if remaining:
        raise LocalClusterError(
            f"{root} is not deleted: {remaining[0]} is still mounted; unmount it and run `down` again"
        )
    if root.exists():
        shutil.rmtree(root)


def remove_links_into(target: Path, directory: Path) -> None:
    """Remove symbolic links in a directory that point below `target`."""
    for link in directory.iterdir() if directory.is_dir() else ():
        if link.is_symlink() and target in link.readlink().parents:
            link.unlink()


def _repeat_until_none(what: str, find: Callable[[], Iterable[int]]) -> None:
    # A process may start another between being found and being killed.
    deadline = time.monotonic() + 15
    while pids := list(find()):
        if time.monotonic() > deadline:
            raise LocalClusterError(f"{what} are still there 15 s after SIGKILL: pids {pids}")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _read_bytes(path: Path) -> list[bytes]:
    try:
        return [path.read_bytes()]
    except OSError:
        return []


def _unescaped(text: str) -> str:
    """Mount points spell blanks and the like as three octal digits."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text

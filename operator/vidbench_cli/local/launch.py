"""Becomes a runner that the kernel kills when the process that started it ends: `python -m vidbench_cli.local.launch PARENT`.

By way of a program of its own, because between fork and exec Python code may not run safely.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and replace it by the runner."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("vidbench ended while its runner started")
    os.execv(sys.executable, [sys.executable, "-m", "vidbench_runner"])  # noqa: S606 - our own interpreter, no shell


if __name__ == "__main__":
    main()

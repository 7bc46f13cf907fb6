"""Starts operators by forking a process that has imported the operator and done nothing else.

A crash test starts hundreds of them; importing takes two seconds each time, which is not what it asks about. What is
forked is a process of its own, with its own memory: kill -9 takes all of it. Run as a program, it reads one JSON object a
line, `{"environment": {...}, "log": PATH}`, and answers each with the new process' id.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback

_PR_SET_PDEATHSIG = 1


def _live(environment: dict[str, str], log: str) -> None:
    """Be an operator."""
    from vidbench_operator.__main__ import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(0)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        status = main()
    except BaseException:  # noqa: BLE001 - whatever it was, the log is to hold it
        # A process that ends here has no interpreter left to say why.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Fork until stdin ends; the operators end with this process."""
    import vidbench_operator.__main__

    assert vidbench_operator.__main__.main
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(order["environment"], order["log"])
        print(pid, flush=True)


if __name__ == "__main__":
    serve()

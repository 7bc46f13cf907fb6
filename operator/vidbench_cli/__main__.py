"""Starts the `vidbench` command, also as the kubectl plug-in `kubectl vidbench`."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from .errors import INTERRUPTED, Exit

PLUGIN = "kubectl-vidbench"


def main() -> None:
    """Run the command line under the name by which it was called."""
    called_as_plugin = Path(sys.argv[0]).name.removesuffix(".exe") == PLUGIN
    signal.signal(signal.SIGTERM, _end)
    try:
        # Takes a moment in which somebody may press Ctrl-C.
        from .app import app

        app(prog_name="kubectl vidbench" if called_as_plugin else "vidbench")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _say_full(error)
        sys.exit(Exit.USAGE)


def _end(number: int, _frame: FrameType | None) -> None:
    """Let a command that is told to end tidy up, as with Ctrl-C: a trial run of its own is deleted."""
    sys.exit(128 + number)


def _say_full(error: OSError) -> None:
    from .app import say_error
    from .texts import _

    # What is left in the buffer has no place either; the interpreter's own flush would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    place = error.filename or _("what is written to")
    say_error(
        _("{place}: {error}").format(place=place, error=error.strerror),
        _("make room, or write to another place; what was written is not whole"),
    )


if __name__ == "__main__":
    main()

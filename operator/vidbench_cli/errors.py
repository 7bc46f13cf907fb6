"""What ends a command: a message for people with a remedy, and the exit code that scripts read.

A command raises one of these; `app.py` alone prints it and exits. Knows neither Kubernetes nor the terminal.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command. 130 is an interrupt from the keyboard."""

    DONE = 0
    GATE_FAILED = 1
    USAGE = 2
    CLUSTER = 3
    RUN_FAILED = 4
    DEFECT = 70
    """An error of vidbench itself: no script may take it for a failed gate."""


INTERRUPTED = 130


class CommandError(Exception):
    """A command could not do what it was asked: what is wrong and where, and what to do about it."""

    code: Exit = Exit.USAGE

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(CommandError):
    """The command line or a file that it names is wrong."""


class ClusterError(CommandError):
    """The cluster could not be asked, or said no."""

    code = Exit.CLUSTER


class ClusterAwayError(ClusterError):
    """The API server did not answer or asked to wait: it may answer when asked again."""


class NotFoundError(ClusterError):
    """The object is not there."""


class AlreadyThereError(ClusterError):
    """Another object has the name."""


class NotServedError(ClusterError):
    """The cluster does not know the kind."""


class ListExpiredError(ClusterError):
    """The server does not know any more where a list was to go on: it has to begin anew."""


class RunFailedError(CommandError):
    """A run ended without what was asked of it."""

    code = Exit.RUN_FAILED

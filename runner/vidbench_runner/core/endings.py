"""How an attempt ends: from an exception or a kill to reason, outcome, validity and exit code of its final verdict.

Pure; used by the worker for what it sees itself and by the supervisor for what the worker can no longer say.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import EXIT_CODE_OF_REASON, ExitCode, Outcome, Reason, Validity
from vidbench_api.validity import ValidityReason
from vidbench_api.verdict import Verdict
from vidbench_runner.core.plan import Attempt
from vidbench_runner.ports import ModelFailure

MESSAGE_CHARACTERS = 256
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})
"""Signals that a process draws on itself."""

_OUT_OF_MEMORY = frozenset({Reason.OUT_OF_MEMORY_CUDA, Reason.OUT_OF_MEMORY_HOST})


class Interruption(BaseException):
    """The process was told to stop. No `Exception`, so that no library takes it for a failure of its own."""


@dataclass(frozen=True)
class Ending:
    """Why an attempt did not succeed. `phase` is the part of a sample that failed, where that is known."""

    reason: Reason
    message: str
    phase: str | None = None


class StorageFailure(Exception):  # noqa: N818 - named as its reason
    """The raw samples or videos could not be stored. The message says where and why."""


class OutOfTime(Exception):  # noqa: N818 - named as what it says
    """The next sample would not end within the shard's limit. The message says how long it takes and what is left."""


class HostUnfit(Exception):  # noqa: N818 - named as what it says
    """The host is not fit for the shard, which has not begun. The message says which limits it crosses."""


def ending_of(error: BaseException) -> Ending:
    """Return how an attempt ends that this exception ended."""
    if isinstance(error, ModelFailure):
        known = error.reason in set(Reason)
        reason = Reason(error.reason) if known else Reason.INTERNAL_ERROR
        return Ending(reason, error.message, error.phase.value if error.phase is not None else None)
    if isinstance(error, StorageFailure):
        return Ending(Reason.STORAGE_FAILED, str(error))
    if isinstance(error, OutOfTime):
        return Ending(Reason.SHARD_DEADLINE, str(error))
    if isinstance(error, HostUnfit):
        return Ending(Reason.HOST_UNHEALTHY, str(error))
    if isinstance(error, Interruption):
        return Ending(Reason.INTERRUPTED, "the runner was told to stop")
    if isinstance(error, MemoryError):
        return Ending(Reason.OUT_OF_MEMORY_HOST, f"out of memory in the worker: {error}")
    return Ending(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")


def ending_of_exit(status: int, oom_kills: int) -> Ending:
    """Return how an attempt ends whose worker left without a final verdict.

    Args:
        status: exit status, negative for the signal that ended the process.
        oom_kills: processes of this container that the kernel killed for their memory meanwhile.
    """
    if status >= 0:
        return Ending(Reason.INTERNAL_ERROR, f"the worker left with status {status} and no verdict; see the pod's log")
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if -status == signal.SIGKILL and oom_kills > 0:
        return Ending(Reason.OUT_OF_MEMORY_HOST, "the kernel killed the worker: the container's memory limit was hit")
    if -status in _CRASHES:
        return Ending(Reason.INTERNAL_ERROR, f"the worker crashed with {name}; see the pod's log")
    return Ending(Reason.KILLED, f"the worker was ended by {name}, and no memory limit was hit")


def outcome_of(reason: Reason | None) -> Outcome:
    """Return the outcome of an attempt that ended for this reason; None is success."""
    if reason is None:
        return Outcome.SUCCEEDED
    return Outcome.OUT_OF_MEMORY if reason in _OUT_OF_MEMORY else Outcome.FAILED


def exit_code_of(verdict: Verdict) -> ExitCode:
    """Return the exit code that says the same as a final verdict."""
    if verdict.outcome is Outcome.SUCCEEDED:
        return ExitCode.SUCCEEDED
    codes = {reason.value: code for reason, code in EXIT_CODE_OF_REASON.items()}
    return codes.get(verdict.reason or "", ExitCode.INTERNAL_ERROR)


def blank_verdict(attempt: Attempt) -> Verdict:
    """Return the verdict of an attempt of which nothing is known yet."""
    return Verdict(
        request_digest=attempt.request_digest, cell=attempt.cell, shard=attempt.shard, attempt=attempt.attempt
    )


def concluded(verdict: Verdict, ending: Ending | None) -> Verdict:
    """Return the verdict as final. What was measured stays; without an ending it is a success.

    An ending keeps the validity that the verdict had so far: Partial, as long as samples were to come.
    """
    if ending is None:
        changes: dict[str, object] = {"outcome": Outcome.SUCCEEDED, "stage": None, "phase": None}
    else:
        changes = {
            "outcome": outcome_of(ending.reason),
            "reason": ending.reason.value,
            "message": shortened(ending.message),
            "phase": ending.phase,
        }
    unjudged = ValidityVerdict(state=Validity.PARTIAL, reasons=(ValidityReason.FEWER_SAMPLES.value,))
    return verdict.model_copy(update=changes | {"final": True, "validity": verdict.validity or unjudged})


def shortened(message: str, characters: int = MESSAGE_CHARACTERS) -> str:
    """Return one line of at most that many characters."""
    line = " ".join(message.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"

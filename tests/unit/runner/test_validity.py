"""Endings and validity as values: outcome, exit code, and what a killed worker's status means."""

from __future__ import annotations

import signal

import pytest

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import EXIT_CODE_OF_REASON, ExitCode, Outcome, Reason, Validity
from vidbench_runner.core.endings import (
    Ending,
    blank_verdict,
    concluded,
    ending_of_exit,
    exit_code_of,
    outcome_of,
    shortened,
)
from vidbench_runner.core.plan import Attempt

BLANK = blank_verdict(Attempt("0123456789abcdef", "0123abcd", 1, 1))


@pytest.mark.parametrize("reason", list(EXIT_CODE_OF_REASON))
def test_validity_each_reason_of_the_runner_has_its_exit_code_and_outcome(reason: Reason) -> None:
    verdict = concluded(BLANK, Ending(reason, "m"))
    assert exit_code_of(verdict) == EXIT_CODE_OF_REASON[reason]
    memory = reason in {Reason.OUT_OF_MEMORY_CUDA, Reason.OUT_OF_MEMORY_HOST}
    assert verdict.outcome is (Outcome.OUT_OF_MEMORY if memory else Outcome.FAILED)
    assert outcome_of(None) is Outcome.SUCCEEDED


def test_validity_success_is_exit_code_0() -> None:
    assert exit_code_of(concluded(BLANK, None)) is ExitCode.SUCCEEDED


def test_validity_reason_without_a_code_is_an_internal_error() -> None:
    verdict = concluded(BLANK, Ending(Reason.NODE_LOST, "m"))
    assert exit_code_of(verdict) is ExitCode.INTERNAL_ERROR


def test_validity_of_an_ending_is_what_was_judged_so_far_else_partial() -> None:
    invalid = ValidityVerdict(state=Validity.INVALID, reasons=("CallCountMismatch",))
    judged = BLANK.model_copy(update={"validity": invalid})
    assert concluded(judged, Ending(Reason.HUNG, "m")).validity == invalid
    unjudged = concluded(BLANK, Ending(Reason.HUNG, "m")).validity
    assert unjudged is not None
    assert unjudged.state is Validity.PARTIAL


@pytest.mark.parametrize(
    ("status", "oom_kills", "reason"),
    [
        pytest.param(-signal.SIGKILL, 1, Reason.OUT_OF_MEMORY_HOST, id="killed, and the cgroup counted an OOM kill"),
        pytest.param(-signal.SIGKILL, 0, Reason.KILLED, id="killed by somebody"),
        pytest.param(-signal.SIGTERM, 0, Reason.KILLED, id="terminated by somebody"),
        pytest.param(-signal.SIGTERM, 2, Reason.KILLED, id="terminated while a child was OOM killed"),
        pytest.param(-signal.SIGSEGV, 0, Reason.INTERNAL_ERROR, id="crashed by itself"),
        pytest.param(-signal.SIGABRT, 3, Reason.INTERNAL_ERROR, id="aborted by itself"),
        pytest.param(-63, 0, Reason.KILLED, id="a real-time signal"),
        pytest.param(0, 0, Reason.INTERNAL_ERROR, id="left well, without a verdict"),
        pytest.param(3, 0, Reason.INTERNAL_ERROR, id="left ill, without a verdict"),
    ],
)
def test_validity_exit_status_without_a_verdict_becomes_a_reason(status: int, oom_kills: int, reason: Reason) -> None:
    ending = ending_of_exit(status, oom_kills)
    assert ending.reason is reason
    assert ending.message


def test_validity_message_is_one_short_line() -> None:
    assert shortened("a\n  b\tc") == "a b c"
    assert len(shortened("x" * 1000)) == 256
    assert concluded(BLANK, Ending(Reason.HUNG, "y\n" * 999)).message == ("y " * 128)[:255] + "…"

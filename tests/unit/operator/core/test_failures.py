"""The table of failures: complete, without contradictions, and the one that docs/failures.md shows."""

from __future__ import annotations

from collections import Counter

import pytest

from vidbench_api.names import EXIT_CODE_OF_REASON, ExitCode, Reason
from vidbench_operator.core.failures import (
    CLASS_OF_REASON,
    FAILURES,
    REASON_OF_EXIT_CODE,
    Failure,
    FailureClass,
    class_of,
)


def test_every_reason_has_one_row() -> None:
    assert Counter(row.reason for row in FAILURES) == Counter(list(Reason))
    assert len(FAILURES) >= 15


def test_every_class_has_reasons() -> None:
    assert set(CLASS_OF_REASON.values()) == set(FailureClass)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.reason.value)
def test_every_row_says_how_it_is_recognised_and_what_comes_next(row: Failure) -> None:
    words = (*row.container_reasons, *row.pod_reasons, *row.disruptions, *row.waiting_reasons)
    assert row.seen_as or words or row.exit_code is not None
    assert row.next_step.endswith(".")


def test_no_word_stands_for_two_reasons() -> None:
    for field in ("container_reasons", "pod_reasons", "disruptions", "waiting_reasons"):
        words = Counter(word for row in FAILURES for word in getattr(row, field))
        assert not [word for word, times in words.items() if times > 1], field


def test_every_exit_code_has_a_reason_and_reasons_of_one_code_are_of_one_class() -> None:
    assert set(REASON_OF_EXIT_CODE) == {int(code) for code in ExitCode if code is not ExitCode.SUCCEEDED}
    for reason, code in EXIT_CODE_OF_REASON.items():
        assert CLASS_OF_REASON[reason] is CLASS_OF_REASON[REASON_OF_EXIT_CODE[int(code)]]


def test_the_class_of_a_stored_word() -> None:
    assert class_of("NodeLost") is FailureClass.INFRASTRUCTURE
    assert class_of("Nonsense") is None
    assert class_of(None) is None

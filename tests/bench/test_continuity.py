"""Whatever went astray is counted, and nothing else."""

from __future__ import annotations

import pytest

from bench.continuity import (
    Attempt,
    attempt_of_job,
    attempts_of_results,
    attempts_of_statuses,
    continuity_figures,
)

ATTEMPTS = tuple(Attempt("run-0001", f"{number:08x}", 1, 1) for number in range(3))
SECOND = ATTEMPTS[0]._replace(attempt=2)
STRANGER = Attempt("run-0002", "0000abcd", 1, 1)
ASTRAY = ("lost", "duplicate", "stuck", "unexplained")


def figures(**changed: list[Attempt]) -> dict[str, int]:
    seen = {kind: list(ATTEMPTS) for kind in ("created", "ended", "recorded", "reported")}
    return continuity_figures(expected=3, **{**seen, **changed})


def test_all_is_well() -> None:
    assert figures() == {
        "expected": 3,
        "created": 3,
        "ended": 3,
        "recorded": 3,
        "reported": 3,
        **dict.fromkeys(ASTRAY, 0),
    }


@pytest.mark.parametrize(
    ("changed", "astray"),
    [
        ({"recorded": list(ATTEMPTS[1:])}, {"lost": 1}),
        ({"reported": list(ATTEMPTS[1:])}, {"lost": 1, "stuck": 1}),
        ({"recorded": list(ATTEMPTS[1:]), "reported": list(ATTEMPTS[1:])}, {"lost": 2, "stuck": 1}),
        ({"recorded": [*ATTEMPTS, ATTEMPTS[0]]}, {"duplicate": 1}),
        ({"created": [*ATTEMPTS, SECOND]}, {"duplicate": 1}),
        ({"created": list(ATTEMPTS[1:])}, {"unexplained": 1}),
        ({"recorded": [*ATTEMPTS, STRANGER]}, {"unexplained": 1}),
        ({"recorded": [SECOND, *ATTEMPTS[1:]]}, {"lost": 1, "unexplained": 1}),
        ({"created": [], "ended": [], "recorded": [], "reported": []}, {"stuck": 3}),
    ],
)
def test_what_went_astray_is_counted(changed: dict[str, list[Attempt]], astray: dict[str, int]) -> None:
    found = figures(**changed)
    assert {key: found[key] for key in ASTRAY if found[key]} == astray


def test_attempts_are_read_from_names_results_and_statuses() -> None:
    attempt = Attempt("a-run-7", "0123abcd", 2, 11)
    assert attempt_of_job("a-run-7-0123abcd-2-11") == attempt
    spec = {"run": {"name": "a-run-7"}, "cell": {"id": "0123abcd"}, "shard": 2, "origin": {"attempt": 11}}
    assert attempts_of_results([{"spec": spec}]) == [attempt]
    shards = [
        {"index": 1, "phase": "Active", "attempt": 1},
        {"index": 2, "phase": "Finished", "outcome": "Succeeded", "attempt": 11},
        {"index": 3, "phase": "Finished", "outcome": "Failed", "attempt": 1},
    ]
    run = {"metadata": {"name": "a-run-7"}, "status": {"rows": [{"id": "0123abcd", "shards": shards}]}}
    assert attempts_of_statuses([run, {"metadata": {"name": "new"}}]) == [attempt]


@pytest.mark.parametrize("name", ["run", "run-0123abcd-1", "run-0123ABCD-1-1", "run-0123abcd-1-1-x"])
def test_a_name_of_no_attempt_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        attempt_of_job(name)

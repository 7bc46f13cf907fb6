"""What the server would not have is remembered for as long as the run is there, and for no other of its name."""

from __future__ import annotations

from dataclasses import replace

from support.builders import NOW, observed_run, run_spec

from vidbench_operator.core.observed import Observed
from vidbench_operator.held_back import HeldBack
from vidbench_operator.ports import RunKey

RUN = observed_run(run_spec())
KEY = RunKey(RUN.namespace, RUN.name)


def refused_of_both() -> HeldBack:
    held = HeldBack(first_wait_seconds=5)
    held.note_jobs(RUN, (), {"job": "exceeded quota"}, {"job"}, NOW)
    held.note_results(RUN, (), {"result": "denied"}, NOW)
    return held


def test_what_is_refused_is_shown_until_it_is_due() -> None:
    held = refused_of_both()
    at_once = held.show(RUN, Observed(), NOW)
    assert (dict(at_once.refused_jobs), at_once.due_jobs) == ({"job": "exceeded quota"}, frozenset())
    assert (at_once.refused_results, at_once.results_retry_at) == ({"result"}, NOW + 5)
    due = held.show(RUN, Observed(), NOW + 5)
    assert (due.due_jobs, due.refused_results) == ({"job"}, frozenset())


def test_what_is_let_in_is_held_back_no_more() -> None:
    held = refused_of_both()
    held.note_jobs(RUN, {"job"}, {}, {"job"}, NOW + 5)
    held.note_results(RUN, {"result"}, {}, NOW + 5)
    assert held.show(RUN, Observed(), NOW + 5) == Observed()
    assert not held.has_jobs_of(RUN)


def test_a_run_that_is_gone_leaves_nothing() -> None:
    held = refused_of_both()
    held.forget(RunKey(RUN.namespace, "other"))
    assert held.has_jobs_of(RUN)
    held.forget(KEY)
    assert held.show(RUN, Observed(), NOW) == Observed()


def test_another_run_of_the_name_starts_with_nothing() -> None:
    assert refused_of_both().show(replace(RUN, uid="another"), Observed(), NOW) == Observed()


def test_patience_is_over_when_the_wait_has_doubled_to_its_longest() -> None:
    held = HeldBack(first_wait_seconds=5)
    waits = []
    for number in range(6):
        held.note_results(RUN, (), {"result": "denied"}, NOW + number)
        waits.append(held.is_patience_over(RUN))
    assert waits == [False, False, False, False, True, True]

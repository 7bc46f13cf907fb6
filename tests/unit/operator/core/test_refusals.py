"""Which refused Jobs are tried again, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidbench_operator.core.refusals import LONGEST_WAIT_SECONDS, HeldCreations, after_creations

QUOTA = "exceeded quota"
ALL = ("a", "b", "c", "d")


def refused(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, QUOTA)


def test_nothing_that_was_refused_is_tried_before_its_time_and_then_one() -> None:
    held = after_creations(HeldCreations(), (), refused(*ALL), ALL, 100.0, 5.0)
    assert (held.texts, held.due_at(104.9)) == (refused(*ALL), frozenset())
    assert held.due_at(105.0) == {"a"}


def test_the_wait_doubles_up_to_a_minute() -> None:
    held, waits = HeldCreations(), []
    for _ in range(6):
        held = after_creations(held, (), refused(*ALL), ALL, 100.0, 5.0)
        waits.append(held.retry_at - 100.0)
    assert waits == [5.0, 10.0, 20.0, 40.0, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]


def test_one_that_is_let_in_is_followed_by_twice_as_many_at_once() -> None:
    held = after_creations(HeldCreations(), (), refused(*ALL), ALL, 100.0, 5.0)
    held = after_creations(held, ("a",), {}, ALL, 105.0, 5.0)
    assert held.due_at(105.0) == {"b", "c"}
    held = after_creations(held, ("b", "c"), {}, ALL, 106.0, 5.0)
    assert held.due_at(106.0) == {"d"}
    assert after_creations(held, ("d",), {}, ALL, 107.0, 5.0).texts == {}


def test_a_quota_that_lets_some_in_starts_the_wait_anew() -> None:
    held = HeldCreations(refused(*ALL), 4, 60.0, 100.0)
    held = after_creations(held, ("a",), refused("b", "c", "d"), ALL, 100.0, 5.0)
    assert (held.retry_at, held.due_at(105.0)) == (105.0, {"b"})


def test_one_whose_attempt_has_ended_is_forgotten() -> None:
    held = after_creations(HeldCreations(), (), refused(*ALL), ALL, 100.0, 5.0)
    assert after_creations(held, (), {}, ("b",), 101.0, 5.0).texts == refused("b")


@given(st.integers(1, 200), st.integers(0, 20), st.integers(60, 7200))
def test_a_quota_that_stays_full_costs_few_calls(jobs: int, allowed: int, seconds: int) -> None:
    """However many Jobs wait: one call a minute, once the wait is long, and each lets in what is allowed."""
    names = [f"j{number:03}" for number in range(jobs)]
    held = after_creations(HeldCreations(), (), refused(*names), names, 0.0, 5.0)
    now, calls, free = 0.0, 0, allowed
    wanted = list(names)
    while now < seconds and held.texts:
        now = max(now, held.retry_at)
        tried = sorted(held.due_at(now))
        calls += len(tried)
        let_in, free = tried[:free], free - len(tried[:free])
        wanted = [name for name in wanted if name not in let_in]
        held = after_creations(held, let_in, refused(*tried[len(let_in) :]), wanted, now, 5.0)
    assert len(wanted) == max(0, jobs - allowed) or seconds < 5
    assert calls <= 2 * min(allowed, jobs) + 2 + 6 + seconds / 60 + 1

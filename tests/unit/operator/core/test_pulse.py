"""What looks at the API server say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_operator.core.pulse import REST_SECONDS, Beat, Finding, Pulse, judge

WELL, AWAY, BACK, THAWED, DEAF = Finding.WELL, Finding.AWAY, Finding.BACK, Finding.THAWED, Finding.DEAF


def beat(at: float, runs: int | None = 2, known: int = 2, heard: int = 5) -> Beat:
    return Beat(at, runs, known, heard)


def refused(at: float) -> Beat:
    return Beat(at, None, 2, 5)


def hung(at: float) -> Beat:
    return Beat(at, None, 2, 5, hung=True)


def busy(at: float, answered: int) -> Beat:
    return Beat(at, None, 2, 5, hung=True, answered=answered)


def test_a_server_that_answers_others_is_slow_and_not_away() -> None:
    slow = [busy(second, answered=10 * second) for second in range(1, 20)]
    assert findings(busy(0, 0), *slow, beat(20)) == [AWAY, *[WELL] * 20]
    assert findings(*slow, *(busy(second, 190) for second in (20, 21)), beat(22))[-3:] == [AWAY, AWAY, THAWED]


def findings(*beats: Beat) -> list[Finding]:
    """Return what each look of a series says."""
    pulse, found = Pulse(), []
    for entry in beats:
        pulse, finding = judge(pulse, entry)
        found.append(finding)
    return found


@pytest.mark.parametrize(
    ("beats", "found"),
    [
        ([beat(0), beat(1), beat(2)], [WELL, WELL, WELL]),
        ([beat(0), refused(1), beat(2)], [WELL, AWAY, WELL]),
        ([beat(0), refused(1), refused(2), beat(3), beat(4)], [WELL, AWAY, AWAY, BACK, WELL]),
        ([beat(0), hung(1), hung(2), beat(3), beat(4)], [WELL, AWAY, AWAY, THAWED, WELL]),
        ([beat(0), hung(1), refused(2), beat(3)], [WELL, AWAY, AWAY, BACK]),
        ([hung(0), hung(1), beat(2, known=0)], [AWAY, AWAY, THAWED]),
        # The watches know one run fewer, and hear nothing.
        ([beat(0), beat(1, runs=3), beat(2, runs=3), beat(3, runs=3)], [WELL, WELL, WELL, DEAF]),
        ([beat(0), beat(1, runs=1), beat(2, runs=1), beat(3, runs=1)], [WELL, WELL, WELL, DEAF]),
        # They hear, and are only late.
        (
            [beat(0), beat(1, 9, 3, 6), beat(2, 9, 4, 7), beat(3, 9, 5, 8), beat(4, 9, 9, 12)],
            [WELL, WELL, WELL, WELL, WELL],
        ),
        # They have not begun yet.
        ([beat(0, known=0, heard=0), beat(1, known=0, heard=0), beat(2, known=0, heard=0)], [WELL, WELL, WELL]),
        # A gap without an answer says nothing of the watches.
        ([beat(0), beat(1, runs=3), beat(2, runs=3), refused(3), beat(4, runs=3)], [WELL, WELL, WELL, AWAY, WELL]),
    ],
)
def test_findings(beats: list[Beat], found: list[Finding]) -> None:
    assert findings(*beats) == found


def test_watches_rest_between_two_beginnings() -> None:
    frozen = [hung(1), hung(2), beat(3), hung(4), hung(5), beat(6)]
    assert findings(*frozen) == [AWAY, AWAY, THAWED, AWAY, AWAY, BACK]
    later = 3 + REST_SECONDS
    assert findings(*frozen[:3], hung(later), hung(later + 1), beat(later + 2))[-1] == THAWED


def test_deaf_watches_must_have_been_in_step_since_they_began() -> None:
    late = 10 + REST_SECONDS
    begun = [beat(0), *(beat(at, runs=3) for at in (1, 2, 3))]
    never = [beat(late + at, runs=3) for at in range(4)]
    assert findings(*begun, *never)[-4:] == [WELL] * 4
    once = [beat(late, runs=2), *(beat(late + at, runs=3) for at in (1, 2, 3))]
    assert findings(*begun, *once)[-4:] == [WELL, WELL, WELL, DEAF]


def test_pulse_is_uneasy_while_something_is_odd() -> None:
    assert not judge(Pulse(), beat(0))[0].is_uneasy
    assert judge(Pulse(), hung(0))[0].is_uneasy
    assert judge(Pulse(), beat(0, runs=3))[0].is_uneasy


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 20),
            st.one_of(st.none(), st.integers(0, 3)),
            st.integers(0, 3),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_beginnings_are_rare_and_have_a_cause(series: list[tuple[float, int | None, int, int, bool]]) -> None:
    pulse, at, begun = Pulse(), 0.0, float("-inf")
    unanswered = 0
    for seconds, runs, known, heard, silent in series:
        at += seconds
        pulse, finding = judge(pulse, Beat(at, runs, known, heard, silent))
        assert (finding is AWAY) == (runs is None)
        if finding in (THAWED, DEAF):
            assert at - begun >= REST_SECONDS
            begun = at
        if finding in (BACK, THAWED):
            assert unanswered >= 2
        if finding is DEAF:
            assert runs != known
            assert unanswered == 0
        unanswered = unanswered + 1 if runs is None else 0

"""A busy operator lets keys rest longer, an idle one does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_operator.shell.pace import LONGEST, SHARE, SHORTEST, Pace, next_rest


@pytest.mark.parametrize(
    ("rest", "share", "following"),
    [
        pytest.param(SHORTEST, 0.1, SHORTEST, id="idle: as short as it gets"),
        pytest.param(0.4, SHARE, 0.4, id="just right: stays"),
        pytest.param(0.4, 0.75, 0.6, id="too much: longer in proportion"),
        pytest.param(0.4, 1.9, 0.8, id="far too much: twice as long at most"),
        pytest.param(0.4, 0.0, 0.2, id="nothing: half as long"),
        pytest.param(1.8, 1.0, LONGEST, id="never longer than the longest"),
    ],
)
def test_rest_follows_what_was_used(rest: float, share: float, following: float) -> None:
    assert next_rest(rest, share) == pytest.approx(following)


@given(st.lists(st.floats(0, 4)))
def test_rest_stays_within_its_bounds_and_an_idle_second_or_two_ends_it(shares: list[float]) -> None:
    rest = SHORTEST
    for share in shares:
        rest = next_rest(rest, share)
        assert SHORTEST <= rest <= LONGEST
    for _ in range(6):
        rest = next_rest(rest, 0.0)
    assert rest == SHORTEST


def test_pace_looks_at_the_clocks_twice_a_second() -> None:
    now, cpu = 100.0, 7.0
    pace = Pace(lambda: cpu, lambda: now)
    now, cpu = 100.4, 7.4
    assert pace.rest() == SHORTEST, "too early to tell"
    now, cpu = 101.0, 8.0
    assert pace.rest() == 2 * SHORTEST
    assert pace.rest() == 2 * SHORTEST, "nothing new"
    now = 103.0
    assert pace.rest() == SHORTEST

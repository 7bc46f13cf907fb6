"""Who leads, from a record and clock readings."""

from __future__ import annotations

import pytest

from vidbench_operator.core.leadership import (
    Follow,
    Lead,
    LeaseRecord,
    Limits,
    Renew,
    Seen,
    Step,
    TryToTake,
    claim,
    confirm,
    may_act,
    next_step,
    notice,
    release,
    step_down,
)

LIMITS = Limits(duration=12, renew_deadline=8, renew_period=2, watch_period=1)
OURS = LeaseRecord("us", 12, "t1", 3)
THEIRS = LeaseRecord("them", 12, "t1", 3)
FREE = LeaseRecord("", 12, "t1", 3)
BROKEN = LeaseRecord("them", -5, "t1")
ENDLESS = LeaseRecord("them", 1e9, "t1")


@pytest.mark.parametrize(
    ("seen", "now", "step"),
    [
        pytest.param(Seen(None), 0, TryToTake(), id="no Lease yet"),
        pytest.param(Seen(FREE, 100), 100, TryToTake(), id="released"),
        pytest.param(Seen(THEIRS, 100), 100, Follow(1), id="held by somebody who has just renewed"),
        pytest.param(Seen(THEIRS, 100), 111.5, Follow(0.5), id="looked at again when it runs out, not later"),
        pytest.param(Seen(THEIRS, 100), 112, TryToTake(), id="unchanged for its duration"),
        pytest.param(Seen(BROKEN, 100), 111, Follow(1), id="no duration of its own: ours, not yet over"),
        pytest.param(Seen(BROKEN, 100), 112, TryToTake(), id="no duration of its own: ours, over"),
        pytest.param(Seen(LeaseRecord("them", 30, "t1"), 100), 112, Follow(1), id="its own duration counts"),
        pytest.param(Seen(ENDLESS, 100), 399, Follow(1), id="an endless one is waited for"),
        pytest.param(Seen(ENDLESS, 100), 400, TryToTake(), id="but not for ever"),
        pytest.param(Seen(OURS, 100, 100), 100.5, Lead(1.5), id="ours and fresh"),
        pytest.param(Seen(OURS, 100, 100), 102, Renew(), id="ours and due"),
        pytest.param(Seen(OURS, 100, 100), 500, Renew(), id="ours, long silent: the server decides who has it"),
        pytest.param(Seen(OURS, 100, None), 100, Renew(), id="ours by an answer that was lost"),
    ],
)
def test_next_step(seen: Seen, now: float, step: Step) -> None:
    assert next_step(seen, "us", now, LIMITS) == step


@pytest.mark.parametrize(
    ("seen", "now", "may"),
    [
        pytest.param(Seen(), 0, False, id="nothing known"),
        pytest.param(Seen(THEIRS, 100), 100, False, id="somebody else's"),
        pytest.param(Seen(OURS, 100, None), 100, False, id="ours, but not confirmed"),
        pytest.param(Seen(OURS, 100, 100), 107.9, True, id="confirmed"),
        pytest.param(Seen(OURS, 100, 100), 108, False, id="not renewed in time"),
        pytest.param(step_down(Seen(OURS, 100, 100)), 100, False, id="stepped down"),
    ],
)
def test_acting_needs_a_confirmation_that_is_not_old(seen: Seen, now: float, may: bool) -> None:
    assert may_act(seen, now, LIMITS) is may


def test_record_that_does_not_change_grows_old_however_often_it_is_read() -> None:
    seen = notice(Seen(), THEIRS, "us", 100)
    for now in (103, 108, 111):
        seen = notice(seen, THEIRS, "us", now)
    assert next_step(seen, "us", 112, LIMITS) == TryToTake()


def test_renewal_by_the_holder_starts_the_wait_anew() -> None:
    seen = notice(notice(Seen(), THEIRS, "us", 100), LeaseRecord("them", 12, "t2", 3), "us", 111)
    assert next_step(seen, "us", 113, LIMITS) == Follow(1)


def test_leader_that_reads_that_another_has_it_stops_at_once() -> None:
    seen = notice(confirm(OURS, 100), THEIRS, "us", 101)
    assert not may_act(seen, 101, LIMITS)
    assert next_step(seen, "us", 101, LIMITS) == Follow(1)


def test_confirmation_counts_from_when_the_write_was_sent() -> None:
    """Others count from when they see it, which is later: the leader stops first."""
    assert not may_act(confirm(OURS, sent=100), 108, LIMITS)


@pytest.mark.parametrize(
    ("record", "claimed"),
    [
        pytest.param(None, LeaseRecord("us", 12, "now", 0), id="the first holder"),
        pytest.param(OURS, LeaseRecord("us", 12, "now", 3), id="a renewal"),
        pytest.param(THEIRS, LeaseRecord("us", 12, "now", 4), id="a change of holder is counted"),
        pytest.param(FREE, LeaseRecord("us", 12, "now", 4), id="so is one after a release"),
    ],
)
def test_claim(record: LeaseRecord | None, claimed: LeaseRecord) -> None:
    assert claim(record, "us", "now", LIMITS) == claimed


def test_released_lease_can_be_taken_at_once() -> None:
    seen = notice(Seen(THEIRS, 100), release(THEIRS), "us", 100.5)
    assert next_step(seen, "us", 100.5, LIMITS) == TryToTake()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"duration": 8, "renew_deadline": 8}, id="a leader that acts until others may"),
        pytest.param({"renew_deadline": 2, "renew_period": 2}, id="no time to renew"),
        pytest.param({"renew_period": 0}, id="renewing without a pause"),
        pytest.param({"duration": 301}, id="longer than anybody waits"),
    ],
)
def test_limits_that_would_let_two_act_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a Lease needs renew period < renew deadline < duration"):
        Limits(**limits)

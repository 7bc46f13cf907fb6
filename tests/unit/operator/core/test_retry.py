"""What follows from a reason: budgets, waits, and what a shard remembers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW

from vidbench_api.names import Outcome, Reason
from vidbench_api.run_spec import FailurePolicy
from vidbench_api.run_status import AttemptFailure, ShardStatus
from vidbench_operator.core.evidence import AttemptEnd, outcome_of
from vidbench_operator.core.failures import CLASS_OF_REASON, FailureClass
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.retry import back_off_seconds, next_attempt, remember_failure

ENOUGH = 50
IDENTITY = "uid/0123abcd/1"


def end_of(reason: Reason, attempt: int = 1, at: float = NOW) -> AttemptEnd:
    return AttemptEnd(outcome_of(reason), at, reason, attempt=attempt)


def waits(reason: Reason, policy: FailurePolicy | None = None, identity: str = IDENTITY) -> list[float]:
    """Return the delays of all further attempts, or of the first 50, when every attempt ends for this reason."""
    shard, delays = ShardStatus(index=1, attempt=1), []
    while len(delays) < ENOUGH:
        retry = next_attempt(end_of(reason), shard, policy or FailurePolicy(), Policy(), identity)
        if retry is None:
            break
        delays.append(retry.delay_seconds)
        counters = {
            "attempt": shard.attempt + 1,
            "disruptions": retry.disruptions,
            "retries": retry.retries,
            "lost_results": retry.lost_results,
            "unknown_failures": retry.unknown_failures,
            "superseded": ("kept",) * (len(shard.superseded) + (CLASS_OF_REASON[reason] is FailureClass.INVALID)),
        }
        shard = shard.model_copy(update=counters)
    return delays


ATTEMPTS = {
    FailureClass.FINDING: 0,
    FailureClass.DETERMINISTIC: 0,
    FailureClass.DISRUPTION: ENOUGH,
    FailureClass.INFRASTRUCTURE: 3,
    FailureClass.LOST: 1,
    FailureClass.UNKNOWN: 1,
    FailureClass.INVALID: 1,
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_class_and_its_budget(reason: Reason) -> None:
    assert len(waits(reason)) == ATTEMPTS[CLASS_OF_REASON[reason]]


BUDGETS = [
    (Reason.NODE_LOST, FailurePolicy(infrastructure_retries=7), 7),
    (Reason.NODE_LOST, FailurePolicy(infrastructure_retries=0), 0),
    (Reason.KILLED, FailurePolicy(unknown_retries=4), 4),
    (Reason.KILLED, FailurePolicy(unknown_retries=0), 0),
    (Reason.RESULT_LOST, FailurePolicy(infrastructure_retries=0), 0),
    (Reason.EVICTED, FailurePolicy(infrastructure_retries=0, unknown_retries=0), ENOUGH),
    (Reason.NAN_OUTPUT, FailurePolicy(infrastructure_retries=9, unknown_retries=5), 0),
]


@pytest.mark.parametrize(("reason", "policy", "attempts"), BUDGETS)
def test_the_run_says_how_often_what_is_tried_again(reason: Reason, policy: FailurePolicy, attempts: int) -> None:
    assert len(waits(reason, policy)) == attempts


@pytest.mark.parametrize("reason", [Reason.NODE_LOST, Reason.POD_DELETED])
def test_the_first_wait_is_none_and_every_further_one_up_to_twice_as_long_to_a_cap(reason: Reason) -> None:
    first, *more = waits(reason, FailurePolicy(infrastructure_retries=9))
    assert first == 0
    for number, wait in enumerate(more):
        full = min(300.0, 10.0 * 2**number)
        assert full / 2 <= wait <= full
    assert max(more) > 150


def test_a_disruption_is_charged_to_no_budget_and_lengthens_no_other_wait() -> None:
    disrupted = ShardStatus(index=1, attempt=9, disruptions=8)
    retry = next_attempt(end_of(Reason.NODE_LOST), disrupted, FailurePolicy(), Policy(), IDENTITY)
    assert retry is not None
    assert (retry.delay_seconds, retry.disruptions, retry.retries) == (0.0, 8, 1)


def test_each_class_has_a_budget_of_its_own() -> None:
    spent = ShardStatus(index=1, retries=3, lost_results=1)
    table = ((Reason.NODE_LOST, False), (Reason.RESULT_LOST, False), (Reason.KILLED, True), (Reason.EVICTED, True))
    for reason, more in table:
        retry = next_attempt(end_of(reason), spent, FailurePolicy(), Policy(), IDENTITY)
        assert (retry is not None) is more


def test_a_success_is_never_tried_again() -> None:
    end = AttemptEnd(Outcome.SUCCEEDED, NOW)
    assert next_attempt(end, ShardStatus(index=1), FailurePolicy(), Policy(), IDENTITY) is None


@given(st.integers(1, 2**31), st.text(max_size=40))
def test_a_wait_is_a_function_of_the_attempt_within_half_and_all_of_the_cap(failures: int, identity: str) -> None:
    policy = Policy()
    wait = back_off_seconds(failures, identity, policy)
    assert wait == back_off_seconds(failures, identity, policy)
    full = min(policy.retry_cap_seconds, policy.retry_base_seconds * 2 ** min(failures - 1, 32))
    assert full / 2 <= wait <= full


def test_shards_that_failed_together_come_back_spread() -> None:
    delays = {round(waits(Reason.EVICTED, identity=f"uid/{cell:08x}/1")[1], 2) for cell in range(100)}
    assert len(delays) > 90


def failures_after(*reasons: Reason) -> tuple[AttemptFailure, ...]:
    failures: tuple[AttemptFailure, ...] = ()
    for attempt, reason in enumerate(reasons, start=1):
        failures = remember_failure(failures, end_of(reason, attempt, NOW + attempt), f"node-{attempt}")
    return failures


def test_a_shard_remembers_its_failures_with_node_and_time() -> None:
    (failure,) = failures_after(Reason.DEVICE_FAULT)
    assert (failure.attempt, failure.reason, failure.node) == (1, "DeviceFault", "node-1")
    assert failure.ended_at == "2027-01-15T08:00:01Z"


@pytest.mark.parametrize("reason", [Reason.OUT_OF_MEMORY_CUDA, Reason.OUT_OF_MEMORY_HOST])
def test_a_finding_is_no_failure(reason: Reason) -> None:
    assert failures_after(reason) == ()


def test_what_was_not_tried_is_no_failure() -> None:
    assert remember_failure((), end_of(Reason.UNSCHEDULABLE, attempt=0), None) == ()


def test_of_many_failures_the_latest_are_kept_and_disruptions_forgotten_first() -> None:
    disruptions = failures_after(Reason.NODE_LOST, *[Reason.EVICTED] * 20)
    assert [failure.attempt for failure in disruptions] == [1, 15, 16, 17, 18, 19, 20, 21]
    infrastructure = failures_after(*[Reason.NODE_LOST] * 10)
    assert [failure.attempt for failure in infrastructure] == [3, 4, 5, 6, 7, 8, 9, 10]


@given(st.lists(st.sampled_from(list(Reason)), max_size=30))
def test_no_failure_of_a_node_is_forgotten_for_a_disruption(reasons: list[Reason]) -> None:
    kept = failures_after(*reasons)
    assert len(kept) <= 8
    assert [failure.attempt for failure in kept] == sorted(failure.attempt for failure in kept)
    charged = [
        attempt
        for attempt, reason in enumerate(reasons, start=1)
        if CLASS_OF_REASON[reason] not in (FailureClass.FINDING, FailureClass.DISRUPTION)
    ]
    assert set(charged[-8:]) <= {failure.attempt for failure in kept}

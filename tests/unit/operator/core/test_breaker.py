"""Circuit breakers of a run: what opens them, what half opens them, what closes them."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW

from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.run_status import AttemptFailure, Breaker, ShardStatus
from vidbench_operator.core.breaker import Breakers, Circuit, Trial, breaker_text, find_breakers, is_exhausted, opened
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.timestamps import format_time

POLICY = Policy(node_breaker_seconds=100, model_breaker_seconds=60, breaker_cap_seconds=1000)


_INDEXES = count()


def next_index() -> int:
    """Every failure here is of another shard, unless a test says otherwise."""
    return next(_INDEXES) % 64 + 1


def failed_on(
    node: str | None, at: float, reason: Reason = Reason.DEVICE_FAULT, cell: str = "c", model: str = "m"
) -> Trial:
    """A shard that waits for another attempt after one that failed on a node."""
    failure = AttemptFailure(attempt=1, reason=reason.value, node=node, ended_at=format_time(NOW + at))
    return Trial(cell, model, ShardStatus(index=next_index(), attempt=1, failures=(failure,)))


def ended(
    at: float,
    outcome: Outcome = Outcome.FAILED,
    reason: Reason | None = Reason.MODEL_LOAD_FAILED,
    node: str | None = "n",
    model: str = "m",
    **changes: Any,
) -> Trial:
    """A shard that has ended."""
    shard = ShardStatus(
        index=next_index(), attempt=1, phase=RowPhase.FINISHED, outcome=outcome, node=node, ended_at=format_time(NOW + at),
        reason=reason.value if reason else None,
    )  # fmt: skip
    return Trial("c", model, shard.model_copy(update=changes))


def answered(at: float, node: str = "n", outcome: Outcome = Outcome.SUCCEEDED, **changes: Any) -> Trial:
    return ended(at, outcome, None, node, **changes)


def node_of(*trials: Trial) -> Circuit | None:
    return find_breakers(trials, POLICY).nodes.get("n")


def model_of(*trials: Trial) -> Circuit | None:
    return find_breakers(trials, POLICY).models.get("m")


NODES: list[Any] = [
    pytest.param([], None, id="nothing happened"),
    pytest.param([failed_on("n", 0)], None, id="one failure"),
    pytest.param([failed_on("n", 0), failed_on("n", 9)], (2, 109, 0), id="two in a row"),
    pytest.param([failed_on("n", 0), failed_on("other", 9)], None, id="on two nodes"),
    pytest.param([failed_on("n", 0), answered(5), failed_on("n", 9)], None, id="a success between"),
    pytest.param([failed_on("n", 0), answered(5, outcome=Outcome.OUT_OF_MEMORY), failed_on("n", 9)], None, id="out of memory is an answer"),
    pytest.param([failed_on("n", 0), answered(5, node="other"), failed_on("n", 9)], (2, 109, 0), id="a success elsewhere"),
    pytest.param([failed_on("n", 0), answered(5, attempt=0), failed_on("n", 9)], (2, 109, 0), id="a result of an earlier run"),
    pytest.param([failed_on("n", 0), failed_on("n", 9), answered(10)], None, id="closed by a success"),
    pytest.param([failed_on("n", 0), failed_on("n", 9), answered(9)], None, id="a success in the same second"),
    pytest.param([failed_on("n", at) for at in (0, 1, 2, 3, 4)], (5, 101, 0), id="those under way do not lengthen it"),
    pytest.param([failed_on("n", at) for at in (0, 1, 101)], (3, 301, 1), id="a failed probe doubles it"),
    pytest.param([failed_on("n", at) for at in (0, 1, 101, 301)], (4, 701, 2), id="another doubles it again"),
    pytest.param([failed_on("n", at) for at in (0, 1, 101, 301, 701, 1501)], (6, 2501, 4), id="to a cap"),
    pytest.param([failed_on("n", 0, Reason.EVICTED), failed_on("n", 9, Reason.POD_DELETED)], None, id="disruptions say nothing"),
    pytest.param([failed_on("n", 0, Reason.NAN_OUTPUT), failed_on("n", 9, Reason.NAN_OUTPUT)], None, id="deterministic failures say nothing"),
    pytest.param([answered(-1, node="other"), failed_on("n", 0, Reason.KILLED, "a"), failed_on("n", 9, Reason.RESULT_LOST, "b")], (2, 109, 0), id="unexplained ones count"),
    pytest.param([failed_on("n", 0, Reason.KILLED, "a"), failed_on("n", 9, Reason.RESULT_LOST, "b")], None, id="of a model that has given no answer they do not"),
    pytest.param([failed_on("n", 0, Reason.KILLED), failed_on("x", 5, Reason.KILLED), failed_on("n", 9, Reason.KILLED)], None, id="a cell that fails unexplained everywhere speaks against no node"),
    pytest.param([failed_on(None, 0), failed_on(None, 9)], None, id="on no node"),
]  # fmt: skip


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "in reverse"])
@pytest.mark.parametrize(("trials", "expected"), NODES)
def test_a_node_is_left_alone_after_two_failures_in_a_row(
    trials: list[Trial], expected: tuple[int, float, int] | None, order: int
) -> None:
    circuit = node_of(*trials[::order])
    if expected is None:
        assert circuit is None
    else:
        assert circuit is not None
        assert (circuit.failures, circuit.until - NOW, circuit.failed_probes) == expected


def test_one_shard_that_has_nowhere_else_to_go_opens_nothing() -> None:
    trial = failed_on("n", 0)
    failures = tuple(trial.shard.failures[0].model_copy(update={"attempt": attempt}) for attempt in (1, 2, 3))
    alone = Trial("c", "m", trial.shard.model_copy(update={"failures": failures}))
    assert node_of(alone) is None
    circuit = node_of(alone, failed_on("n", 9))
    assert circuit is not None
    assert circuit.failures == 4


MODELS: list[Any] = [
    pytest.param([ended(0), ended(1)], None, id="two failures"),
    pytest.param([ended(0), ended(1), ended(2)], (3, 62, 0), id="three in a row"),
    pytest.param([ended(0), ended(1), ended(2, model="other")], None, id="of two models"),
    pytest.param([ended(0), ended(1), answered(2), ended(3)], None, id="a success between"),
    pytest.param([ended(0), ended(1), answered(2, outcome=Outcome.OUT_OF_MEMORY), ended(3)], None, id="out of memory is an answer"),
    pytest.param([ended(at) for at in (0, 1, 2, 3, 4)], (5, 62, 0), id="those under way"),
    pytest.param([ended(at) for at in (0, 1, 2, 62)], (4, 182, 1), id="a failed probe"),
    pytest.param([ended(at) for at in (0, 1, 2, 62, 182)], (5, 422, 2), id="two failed probes"),
    pytest.param([ended(at) for at in (0, 1, 2, 62)] + [answered(200)], None, id="recovered"),
    pytest.param([ended(0), ended(1), ended(2, reason=Reason.UNSCHEDULABLE)], None, id="no node is not the model's fault"),
    pytest.param([ended(0), ended(1), ended(2, attempt=0)], None, id="not tried"),
    pytest.param([ended(0), ended(1), ended(2, Outcome.CANCELLED)], None, id="cancelled"),
    pytest.param([ended(0), ended(1), ended(2, reason=Reason.NODE_LOST)], (3, 62, 0), id="of any class, once the shard has ended"),
]  # fmt: skip


@pytest.mark.parametrize(("trials", "expected"), MODELS)
def test_a_model_is_stopped_after_three_failed_shards_in_a_row(
    trials: list[Trial], expected: tuple[int, float, int] | None
) -> None:
    circuit = model_of(*trials)
    found = (circuit.failures, circuit.until - NOW, circuit.failed_probes) if circuit else None
    assert found == expected
    assert circuit is None or is_exhausted(circuit, POLICY) is (circuit.failed_probes >= 2)


def test_a_breaker_is_open_until_its_cool_down_is_over_and_half_open_then() -> None:
    breakers = find_breakers([failed_on("n", 0), failed_on("n", 9)], POLICY)
    assert breakers.wake_at(NOW + 50) == NOW + 109
    (entry,) = breakers.to_status(NOW + 108)
    assert (entry.kind, entry.name, entry.state, entry.failures) == ("Node", "n", "Open", 2)
    assert entry.until == format_time(NOW + 109)
    (entry,) = breakers.to_status(NOW + 109)
    assert entry.state == "HalfOpen"
    assert breakers.wake_at(NOW + 109) is None


def test_the_status_holds_no_more_breakers_than_its_schema_and_models_first() -> None:
    nodes = {f"n{number}": Circuit("Node", f"n{number}", 2, NOW) for number in range(100)}
    entries = Breakers(nodes, {"m": Circuit("Model", "m", 3, NOW)}).to_status(NOW)
    assert (len(entries), entries[0].kind) == (64, "Model")


OPEN = Breaker(kind="Node", name="n", state="Open", failures=2, until="2027-01-15T08:05:00Z")
HALF_OPEN = OPEN.model_copy(update={"state": "HalfOpen"})
AGAIN = OPEN.model_copy(update={"failures": 3, "until": "2027-01-15T08:15:00Z"})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((), (OPEN,), 1),
        ((OPEN,), (OPEN,), 0),
        ((OPEN,), (HALF_OPEN,), 0),
        ((HALF_OPEN,), (AGAIN,), 1),
        ((OPEN,), (), 0),
    ],
    ids=["opens", "stays open", "half opens", "opens again", "closes"],
)
def test_an_opening_is_told_once(before: Any, after: Any, told: int) -> None:
    assert len(opened(before, after)) == told


def test_an_opening_is_told_in_words() -> None:
    assert breaker_text(OPEN) == (
        "2 attempts failed on node n in a row: left alone until 2027-01-15T08:05:00Z, then probed once"
    )


trials = st.lists(
    st.one_of(
        st.builds(failed_on, st.sampled_from("nx"), st.integers(0, 3000), st.sampled_from(list(Reason)), st.sampled_from("ab")),
        st.builds(ended, st.integers(0, 3000), st.sampled_from(Outcome), st.sampled_from(list(Reason)), st.sampled_from("nx")),
    ),
    max_size=30,
)  # fmt: skip


@given(trials, st.randoms())
def test_breakers_do_not_hang_on_the_order_of_rows_and_are_bounded(entries: list[Trial], chance: Any) -> None:
    breakers = find_breakers(entries, POLICY)
    shuffled = list(entries)
    chance.shuffle(shuffled)
    assert find_breakers(shuffled, POLICY) == breakers
    for circuit in (*breakers.nodes.values(), *breakers.models.values()):
        assert circuit.failures >= (2 if circuit.kind == "Node" else 3)
        assert circuit.until <= NOW + 3000 + POLICY.breaker_cap_seconds


@given(trials)
def test_a_success_after_everything_closes_all(entries: list[Trial]) -> None:
    breakers = find_breakers([*entries, answered(4000, "n"), answered(4000, "x")], POLICY)
    assert breakers == Breakers()

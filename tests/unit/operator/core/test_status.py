"""What the status says: rows, counts, conditions, phase and messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, document_of, observed_run

from vidbench_api.names import ConditionReason, ConditionType, LimitedBy, Outcome, Reason, RowPhase, RunPhase, Validity
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, Condition, ParallelismStatus, ShardStatus
from vidbench_operator.core.observed import ObservedRun
from vidbench_operator.core.status import (
    accepted_status,
    empty_row,
    failed_status,
    fastest_of,
    is_terminal,
    summarise,
    summarise_row,
    waiting_status,
    with_conditions,
)

TRIO = ("Reconciling", "Ready", "Stalled")


def condition(status: BenchmarkRunStatus, kind: str) -> Condition:
    return next(entry for entry in status.conditions if entry.type == kind)


def values(status: BenchmarkRunStatus, *kinds: str) -> dict[str, str]:
    return {kind: condition(status, kind).status for kind in kinds}


def shard(index: int = 1, outcome: Outcome | None = Outcome.SUCCEEDED, **changes: Any) -> ShardStatus:
    """A shard that ended; None: that waits."""
    if outcome is None:
        return ShardStatus(index=index, **changes)
    measured: dict[str, Any] = {}
    if outcome is Outcome.SUCCEEDED:
        measured = {
            "latency_microseconds": 1_000_000,
            "spread_microseconds": 50_000,
            "samples": 3,
            "validity": Validity.VALID,
        }
    return ShardStatus(index=index, phase=RowPhase.FINISHED, outcome=outcome, attempt=1, **(measured | changes))


def row(*shards: ShardStatus, model: str = "wan", **changes: Any) -> CellRow:
    cell = {"id": f"{abs(hash(model)):08x}"[:8], "model": model, "hardware": "gpu", "variant": "default"} | changes
    return summarise_row(CellRow(**cell), shards)


def summary(
    *rows: CellRow, run: ObservedRun | None = None, later: float = 9.0, **parallelism: Any
) -> BenchmarkRunStatus:
    run = run or observed_run()
    status = run.status.model_copy(update={"rows": rows})
    return summarise(run, status, ParallelismStatus(**parallelism), NOW + later)


SUCCEEDED, OOM = row(shard()), row(shard(1, Outcome.OUT_OF_MEMORY, reason=Reason.OUT_OF_MEMORY_CUDA), model="oom")
FAILED = row(shard(1, Outcome.FAILED, reason=Reason.NAN_OUTPUT), model="nan")
CANCELLED = row(shard(1, Outcome.CANCELLED, reason=Reason.RUN_DEADLINE), model="late")
WAITING = row(shard(1, None), model="waiting")
ACTIVE = row(shard(1, None, phase=RowPhase.ACTIVE, attempt=1), model="active")

ENDS: list[Any] = [
    pytest.param([SUCCEEDED], "Complete", RunPhase.SUCCEEDED, ConditionReason.ALL_SUCCEEDED, id="all succeeded"),
    pytest.param([SUCCEEDED, OOM], "Complete", RunPhase.SUCCEEDED, ConditionReason.ALL_SUCCEEDED, id="out of memory is a finding"),
    pytest.param([SUCCEEDED, FAILED], "Complete", RunPhase.PARTIALLY_SUCCEEDED, ConditionReason.SOME_CELLS_FAILED, id="one failed"),
    pytest.param([FAILED, FAILED], "Failed", RunPhase.FAILED, ConditionReason.NO_RESULT, id="none was measured"),
    pytest.param([SUCCEEDED, CANCELLED], "Failed", RunPhase.FAILED, ConditionReason.RUN_DEADLINE, id="the run's time was up"),
    pytest.param([SUCCEEDED, row(shard(1, Outcome.FAILED, reason=Reason.HUNG), shard(2, Outcome.CANCELLED, reason=Reason.RUN_DEADLINE), model="both")], "Failed", RunPhase.FAILED, ConditionReason.RUN_DEADLINE, id="its time was up in a cell that had failed"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "true", "phase", "reason"), ENDS)
def test_exactly_one_of_complete_and_failed_becomes_true_at_the_end(
    rows: list[CellRow], true: str, phase: RunPhase, reason: ConditionReason
) -> None:
    status = summary(*rows)
    succeeded = true == "Complete"
    assert values(status, "Complete", "Failed") == {"Complete": str(succeeded), "Failed": str(not succeeded)}
    assert values(status, *TRIO) == {"Reconciling": "False", "Ready": str(succeeded), "Stalled": str(not succeeded)}
    assert (status.phase, condition(status, true).reason) == (phase, reason)
    assert status.completion_time == "2027-01-15T08:00:09Z"
    assert is_terminal(status)


@pytest.mark.parametrize("rows", [[WAITING], [ACTIVE], [SUCCEEDED, WAITING], [FAILED, ACTIVE]])
def test_none_of_them_is_true_before_the_end(rows: list[CellRow]) -> None:
    status = summary(*rows)
    assert values(status, "Complete", "Failed", *TRIO) == {
        "Complete": "False", "Failed": "False", "Reconciling": "True", "Ready": "False", "Stalled": "False",
    }  # fmt: skip
    assert not is_terminal(status)
    assert status.completion_time is None


def test_a_transition_time_changes_with_the_value_and_not_with_reason_or_message() -> None:
    run = observed_run()
    first = summary(SUCCEEDED, WAITING, later=10)
    run = replace(run, status=first, generation=2)
    second = summarise(
        run, first.model_copy(update={"rows": (SUCCEEDED, ACTIVE)}), ParallelismStatus(active=1), NOW + 20
    )
    ready = condition(second, "Ready")
    assert condition(first, "Ready").message != ready.message
    assert (ready.last_transition_time, ready.observed_generation) == ("2027-01-15T08:00:10Z", 2)
    third = summarise(run, second.model_copy(update={"rows": (SUCCEEDED, SUCCEEDED)}), ParallelismStatus(), NOW + 30)
    assert condition(third, "Ready").last_transition_time == "2027-01-15T08:00:30Z"
    assert condition(third, "Stalled").last_transition_time == "2027-01-15T08:00:10Z"


def test_other_peoples_conditions_stay_and_cannot_push_ours_out() -> None:
    theirs = tuple(
        Condition(
            type=f"theirs/{number:02}", status="True", reason="Theirs", last_transition_time="2027-01-01T00:00:00Z"
        )
        for number in range(16)
    )
    run = observed_run(status=BenchmarkRunStatus(conditions=theirs))
    status = with_conditions(run, run.status, {ConditionType.READY: ("True", "Yes", "")}, NOW)
    assert status.conditions[0].type == "Ready"
    assert status.conditions[1:] == theirs[:15]
    assert len(status.conditions) == 16


COUNTS: list[Any] = [
    pytest.param([WAITING, WAITING], (2, 2, 0, 0, 0, 0), "0/2", RunPhase.PENDING, id="nothing started"),
    pytest.param([ACTIVE, WAITING], (2, 1, 1, 0, 0, 0), "0/2", RunPhase.RUNNING, id="one runs"),
    pytest.param([SUCCEEDED, OOM, FAILED, CANCELLED, ACTIVE], (5, 0, 1, 1, 1, 2), "4/5", RunPhase.RUNNING, id="one of each"),
    pytest.param([row(shard(), shard(2, None), model="half")], (1, 1, 0, 0, 0, 0), "0/1", RunPhase.RUNNING, id="a cell ends with its last shard"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "counts", "progress", "phase"), COUNTS)
def test_cells_are_counted_by_what_they_are(
    rows: list[CellRow], counts: tuple[int, ...], progress: str, phase: RunPhase
) -> None:
    status = summary(*rows)
    assert status.cells is not None
    found = status.cells
    assert (found.total, found.pending, found.active, found.succeeded, found.out_of_memory, found.failed) == counts
    assert found.pending + found.active + found.succeeded + found.out_of_memory + found.failed == found.total
    assert (status.progress, status.phase) == (progress, phase)


def test_shards_are_counted_apart_from_cells() -> None:
    status = summary(row(shard(), shard(2, None)), row(shard(), model="b"))
    assert status.shards is not None
    assert (status.shards.total, status.shards.finished) == (3, 2)


def test_the_spread_of_one_shard_is_that_of_its_samples() -> None:
    found = row(shard())
    assert (found.latency_microseconds, found.spread_microseconds, found.spread_of, found.samples) == (
        1_000_000, 50_000, "Samples", 3,
    )  # fmt: skip


def test_the_spread_of_several_shards_is_that_of_their_means() -> None:
    found = row(shard(), shard(2, latency_microseconds=1_200_000), shard(3, latency_microseconds=1_100_000))
    assert (found.latency_microseconds, found.spread_microseconds, found.spread_of, found.samples) == (
        1_100_000, 100_000, "Shards", 9,
    )  # fmt: skip


def test_one_sample_has_no_spread() -> None:
    found = row(shard(spread_microseconds=None, samples=1))
    assert (found.spread_microseconds, found.spread_of, found.samples) == (None, None, 1)


def test_figures_are_of_the_shards_that_succeeded() -> None:
    partial = {"latency_microseconds": 9, "spread_microseconds": 9, "samples": 2, "validity": Validity.PARTIAL}
    found = row(shard(1, Outcome.FAILED, **partial), shard(2))
    assert (found.latency_microseconds, found.spread_microseconds, found.samples) == (1_000_000, 50_000, 3)
    alone = row(shard(1, Outcome.FAILED, **partial))
    assert (alone.latency_microseconds, alone.samples) == (None, 2)


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        (("SUCCEEDED", "SUCCEEDED"), Outcome.SUCCEEDED),
        (("SUCCEEDED", "OUT_OF_MEMORY"), Outcome.OUT_OF_MEMORY),
        (("CANCELLED", "OUT_OF_MEMORY"), Outcome.CANCELLED),
        (("CANCELLED", "FAILED", "SUCCEEDED"), Outcome.FAILED),
    ],
)
def test_a_cell_is_as_its_worst_shard(outcomes: tuple[str, ...], outcome: Outcome) -> None:
    shards = [shard(index, Outcome[name], reason=f"Reason{index}") for index, name in enumerate(outcomes, 1)]
    found = row(*shards)
    assert found.outcome is outcome
    assert found.reason == next(entry.reason for entry in shards if entry.outcome is outcome)


@pytest.mark.parametrize(
    ("validities", "worst"),
    [
        ((Validity.VALID, Validity.VALID), Validity.VALID),
        ((Validity.VALID, Validity.PARTIAL), Validity.PARTIAL),
        ((Validity.INVALID, Validity.PARTIAL), Validity.INVALID),
        ((Validity.VALID, None), Validity.INVALID),
    ],
)
def test_a_cell_is_as_valid_as_its_worst_shard(validities: tuple[Validity | None, ...], worst: Validity) -> None:
    assert row(*(shard(index, validity=validity) for index, validity in enumerate(validities, 1))).validity is worst


def test_a_cell_that_is_not_finished_has_neither_outcome_nor_validity() -> None:
    found = row(shard(), shard(2, None, reason=Reason.EVICTED))
    assert (found.outcome, found.validity, found.reason) == (None, None, Reason.EVICTED)


def test_a_cell_that_succeeded_in_the_end_does_not_repeat_the_message_of_a_failure() -> None:
    assert row(shard(), message="pod x: evicted").message is None
    assert row(shard(1, Outcome.FAILED, reason=Reason.EVICTED), message="pod x: evicted").message == "pod x: evicted"


FASTEST: list[Any] = [
    pytest.param([], None, id="nothing measured"),
    pytest.param([SUCCEEDED, row(shard(latency_microseconds=500_000), model="fast")], "fast/gpu/default 0.500s", id="the lowest mean"),
    pytest.param([SUCCEEDED, row(shard(latency_microseconds=1, validity=Validity.INVALID), model="fast")], "wan/gpu/default 1.00s", id="an invalid one does not count"),
    pytest.param([SUCCEEDED, row(shard(latency_microseconds=1, validity=Validity.PARTIAL), model="fast")], "wan/gpu/default 1.00s", id="a partial one does not count"),
    pytest.param([OOM, row(shard(1, Outcome.FAILED, latency_microseconds=1, validity=Validity.VALID), model="x")], None, id="a failed one does not count"),
    pytest.param([row(shard(), shard(2, None, latency_microseconds=1), model="half")], None, id="a cell that runs does not count"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "text"), FASTEST)
def test_the_fastest_cell_is_valid_and_succeeded(rows: list[CellRow], text: str | None) -> None:
    fastest = fastest_of(rows)
    assert (fastest.text if fastest else None) == text


def test_the_fastest_cell_says_that_its_weights_are_random() -> None:
    fastest = fastest_of([SUCCEEDED.model_copy(update={"weights": "Random"})])
    assert fastest is not None
    assert fastest.text == "wan/gpu/default 1.00s (random weights)"


@pytest.mark.parametrize(("weights", "shown"), [("Random", "Random"), ("Pretrained", None)])
def test_a_row_is_marked_if_its_weights_are_random(weights: str, shown: str | None) -> None:
    document = document_of(observed_run())
    cell = document.cells[0].model_copy(update={"weights": weights})
    assert empty_row(cell, document).weights == shown


MESSAGES: list[Any] = [
    pytest.param({"active": 2, "waiting": 1}, 8, ConditionReason.RUNNING, "2 Jobs active, 1 shard waiting", id="running"),
    pytest.param({"limited_by": LimitedBy.CAPACITY}, 8, ConditionReason.WAITING_FOR_CAPACITY, "no node fits", id="no node"),
    pytest.param({"limited_by": LimitedBy.QUOTA}, 8, ConditionReason.WAITING_FOR_CAPACITY, "a quota or an admission rule", id="quota"),
    pytest.param({"limited_by": LimitedBy.PARALLELISM}, 0, ConditionReason.HELD, "spec.parallelism is 0", id="held"),
]  # fmt: skip


@pytest.mark.parametrize(("parallelism", "asked", "reason", "text"), MESSAGES)
def test_a_run_says_what_it_waits_for(
    parallelism: dict[str, Any], asked: int, reason: ConditionReason, text: str
) -> None:
    run = observed_run()
    run = replace(run, spec=run.spec.model_copy(update={"parallelism": asked}))
    status = summary(ACTIVE, WAITING, run=run, **parallelism)
    assert condition(status, "Reconciling").reason == reason
    assert text in (status.message or "")


def test_the_message_of_the_end_names_the_first_failures() -> None:
    failed = [row(shard(1, Outcome.FAILED, reason=Reason.HUNG), model=f"m{number}") for number in range(5)]
    message = summary(SUCCEEDED, *failed).message
    assert message == (
        "6 of 6 cells finished: 1 succeeded, 5 failed"
        " (m0/gpu/default Hung, m1/gpu/default Hung, m2/gpu/default Hung and 2 more)"
    )


def test_a_run_that_waits_for_a_reference_says_for_which() -> None:
    run = observed_run()
    status = waiting_status(run, ConditionReason.MODEL_NOT_FOUND, "no model", NOW + 3)
    assert values(status, "Accepted", "Complete", "Failed", *TRIO) == {
        "Accepted": "False", "Complete": "False", "Failed": "False",
        "Reconciling": "True", "Ready": "False", "Stalled": "False",
    }  # fmt: skip
    assert (status.phase, status.message, status.start_time) == (RunPhase.PENDING, "no model", "2027-01-15T08:00:03Z")
    assert condition(status, "Accepted").reason == ConditionReason.MODEL_NOT_FOUND
    again = waiting_status(replace(run, status=status), ConditionReason.MODEL_NOT_FOUND, "no model", NOW + 60)
    assert again == status, "waiting on is no news"


def test_an_accepted_run_has_a_row_for_every_cell_and_the_digest_of_its_request() -> None:
    scene = Scene.of(models=["a", "b"], measurement={"shards": 2})
    status = accepted_status(observed_run(scene.run.spec), scene.document, "nightly-request-x", NOW + 3)
    assert values(status, "Accepted", *TRIO) == {
        "Accepted": "True",
        "Reconciling": "True",
        "Ready": "False",
        "Stalled": "False",
    }
    assert (status.request_name, status.request_digest) == ("nightly-request-x", scene.document.digest)
    assert [(found.model, len(found.shards)) for found in status.rows] == [("a", 2), ("b", 2)]
    assert status.selector == f"vidbench.io/run=nightly,vidbench.io/run-uid={scene.run.uid}"
    assert status.parallelism is not None
    assert (status.progress, status.parallelism.waiting, status.phase) == ("0/2", 4, RunPhase.PENDING)


def test_the_start_is_the_first_look_and_not_the_acceptance() -> None:
    scene = Scene.of()
    run = observed_run(scene.run.spec)
    waiting = replace(run, status=waiting_status(run, ConditionReason.MODEL_NOT_FOUND, "no model", NOW + 3))
    assert accepted_status(waiting, scene.document, "x", NOW + 60).start_time == "2027-01-15T08:00:03Z"
    assert (
        failed_status(waiting, ConditionReason.MODEL_NOT_FOUND, "gone", NOW + 60).start_time == "2027-01-15T08:00:03Z"
    )


def test_a_refused_run_ends_as_failed() -> None:
    status = failed_status(observed_run(), ConditionReason.NO_CELLS, "no cell", NOW + 3)
    assert values(status, "Accepted", "Complete", "Failed", *TRIO) == {
        "Accepted": "False", "Complete": "False", "Failed": "True",
        "Reconciling": "False", "Ready": "False", "Stalled": "True",
    }  # fmt: skip
    assert (status.phase, status.message, status.completion_time) == (
        RunPhase.FAILED,
        "no cell",
        "2027-01-15T08:00:03Z",
    )
    assert (status.rows, status.cells) == ((), None)
    assert is_terminal(status)


def test_a_run_that_ends_under_way_leaves_no_shard_without_an_end() -> None:
    scene = Scene.of(models=["a", "b", "c"])
    first, second, _ = scene.document.cells
    scene = scene.active(first).with_shard(
        second, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, validity=Validity.VALID
    )
    status = failed_status(scene.run, ConditionReason.REQUEST_LOST, "the ConfigMap is gone", NOW + 3)
    assert [(found.phase, found.outcome, found.reason) for found in status.rows] == [
        (RowPhase.FINISHED, Outcome.CANCELLED, "RequestLost"),
        (RowPhase.FINISHED, Outcome.SUCCEEDED, None),
        (RowPhase.FINISHED, Outcome.CANCELLED, "RequestLost"),
    ]
    assert status.rows[0].message == "the ConfigMap is gone"
    assert status.cells is not None
    assert (status.progress, status.cells.active, status.cells.failed) == ("3/3", 0, 2)
    assert condition(status, "Accepted").status == "True", "it was accepted"
    assert BenchmarkRunStatus.model_validate(status.to_wire()) == status

"""An Invalid measurement: when it is made again, where it is kept, and when it counts after all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, Scene, ended_pod, finished, running_pod

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import LABEL_SUPERSEDED, Outcome, Reason, RowPhase, Validity
from vidbench_api.run_spec import ValidityPolicy
from vidbench_api.run_status import ShardStatus
from vidbench_api.validity import ROW_OF_REASON, Effect, ValidityReason, is_worth_another_attempt
from vidbench_operator.core.avoidance import failed_nodes
from vidbench_operator.core.evidence import AttemptEnd
from vidbench_operator.core.observed import Observed
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.remeasure import stand_in, superseded

PASSES, STAYS = ValidityReason.OTHER_PROCESSES.value, ValidityReason.CALL_COUNT_MISMATCH.value
RETRY, FLAG = ValidityPolicy(), ValidityPolicy(on_invalid="Flag")


def invalid(*reasons: str) -> ValidityVerdict:
    return ValidityVerdict(state=Validity.INVALID, reasons=reasons)


@pytest.mark.parametrize("reason", list(ValidityReason))
def test_every_reason_has_its_row(reason: ValidityReason) -> None:
    row = ROW_OF_REASON[reason]
    assert all((row.evidence, row.threshold, row.why))
    assert is_worth_another_attempt((reason,)) == (row.passes and row.effect is Effect.INVALID)


DECISIONS: list[Any] = [
    pytest.param(RETRY, invalid(PASSES), 0, True, id="what may pass"),
    pytest.param(RETRY, invalid(PASSES, "FewerSamplesThanPlanned"), 0, True, id="and fewer samples"),
    pytest.param(RETRY, invalid(STAYS), 0, False, id="what another attempt would have too"),
    pytest.param(RETRY, invalid(PASSES, STAYS), 0, False, id="both"),
    pytest.param(RETRY, invalid("FromAnotherVersion"), 0, False, id="a word that is not known"),
    pytest.param(RETRY, invalid(), 0, False, id="no word at all"),
    pytest.param(RETRY, invalid(PASSES), 1, False, id="it was made again before"),
    pytest.param(FLAG, invalid(PASSES), 0, False, id="Flag"),
    pytest.param(RETRY, ValidityVerdict(state=Validity.VALID), 0, False, id="Valid"),
    pytest.param(RETRY, ValidityVerdict(state=Validity.PARTIAL, reasons=(PASSES,)), 0, False, id="Partial"),
]


@pytest.mark.parametrize(("policy", "verdict", "before", "again"), DECISIONS)
def test_what_is_measured_again(policy: ValidityPolicy, verdict: ValidityVerdict, before: int, again: bool) -> None:
    scene = Scene.of()
    shard = ShardStatus(index=1, attempt=1, superseded=("kept",) * before)
    spec = scene.result(validity=verdict)
    kept = superseded(spec, shard, policy, Policy())
    assert (kept is not None) == again
    if kept is not None:
        assert kept.name == f"{scene.run.name}-{scene.cell.id}-1-1"
        assert kept.spec == spec.model_copy(update={"superseded": True})


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED])
def test_a_failure_is_no_measurement_to_make_again(outcome: Outcome) -> None:
    spec = Scene.of().result(outcome=outcome, validity=invalid(PASSES))
    assert superseded(spec, ShardStatus(index=1, attempt=1), RETRY, Policy()) is None


@given(st.lists(st.sampled_from([*ValidityReason, "FromAnotherVersion"]), max_size=6), st.integers(0, 5))
def test_no_shard_is_measured_again_beyond_its_budget(reasons: list[str], budget: int) -> None:
    policy, shard, attempts = Policy(invalid_retries=budget), ShardStatus(index=1, attempt=1), 0
    while (kept := superseded(Scene.of().result(validity=invalid(*reasons)), shard, RETRY, policy)) is not None:
        attempts += 1
        shard = shard.model_copy(update={"superseded": (*shard.superseded, kept.name)})
    assert attempts in (0, budget)


def first_attempt(verdict: ValidityVerdict, **spec: Any) -> tuple[Scene, Plan]:
    scene = Scene.of(**spec)
    scene = scene.active(job_uid=scene.job().uid, started_at="2027-01-15T08:00:00Z")
    job = scene.job()
    pod = ended_pod(job, scene.verdict(validity=verdict), node="node-1")
    return scene, scene.decide(finished(job), pod, at=60)


def test_an_invalid_shard_is_kept_under_its_attempts_name_and_measured_again() -> None:
    scene, plan = first_attempt(invalid(PASSES))
    name = scene.job().name
    [kept] = plan.results
    assert (kept.name, kept.spec.superseded, kept.labels[LABEL_SUPERSEDED]) == (name, True, "true")
    assert kept.spec.series[0].statistics.mean == 1_100_000
    shard = scene.after(plan).shard()
    assert (shard.phase, shard.attempt, shard.superseded) == (RowPhase.ACTIVE, 2, (name,))
    assert shard.reason == Reason.MEASUREMENT_INVALID
    assert failed_nodes(shard) == ("node-1",)
    assert any(f"Invalid ({PASSES}); it is kept as BenchmarkResult {name}" in event.message for event in plan.events)
    assert plan.status is not None
    assert plan.status.gpu_seconds is not None
    assert (plan.status.gpu_seconds.used, plan.status.gpu_seconds.wasted) == (0, 49)


def test_what_was_kept_before_a_crash_is_not_written_twice() -> None:
    scene, plan = first_attempt(invalid(PASSES))
    job = scene.job()
    pod = ended_pod(job, scene.verdict(validity=invalid(PASSES)), node="node-1")
    results = {entry.name: entry.spec for entry in plan.results}
    again = scene.decide(finished(job), pod, at=60, results=results)
    assert (again.results, again.status) == ((), plan.status)


@pytest.mark.parametrize("reasons", [(STAYS,), (PASSES, STAYS)])
def test_what_would_not_pass_stays_marked(reasons: tuple[str, ...]) -> None:
    scene, plan = first_attempt(invalid(*reasons))
    assert [entry.name for entry in plan.results] == [scene.result_name()]
    assert scene.after(plan).shard().validity is Validity.INVALID


def test_flag_keeps_the_first_measurement() -> None:
    scene, plan = first_attempt(invalid(PASSES), validity={"onInvalid": "Flag"})
    assert [(entry.name, entry.spec.superseded) for entry in plan.results] == [(scene.result_name(), False)]
    assert scene.after(plan).shard().phase is RowPhase.FINISHED


def second_attempt(**spec: Any) -> tuple[Scene, dict[str, Any]]:
    """The scene with its second attempt under way, and the ledger."""
    scene, plan = first_attempt(invalid(PASSES), **spec)
    job = scene.job(attempt=2)
    return scene.after(plan).active(attempt=2, job_uid=job.uid), {entry.name: entry.spec for entry in plan.results}


@pytest.mark.parametrize("verdict", [ValidityVerdict(state=Validity.VALID), invalid(PASSES)])
def test_what_the_second_attempt_measured_takes_the_shards_name(verdict: ValidityVerdict) -> None:
    scene, _ = second_attempt()
    job = scene.job(attempt=2)
    plan = scene.decide(finished(job), ended_pod(job, scene.verdict(attempt=2, validity=verdict)), at=60)
    [result] = plan.results
    assert (result.name, result.spec.superseded, result.spec.attempts) == (scene.result_name(), False, 2)
    shard = scene.after(plan).shard()
    assert (shard.validity, shard.outcome, shard.reason) == (verdict.state, Outcome.SUCCEEDED, None)
    assert len(shard.superseded) == 1


def test_where_the_second_attempt_fails_the_first_measurement_stands() -> None:
    scene, ledger = second_attempt()
    job = scene.job(attempt=2)
    pod = ended_pod(job, scene.failure(Reason.GENERATION_FAILED, attempt=2), 85)
    assert scene.decide(finished(job, "Failed"), pod, at=60).needs_live
    plan = scene.decide_live(finished(job, "Failed"), pod, at=60, results=ledger)
    [result] = plan.results
    assert (result.name, result.spec.superseded, result.spec.origin.attempt) == (scene.result_name(), False, 1)
    assert result.spec.validity == invalid(PASSES)
    assert "measured again, and that ended as GenerationFailed: it was GenerationFailed" in (result.spec.message or "")
    shard = scene.after(plan).shard()
    assert (shard.outcome, shard.validity, shard.reason) == (Outcome.SUCCEEDED, Validity.INVALID, None)


def test_a_crash_after_the_stand_in_was_written_changes_nothing_of_what_is_counted() -> None:
    scene, ledger = second_attempt()
    job = scene.job(attempt=2)
    pod = ended_pod(job, scene.failure(Reason.GENERATION_FAILED, attempt=2), 85, node="node-2")
    children = (finished(job, "Failed"), pod)
    plan = scene.decide_live(*children, at=60, results=ledger)
    [result] = plan.results
    again = scene.decide(*children, at=61, results={**ledger, result.name: result.spec})
    assert (again.results, again.status is None) == ((), False)
    assert scene.after(again).shard() == scene.after(plan).shard()
    assert again.status is not None
    assert plan.status is not None
    assert again.status.gpu_seconds == plan.status.gpu_seconds
    gone = scene.decide(at=61, results={**ledger, result.name: result.spec})
    assert gone.status is not None
    assert gone.status.gpu_seconds is not None
    assert (gone.status.gpu_seconds.used, gone.status.gpu_seconds.wasted) == (0, 49), "nothing is counted twice"


def test_where_the_run_is_stopped_meanwhile_the_first_measurement_stands() -> None:
    scene, ledger = second_attempt(timeouts={"runSeconds": 100})
    job = scene.job(attempt=2)
    plan = scene.decide_live(job, running_pod(job), at=100, results=ledger)
    [result] = plan.results
    assert (result.spec.outcome, result.spec.validity.state) == (Outcome.SUCCEEDED, Validity.INVALID)
    assert "RunDeadlineExceeded" in (result.spec.message or "")


STOPS: list[Any] = [
    pytest.param({"cancel": "Graceful"}, id="a cancel"),
    pytest.param({"cancel": "Immediate"}, id="a cancel at once"),
    pytest.param({"timeouts": {"runSeconds": 60}}, id="the deadline"),
]


@pytest.mark.parametrize("stop", STOPS)
def test_what_is_measured_in_the_moment_of_a_stop_is_kept_before_the_shard_ends(stop: dict[str, Any]) -> None:
    scene, plan = first_attempt(invalid(PASSES), **stop)
    name = scene.job().name
    assert [(entry.name, entry.spec.superseded) for entry in plan.results] == [(name, True)]
    shard = scene.after(plan).shard()
    assert (shard.phase, shard.superseded) == (RowPhase.PENDING, (name,))
    assert plan.creates == ()
    assert plan.requeue_after == 0.0, "no event brings the next pass"
    ledger = {entry.name: entry.spec for entry in plan.results}
    last = scene.after(plan).decide_live(at=61, results=ledger)
    [result] = last.results
    assert (result.name, result.spec.outcome) == (scene.result_name(), Outcome.SUCCEEDED)
    assert result.spec.validity == invalid(PASSES)


def test_where_too_many_cells_fail_in_that_moment_no_other_attempt_starts() -> None:
    scene = Scene.of(variants=["x", "y"], failurePolicy={"maxFailedCells": "0%"})
    failed, last = scene.document.cells
    scene = scene.with_shard(failed, phase=RowPhase.FINISHED, attempt=1, outcome=Outcome.FAILED)
    job = scene.job(last)
    scene = scene.active(last, job_uid=job.uid)
    plan = scene.decide(finished(job), ended_pod(job, scene.verdict(last, validity=invalid(PASSES))), at=60)
    assert (scene.after(plan).shard(last).phase, plan.creates, plan.requeue_after) == (RowPhase.PENDING, (), 0.0)


def test_where_the_models_breaker_is_exhausted_in_that_moment_the_next_pass_is_due_at_once() -> None:
    scene = Scene.of(variants=["w", "x", "y", "z"])
    *failed, last = scene.document.cells
    for cell in failed:
        end = {"outcome": Outcome.FAILED, "reason": "GenerationFailed", "ended_at": "2027-01-15T08:00:30Z"}
        scene = scene.with_shard(cell, phase=RowPhase.FINISHED, attempt=1, **end)
    job = scene.job(last)
    scene = scene.active(last, job_uid=job.uid)
    pod = ended_pod(job, scene.verdict(last, validity=invalid(PASSES)), node="node-1")
    policy = Policy(model_breaker_probes=0)
    plan = scene.decide(finished(job), pod, at=60, policy=policy)
    assert (scene.after(plan).shard(last).phase, plan.requeue_after) == (RowPhase.PENDING, 0.0)
    ledger = {entry.name: entry.spec for entry in plan.results}
    (result,) = scene.after(plan).decide(at=60, policy=policy, live=True, results=ledger).results
    assert (result.spec.outcome, result.spec.validity) == (Outcome.SUCCEEDED, invalid(PASSES))


@pytest.mark.parametrize("there", ["nothing", "somebody else's"])
def test_a_kept_result_that_is_gone_or_foreign_stands_for_nothing(there: str) -> None:
    scene, ledger = second_attempt()
    [(name, spec)] = ledger.items()
    foreign = spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "another"})})
    observed = Observed(results={} if there == "nothing" else {name: foreign}, live=True)
    end = AttemptEnd(Outcome.FAILED, NOW, Reason.HUNG, "it hung")
    assert stand_in(end, scene.shard(), observed, scene.run.uid) is None

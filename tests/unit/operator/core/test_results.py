"""The result of a shard: made of the evidence of its last attempt, and read back for the status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished, latencies, running_pod

from vidbench_api.accounting import Accounting
from vidbench_api.figures import NeededMemory
from vidbench_api.measured import Measured, Memory, Statistics, ValidityVerdict
from vidbench_api.names import (
    LABEL_CELL,
    LABEL_OUTCOME,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_SHARD,
    LABEL_VALIDITY,
    LABEL_WEIGHTS,
    Outcome,
    Reason,
    RowPhase,
    Validity,
)
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import ShardStatus
from vidbench_api.verdict import Phase, Stage
from vidbench_operator.core.evidence import AttemptEnd, Expected, classify
from vidbench_operator.core.observed import ObservedPod
from vidbench_operator.core.results import (
    finished_shard,
    headline_memory,
    held_gpu_seconds,
    latency_text,
    make_result,
    result_labels,
    seconds_text,
)

SCENE = Scene.of(hardware=[{"name": "gpu", "gpus": 2}])
JOB = SCENE.job()
SHARD = ShardStatus(index=1, phase=RowPhase.ACTIVE, attempt=2, job_uid=JOB.uid)


def result_of(pod: ObservedPod | None) -> BenchmarkResultSpec:
    expected = Expected(SCENE.cell.id, 1, 1, SCENE.document.digest)
    end = classify(finished(JOB), pod, expected)
    return make_result(SCENE.run, SCENE.document, SCENE.cell, SHARD, JOB, end)


def test_a_result_holds_the_figures_that_follow_from_its_cell_its_gpus_and_its_pod() -> None:
    pod = ended_pod(JOB, SCENE.verdict(), 0, scheduled_at=NOW, started_at=NOW + 9, finished_at=NOW + 19)
    figures = result_of(pod).figures
    assert figures is not None
    assert (figures.start_seconds, figures.overhead_percent) == (9.0, 67.0)
    assert figures.videos_per_hour == pytest.approx(3600 / 1.1, rel=1e-6)
    assert figures.needed_gpu_memory == NeededMemory(mebibytes=8192, basis="Estimate")
    assert result_of(pod).origin.scheduled_at is not None
    assert result_of(None).figures is None


def test_a_result_holds_all_that_was_measured_and_where_it_came_from() -> None:
    verdict = SCENE.verdict()
    spec = result_of(ended_pod(JOB, verdict, 0, image_id="vidbench/runner@sha256:0"))
    assert {name: getattr(spec, name) for name in Measured.model_fields} == {
        name: getattr(verdict, name) for name in Measured.model_fields
    }
    assert (spec.run.name, spec.run.uid, spec.cell.id, spec.shard) == ("nightly", SCENE.run.uid, SCENE.cell.id, 1)
    assert (spec.request_digest, spec.generation_hash) == (SCENE.document.digest, SCENE.cell.generation_hash)
    assert (spec.outcome, spec.validity.state, spec.reason) == (Outcome.SUCCEEDED, Validity.VALID, None)
    assert (spec.attempts, spec.origin.attempt, spec.samples_done) == (2, 2, 3)
    assert spec.latency_text == "1.10s ±0.100s (3)"
    origin = spec.origin
    assert (origin.job_name, origin.job_uid, origin.pod_uid) == (JOB.name, JOB.uid, f"pod-of-{JOB.uid}")
    assert (origin.node, origin.exit_code, origin.image_id) == ("node-1", 0, "vidbench/runner@sha256:0")
    assert (origin.started_at, origin.finished_at) == ("2027-01-15T08:00:02Z", "2027-01-15T08:00:50Z")
    assert origin.gpu_seconds == 2 * 49


def test_a_result_says_what_a_video_costs_by_the_factors_that_the_run_was_accepted_with() -> None:
    price = {"device": "*", "perGpuHour": "3.6", "currency": "EUR", "source": "a price list"}
    accounting = Accounting.model_validate({"prices": [price]})
    document = SCENE.document.model_copy(
        update={"runner_class": SCENE.document.runner_class.model_copy(update={"accounting": accounting})}
    )
    end = classify(finished(JOB), ended_pod(JOB, SCENE.verdict()), Expected(SCENE.cell.id, 1, 1, SCENE.document.digest))
    costs = make_result(SCENE.run, document, SCENE.cell, SHARD, JOB, end).costs
    assert costs is not None
    assert costs.cost is not None
    assert (costs.carbon, costs.cost.per_video, costs.cost.currency) == (None, 0.0022, "EUR")
    assert result_of(ended_pod(JOB, SCENE.verdict())).costs is None


VALIDITIES: list[Any] = [
    pytest.param(SCENE.verdict(), Validity.VALID, (), id="as the verdict says"),
    pytest.param(SCENE.verdict(validity=ValidityVerdict(state=Validity.PARTIAL, reasons=("X",))), Validity.PARTIAL, ("X",), id="also if it says partial"),
    pytest.param(SCENE.verdict(validity=None), Validity.INVALID, ("NotStated",), id="a verdict that says nothing"),
    pytest.param(SCENE.written_ahead(3), Validity.PARTIAL, ("NotFinal",), id="written ahead, with samples"),
    pytest.param(SCENE.written_ahead(0), Validity.INVALID, ("NotMeasured",), id="written ahead, without"),
    pytest.param(None, Validity.INVALID, ("NotMeasured",), id="no verdict"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "state", "reasons"), VALIDITIES)
def test_validity_is_never_better_than_what_was_said(verdict: Any, state: Validity, reasons: tuple[str, ...]) -> None:
    assert result_of(ended_pod(JOB, verdict, 0)).validity == ValidityVerdict(state=state, reasons=reasons)


def test_the_samples_before_a_kill_are_kept() -> None:
    spec = result_of(ended_pod(JOB, SCENE.written_ahead(3), 137))
    assert (spec.outcome, spec.reason, spec.samples_done) == (Outcome.FAILED, Reason.KILLED, 3)
    assert spec.series == (latencies(1_000_000, 1_100_000, 1_200_000),)
    assert spec.latency_text == "1.10s ±0.100s (3)"


def test_where_memory_ran_out_and_how_much_there_was_is_in_the_result_also_if_all_processes_were_killed() -> None:
    """By stage and phase the rung of a fallback is chosen; the peaks are those that the message was written ahead with."""
    peaks = Memory(allocated=5 * 1024**3, device=6 * 1024**3, host=7 * 1024**3, cgroup=8 * 1024**3)
    ahead = SCENE.written_ahead(1, stage=Stage.SAMPLING, phase=Phase.VAE_DECODE, memory=peaks)
    spec = result_of(ended_pod(JOB, ahead, 137, container_reason="OOMKilled"))
    assert (spec.outcome, spec.reason) == (Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY_HOST)
    assert (spec.stage, spec.phase) == (Stage.SAMPLING, Phase.VAE_DECODE)
    assert spec.memory == peaks


def test_a_result_without_a_pod_names_the_job_and_nothing_else() -> None:
    origin = result_of(None).origin
    assert (origin.job_uid, origin.pod_uid, origin.node, origin.started_at, origin.gpu_seconds) == (JOB.uid, None, None, None, 0)  # fmt: skip


@pytest.mark.parametrize("code", [-1, 256, 4294967295])
def test_an_exit_code_that_no_process_has_is_left_out(code: int) -> None:
    assert result_of(ended_pod(JOB, None, code)).origin.exit_code is None


HELD: list[Any] = [
    pytest.param({}, 98, id="from the binding to the end"),
    pytest.param({"scheduled_at": None}, 96, id="from the start, if the binding was not seen"),
    pytest.param({"finished_at": None}, 118, id="to the end of the attempt, if the pod's was not seen"),
    pytest.param({"scheduled_at": None, "started_at": None}, 0, id="never bound"),
    pytest.param({"finished_at": NOW - 3600}, 0, id="a node's clock that is slow"),
    pytest.param({"finished_at": NOW + 1e12}, 2_147_483_647, id="a clock that is out of its mind"),
]


@pytest.mark.parametrize(("changes", "seconds"), HELD)
def test_gpu_seconds_are_gpus_times_the_time_that_the_pod_held_them(changes: dict[str, Any], seconds: int) -> None:
    pod = ended_pod(JOB, None, 1, **changes)
    assert held_gpu_seconds(AttemptEnd(Outcome.FAILED, NOW + 60, Reason.KILLED, pod=pod), gpus=2) == seconds


def test_gpu_seconds_of_no_pod_are_none() -> None:
    assert held_gpu_seconds(AttemptEnd(Outcome.FAILED, NOW), gpus=8) == 0
    assert held_gpu_seconds(AttemptEnd(Outcome.FAILED, NOW + 60, pod=running_pod(JOB)), gpus=0) == 0


def test_labels_are_what_results_are_looked_for_by() -> None:
    labels = result_labels(SCENE.run, SCENE.result())
    assert {key: labels[key] for key in (LABEL_RUN, LABEL_RUN_UID, LABEL_CELL, LABEL_SHARD, LABEL_OUTCOME, LABEL_VALIDITY)} == {
        LABEL_RUN: "nightly", LABEL_RUN_UID: SCENE.run.uid, LABEL_CELL: SCENE.cell.id, LABEL_SHARD: "1",
        LABEL_OUTCOME: "Succeeded", LABEL_VALIDITY: "Valid",
    }  # fmt: skip
    assert all(len(value) <= 63 for value in labels.values())


def test_a_result_of_random_weights_is_marked_and_labelled_and_others_are_not() -> None:
    result = SCENE.result()
    assert result.weights is None
    assert LABEL_WEIGHTS not in result_labels(SCENE.run, result)
    cell = SCENE.cell.model_copy(update={"weights": "Random"})
    drawn = make_result(
        SCENE.run, SCENE.document, cell, ShardStatus(index=1, attempt=1), None, AttemptEnd(Outcome.OUT_OF_MEMORY, NOW)
    )
    assert drawn.weights == "Random"
    assert result_labels(SCENE.run, drawn)[LABEL_WEIGHTS] == "Random"


def test_a_shard_is_finished_as_its_result_says() -> None:
    spec = SCENE.result(memory=Memory(device=3 * 1024**3, host=1))
    shard = finished_shard(SHARD, "nightly-x-1", spec, NOW + 9)
    assert (shard.phase, shard.outcome, shard.validity, shard.result) == (
        RowPhase.FINISHED, Outcome.SUCCEEDED, Validity.VALID, "nightly-x-1",
    )  # fmt: skip
    assert (shard.latency_microseconds, shard.spread_microseconds, shard.samples) == (2_100_000, 100_000, 3)
    assert (shard.memory_mebibytes, shard.attempt, shard.ended_at) == (3072, 2, "2027-01-15T08:00:09Z")


HOSTILE: list[Any] = [
    pytest.param(Statistics(count=2, mean=-1.0, min=0, median=0, max=0), id="negative"),
    pytest.param(Statistics(count=2, mean=1e300, standard_deviation=1e300, min=0, median=0, max=0), id="beyond everything"),
]  # fmt: skip


@pytest.mark.parametrize("figures", HOSTILE)
def test_figures_that_cannot_be_durations_are_left_out_of_the_status(figures: Statistics) -> None:
    series = latencies(1).model_copy(update={"statistics": figures})
    shard = finished_shard(SHARD, "x", SCENE.result(series=(series,)), NOW)
    assert (shard.latency_microseconds, shard.spread_microseconds, shard.samples) == (None, None, 2)
    assert latency_text(series) is None
    assert ShardStatus.model_validate(shard.to_wire()) == shard


@pytest.mark.parametrize("microseconds", [0, 2**53 - 1], ids=["nothing", "the most"])
def test_figures_at_the_bounds_of_the_status_stay(microseconds: int) -> None:
    shard = finished_shard(SHARD, "x", SCENE.result(series=(latencies(microseconds),)), NOW)
    assert shard.latency_microseconds == microseconds
    assert ShardStatus.model_validate(shard.to_wire()) == shard


def test_memory_that_no_machine_has_is_left_out_of_the_status() -> None:
    shard = finished_shard(SHARD, "x", SCENE.result(memory=Memory(device=2**53 - 1)), NOW)
    assert shard.memory_mebibytes is None


@pytest.mark.parametrize(
    ("memory", "headline"),
    [
        pytest.param(Memory(device=5, host=7, cgroup=9), (5, "Device"), id="the device's first"),
        pytest.param(Memory(device=0, host=7), (0, "Device"), id="zero is a figure"),
        pytest.param(Memory(host=7, cgroup=9), (7, "Host"), id="then the host's"),
        pytest.param(Memory(cgroup=9), (9, "Host"), id="then the container's"),
        pytest.param(Memory(allocated=3), None, id="tensors are not all"),
        pytest.param(None, None, id="not measured"),
    ],
)
def test_the_headline_memory_says_whose_it_is(memory: Memory | None, headline: tuple[int, str] | None) -> None:
    found = headline_memory(SCENE.result(memory=memory))
    assert (None if found is None else (found.bytes, found.of)) == headline


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (500, "0.0005s"),
        (99_900, "0.0999s"),
        (123_456, "0.123s"),
        (1_234_567, "1.23s"),
        (123_456_789, "123.5s"),
        (0, "0.0000s"),
    ],
)
def test_durations_have_three_digits_and_no_exponent(microseconds: int, text: str) -> None:
    assert seconds_text(microseconds) == text


def test_one_sample_has_no_spread() -> None:
    assert latency_text(latencies(1_500_000)) == "1.50s (1)"
    assert latency_text(None) is None


def test_a_result_of_an_attempt_that_was_never_made_is_whole() -> None:
    end = AttemptEnd(Outcome.FAILED, NOW, Reason.UNSCHEDULABLE, "not tried")
    spec = make_result(SCENE.run, SCENE.document, SCENE.cell, ShardStatus(index=1), None, end)
    assert (spec.attempts, spec.origin.attempt, spec.origin.job_uid) == (0, 0, None)
    assert BenchmarkResultSpec.model_validate(spec.to_wire()) == spec


def test_the_longest_message_of_a_verdict_fits() -> None:
    pod = replace(ended_pod(JOB, SCENE.failure(Reason.GENERATION_FAILED, message="é" * 256), 85), name="p" * 253)
    assert result_of(pod).message == "é" * 256

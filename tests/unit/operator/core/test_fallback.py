"""Rungs: which one follows from which stage that ran out, and what becomes of the run."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import NOW, RUN_UID, Scene, ended_pod, finished, observed_run, references, run_spec, running_pod

from vidbench_api.names import LABEL_RUNG, ConditionReason, EventReason, Outcome, Reason, RowPhase, RunPhase, Validity
from vidbench_api.request import RequestDocument
from vidbench_api.run_status import CellRow
from vidbench_api.rungs import Rung, rung_cell, rungs_of
from vidbench_api.verdict import Phase, Stage
from vidbench_operator.core.expand import Accepted, Refusal, accept
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.timestamps import format_time
from vidbench_operator.manifests import job_manifest

GPU = {"name": "gpu", "gpus": 1}


def scene_of(**spec: Any) -> Scene:
    given: dict[str, Any] = {"failurePolicy": {"outOfMemory": "Fallback"}, "hardware": [GPU]}
    return Scene.of(**(given | spec))


SCENE = scene_of()


def run_out(scene: Scene, phase: Phase | None, *, rung: Rung | None = None, **changes: Any) -> tuple[Scene, Plan]:
    """Let the cell, or a rung of it, run out of memory in this part of a clip, or while loading."""
    cell = scene.cell if rung is None else rung_cell(scene.cell, rung)
    job = scene.job(cell)
    scene = scene.active(cell, job_uid=job.uid, started_at=format_time(NOW))
    stage = Stage.LOADING if phase is None else Stage.SAMPLING
    where: dict[str, Any] = {"stage": stage, "phase": phase.value if phase else "to_device", "cell": cell}
    reason = changes.pop("reason", Reason.OUT_OF_MEMORY_CUDA)
    verdict = scene.failure(reason, Outcome.OUT_OF_MEMORY, **(where | changes))
    code = 82 if verdict.reason == Reason.OUT_OF_MEMORY_HOST else 81
    plan = scene.decide_live(finished(job, "Failed"), ended_pod(job, verdict, code), at=61)
    return scene.after(plan), plan


def rows_of(scene: Scene) -> list[tuple[str | None, RowPhase, Outcome | None]]:
    return [(row.rung, row.phase, row.outcome) for row in scene.run.status.rows]


STAGES: list[Any] = [
    pytest.param(Phase.VAE_DECODE, Rung.VAE_TILING, id="decode"),
    pytest.param(Phase.DENOISE, Rung.OFFLOAD_GROUP, id="denoise"),
    pytest.param(Phase.TEXT_ENCODE, Rung.OFFLOAD_MODEL, id="text encoder"),
    pytest.param(None, Rung.OFFLOAD_MODEL, id="load"),
]


@pytest.mark.parametrize(("phase", "rung"), STAGES)
def test_the_rung_fits_the_stage_that_ran_out_and_is_a_row_of_its_own(phase: Phase | None, rung: Rung) -> None:
    scene, plan = run_out(SCENE, phase)
    assert rows_of(scene) == [(None, RowPhase.FINISHED, Outcome.OUT_OF_MEMORY), (rung.value, RowPhase.ACTIVE, None)]
    cell = rung_cell(SCENE.cell, rung)
    assert [(create.cell, create.attempt) for create in plan.creates] == [(cell.id, 1)]
    assert [result.spec.cell.id for result in plan.results] == [SCENE.cell.id]
    fallback = [event.message for event in plan.events if event.reason is EventReason.FALLBACK]
    assert fallback == [f"wan/gpu/default ran out of memory: {rung} is measured beside it"]
    manifest = job_manifest(SCENE.document, cell.id, 1, 1)
    assert manifest["metadata"]["labels"][LABEL_RUNG] == rung.value


def test_a_run_that_records_adds_no_rows() -> None:
    scene, plan = run_out(Scene.of(hardware=[GPU]), Phase.DENOISE)
    assert rows_of(scene) == [(None, RowPhase.FINISHED, Outcome.OUT_OF_MEMORY)]
    assert plan.creates == ()


def test_a_rung_that_is_measured_ends_the_run_beside_what_was_asked_for() -> None:
    scene, _ = run_out(SCENE, Phase.VAE_DECODE)
    status = scene.run.status
    assert status.cells is not None
    assert (status.cells.total, status.cells.active, status.cells.out_of_memory, status.progress) == (1, 1, 0, "0/1")
    cell = rung_cell(SCENE.cell, Rung.VAE_TILING)
    job = scene.job(cell)
    scene = scene.with_shard(cell, job_uid=job.uid)
    plan = scene.decide(finished(job), ended_pod(job, scene.verdict(cell), 0), at=90)
    (result,) = plan.results
    assert (result.spec.rung, result.labels[LABEL_RUNG], result.spec.outcome) == (
        "VaeTiling",
        "VaeTiling",
        Outcome.SUCCEEDED,
    )
    assert result.spec.generation_hash not in (SCENE.cell.generation_hash, "")
    ended = scene.after(plan).run.status
    assert [(row.rung, row.outcome) for row in ended.rows] == [
        (None, Outcome.OUT_OF_MEMORY), ("VaeTiling", Outcome.SUCCEEDED),
    ]  # fmt: skip
    assert ended.cells is not None
    assert (ended.cells.total, ended.cells.out_of_memory, ended.cells.succeeded) == (1, 1, 0)
    assert (ended.phase, ended.progress) == (RunPhase.SUCCEEDED, "1/1")
    assert ended.fastest is not None
    assert ended.fastest.text.startswith("wan/gpu/default+VaeTiling ")


def test_rungs_follow_each_other_by_what_ran_out_last_and_end() -> None:
    scene, _ = run_out(SCENE, Phase.DENOISE)
    order = [Rung.OFFLOAD_GROUP, Rung.OFFLOAD_MODEL, Rung.OFFLOAD_SEQUENTIAL]
    for number, rung in enumerate(order):
        scene, plan = run_out(scene, Phase.DENOISE, rung=rung)
        assert [row.rung for row in scene.run.status.rows] == [None, *order[: number + 2]]
    assert plan.creates == ()
    assert scene.run.status.phase is RunPhase.SUCCEEDED
    assert scene.run.status.cells is not None
    assert scene.run.status.cells.out_of_memory == 1


def test_a_rung_that_fails_is_no_failure_of_the_run() -> None:
    scene, _ = run_out(SCENE, Phase.VAE_DECODE)
    cell = rung_cell(SCENE.cell, Rung.VAE_TILING)
    job = scene.job(cell)
    scene = scene.with_shard(cell, job_uid=job.uid)
    pod = ended_pod(job, scene.failure(Reason.GENERATION_FAILED, cell=cell), 85)
    ended = scene.after(scene.decide(finished(job, "Failed"), pod, at=90)).run.status
    assert (ended.phase, ended.rows[1].outcome) == (RunPhase.SUCCEEDED, Outcome.FAILED)


def test_an_offload_that_the_class_does_not_support_leads_to_the_next() -> None:
    scene, _ = run_out(SCENE, Phase.DENOISE)
    cell = rung_cell(SCENE.cell, Rung.OFFLOAD_GROUP)
    job = scene.job(cell)
    scene = scene.with_shard(cell, job_uid=job.uid)
    pod = ended_pod(job, scene.failure(Reason.UNSUPPORTED_OPTION, cell=cell), 80)
    plan = scene.decide(finished(job, "Failed"), pod, at=90)
    assert [row.rung for row in scene.after(plan).run.status.rows] == [None, "OffloadGroup", "OffloadModel"]


SKIPPED: list[Any] = [
    pytest.param({"hardware": [{"name": "gpu", "gpus": 0}]}, {}, "has no GPU", id="no GPU"),
    pytest.param({}, {"reason": "OutOfMemoryHost"}, "host memory ran out", id="host memory"),
]


@pytest.mark.parametrize(("spec", "verdict", "why"), SKIPPED)
def test_a_rung_that_cannot_help_is_skipped_and_says_so(
    spec: dict[str, Any], verdict: dict[str, Any], why: str
) -> None:
    scene, plan = run_out(scene_of(**spec), Phase.DENOISE, **verdict)
    row = scene.run.status.rows[1]
    assert (row.rung, row.reason, row.outcome, row.validity) == (
        "OffloadGroup", "RungSkipped", Outcome.CANCELLED, Validity.INVALID,
    )  # fmt: skip
    assert why in (row.message or "")
    assert plan.creates == ()
    assert scene.run.status.phase is RunPhase.SUCCEEDED
    assert any(why in event.message for event in plan.events if event.reason is EventReason.FALLBACK)


def test_a_model_that_does_not_fit_the_pods_memory_is_not_offloaded() -> None:
    document = SCENE.document
    large = document.cells[0].model_copy(update={"estimated_memory_mebibytes": 10_000_000})
    scene = Scene(SCENE.run, document.model_copy(update={"cells": (large,)}))
    scene, _ = run_out(scene, Phase.DENOISE, request_digest=SCENE.document.digest[:16])
    assert "RunnerClass resources.memory" in (scene.run.status.rows[1].message or "")


def test_the_next_shard_that_runs_out_adds_nothing() -> None:
    scene = scene_of(measurement={"shards": 2}, parallelism=9)
    scene, _ = run_out(scene, Phase.VAE_DECODE)
    assert [row.rung for row in scene.run.status.rows] == [None, "VaeTiling"]
    assert len(scene.run.status.rows[1].shards) == 2
    job = scene.job(shard=2)
    scene = scene.with_shard(index=2, job_uid=job.uid, phase=RowPhase.ACTIVE, attempt=1)
    verdict = scene.failure(
        Reason.OUT_OF_MEMORY_CUDA, Outcome.OUT_OF_MEMORY, shard=2, phase="denoise", stage=Stage.SAMPLING
    )
    plan = scene.decide_live(finished(job, "Failed"), ended_pod(job, verdict, 81), at=70)
    assert [row.rung for row in scene.after(plan).run.status.rows] == [None, "VaeTiling"]


def test_a_status_that_was_not_written_after_the_result_leads_to_the_same_rung() -> None:
    job = SCENE.job()
    scene = SCENE.active(job_uid=job.uid)
    stored = scene.result(
        outcome=Outcome.OUT_OF_MEMORY, reason="OutOfMemoryCuda", series=(), stage=Stage.SAMPLING, phase="vae_decode"
    )
    plan = scene.decide_live(job, running_pod(job), at=70, results={scene.result_name(): stored})
    assert [row.rung for row in scene.after(plan).run.status.rows] == [None, "VaeTiling"]


CELL = SCENE.cell


@pytest.mark.parametrize(
    ("change", "rungs"),
    [
        ({}, list(Rung)),
        ({"vae_tiling": True}, [Rung.OFFLOAD_GROUP, Rung.OFFLOAD_MODEL, Rung.OFFLOAD_SEQUENTIAL]),
        ({"offload": "Group"}, [Rung.VAE_TILING, Rung.OFFLOAD_MODEL, Rung.OFFLOAD_SEQUENTIAL]),
        ({"offload": "Model"}, [Rung.VAE_TILING, Rung.OFFLOAD_SEQUENTIAL]),
        ({"offload": "Sequential", "vae_tiling": True}, []),
    ],
)
def test_a_rung_that_changes_nothing_is_none(change: dict[str, Any], rungs: list[Rung]) -> None:
    assert list(rungs_of(CELL.model_copy(update=change))) == rungs


def test_the_runner_finds_the_cell_of_a_rung_in_the_document_that_was_frozen() -> None:
    document = RequestDocument.from_text(SCENE.document.to_text())
    assert document.digest == SCENE.document.digest
    for rung in Rung:
        cell = rung_cell(CELL, rung)
        assert document.find_cell(cell.id) == cell
        assert (cell.model, cell.variant, cell.rung) == (CELL.model, CELL.variant, rung.value)
    assert Scene.of(hardware=[GPU]).document.find_cell(rung_cell(CELL, Rung.VAE_TILING).id) is None
    assert len({rung_cell(CELL, rung).id for rung in Rung} | {CELL.id}) == 5


def test_rows_keep_their_order() -> None:
    scene, _ = run_out(scene_of(models=["a", "b"], parallelism=1), Phase.VAE_DECODE)
    rows = scene.run.status.rows
    assert [row.rung for row in rows] == [None, None, "VaeTiling"]
    again = scene.decide_live(at=62)
    assert again.status is None or [row.id for row in again.status.rows] == [row.id for row in rows]
    assert CellRow.model_validate(rows[2].to_wire()) == rows[2]


@pytest.mark.parametrize(
    ("models", "shards", "accepted"), [(40, 1, True), (41, 1, False), (40, 3, True), (40, 4, False)]
)
def test_a_run_whose_rungs_would_not_fit_the_status_is_refused(models: int, shards: int, accepted: bool) -> None:
    spec = run_spec(
        models=[f"m{number}" for number in range(models)], hardware=[GPU], measurement={"shards": shards},
        failurePolicy={"outOfMemory": "Fallback"},
    )  # fmt: skip
    outcome = accept(observed_run(spec, uid=RUN_UID), references(spec), {}, NOW)
    assert isinstance(outcome, Accepted) is accepted
    if isinstance(outcome, Refusal):
        assert outcome.reason is ConditionReason.REQUEST_TOO_LARGE
        assert "failurePolicy.outOfMemory" in outcome.message


def test_results_of_a_skipped_rung_without_its_status_are_not_written_again() -> None:
    """A crash, or another replica's write, between the two: creating them again would find them taken, for ever."""
    scene = scene_of(hardware=[{"name": "gpu", "gpus": 0}])
    job = scene.job()
    scene = scene.active(job_uid=job.uid, started_at=format_time(NOW))
    ran_out = {"stage": Stage.SAMPLING, "phase": Phase.DENOISE.value}
    verdict = scene.failure(Reason.OUT_OF_MEMORY_CUDA, Outcome.OUT_OF_MEMORY, **ran_out)
    children = (finished(job, "Failed"), ended_pod(job, verdict, 81))
    lost = scene.decide_live(*children, at=61)
    assert len(lost.results) == 2
    stored = {entry.name: entry.spec for entry in lost.results}
    again = scene.decide_live(*children, at=62, results=stored)
    assert again.results == ()
    assert [row.reason for row in scene.after(again).run.status.rows] == ["OutOfMemoryCuda", "RungSkipped"]

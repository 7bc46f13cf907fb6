"""An attempt as a file keeps it, as the operator sees it, and what its process is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.builders import NOW, Scene

from vidbench_api.message import encode
from vidbench_api.names import ENV_CELL, ENV_MESSAGE_PATH, ENV_NODE_NAME, ENV_REQUEST_PATH, Reason
from vidbench_cli.local.attempt import Attempt, Places, environment_of
from vidbench_operator.core.evidence import Expected, classify
from vidbench_operator.manifests import harvest_manifest, job_manifest

SCENE = Scene.of(hardware=[{"name": "default", "gpus": 2}], artifacts={"storageUri": "claim://local"})
PLACES = Places(Path("/runs/nightly/request.json"), Path("/runs/nightly/artifacts"), Path("/runs/nightly/message"))


def attempt(**changes: Any) -> Attempt:
    manifest = job_manifest(SCENE.document, SCENE.cell.id, 1, 1)
    return replace(Attempt.of_job(manifest, "u-1", SCENE.run.uid, NOW), **changes)


def running() -> Attempt:
    return attempt(started_at=NOW + 1, pid=1, devices=("GPU-a", "GPU-b"))


def reason_of(ended: Attempt) -> Reason | None:
    expected = Expected(SCENE.cell.id, 1, 1, SCENE.document.digest)
    return classify(ended.job(), ended.pod("box"), expected).reason


def test_what_a_file_keeps_is_all_there_is() -> None:
    kept = running()
    assert Attempt.from_state(json.loads(json.dumps(kept.to_state()))) == kept


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(TypeError):
        Attempt.from_state({**running().to_state(), "unheard_of": 1})


def test_job_asks_for_gpus_and_a_harvest_for_none() -> None:
    harvest = Attempt.of_job(harvest_manifest(SCENE.document, SCENE.cell.id, 1, 1), "u-2", SCENE.run.uid, NOW)
    assert (attempt().gpus, harvest.gpus, harvest.harvests) == (2, 0, True)
    assert attempt().deadline_seconds > SCENE.document.timeouts.shard_seconds


def test_process_is_told_what_a_container_would_be_and_keeps_the_users_own_folders() -> None:
    inherited = {"HOME": "/home/me", "HF_TOKEN": "t", "VIDBENCH_CELL": "other", "VIDBENCH_SERVICE_API_KEY": "secret"}
    told = environment_of(running(), PLACES, "box", inherited)
    assert (told[ENV_REQUEST_PATH], told[ENV_MESSAGE_PATH]) == (str(PLACES.request), str(PLACES.message))
    assert (told[ENV_CELL], told[ENV_NODE_NAME]) == (SCENE.cell.id, "box")
    assert told["VIDBENCH_ARTIFACTS"] == "file:///runs/nightly/artifacts"
    assert (told["HOME"], told["HF_TOKEN"], told["CUDA_VISIBLE_DEVICES"]) == ("/home/me", "t", "GPU-a,GPU-b")
    assert not any(value.startswith("/vidbench/") for value in told.values())
    assert "VIDBENCH_SERVICE_API_KEY" not in told, "no class ties the key to an endpoint"


def test_a_shard_without_gpus_sees_none() -> None:
    assert environment_of(attempt(), PLACES, "box", {"CUDA_VISIBLE_DEVICES": "0"})["CUDA_VISIBLE_DEVICES"] == ""


def test_success_completes_the_job() -> None:
    ended = running().with_end(0, encode(SCENE.verdict()), NOW + 60)
    assert (ended.job().finished, reason_of(ended)) == ("Complete", None)


def test_a_signal_is_an_exit_code_as_containers_have_it() -> None:
    ended = running().with_end(-9, encode(SCENE.written_ahead()), NOW + 60)
    assert (ended.exit_code, ended.job().finished, reason_of(ended)) == (137, "Failed", Reason.KILLED)


def test_a_final_verdict_that_nobody_saw_end_stands() -> None:
    ended = running().with_unseen_end(encode(SCENE.verdict()), NOW + 60)
    assert (ended.job().finished, ended.exit_code, reason_of(ended)) == ("Complete", None, None)


@pytest.mark.parametrize("message", ["", encode(SCENE.written_ahead()), encode(SCENE.failure(Reason.INTERRUPTED))])
def test_what_ended_with_us_is_charged_to_nobody(message: str) -> None:
    assert reason_of(running().with_unseen_end(message, NOW + 60)) is Reason.NODE_SHUTDOWN


def test_an_interrupt_is_charged_to_nobody() -> None:
    ended = running().shutting_down("interrupted").with_end(90, encode(SCENE.failure(Reason.INTERRUPTED)), NOW + 60)
    assert reason_of(ended) is Reason.NODE_SHUTDOWN


def test_what_passes_its_pods_deadline_says_so() -> None:
    ended = running().past_deadline().with_end(-9, "", NOW + 9000)
    assert reason_of(ended) is Reason.SHARD_DEADLINE

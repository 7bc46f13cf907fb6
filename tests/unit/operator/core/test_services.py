"""Cells of a service and of a mock: when they are refused, what their pods get, and that no frontier mixes them with devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, observed_run, references, run_spec, runner_class, video_model
from support.manifests import http_source

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.measured import Memory
from vidbench_api.names import ENV_SERVICE_API_KEY, LABEL_SERVICE, Comparability, ConditionReason, Outcome, Validity
from vidbench_api.request import RequestDocument
from vidbench_api.run_spec import Reuse
from vidbench_api.run_status import CellRow
from vidbench_api.rungs import rungs_of
from vidbench_operator.core.expand import Accepted, Refusal, Waiting, accept
from vidbench_operator.core.observed import ObservedNode
from vidbench_operator.core.results import headline_memory
from vidbench_operator.core.reuse import find_reusable
from vidbench_operator.core.status import empty_row, fastest_of
from vidbench_operator.manifests import harvest_manifest, job_manifest

ENDPOINT = "http://videos.lab.svc:30000/v1"
CLIP = {"height": 32, "width": 32, "frames": 9, "steps": 4}
SERVICE = video_model(source=http_source(), pipelineClass=None, defaults=CLIP)
ALLOWED = {"services": [{"endpoint": ENDPOINT, "apiKeySecret": "vidbench-service-lab"}]}
CPU = [{"name": "cpu", "gpus": 0}]


def accepted(runner: dict[str, Any] | None = None, model: Any = SERVICE, **spec: Any) -> Accepted | Waiting | Refusal:
    run = run_spec(**{"hardware": CPU} | spec)
    known = references(run, models={"wan": model}, runner_class=runner_class(**(ALLOWED if runner is None else runner)))
    return accept(observed_run(run), known, CATALOGUE, NOW)


def document(**spec: Any) -> RequestDocument:
    answer = accepted(**spec)
    assert isinstance(answer, Accepted), answer
    return answer.document


@pytest.mark.parametrize(
    ("runner", "spec", "reason", "words"),
    [
        pytest.param({}, {}, ConditionReason.ENDPOINT_NOT_ALLOWED, "adds it to services", id="no endpoint is allowed"),
        pytest.param(
            {"services": [{"endpoint": f"{ENDPOINT}/v2"}]}, {}, ConditionReason.ENDPOINT_NOT_ALLOWED, ENDPOINT,
            id="another path is another endpoint",
        ),
        pytest.param(
            None, {"hardware": [{"name": "h100", "gpus": 2}]}, ConditionReason.INVALID_SPEC, "hold 2 GPUs for nothing",
            id="GPUs would be held for nothing",
        ),
        *(
            pytest.param(
                None, {"variants": [{"name": "v", **option}]}, ConditionReason.INVALID_VARIANT,
                f"variants[v].{next(iter(option))}", id=next(iter(option)),
            )
            for option in (
                {"dtype": "float16"}, {"offload": "None"}, {"vaeTiling": False}, {"componentDtypes": {"vae": "float32"}},
                {"attention": "Native"}, {"compile": "Default"},
            )
        ),
    ],
)  # fmt: skip
def test_service_that_cannot_be_a_cell_is_refused_with_its_reason(
    runner: dict[str, Any] | None, spec: dict[str, Any], reason: ConditionReason, words: str
) -> None:
    answer = accepted(runner, **spec)
    assert isinstance(answer, Refusal)
    assert answer.reason is reason
    assert words in answer.message


def test_cell_of_a_service_is_one_and_has_no_rungs() -> None:
    cell = document(failurePolicy={"outOfMemory": "Fallback"}).cells[0]
    assert (cell.backend, cell.comparability, rungs_of(cell)) == ("http", Comparability.SERVICE, ())


def test_key_goes_to_pods_of_its_endpoint_alone_and_never_to_a_harvest() -> None:
    frozen = document(artifacts={"storageUri": "claim://videos"})
    job = job_manifest(frozen, frozen.cells[0].id, 1, 1)["spec"]["template"]
    secret = {"secretKeyRef": {"name": "vidbench-service-lab", "key": "api-key"}}
    assert variables(job)[ENV_SERVICE_API_KEY] == secret
    assert job["metadata"]["labels"][LABEL_SERVICE] == "true"
    harvest = harvest_manifest(frozen, frozen.cells[0].id, 1, 1)["spec"]["template"]
    assert ENV_SERVICE_API_KEY not in variables(harvest)
    assert LABEL_SERVICE not in harvest["metadata"]["labels"]


@pytest.mark.parametrize(
    ("runner", "model"),
    [
        pytest.param({"services": [{"endpoint": ENDPOINT}]}, SERVICE, id="an endpoint without a key"),
        pytest.param(ALLOWED, video_model(), id="a model of ours in a class that has keys"),
    ],
)
def test_other_pods_get_no_key(runner: dict[str, Any], model: Any) -> None:
    answer = accepted(runner, model)
    assert isinstance(answer, Accepted)
    job = job_manifest(answer.document, answer.document.cells[0].id, 1, 1)
    assert ENV_SERVICE_API_KEY not in variables(job["spec"]["template"])


def variables(template: dict[str, Any]) -> dict[str, Any]:
    entries = template["spec"]["containers"][0]["env"]
    return {entry["name"]: entry.get("valueFrom", entry.get("value")) for entry in entries}


def test_mock_of_the_catalogue_is_marked_from_the_request_on() -> None:
    run = run_spec(models=["mock"], hardware=CPU)
    answer = accept(observed_run(run), references_without_models(), CATALOGUE, NOW)
    assert isinstance(answer, Accepted)
    row = empty_row(answer.document.cells[0], answer.document)
    assert (answer.document.cells[0].backend, row.comparability) == ("mock", Comparability.MOCK)


def references_without_models() -> Any:
    return references(run_spec(models=["mock"]), models={})


@pytest.mark.parametrize("kind", [Comparability.SERVICE, Comparability.MOCK])
def test_neither_a_service_nor_a_mock_is_ever_the_fastest(kind: Comparability) -> None:
    measured = CellRow(
        id="00000001", model="wan", hardware="h100", variant="v", outcome=Outcome.SUCCEEDED, validity=Validity.VALID,
        latency_microseconds=2_000_000,
    )  # fmt: skip
    other = measured.model_copy(update={"id": "00000002", "comparability": kind, "latency_microseconds": 1})
    fastest = fastest_of([measured, other])
    assert fastest is not None
    assert fastest.cell == measured.id
    assert fastest_of([other]) is None


@pytest.mark.parametrize("kind", [Comparability.SERVICE, Comparability.MOCK])
def test_memory_of_the_client_is_no_headline(kind: Comparability) -> None:
    scene = Scene.of()
    assert headline_memory(scene.result(memory=Memory(host=1))) is not None
    assert headline_memory(scene.result(memory=Memory(host=1), comparability=kind)) is None


@pytest.mark.parametrize(("kind", "shards"), [(Comparability.DEVICE, 1), (Comparability.SERVICE, 0)])
def test_result_of_a_service_is_never_reused(kind: Comparability, shards: int) -> None:
    scene = Scene.of(hardware=CPU)
    node = ObservedNode("n", {}, ready=True, allocatable={}, system={"architecture": "amd64", "machineID": "m"})
    probe = find_reusable(scene.document, Reuse(policy="IfIdentical"), {}, {"n": node}, NOW)
    assert probe.message is not None
    environment = environment_digest(scene, node)
    result = scene.result(comparability=kind, environment_hash=environment)
    found = find_reusable(scene.document, Reuse(policy="IfIdentical"), {"r": result}, {"n": node}, NOW + 100)
    assert len(found.shards) == shards


def environment_digest(scene: Scene, node: ObservedNode) -> str | None:
    from vidbench_operator.core.environment import common_environment

    hardware = scene.document.find_hardware("cpu")
    return common_environment({"n": replace(node)}, hardware, scene.document.runner_class.image).digest

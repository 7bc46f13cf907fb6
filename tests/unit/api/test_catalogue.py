"""The built-in catalogue: no value without its source, nothing that cannot be run is offered."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from vidbench_api.catalogue import CATALOGUE, FACTS, MOCK, NOT_PROVEN, NOT_RUNNABLE, TINY, parse_catalogue
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.pipeline_classes import PIPELINE_CLASSES

TEXT = files("vidbench_api").joinpath("catalogue.yaml").read_text(encoding="utf-8")


def changed(*path: str, **fields: Any) -> str:
    """Return the catalogue with fields of one entry replaced; None takes a field out."""
    data = yaml.safe_load(TEXT)
    entry = data
    for key in path:
        entry = entry[key]
    entry.update(fields)
    for name in [name for name, value in fields.items() if value is None]:
        del entry[name]
    return yaml.safe_dump(data)


def test_there_are_at_least_32_open_models_and_every_entry_is_offered_or_said_not_to_run() -> None:
    assert len(FACTS.models) >= 32
    assert {*FACTS.models, *FACTS.services, *TINY, *MOCK} == {*CATALOGUE, *NOT_RUNNABLE}
    assert CATALOGUE.keys().isdisjoint(NOT_RUNNABLE)


def test_every_closed_service_is_a_row_without_an_adapter() -> None:
    assert FACTS.services
    assert all(service.adapter == "none" and service.reason for service in FACTS.services.values())
    assert FACTS.services.keys() <= NOT_RUNNABLE.keys()


def test_the_sources_of_all_values_are_listed_and_every_source_is_used() -> None:
    used = {fact.source for model in FACTS.models.values() for fact in model.facts().values()}
    used |= {fact.source for service in FACTS.services.values() for fact in (service.provider, service.task)}
    assert used | {"signature"} == FACTS.sources.keys()


@pytest.mark.parametrize(
    ("path", "fields", "says"),
    [
        pytest.param(("models", "wan21-1-3b"), {"licence": "MIT"}, "no value without its source", id="a bare value"),
        pytest.param(("models", "wan21-1-3b"), {"licence": ["MIT"]}, "no value without its source", id="a value alone"),
        pytest.param(("models", "wan21-1-3b"), {"licence": ["MIT", ""]}, "at least 1 character", id="an empty source"),
        pytest.param(
            ("models", "wan21-1-3b"), {"licence": ["MIT", "rumour"]}, "no source 'rumour'", id="no such source"
        ),
        pytest.param(("services", "kling"), {"provider": ["x", "rumour"]}, "no source 'rumour'", id="of a service"),
        pytest.param(
            ("models", "wan21-1-3b"), {"pipelineClass": ["NoPipeline", "card"]}, "classes has no", id="no class"
        ),
        pytest.param(("models", "wan21-1-3b"), {"adapter": "none"}, "needs a reason", id="none without a reason"),
        pytest.param(("models", "cogvideox-2b"), {"height": None}, "neither it nor its class has height", id="no size"),
        pytest.param(
            ("models", "mochi-1"), {"estimateMebibytes": [1, "memory"]}, "nobody verified", id="a guessed limit"
        ),
        pytest.param(("models", "mochi-1"), {"colour": ["red", "card"]}, "Extra inputs", id="an unknown field"),
    ],
)
def test_a_catalogue_with_a_defect_is_not_read(path: tuple[str, ...], fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parse_catalogue(changed(*path, **fields))


def test_a_size_of_its_own_wins_over_that_of_the_class() -> None:
    spec = CATALOGUE["wan22-ti2v-5b"]
    assert (spec.defaults.height, spec.defaults.width, spec.defaults.frames) == (704, 1280, 121)
    assert (spec.defaults.steps, spec.defaults.arguments) == (50, {"guidance_scale": "5.0"})
    assert CATALOGUE["wan21-1-3b"].defaults.height == 480


def test_what_a_model_cannot_run_in_is_in_its_spec() -> None:
    assert CATALOGUE["cogvideox-5b"].forbidden_dtypes == ("float16",)
    assert CATALOGUE["wan21-14b"].component_dtypes == {"vae": "float32"}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_an_entry_is_a_spec_that_a_user_could_have_written(name: str) -> None:
    spec = CATALOGUE[name]
    assert VideoModelSpec.model_validate(spec.to_wire()) == spec
    assert spec.defaults.dtype not in spec.forbidden_dtypes


def test_models_of_classes_that_did_not_pass_conformance_are_listed_and_not_run() -> None:
    unproven = {name for name, model in FACTS.models.items() if model.pipeline_class.value not in PIPELINE_CLASSES}
    assert unproven
    assert unproven <= NOT_RUNNABLE.keys()
    assert {"easyanimate-v5-1-7b", "hunyuanvideo-i2v"} <= CATALOGUE.keys(), "their classes passed it"
    assert {"wan21-i2v-14b-480p", "svd"} <= CATALOGUE.keys(), "a picture is drawn for them"
    assert CATALOGUE["allegro"].defaults.vae_tiling, "its class decodes in tiles only"
    assert "cosmos_guardrail" in NOT_RUNNABLE["cosmos-predict2-5-2b"]


def test_a_model_of_a_class_that_is_not_proven_is_kept_out_and_says_so() -> None:
    """Today every such class has a reason of its own besides: the general one is for the next."""
    model = FACTS.models["wan21-1-3b"]
    assert model.why_not is None
    unproven = model.pipeline_class.model_copy(update={"value": "UnprovenPipeline"})
    why = model.model_copy(update={"pipeline_class": unproven}).why_not
    assert why == f"its class UnprovenPipeline {NOT_PROVEN}"

"""The catalogue against the installed diffusers: what it says was read there, must still stand there."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import diffusers
import pytest
from diffusers.utils import is_cosmos_guardrail_available

from vidbench_api.catalogue import CATALOGUE, FACTS
from vidbench_api.pipeline_classes import PIPELINE_CLASSES, Input
from vidbench_runner.backends.call_arguments import FRAME_PARAMETERS

pytestmark = pytest.mark.pipelines

CLASSES = sorted(FACTS.classes)
MODELS = sorted(FACTS.models)
PARAMETER_OF_INPUT: dict[Input, str] = {"Prompt": "prompt", "Image": "image"}


def parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(diffusers, name).__call__).parameters


def default(name: str, argument: str) -> object:
    found = parameters(name).get(argument)
    return None if found is None or found.default is inspect.Parameter.empty else found.default


@functools.cache
def package_texts() -> dict[str, str]:
    root = Path(inspect.getfile(diffusers)).parent
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}


def module_text(class_name: str) -> str:
    return inspect.getsource(importlib.import_module(getattr(diffusers, class_name).__module__))


@pytest.mark.parametrize("name", CLASSES)
def test_the_defaults_of_a_class_are_those_of_its_call(name: str) -> None:
    ours = FACTS.classes[name]
    assert [argument for argument in FRAME_PARAMETERS if argument in parameters(name)] == [ours.frames_argument]
    theirs = {
        "height": default(name, "height"),
        "width": default(name, "width"),
        "frames": default(name, ours.frames_argument),
        "steps": default(name, "num_inference_steps"),
        "guidance": default(name, "guidance_scale"),
    }
    assert {field: getattr(ours, field) for field in theirs} == theirs


@pytest.mark.parametrize("name", sorted(name for name in CATALOGUE if name in FACTS.models))
def test_what_is_offered_can_be_called_with_what_its_class_is_said_to_take(name: str) -> None:
    known = parameters(FACTS.models[name].pipeline_class.value)
    takes = PIPELINE_CLASSES[FACTS.models[name].pipeline_class.value].takes
    given = {PARAMETER_OF_INPUT[entry] for entry in takes}
    assert given | {"height", "width", "num_inference_steps", "generator"} <= known.keys()
    others = {"prompt", "image", "video"} - given
    assert [argument for argument in others if argument in known and known[argument].default is not None] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_hub_id_that_was_read_in_the_package_stands_there(name: str) -> None:
    hub = FACTS.models[name].hub
    if hub.source == "package":
        whole = re.compile(rf"(?<![\w-]){re.escape(hub.value)}(?![\w.-])")
        assert any(hub.value in text and whole.search(text) for text in package_texts().values())
    else:
        assert FACTS.sources[hub.source].mark != "Verified"


@pytest.mark.parametrize("name", [name for name in MODELS if FACTS.models[name].frames_per_second.source == "example"])
def test_a_frame_rate_that_was_read_in_an_example_stands_there(name: str) -> None:
    model = FACTS.models[name]
    rates = re.findall(r"export_to_video\(.*?fps=(\d+)", module_text(model.pipeline_class.value))
    assert str(model.frames_per_second.value) in rates


@pytest.mark.parametrize("name", MODELS)
def test_a_dtype_that_was_read_in_the_package_stands_beside_the_hub_id(name: str) -> None:
    model = FACTS.models[name]
    if model.dtype.source != "package":
        return
    repository = model.hub.value.split("/")[1]
    pages = [text for text in package_texts().values() if repository in text]
    assert any(f"dtype=torch.{model.dtype.value}" in text for text in pages)


GUARDED = [name for name in MODELS if "cosmos_guardrail" in (FACTS.models[name].reason or "")]


def test_every_cosmos_model_is_said_to_need_its_safety_checker() -> None:
    assert [name for name in MODELS if FACTS.models[name].pipeline_class.value.startswith("Cosmos")] == GUARDED


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.skipif(is_cosmos_guardrail_available(), reason="the package is installed: the class would be built")
def test_a_class_that_is_said_to_need_the_package_cosmos_guardrail_is_not_built_without_it(name: str) -> None:
    pipeline = getattr(diffusers, FACTS.models[name].pipeline_class.value)
    others = inspect.signature(pipeline).parameters.keys() - {"safety_checker"}
    with pytest.raises(ImportError, match="cosmos_guardrail"):
        pipeline(**dict.fromkeys(others))

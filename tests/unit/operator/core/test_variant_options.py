from __future__ import annotations

from typing import Any

import pytest
from support.manifests import video_model

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.pipeline_classes import ClassSupport
from vidbench_api.run_spec import Hardware, Variant
from vidbench_operator.core.variant_options import variant_options, why_refused

GPU, CPU = Hardware(name="gpu"), Hardware(name="cpu", gpus=0)


def model_of(**spec: Any) -> VideoModelSpec:
    return VideoModelSpec.model_validate(video_model(**spec)["spec"])


def refusal(hardware: Hardware, variant: dict[str, Any], **spec: Any) -> str | None:
    asked, model = Variant.model_validate({"name": "v"} | variant), model_of(**spec)
    return why_refused(asked, "wan", hardware, model, variant_options(asked, model))


def test_component_types_are_the_models_with_the_variants_laid_over() -> None:
    model = model_of(componentDtypes={"vae": "float32", "text_encoder": "bfloat16"})
    options = variant_options(Variant(name="v", component_dtypes={"vae": "bfloat16", "transformer": "float16"}), model)
    assert options.component_dtypes == {"vae": "bfloat16", "text_encoder": "bfloat16", "transformer": "float16"}


@pytest.mark.parametrize(
    ("hardware", "variant", "spec", "words"),
    [
        pytest.param(GPU, {"dtype": "float16"}, {"forbiddenDtypes": ["float16"]}, ["dtype", "float16"], id="dtype"),
        pytest.param(
            GPU,
            {"componentDtypes": {"transformer": "float16"}},
            {"forbiddenDtypes": ["float16"]},
            ["componentDtypes[transformer]", "cannot run in float16"],
            id="dtype of a component",
        ),
        pytest.param(CPU, {"offload": "Model"}, {}, ["offload", "gpus: 0"], id="offload from no GPU"),
        pytest.param(GPU, {"offload": "Model", "compile": "Default"}, {}, ["compile", "offload: Model"], id="both"),
        pytest.param(
            CPU, {"attention": "NativeMath"}, {}, ["v].attention: NativeMath: WanPipeline", "AlsoPipeline"], id="class"
        ),
    ],
)
def test_what_cannot_be_given_is_refused_with_the_field(
    monkeypatch: pytest.MonkeyPatch, hardware: Hardware, variant: dict[str, Any], spec: dict[str, Any], words: list[str]
) -> None:
    table = {"WanPipeline": ClassSupport(attention=False), "AlsoPipeline": ClassSupport()}
    monkeypatch.setattr("vidbench_api.pipeline_classes.PIPELINE_CLASSES", table)
    message = refusal(hardware, variant, **spec)
    assert message is not None
    assert message.startswith("spec.variants[v]")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("variant", "defaults", "refused"),
    [
        pytest.param({"dtype": "bfloat16", "componentDtypes": {"vae": "float32"}}, {}, True, id="the variant's"),
        pytest.param({"dtype": "bfloat16"}, {"vae": "float32"}, True, id="the model's"),
        pytest.param({"dtype": "float32"}, {"vae": "float32"}, False, id="all in one"),
        pytest.param({"dtype": "bfloat16", "componentDtypes": {"vae": "bfloat16"}}, {"vae": "float32"}, False, id="undone"),
        pytest.param(
            {"dtype": "bfloat16", "componentDtypes": {"vae": "float32", "unet": "float32"}}, {}, False, id="both set apart"
        ),
        pytest.param({"dtype": "bfloat16", "componentDtypes": {"text_encoder": "float32"}}, {}, False, id="not the VAE"),
    ],
)  # fmt: skip
def test_a_vae_of_another_type_is_refused_for_a_class_that_cannot(
    variant: dict[str, Any], defaults: dict[str, str], refused: bool
) -> None:
    message = refusal(GPU, variant, pipelineClass="AnimateDiffPipeline", componentDtypes=defaults)
    assert (message is not None) is refused
    if message is not None:
        assert message.startswith("spec.variants[v].componentDtypes[vae]: AnimateDiffPipeline does not support")
        assert "WanPipeline" in message
    assert refusal(GPU, variant, pipelineClass="WanPipeline", componentDtypes=defaults) is None


def test_a_models_own_exception_is_not_held_against_it() -> None:
    assert refusal(GPU, {}, forbiddenDtypes=["float16"], componentDtypes={"text_encoder": "float16"}) is None


@pytest.mark.parametrize("variant", [{}, {"compile": "Default"}, {"offload": "Group"}, {"attention": "Sage"}])
def test_what_can_be_given_is_not_refused(variant: dict[str, Any]) -> None:
    assert refusal(GPU, variant) is None


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"mock"}))
def test_what_the_catalogue_offers_is_not_refused_by_default(name: str) -> None:
    asked, model = Variant(name="v"), CATALOGUE[name]
    assert why_refused(asked, name, GPU, model, variant_options(asked, model)) is None

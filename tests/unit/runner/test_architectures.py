"""Architectures against the libraries: they build, count as published, keep types as loading does, and generate."""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Iterator
from importlib import import_module

import accelerate
import numpy as np
import pytest
import torch

from vidbench_api.architectures import ARCHITECTURE_FILE, ARCHITECTURES, Architecture, Component
from vidbench_api.catalogue import FACTS
from vidbench_api.names import Reason
from vidbench_runner.backends import create_model
from vidbench_runner.backends.call_arguments import frame_grid
from vidbench_runner.backends.random_weights import (
    NOISE_ELEMENTS,
    Noise,
    RandomModel,
    build_random,
    empty_module,
    find_architecture,
    stays_in_float32,
)
from vidbench_runner.backends.tiny import save
from vidbench_runner.ports import ClipRequest, ModelFailure, ModelRequest

# Allegro's scheduler (diffusers 0.42.1) makes an array of a tensor in a way that NumPy 2 deprecates; the backends turn such warnings into
# log lines, and here nobody can do anything about it.
pytestmark = [
    pytest.mark.pipelines,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _gigabytes_go_with_their_test() -> Iterator[None]:
    """Pipelines refer to themselves: without a collection the next one is built beside the last."""
    yield
    gc.collect()


NAMES = sorted(ARCHITECTURES)
PUBLISHED_ROUNDING = 0.16
"""`2B` is said of 1.69e9 parameters, `1.3B` of 1.42e9."""

SMALL = {
    "UMT5EncoderModel": {"num_layers": 1, "vocab_size": 1000, "d_ff": 64, "num_heads": 2},
    "T5EncoderModel": {"num_layers": 1, "vocab_size": 1000, "d_ff": 64, "num_heads": 2},
    "LlamaModel": {
        "num_hidden_layers": 3,
        "vocab_size": 1000,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "CLIPTextModel": {"num_hidden_layers": 1, "vocab_size": 1000, "eos_token_id": 1},
    "HunyuanVideoTransformer3DModel": {"num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1},
}
"""What makes a text encoder fit a test. Widths of denoisers and VAEs stay true, and what a denoiser gets from a text encoder."""


def request(name: str, **changes: object) -> ModelRequest:
    spec = FACTS.spec_of(name)
    fields = {
        "backend": "random",
        "pipeline_class": None,
        "source": name,
        "commit": None,
        "dtype": spec.defaults.dtype,
        "component_dtypes": spec.component_dtypes,
        "architecture_digest": ARCHITECTURES[name].digest,
    }
    return ModelRequest(**{**fields, **changes})


def smaller(architecture: Architecture) -> Architecture:
    """Return the architecture with one layer a denoiser, and small text encoders."""

    def shrunk(component: Component) -> Component:
        one = {"num_layers": 1} if component.class_name.endswith("Transformer3DModel") else {}
        if "vace_layers" in component.config:
            one["vace_layers"] = [0]
        change = SMALL.get(component.class_name, one)
        return component.model_copy(update={"config": {**component.config, **change}})

    return architecture.model_copy(
        update={"components": {name: shrunk(part) for name, part in architecture.components.items()}}
    )


@functools.cache
def counted(text: str) -> int:
    return sum(
        parameter.numel()
        for parameter in empty_module(Component.model_validate_json(text), torch.bfloat16).parameters()
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_component_has_as_many_parameters_as_was_counted_and_about_as_many_as_published(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for part, component in architecture.components.items():
        if component.parameters is None:
            continue
        count = counted(component.model_dump_json())
        assert (part, count) == (part, component.parameters)
        if part in architecture.published:
            assert count == pytest.approx(architecture.published[part], rel=PUBLISHED_ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_is_that_of_the_catalogues_class_and_grid(name: str) -> None:
    architecture, model = ARCHITECTURES[name], FACTS.models[name]
    assert architecture.pipeline_class == model.pipeline_class.value
    assert FACTS.spec_of(name).architecture == name
    with accelerate.init_empty_weights():
        parts = {
            part: getattr(import_module(component.library), component.class_name)(**component.config)
            for part, component in architecture.components.items()
            if component.library == "diffusers"
        }
    none = {part: None for part, entry in architecture.components.items() if entry.library == "transformers"}
    tokenizers = dict.fromkeys(architecture.tokenizers)
    pipeline = getattr(import_module("diffusers"), architecture.pipeline_class)(
        **parts, **none, **tokenizers, **architecture.pipeline_arguments
    )
    grid = frame_grid(pipeline)
    if model.frame_grid is not None and model.frame_grid.source == "components" and grid is not None:
        assert model.frame_grid.value == grid


def test_sources_are_used_and_parts_are_shared() -> None:
    used = {part.source for entry in ARCHITECTURES.values() for part in entry.components.values()}
    assert used == ARCHITECTURE_FILE.sources.keys()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("preset", ["wan", "ltx"])
def test_types_are_those_that_loading_gives(preset: str, dtype: str, tmp_path) -> None:
    save(preset, tmp_path)
    loaded = import_module("diffusers").DiffusionPipeline.from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    for module in (loaded.text_encoder, loaded.transformer, loaded.vae):
        wanted = {name: parameter.dtype for name, parameter in module.named_parameters()}
        kept = {
            name: torch.float32 if stays_in_float32(module, name, getattr(torch, dtype)) else getattr(torch, dtype)
            for name in wanted
        }
        assert kept == wanted
    kinds = {parameter.dtype for parameter in loaded.text_encoder.parameters()}
    assert (torch.float32 in kinds) is (dtype == "float16")


CLIP = ClipRequest("a cat on a roof", "blur", seed=3, height=64, width=64, frames=9, steps=2)
CLIPS = {
    "hunyuanvideo": dataclasses.replace(CLIP, negative_prompt=None, frames=5),
}
TYPES = {name: {"dtype": "float32", "component_dtypes": {}} for name in ("cogvideox-2b", "hunyuanvideo")}
"""A CPU takes minutes for their float16."""

GENERATED = ("wan21-1-3b", "cogvideox-2b", "ltx-video", "hunyuanvideo")
"""Two families of attention, and a text encoder beside a pooled one; the others take minutes more on two cores."""


@pytest.mark.parametrize("name", GENERATED)
def test_a_pipeline_of_true_widths_generates_finite_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, name, smaller(ARCHITECTURES[name]))
    model = create_model("random", lambda word: None)
    facts = model.load(request(name, **TYPES.get(name, {})))
    clip = model.generate(CLIPS.get(name, CLIP))
    model.free()
    assert (facts.weights, facts.synthetic_tokenizer, facts.load_nanoseconds) == ("Random", True, None)
    assert clip.finite
    assert clip.frames.std() > 0
    assert clip.delivered_frames == CLIPS.get(name, CLIP).frames
    assert clip.call_mismatches == ()


def test_weights_are_the_same_every_time_and_no_parameter_is_left_without_memory() -> None:
    architecture = smaller(ARCHITECTURES["wan21-1-3b"])
    first, again = (build_random(architecture, request("wan21-1-3b"), "cpu") for _ in range(2))
    for part in ("text_encoder", "transformer", "vae"):
        ours, theirs = getattr(first, part).state_dict(), getattr(again, part).state_dict()
        assert not any(tensor.is_meta for tensor in (*ours.values(), *getattr(first, part).buffers()))
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
        assert all(bool(torch.isfinite(tensor).all()) for tensor in ours.values())
    rope = first.transformer.rope
    fresh = type(rope)(rope.attention_head_dim, rope.patch_size, rope.max_seq_len)
    assert torch.equal(rope.freqs_cos, fresh.freqs_cos)


def test_noise_goes_on_where_it_ended_and_has_the_deviation_that_was_asked_for() -> None:
    first, second = torch.empty(1000, 300), torch.empty(1000, 300)
    noise = Noise("cpu")
    noise.write(first, 0.5)
    noise.write(second, 0.5)
    long = torch.empty(NOISE_ELEMENTS + 7, dtype=torch.bfloat16)
    noise.write(long, 1.0)
    assert float(first.std()) == pytest.approx(0.5, rel=0.01)
    assert abs(float(torch.corrcoef(torch.stack((first.view(-1), second.view(-1))))[0, 1])) < 0.01
    assert torch.equal(long[:7], long[NOISE_ELEMENTS:])


def test_tied_parameters_are_one() -> None:
    pipeline = build_random(smaller(ARCHITECTURES["wan21-1-3b"]), request("wan21-1-3b"), "cpu")
    assert pipeline.text_encoder.shared.weight is pipeline.text_encoder.encoder.embed_tokens.weight


def test_a_tokenizer_has_the_vocabulary_and_the_length_of_the_true_one() -> None:
    pipeline = build_random(smaller(ARCHITECTURES["wan21-1-3b"]), request("wan21-1-3b"), "cpu")
    batch = pipeline.tokenizer(
        ["a cat on the extraordinary roof!", "x"],
        padding="max_length",
        max_length=32,
        truncation=True,
        return_tensors="pt",
    )
    assert pipeline.tokenizer.vocab_size == 1000
    assert batch.input_ids.shape == (2, 32)
    assert batch.attention_mask.sum(dim=1).tolist() == [10, 2]
    assert np.all(batch.input_ids.numpy() < 1000)
    assert len(pipeline.tokenizer("word " * 900, truncation=True).input_ids) == 512


@pytest.mark.parametrize(
    ("name", "digest", "says"),
    [
        pytest.param("unknown", "0" * 64, "not known to this runner", id="an unknown name"),
        pytest.param("mochi-1", "0" * 64, "is not the operator's", id="another configuration of that name"),
        pytest.param("mochi-1", None, "is not the operator's", id="no digest"),
    ],
)
def test_only_the_configuration_that_the_operator_means_is_built(name: str, digest: str | None, says: str) -> None:
    with pytest.raises(ModelFailure, match=says) as caught:
        find_architecture(name, digest)
    assert caught.value.reason == Reason.INVALID_REQUEST


def test_a_dtype_of_a_component_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelFailure, match="componentDtypes names ear") as caught:
        RandomModel().load(request("mochi-1", component_dtypes={"ear": "float32"}))
    assert caught.value.reason == Reason.UNSUPPORTED_OPTION

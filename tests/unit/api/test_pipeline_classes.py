from __future__ import annotations

import pytest

from vidbench_api import pipeline_classes
from vidbench_api.pipeline_classes import CLASS_OF_PRESET, PIPELINE_CLASSES, ClassOptions, ClassSupport, why_unsupported
from vidbench_api.request import Cell
from vidbench_api.rungs import Rung, rungs_of

NOTHING = ClassSupport(offloads=(), vae_tiling=False, attention=False, compile=False, vae_of_own_type=False)
EVERYTHING = ClassSupport()


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(
        pipeline_classes,
        "PIPELINE_CLASSES",
        {"PlainPipeline": NOTHING, "RichPipeline": EVERYTHING, "AlsoPipeline": EVERYTHING},
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (ClassOptions(offload="Group"), "offload: Group"),
        (ClassOptions(vae_tiling=True), "vaeTiling"),
        (ClassOptions(attention="NativeMath"), "attention: NativeMath"),
        (ClassOptions(compile="Default"), "compile: Default"),
    ],
)
def test_an_option_that_a_class_lacks_is_named_with_the_classes_that_have_it(table, options, word):
    found = why_unsupported("PlainPipeline", options)
    assert found == (
        f"{word}: PlainPipeline does not support it; of the supported classes these do: AlsoPipeline, RichPipeline"
    )
    assert why_unsupported("RichPipeline", options) is None


def test_a_vae_of_another_type_is_refused_where_the_latents_are_not_converted(table):
    found = why_unsupported("PlainPipeline", ClassOptions(vae_of_own_type=True))
    assert found == (
        "componentDtypes[vae]: PlainPipeline does not support a VAE of another type than its denoiser; of the supported"
        " classes these do: AlsoPipeline, RichPipeline"
    )
    assert why_unsupported("RichPipeline", ClassOptions(vae_of_own_type=True)) is None


def test_nothing_is_said_against_a_class_that_is_not_known_nor_against_no_option(table):
    assert why_unsupported("OtherPipeline", ClassOptions("Model", True, "Sage", "Default")) is None
    assert why_unsupported(None, ClassOptions("Model", True, "Sage", "Default")) is None
    assert why_unsupported("PlainPipeline", ClassOptions()) is None


def test_an_option_that_no_class_has_says_so(monkeypatch):
    monkeypatch.setattr(pipeline_classes, "PIPELINE_CLASSES", {"PlainPipeline": NOTHING})
    assert str(why_unsupported("PlainPipeline", ClassOptions(vae_tiling=True))).endswith("none does")


def test_every_tiny_preset_is_of_a_supported_class():
    assert set(CLASS_OF_PRESET.values()) <= set(PIPELINE_CLASSES)


CELL = {
    "id": "0" * 8,
    "model": "m",
    "hardware": "h",
    "variant": "v",
    "backend": "diffusers",
    "source": {"path": "/models/m"},
    "dtype": "float32",
    "height": 8,
    "width": 8,
    "frames": 1,
    "frames_per_second": 8,
    "steps": 1,
    "generation_hash": "0" * 64,
}


@pytest.mark.parametrize(
    ("support", "change", "rungs"),
    [
        pytest.param(EVERYTHING, {}, list(Rung), id="a class that has all"),
        pytest.param(NOTHING, {}, [], id="a class that has none"),
        pytest.param(ClassSupport(offloads=("Model",)), {}, [Rung.VAE_TILING, Rung.OFFLOAD_MODEL], id="one offload"),
        pytest.param(EVERYTHING, {"compile": "Default"}, [Rung.VAE_TILING], id="no offload of compiled denoisers"),
    ],
)
def test_a_rung_is_what_the_class_supports(monkeypatch, support, change, rungs):
    monkeypatch.setattr("vidbench_api.rungs.PIPELINE_CLASSES", {"SomePipeline": support})
    assert list(rungs_of(Cell.model_validate(CELL | {"pipeline_class": "SomePipeline"} | change))) == rungs

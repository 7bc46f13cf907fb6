from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hub_server import COMMIT, hub

from vidbench_api.names import Reason
from vidbench_runner.backends import create_model
from vidbench_runner.backends.model_folder import processors_of_text
from vidbench_runner.backends.tiny import BROKEN_WEIGHTS, save
from vidbench_runner.ports import ModelFailure, ModelRequest

pytestmark = pytest.mark.pipelines


def load(source, **changes):
    model = create_model(changes.pop("backend", "diffusers"), lambda word: None)
    return model.load(ModelRequest(**{**default_request(source), **changes}))


def default_request(source) -> dict[str, object]:
    return {
        "backend": "diffusers",
        "pipeline_class": None,
        "source": str(source),
        "commit": None,
        "dtype": "float32",
    }


@pytest.fixture
def wan(tmp_path):
    save("wan", tmp_path / "wan")
    return tmp_path / "wan"


def no_model_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def index_of_an_unknown_class(folder: Path) -> None:
    edit_index(folder, _class_name="NoSuchPipeline")


def no_weights(folder: Path) -> None:
    (folder / BROKEN_WEIGHTS).unlink()


def pickled_weights_only(folder: Path) -> None:
    weights = folder / BROKEN_WEIGHTS
    torch.save(load_file(weights), weights.with_name("diffusion_pytorch_model.bin"))
    weights.unlink()


def pickled_text_encoder_only(folder: Path) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()


def weights_cut_short(folder: Path) -> None:
    with (folder / BROKEN_WEIGHTS).open("r+b") as file:
        file.truncate(1000)


def denoiser_lacks_a_tensor(folder: Path) -> None:
    drop_tensor(folder / BROKEN_WEIGHTS, "blocks.1.attn1.to_q.weight")


def text_encoder_lacks_a_tensor(folder: Path) -> None:
    drop_tensor(folder / "text_encoder" / "model.safetensors", "encoder.block.1.layer.0.SelfAttention.q.weight")


def configuration_is_no_json(folder: Path) -> None:
    (folder / "transformer" / "config.json").write_text("{")


def configuration_of_another_size(folder: Path) -> None:
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ffn_dim": 128}))


def drop_tensor(path: Path, name: str) -> None:
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})


def edit_index(folder: Path, **changes) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_model_index, "model_index.json"),
        (index_of_an_unknown_class, "NoSuchPipeline"),
        (no_weights, "transformer"),
        (pickled_weights_only, "transformer"),
        (pickled_text_encoder_only, "text_encoder"),
        (weights_cut_short, "transformer"),
        (denoiser_lacks_a_tensor, "random ones would stand in.*to_q"),
        (text_encoder_lacks_a_tensor, "random ones would stand in.*SelfAttention"),
        (configuration_is_no_json, "config.json"),
        (configuration_of_another_size, "ffn"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damaged_folder_does_not_load_and_says_what_is_wrong(wan, damage, words):
    damage(wan)
    with pytest.raises(ModelFailure, match=words) as caught:
        load(wan)
    assert caught.value.reason == Reason.MODEL_LOAD_FAILED


def test_undamaged_folder_loads(wan):
    assert load(wan).pipeline_class == "WanPipeline"


def test_broken_preset_fails_in_the_real_loading_path(tmp_path):
    save("broken", tmp_path / "broken")
    with pytest.raises(ModelFailure, match=r"transformer/diffusion_pytorch_model\.safetensors") as caught:
        load(tmp_path / "broken")
    assert caught.value.reason == Reason.MODEL_LOAD_FAILED


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        pytest.param(
            {"source": "/no/such/folder"}, Reason.MODEL_NOT_FOUND, "no folder /no/such/folder", id="no folder"
        ),
        pytest.param({"pipeline_class": "WanPipelin"}, Reason.MODEL_LOAD_FAILED, "'WanPipelin'", id="class misspelt"),
        pytest.param(
            {"pipeline_class": "UNet2DModel"}, Reason.MODEL_LOAD_FAILED, "no pipeline class", id="no pipeline"
        ),
        pytest.param({"dtype": "int8"}, Reason.UNSUPPORTED_OPTION, "int8", id="dtype"),
        pytest.param(
            {"component_dtypes": {"vea": "float32"}}, Reason.UNSUPPORTED_OPTION, "vea", id="component misspelt"
        ),
        pytest.param({"offload": "Model"}, Reason.UNSUPPORTED_OPTION, "needs an accelerator", id="offload on a CPU"),
        pytest.param({"offload": "Disk"}, Reason.UNSUPPORTED_OPTION, "Disk", id="unknown offload"),
        pytest.param(
            {"backend": "tiny", "source": "sora"}, Reason.MODEL_NOT_FOUND, "there are wan, ltx", id="no preset"
        ),
        pytest.param(
            {"backend": "tiny", "source": "wan", "pipeline_class": "LTXPipeline"},
            Reason.MODEL_LOAD_FAILED,
            "is a WanPipeline",
            id="preset of another class",
        ),
    ],
)
def test_request_that_cannot_be_met_is_refused_with_its_reason(wan, monkeypatch, changes, reason, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelFailure, match=words) as caught:
        load(**{"source": wan, **changes})
    assert caught.value.reason == reason


def test_component_dtypes_are_what_the_modules_have(wan):
    facts = load(wan, dtype="bfloat16", component_dtypes={"vae": "float32"})
    assert facts.component_dtypes["vae"] == "float32"
    assert facts.component_dtypes["text_encoder"] == "bfloat16"
    assert facts.component_dtypes["transformer"].startswith("bfloat16")


@pytest.fixture
def kandinsky(tmp_path):
    save("kandinsky5", tmp_path / "kandinsky5")
    return tmp_path / "kandinsky5"


def test_of_a_processor_that_sees_text_alone_the_tokenizer_is_loaded(kandinsky):
    """The processor itself does not load here: it needs torchvision."""
    edit_index(kandinsky, tokenizer=["transformers", "Qwen2VLProcessor"])
    model = create_model("diffusers", lambda word: None)
    model.load(ModelRequest(**default_request(kandinsky)))
    assert model._pipeline.tokenizer(text=["cat"], images=None, videos=None)["input_ids"]


QWEN, TOKENIZER = ["transformers", "Qwen2VLProcessor"], ["transformers", "CLIPTokenizer"]


@pytest.mark.parametrize(
    ("index", "loaded_as", "names"),
    [
        pytest.param("Kandinsky5T2VPipeline", None, ("tokenizer",), id="the class of the index"),
        pytest.param("Other", "Kandinsky5T2VPipeline", ("tokenizer",), id="the class that is asked for"),
        pytest.param("Kandinsky5T2VPipeline", "Other", (), id="a class that may give it pictures"),
        pytest.param(["pipeline", "Evil"], None, (), id="a class of its own"),
    ],
)
def test_processors_are_looked_for_where_the_class_gives_them_text_alone(tmp_path, index, loaded_as, names):
    parts = {"tokenizer": QWEN, "tokenizer_2": TOKENIZER, "safety": ["own", "MyProcessor"]}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": index, **parts}))
    assert processors_of_text(tmp_path, loaded_as) == names


def test_sparse_attention_is_refused_before_a_clip_is_made(kandinsky):
    config = kandinsky / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "attention_type": "nabla"}))
    with pytest.raises(ModelFailure, match=r"nabla.*backend flex") as caught:
        load(kandinsky)
    assert caught.value.reason == Reason.UNSUPPORTED_OPTION


def test_vae_tiling_is_switched_on_where_the_vae_has_it(wan):
    model = create_model("diffusers", lambda word: None)
    model.load(ModelRequest(**default_request(wan), vae_tiling=True))
    assert model._pipeline.vae.use_tiling is True


def test_vae_tiling_is_refused_where_the_vae_has_none(wan, monkeypatch):
    from diffusers import AutoencoderKLWan

    def absent(self):
        raise NotImplementedError

    monkeypatch.setattr(AutoencoderKLWan, "enable_tiling", absent)
    with pytest.raises(ModelFailure, match="AutoencoderKLWan") as caught:
        load(wan, vae_tiling=True)
    assert caught.value.reason == Reason.UNSUPPORTED_OPTION


@pytest.mark.parametrize("kind", ["pipeline", "component"])
def test_code_in_a_models_folder_is_not_run(wan, kind):
    marker = wan.parent / "it-ran"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).write_text('ran')\nclass Evil:\n    pass\n"
    if kind == "pipeline":
        (wan / "pipeline.py").write_text(code)
        edit_index(wan, _class_name=["pipeline", "Evil"])
    else:
        (wan / "transformer" / "evil.py").write_text(code)
        edit_index(wan, transformer=["evil", "Evil"])
    with pytest.raises(ModelFailure) as caught:
        load(wan)
    assert caught.value.reason == Reason.MODEL_LOAD_FAILED
    assert not marker.exists()


def test_hub_id_that_is_not_in_the_cache_of_an_offline_pod_is_not_found(tmp_path):
    program = (
        "from vidbench_runner.backends import create_model\n"
        "from vidbench_runner.ports import ModelFailure, ModelRequest\n"
        "try:\n"
        "    create_model('diffusers', lambda word: None).load(\n"
        "        ModelRequest('diffusers', None, 'nobody/nothing', 'a' * 40, 'float32'))\n"
        "except ModelFailure as failure:\n"
        "    print(failure.reason, failure.message)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("ModelNotFound nobody/nothing")


FETCH = """
import json, sys
from vidbench_runner.backends import create_model
from vidbench_runner.ports import ModelRequest
words = []
for _ in range(2):
    loaded = create_model('diffusers', words.append).load(ModelRequest('diffusers', None, 'me/wan', sys.argv[1], 'float32'))
    print(json.dumps([loaded.fetch_nanoseconds, loaded.fetch_bytes, loaded.load_nanoseconds, words[:2]]))
"""


def test_weights_of_a_hub_are_fetched_apart_from_the_load_and_only_once(wan, tmp_path):
    weights = sum(path.stat().st_size for path in wan.rglob("*.safetensors"))
    with hub("me/wan", wan) as url:
        environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", FETCH, COMMIT]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    (fetch, fetched, load, words), (again, none_left, _, _) = (json.loads(line) for line in done.stdout.splitlines())
    assert weights <= fetched < weights + 10**7, "weights, configurations and tokenizers"
    assert none_left == 0
    assert min(fetch, again, load) > 0
    assert words == ["fetch", "read"]


def test_a_folder_is_read_as_it_is_loaded(wan):
    assert (load(wan).fetch_nanoseconds, load(wan).fetch_bytes) == (None, None)

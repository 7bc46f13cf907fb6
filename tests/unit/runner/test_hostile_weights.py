"""Folders that want to run code: none of it runs, and each is refused as what it is. The marker is what the code would write."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from vidbench_api.names import Reason
from vidbench_api.verdict import LoadPhase
from vidbench_runner.backends import create_model
from vidbench_runner.backends.model_folder import cause_of_failure, pickles_in_an_index
from vidbench_runner.backends.tiny import BROKEN_WEIGHTS, save
from vidbench_runner.ports import ModelFailure, ModelRequest

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(600)]

TEXT_WEIGHTS = "text_encoder/model.safetensors"


class Evil:
    """Writes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.marker, "ran")


def code(marker: Path) -> str:
    return f"import pathlib\npathlib.Path({str(marker)!r}).write_text('ran')\nclass Evil:\n    pass\n"


def pickle_in_place_of(folder: Path, marker: Path, weights: str, name: str) -> None:
    (folder / weights).unlink()
    torch.save({"weight": Evil(marker)}, (folder / weights).with_name(name))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def denoiser_pickle(folder: Path, marker: Path) -> None:
    pickle_in_place_of(folder, marker, BROKEN_WEIGHTS, "diffusion_pytorch_model.bin")


def text_encoder_pickle(folder: Path, marker: Path) -> None:
    pickle_in_place_of(folder, marker, TEXT_WEIGHTS, "pytorch_model.bin")


def pickle_called_safetensors(folder: Path, marker: Path) -> None:
    (folder / BROKEN_WEIGHTS).write_bytes(pickle.dumps(Evil(marker)))


def archive_called_safetensors(folder: Path, marker: Path) -> None:
    torch.save({"weight": Evil(marker)}, folder / BROKEN_WEIGHTS)


def index_of_pickles(folder: Path, marker: Path) -> None:
    pickle_in_place_of(folder, marker, TEXT_WEIGHTS, "part.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": {"shared.weight": "part.bin"}}
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))


def pipeline_of_its_own(folder: Path, marker: Path) -> None:
    (folder / "pipeline.py").write_text(code(marker))
    edit(folder / "model_index.json", _class_name=["pipeline", "Evil"])


def component_of_its_own(folder: Path, marker: Path) -> None:
    (folder / "transformer" / "evil.py").write_text(code(marker))
    edit(folder / "model_index.json", transformer=["evil", "Evil"])


def text_encoder_of_its_own(folder: Path, marker: Path) -> None:
    (folder / "text_encoder" / "evil.py").write_text(code(marker))
    edit(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.Evil"}, model_type="evil")
    edit(folder / "model_index.json", text_encoder=["transformers", "AutoModel"])


def index_of_harmless_pickles(folder: Path, marker: Path) -> None:
    """The libraries would load it: what it holds is weights alone, and nobody said so before it was read."""
    weights = load_file(folder / TEXT_WEIGHTS)
    (folder / TEXT_WEIGHTS).unlink()
    torch.save(weights, folder / "text_encoder" / "part.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, "part.bin")}
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_in_its_header(folder: Path, marker: Path) -> None:
    with (folder / BROKEN_WEIGHTS).open("r+b") as file:
        file.truncate(100)


def cut_in_half(folder: Path, marker: Path) -> None:
    with (folder / BROKEN_WEIGHTS).open("r+b") as file:
        file.truncate((folder / BROKEN_WEIGHTS).stat().st_size // 2)


HOSTILE: list[Any] = [
    (
        denoiser_pickle,
        "transformer has its weights as a pickle alone (diffusion_pytorch_model.bin); pickles can run code",
    ),
    (text_encoder_pickle, "text_encoder has its weights as a pickle alone (pytorch_model.bin); pickles can run code"),
    (pickle_called_safetensors, f"{BROKEN_WEIGHTS} is a pickle, whatever its name says"),
    (archive_called_safetensors, f"{BROKEN_WEIGHTS} is an archive of torch.save, whatever its name says"),
    (index_of_pickles, "text_encoder/model.safetensors.index.json names 'part.bin', which is no safetensors file"),
    (index_of_harmless_pickles, "text_encoder/model.safetensors.index.json names 'part.bin', which is no safetensors"),
    (pipeline_of_its_own, "model_index.json names a pipeline of its own, ['pipeline', 'Evil']; code that comes with a"),
    (component_of_its_own, "transformer is of a class of its own, evil.Evil (transformer/evil.py); code that comes"),
    (text_encoder_of_its_own, "text_encoder/config.json names code of its own, auto_map {'AutoModel': 'evil.Evil'}"),
    (cut_in_half, f"{BROKEN_WEIGHTS} is cut off, "),
    (cut_in_its_header, f"{BROKEN_WEIGHTS} is no safetensors file, or is cut off within its header; download or copy"),
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest") / "wan"
    save("wan", folder)
    return folder


@pytest.mark.parametrize(("harm", "cause"), [pytest.param(*case, id=case[0].__name__) for case in HOSTILE])
def test_hostile_folder_does_not_load_runs_nothing_and_is_told_what_it_is(
    honest: Path, tmp_path: Path, harm: Callable[[Path, Path], None], cause: str
) -> None:
    import shutil

    folder, marker = tmp_path / "model", tmp_path / "it-ran"
    shutil.copytree(honest, folder)
    harm(folder, marker)
    with pytest.raises(ModelFailure) as caught:
        create_model("diffusers", lambda word: None).load(ModelRequest("diffusers", None, str(folder), None, "float32"))
    assert (caught.value.reason, caught.value.phase) == (Reason.MODEL_LOAD_FAILED, LoadPhase.READ)
    assert str(caught.value).startswith(f"{folder} does not load: {cause}")
    assert "trust_remote_code" not in str(caught.value), "advice that nobody can follow here"
    assert not marker.exists()


def test_whole_folder_has_no_cause_to_fail(honest: Path) -> None:
    assert (pickles_in_an_index(honest), cause_of_failure(honest)) == (None, None)


_WORDS = st.sampled_from(["_class_name", "transformer", "..", "/", "a\0b", "long" * 99, "AutoModel", "weight_map"])
_JSON = st.recursive(st.none() | st.integers() | _WORDS, lambda inner: st.lists(inner) | st.dictionaries(_WORDS, inner))
_LENGTHS = st.integers(0, 60).map(lambda length: length.to_bytes(8, "little"))


@given(_JSON, _JSON, _LENGTHS, _JSON | st.binary())
def test_folder_of_anything_has_a_short_cause_or_none(
    tmp_path_factory: pytest.TempPathFactory, index: Any, config: Any, length: bytes, header: Any
) -> None:
    folder = tmp_path_factory.mktemp("anything")
    component = folder / "transformer"
    component.mkdir()
    (folder / "model_index.json").write_text(json.dumps(index))
    (component / "config.json").write_text(json.dumps({"auto_map": config}))
    (component / "model.safetensors.index.json").write_text(json.dumps(config))
    (component / "model.safetensors").write_bytes(
        length + (header if isinstance(header, bytes) else json.dumps(header).encode())
    )
    for cause in (cause_of_failure(folder), pickles_in_an_index(folder)):
        assert cause is None or (len(cause) < 1000 and "\0" not in cause)


def test_marker_is_written_where_such_code_does_run(tmp_path: Path) -> None:
    """Else the marker's absence would say nothing."""
    pickled, imported = tmp_path / "pickled", tmp_path / "imported"
    pickle.loads(pickle.dumps(Evil(pickled)))
    exec(code(imported), {})
    assert pickled.exists()
    assert imported.exists()

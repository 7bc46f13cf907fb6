"""Folders that want to run code: none of it runs, and each is refused as what it is. The marker is what the code would write."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vidbench_api.names import Reason
from vidbench_runner.backends import create_model
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


def cut_in_half(folder: Path, marker: Path) -> None:
    with (folder / BROKEN_WEIGHTS).open("r+b") as file:
        file.truncate((folder / BROKEN_WEIGHTS).stat().st_size // 2)


HOSTILE = [
    denoiser_pickle,
    text_encoder_pickle,
    pickle_called_safetensors,
    archive_called_safetensors,
    index_of_pickles,
    pipeline_of_its_own,
    component_of_its_own,
    text_encoder_of_its_own,
    cut_in_half,
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest") / "wan"
    save("wan", folder)
    return folder


@pytest.mark.parametrize("harm", HOSTILE, ids=lambda harm: harm.__name__)
def test_hostile_folder_does_not_load_and_runs_nothing(
    honest: Path, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    import shutil

    folder, marker = tmp_path / "model", tmp_path / "it-ran"
    shutil.copytree(honest, folder)
    harm(folder, marker)
    with pytest.raises(ModelFailure) as caught:
        create_model("diffusers", lambda word: None).load(ModelRequest("diffusers", None, str(folder), None, "float32"))
    assert caught.value.reason == Reason.MODEL_LOAD_FAILED
    assert not marker.exists()


def test_marker_is_written_where_such_code_does_run(tmp_path: Path) -> None:
    """Else the marker's absence would say nothing."""
    pickled, imported = tmp_path / "pickled", tmp_path / "imported"
    pickle.loads(pickle.dumps(Evil(pickled)))
    exec(code(imported), {})
    assert pickled.exists()
    assert imported.exists()

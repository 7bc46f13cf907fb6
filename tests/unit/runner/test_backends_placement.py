"""Where a pipeline is put, told by what is asked of it: no accelerator is needed to see that."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vidbench_runner.backends.placement import place
from vidbench_runner.ports import ModelRequest

CUDA = torch.device("cuda")


class Asked:
    """Writes down what is called on it."""

    def __init__(self, calls: list[tuple[str, dict[str, Any]]], prefix: str = "") -> None:
        self._calls, self._prefix = calls, prefix

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._calls.append(
            (f"{self._prefix}{name}", {**dict(enumerate(args)), **kwargs})
        )


class AskedPipeline(Asked):
    def __init__(self, calls: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__(calls)
        self.vae = Asked(calls, "vae.")


PLACES: list[Any] = [
    pytest.param("None", False, [("to", {0: "cuda"})], id="on the device"),
    pytest.param("None", True, [("vae.enable_tiling", {}), ("to", {0: "cuda"})], id="tiled, on the device"),
    pytest.param("Model", False, [("enable_model_cpu_offload", {"device": "cuda"})], id="whole components"),
    pytest.param("Sequential", False, [("enable_sequential_cpu_offload", {"device": "cuda"})], id="leaf by leaf"),
    pytest.param(
        "Group", False,
        [("enable_group_offload", {"onload_device": CUDA, "offload_type": "leaf_level", "use_stream": True, "exclude_modules": []})],
        id="leaves fetched ahead",
    ),
    pytest.param(
        "Group", True,
        [
            ("vae.enable_tiling", {}),
            ("enable_group_offload", {"onload_device": CUDA, "offload_type": "leaf_level", "use_stream": True, "exclude_modules": ["vae"]}),
            ("vae.enable_group_offload", {"onload_device": CUDA, "offload_type": "leaf_level"}),
        ],
        id="leaves fetched ahead, but those of a tiled VAE are not",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("offload", "tiling", "calls"), PLACES)
def test_pipeline_is_asked_for_what_the_cell_says(
    offload: str, calls: list[Any], monkeypatch: pytest.MonkeyPatch, *, tiling: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    asked: list[Any] = []
    request = ModelRequest("tiny", None, "wan", None, "float32", offload=offload, vae_tiling=tiling)
    assert place(AskedPipeline(asked), request) == "cuda"
    assert asked == calls

"""Where a pipeline is put, told by what is asked of it: no accelerator is needed to see that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vidbench_api.names import Reason
from vidbench_runner.backends.placement import place
from vidbench_runner.ports import ModelFailure, ModelRequest

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


GIBIBYTE = 2**30


def place_capped(monkeypatch: pytest.MonkeyPatch, cap: int, *, gpu: bool = True) -> list[Any]:
    """Place a pipeline with that cap on the second of two GPUs, which has 80 GiB; return what was called, in order."""
    calls: list[Any] = []
    totals = [16 * GIBIBYTE, 80 * GIBIBYTE]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=totals[device])
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda fraction: calls.append(("fraction", fraction))
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    place(AskedPipeline(calls), ModelRequest("tiny", None, "wan", None, "float32", memory_cap_bytes=cap))
    return calls


@pytest.mark.parametrize(("gibibytes", "fraction"), [(24, 0.3), (80, 1.0)])
def test_cap_is_a_share_of_this_accelerators_memory_set_before_anything_is_on_it(
    gibibytes: int, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place_capped(monkeypatch, gibibytes * GIBIBYTE) == [("fraction", fraction), ("to", {0: "cuda"})]


REFUSED_CAPS: list[Any] = [
    pytest.param(True, "memoryCapMebibytes is 81921, and the accelerator has 81920 MiB", id="more than the device has"),
    pytest.param(False, "memoryCapMebibytes needs an accelerator, and this machine shows none", id="on a CPU"),
]


@pytest.mark.parametrize(("gpu", "message"), REFUSED_CAPS)
def test_cap_that_nothing_would_keep_is_refused(monkeypatch: pytest.MonkeyPatch, message: str, *, gpu: bool) -> None:
    with pytest.raises(ModelFailure, match=f"^{message}$") as caught:
        place_capped(monkeypatch, 80 * GIBIBYTE + 2**20, gpu=gpu)
    assert caught.value.reason == Reason.UNSUPPORTED_OPTION

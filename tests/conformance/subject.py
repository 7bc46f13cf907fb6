"""One tiny pipeline under test, with what the checks need of it: fresh models, clips, digests of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vidbench_runner.backends.acceleration import denoisers
from vidbench_runner.backends.placement import offload
from vidbench_runner.backends.tiny import TinyModel
from vidbench_runner.backends.tiny_presets import PRESETS
from vidbench_runner.ports import ClipRequest, GeneratedClip, LoadedModel, ModelRequest

SEED = 7
GUIDANCE = 4.0


class Subject:
    """A preset. Its plain model and that model's first three clips are made once and shared by the checks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.preset = PRESETS[name]

    def request(self, **changes: Any) -> ModelRequest:
        plain = ModelRequest("tiny", None, self.name, None, "float32", vae_tiling=self.preset.clip.vae_tiling)
        return replace(plain, **changes)

    def fresh(self, **changes: Any) -> TinyModel:
        """A model of its own, loaded."""
        model = TinyModel()
        model.load(self.request(**changes))
        return model

    @cached_property
    def _plain(self) -> tuple[TinyModel, LoadedModel]:
        model = TinyModel()
        return model, model.load(self.request())

    @property
    def model(self) -> TinyModel:
        return self._plain[0]

    @property
    def loaded(self) -> LoadedModel:
        return self._plain[1]

    @property
    def pipeline(self) -> Any:
        return self.model._pipeline

    @cached_property
    def clips(self) -> tuple[GeneratedClip, GeneratedClip, GeneratedClip]:
        first, second, third = (self.model.generate(self.clip()) for _ in range(3))
        return first, second, third

    def takes(self, parameter: str) -> bool:
        import inspect

        return parameter in inspect.signature(type(self.pipeline).__call__).parameters

    def clip(self, **changes: Any) -> ClipRequest:
        wanted = self.preset.clip
        guidance = {"guidance_scale": GUIDANCE} if self.takes("guidance_scale") else {}
        plain = ClipRequest(
            prompt="a cat on a roof",
            negative_prompt="blur" if self.takes("negative_prompt") else None,
            seed=SEED,
            height=wanted.height,
            width=wanted.width,
            frames=wanted.frames,
            steps=wanted.steps,
            arguments={**guidance, **wanted.arguments},
        )
        return replace(plain, **changes)

    def denoiser_blocks(self) -> int:
        """The fewest blocks that one of the denoisers has: members of its lists of blocks, or levels of a UNet."""
        return min(
            sum(
                len(child)
                for name, child in denoiser.named_children()
                if isinstance(child, torch.nn.ModuleList) and name in BLOCK_LISTS
            )
            for denoiser in denoisers(self.pipeline)
        )

    def free(self) -> None:
        if "_plain" in self.__dict__:
            self.model.free()


BLOCK_LISTS = frozenset(
    {"blocks", "transformer_blocks", "single_transformer_blocks", "visual_transformer_blocks", "down_blocks"}
)


def digest(clip: GeneratedClip) -> str:
    return hashlib.sha256(np.ascontiguousarray(clip.frames).tobytes()).hexdigest()


@contextmanager
def without_seam(model: TinyModel) -> Iterator[Any]:
    """The pipeline as it is without our wrappers; what is done to it inside lies under them afterwards."""
    assert model._seam is not None
    model._seam.remove()
    try:
        yield model._pipeline
    finally:
        model._seam.install(model._pipeline)


@contextmanager
def offloaded(subject: Subject, kind: str) -> Iterator[TinyModel]:
    """A fresh model with the hooks of an offload whose device is the CPU: the same hooks, the same order of calls.

    What a CPU cannot show: that memory is saved, that fetching ahead on a stream is right, and tensors on two devices.
    """
    model = subject.fresh()
    with without_seam(model) as pipeline:
        offload(pipeline, kind, "cpu", tiled=subject.preset.clip.vae_tiling, ahead=False)
        _name_the_cpu_plainly(pipeline)
    try:
        yield model
    finally:
        model.free()


def _name_the_cpu_plainly(pipeline: Any) -> None:
    """Sequential offload asks for `cpu:0`, which no tensor ever says that it is on: a weight that is there would be copied again
    and come out as no parameter. An accelerator's tensors say their number.
    """
    for part in pipeline.components.values():
        for module in part.modules() if isinstance(part, torch.nn.Module) else ():
            hook = getattr(module, "_hf_hook", None)
            for each in getattr(hook, "hooks", (hook,)):
                if getattr(each, "execution_device", None) == torch.device("cpu:0"):
                    each.execution_device = torch.device("cpu")

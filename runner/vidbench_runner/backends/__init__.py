"""The models that a trial can call. `create_model` is the only name that the worker needs; it loads no library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from vidbench_api.names import ENV_SERVICE_API_KEY, Reason
from vidbench_runner.ports import ModelFailure, Progress, VideoModel

METERLESS: Final[Mapping[str, str]] = {"http": "unsupported", "mock": "mock"}
"""Backends whose clips are made on no device of this machine, and the reason that stands for what a meter would say."""


def create_model(backend: str, progress: Progress) -> VideoModel:
    """The model of a backend, not loaded yet. `progress` is called at every boundary and denoiser call.

    Raises:
        ModelFailure: InvalidRequest, for a backend that this runner does not have.
    """
    if backend == "diffusers":
        from vidbench_runner.backends.diffusers import DiffusersModel

        return DiffusersModel(progress)
    if backend == "tiny":
        from vidbench_runner.backends.tiny import TinyModel

        return TinyModel(progress)
    if backend == "random":
        from vidbench_runner.backends.random_weights import RandomModel

        return RandomModel(progress)
    if backend == "http":
        from vidbench_runner.backends.http import HttpModel

        return HttpModel(progress, os.environ.get(ENV_SERVICE_API_KEY))
    if backend == "mock":
        from vidbench_runner.backends.mock import MockModel

        return MockModel(progress)
    raise ModelFailure(
        Reason.INVALID_REQUEST,
        f"backend {backend!r} is not known; this runner has diffusers, tiny, random, http and mock",
    )

"""The models that a trial can call. `create_model` is the only name that the worker needs; it loads no library."""

from __future__ import annotations

from vidbench_api.names import Reason
from vidbench_runner.ports import ModelFailure, Progress, VideoModel


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
    raise ModelFailure(Reason.INVALID_REQUEST, f"backend {backend!r} is not known; this runner has diffusers and tiny")

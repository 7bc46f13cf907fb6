"""What speaks against a cell whose clips come from a server, and which backend a source needs. Pure.

A service decides type, offload and tiling itself, takes none of our GPUs, and gets a key only where the admin tied one to it.
"""

from __future__ import annotations

from vidbench_api.kinds import ModelSource, RunnerClassSpec, VideoModelSpec
from vidbench_api.names import ConditionReason
from vidbench_api.run_spec import Hardware, Variant
from vidbench_api.services import Backend, ServiceAccess


def backend_of(source: ModelSource) -> Backend:
    """Return the backend that makes clips from this source."""
    if source.http is not None:
        return "http"
    if source.mock is not None:
        return "mock"
    return "tiny" if source.tiny is not None else "diffusers"


def access_of(runner_class: RunnerClassSpec, source: ModelSource) -> ServiceAccess | None:
    """Return what the class says of the source's endpoint; None where it does not allow it, and for other sources."""
    if source.http is None:
        return None
    return next((entry for entry in runner_class.services if entry.endpoint == source.http.endpoint), None)


def reason_against_service(
    class_name: str,
    runner_class: RunnerClassSpec,
    hardware: Hardware,
    variant: Variant,
    model: str,
    video_model: VideoModelSpec,
) -> tuple[ConditionReason, str] | None:
    """Return why a service cannot be this cell's model, with what to do; None for other models and where nothing does."""
    http = video_model.source.http
    if http is None:
        return None
    if access_of(runner_class, video_model.source) is None:
        message = (
            f"RunnerClass {class_name!r} does not allow the endpoint {http.endpoint!r}; its admin adds it to services"
        )
        return ConditionReason.ENDPOINT_NOT_ALLOWED, f"spec.models[{model}]: {message}"
    if hardware.gpus:
        message = (
            f"model {model!r} is a service and would hold {hardware.gpus} GPUs for nothing; give it a hardware entry with"
            " gpus: 0 and exclude it from this one"
        )
        return ConditionReason.INVALID_SPEC, f"spec.hardware[{hardware.name}].gpus: {message}"
    options = {
        "dtype": variant.dtype is not None,
        "componentDtypes": bool(variant.component_dtypes),
        "offload": variant.offload is not None,
        "vaeTiling": variant.vae_tiling is not None,
        "attention": variant.attention != "Default",
        "compile": variant.compile != "None",
    }
    given = [name for name, is_given in options.items() if is_given]
    if given:
        message = f"model {model!r} is a service, which decides that itself; exclude the cell, or name other models in onlyFor"
        return ConditionReason.INVALID_VARIANT, f"spec.variants[{variant.name}].{given[0]}: {message}"
    return None

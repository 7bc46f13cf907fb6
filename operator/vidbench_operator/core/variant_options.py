"""What a variant asks of a model beside its clip, and why the model, its class or the hardware cannot give it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from vidbench_api.base import DType
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.pipeline_classes import ClassOptions, class_of, why_unsupported
from vidbench_api.run_spec import Hardware, Variant

_DENOISERS = ("transformer", "unet")


@dataclass(frozen=True)
class VariantOptions:
    """The options of one cell, with the model's defaults filled in."""

    dtype: DType
    component_dtypes: Mapping[str, DType]
    of_class: ClassOptions


def variant_options(variant: Variant, model: VideoModelSpec) -> VariantOptions:
    """Return a variant's options laid over the model's."""
    defaults = model.defaults
    dtype, component_dtypes = variant.dtype or defaults.dtype, {**model.component_dtypes, **variant.component_dtypes}
    return VariantOptions(
        dtype=dtype,
        component_dtypes=component_dtypes,
        of_class=ClassOptions(
            offload=variant.offload or defaults.offload,
            vae_tiling=defaults.vae_tiling if variant.vae_tiling is None else variant.vae_tiling,
            attention=variant.attention,
            compile=variant.compile,
            vae_of_own_type=component_dtypes.get("vae", dtype) != _denoisers_type(dtype, component_dtypes),
        ),
    )


def _denoisers_type(dtype: DType, component_dtypes: Mapping[str, DType]) -> DType:
    """The type of what hands latents to the VAE."""
    return next((component_dtypes[name] for name in _DENOISERS if name in component_dtypes), dtype)


def why_refused(
    variant: Variant, model_name: str, hardware: Hardware, model: VideoModelSpec, options: VariantOptions
) -> str | None:
    """Return why a cell of these options can never be measured, with the field and what to do; None if nothing is against it."""
    where = f"spec.variants[{variant.name}]"
    forbidden = model.forbidden_dtypes
    if options.dtype in forbidden:
        return f"{where}.dtype: model {model_name!r} cannot run in {options.dtype}; {_others(forbidden)}"
    component = next((name for name, dtype in variant.component_dtypes.items() if dtype in forbidden), None)
    if component is not None:
        dtype = variant.component_dtypes[component]
        return f"{where}.componentDtypes[{component}]: model {model_name!r} cannot run in {dtype}; {_others(forbidden)}"
    of_class = options.of_class
    if of_class.offload != "None" and not hardware.gpus:
        return (
            f"{where}.offload: {of_class.offload} needs a GPU to offload from, and hardware {hardware.name!r} has gpus: 0;"
            f" exclude the cell, or set offload: None for model {model_name!r}"
        )
    if variant.memory_cap_mebibytes is not None and not hardware.gpus:
        return (
            f"{where}.memoryCapMebibytes: hardware {hardware.name!r} has gpus: 0, so that there is no GPU memory to cap;"
            " exclude the cell, or leave the cap out"
        )
    if of_class.offload != "None" and of_class.compile != "None":
        return (
            f"{where}.compile: {of_class.compile} does not go with offload: {of_class.offload}, whose hooks break the compiled"
            " graph; set one of them to None"
        )
    unsupported = why_unsupported(class_of(model.pipeline_class, model.source.tiny), of_class)
    if unsupported is not None:
        return (
            f"{where}.{unsupported}. Exclude the cell of model {model_name!r}, or name the variant's models in onlyFor"
        )
    return None


def _others(forbidden: tuple[DType, ...]) -> str:
    return f"it can in {', '.join(name for name in get_args(DType) if name not in forbidden)}"

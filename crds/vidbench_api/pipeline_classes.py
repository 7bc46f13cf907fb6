"""Which pipeline classes of diffusers this version supports, and which options of a variant each of them honours.

The operator refuses by it before a GPU is taken, the catalogue draws its classes from it, and the conformance suite
(`make conformance`) proves every line by running the class with random weights: a class or option that did not pass does
not stand here. Of classes that do not stand here nothing is claimed: the runner finds out at the load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from .base import Attention, Compile, Offload

Input = Literal["Prompt", "Image"]
"""What a class is given. An image is synthetic, drawn from the sample's seed."""


@dataclass(frozen=True)
class ClassSupport:
    """What passed for one class (diffusers 0.42.1)."""

    takes: tuple[Input, ...] = ("Prompt",)
    offloads: tuple[Offload, ...] = ("Model", "Sequential", "Group")
    vae_tiling: bool = True
    attention: bool = True
    """Whether the denoiser's attention can be chosen; of other classes it is fixed, and a choice would be ignored."""

    compile: bool = True


PIPELINE_CLASSES: Final[Mapping[str, ClassSupport]] = MappingProxyType(
    {
        "LTXPipeline": ClassSupport(),
        "WanPipeline": ClassSupport(),
    }
)

TinyPreset = Literal["wan", "ltx", "wan-mid"]
CLASS_OF_PRESET: Final[Mapping[str, str]] = MappingProxyType(
    {"wan": "WanPipeline", "ltx": "LTXPipeline", "wan-mid": "WanPipeline"}
)


def class_of(pipeline_class: str | None, preset: str | None) -> str | None:
    """Return the class that a model names, or that its tiny preset has; None where only its folder knows."""
    return pipeline_class or CLASS_OF_PRESET.get(preset or "")


@dataclass(frozen=True)
class ClassOptions:
    """The options of a cell that a class may lack."""

    offload: Offload = "None"
    vae_tiling: bool = False
    attention: Attention = "Default"
    compile: Compile = "None"


def why_unsupported(pipeline_class: str | None, options: ClassOptions) -> str | None:
    """Return which option the class does not support, and the classes that do; None where nothing is known against it."""
    support = PIPELINE_CLASSES.get(pipeline_class or "")
    if support is None:
        return None
    wanted: tuple[tuple[bool, str, Callable[[ClassSupport], bool]], ...] = (
        (options.offload != "None", f"offload: {options.offload}", lambda each: options.offload in each.offloads),
        (options.vae_tiling, "vaeTiling", lambda each: each.vae_tiling),
        (options.attention != "Default", f"attention: {options.attention}", lambda each: each.attention),
        (options.compile != "None", f"compile: {options.compile}", lambda each: each.compile),
    )
    for asked, option, honours in wanted:
        if asked and not honours(support):
            others = [name for name, each in PIPELINE_CLASSES.items() if honours(each)]
            return f"{option}: {pipeline_class} does not support it; of the supported classes {_listed(others)}"
    return None


def _listed(names: list[str]) -> str:
    return f"these do: {', '.join(sorted(names))}" if names else "none does"

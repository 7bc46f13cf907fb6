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
    tiles_only: bool = False
    """Whether the VAE decodes in no other way."""

    attention: bool = True
    """Whether the denoiser's attention can be chosen; of other classes it is fixed, and a choice would be ignored."""

    compile: bool = True

    vae_of_own_type: bool = True
    """Whether the VAE may have another type than the denoiser; other classes hand latents over as they are, and fail on them."""


_LED_BY_A_PICTURE: tuple[Input, ...] = ("Prompt", "Image")

PIPELINE_CLASSES: Final[Mapping[str, ClassSupport]] = MappingProxyType(
    {
        "AllegroPipeline": ClassSupport(tiles_only=True, attention=False),
        "AnimateDiffPipeline": ClassSupport(attention=False, vae_of_own_type=False),
        "CogVideoXImageToVideoPipeline": ClassSupport(_LED_BY_A_PICTURE, attention=False, vae_of_own_type=False),
        "CogVideoXPipeline": ClassSupport(attention=False, vae_of_own_type=False),
        "ConsisIDPipeline": ClassSupport(_LED_BY_A_PICTURE, attention=False, vae_of_own_type=False),
        "EasyAnimatePipeline": ClassSupport(offloads=("Model", "Group"), attention=False, vae_of_own_type=False),
        "HeliosPipeline": ClassSupport(),
        "HunyuanVideo15Pipeline": ClassSupport(),
        "HunyuanVideoFramepackPipeline": ClassSupport(_LED_BY_A_PICTURE, offloads=("Model", "Group")),
        "HunyuanVideoImageToVideoPipeline": ClassSupport(_LED_BY_A_PICTURE),
        "HunyuanVideoPipeline": ClassSupport(),
        "Kandinsky5T2VPipeline": ClassSupport(),
        "LTX2Pipeline": ClassSupport(),
        "LTXConditionPipeline": ClassSupport(vae_of_own_type=False),
        "LTXImageToVideoPipeline": ClassSupport(_LED_BY_A_PICTURE, vae_of_own_type=False),
        "LTXPipeline": ClassSupport(),
        "LattePipeline": ClassSupport(attention=False, vae_of_own_type=False),
        "MochiPipeline": ClassSupport(attention=False, vae_of_own_type=False),
        "MotifVideoPipeline": ClassSupport(),
        "SanaVideoPipeline": ClassSupport(),
        "SkyReelsV2DiffusionForcingPipeline": ClassSupport(),
        "SkyReelsV2ImageToVideoPipeline": ClassSupport(_LED_BY_A_PICTURE),
        "SkyReelsV2Pipeline": ClassSupport(),
        "StableVideoDiffusionPipeline": ClassSupport(
            ("Image",), vae_tiling=False, attention=False, vae_of_own_type=False
        ),
        "TextToVideoSDPipeline": ClassSupport(attention=False, vae_of_own_type=False),
        "WanImageToVideoPipeline": ClassSupport(_LED_BY_A_PICTURE),
        "WanPipeline": ClassSupport(),
        "WanVACEPipeline": ClassSupport(),
    }
)

TinyPreset = Literal[
    "wan", "ltx", "wan-mid", "ltx-mid", "wan22-a14b", "wan22-5b", "wan-i2v", "wan-vace", "skyreels-v2", "skyreels-v2-df", "skyreels-v2-i2v",
    "helios", "sana-video", "motif-video", "ltx-i2v", "ltx-condition", "ltx2", "cogvideox", "cogvideox-i2v", "consisid", "mochi", "allegro",
    "latte", "svd", "animatediff", "modelscope", "hunyuan", "hunyuan15", "framepack", "easyanimate", "hunyuan-i2v", "kandinsky5",
]  # fmt: skip
CLASS_OF_PRESET: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wan": "WanPipeline",
        "ltx": "LTXPipeline",
        "wan-mid": "WanPipeline",
        "ltx-mid": "LTXPipeline",
        "wan22-a14b": "WanPipeline",
        "wan22-5b": "WanPipeline",
        "wan-i2v": "WanImageToVideoPipeline",
        "wan-vace": "WanVACEPipeline",
        "skyreels-v2": "SkyReelsV2Pipeline",
        "skyreels-v2-df": "SkyReelsV2DiffusionForcingPipeline",
        "skyreels-v2-i2v": "SkyReelsV2ImageToVideoPipeline",
        "helios": "HeliosPipeline",
        "sana-video": "SanaVideoPipeline",
        "motif-video": "MotifVideoPipeline",
        "ltx-i2v": "LTXImageToVideoPipeline",
        "ltx-condition": "LTXConditionPipeline",
        "ltx2": "LTX2Pipeline",
        "cogvideox": "CogVideoXPipeline",
        "cogvideox-i2v": "CogVideoXImageToVideoPipeline",
        "consisid": "ConsisIDPipeline",
        "mochi": "MochiPipeline",
        "allegro": "AllegroPipeline",
        "latte": "LattePipeline",
        "svd": "StableVideoDiffusionPipeline",
        "animatediff": "AnimateDiffPipeline",
        "modelscope": "TextToVideoSDPipeline",
        "hunyuan": "HunyuanVideoPipeline",
        "hunyuan15": "HunyuanVideo15Pipeline",
        "framepack": "HunyuanVideoFramepackPipeline",
        "easyanimate": "EasyAnimatePipeline",
        "hunyuan-i2v": "HunyuanVideoImageToVideoPipeline",
        "kandinsky5": "Kandinsky5T2VPipeline",
    }
)
"""The class of each tiny preset of the runner: small random weights, for tests and for the conformance suite."""


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
    vae_of_own_type: bool = False
    """Whether the VAE has another type than the denoiser."""


def why_unsupported(pipeline_class: str | None, options: ClassOptions) -> str | None:
    """Return which option the class does not support, and the classes that do; None where nothing is known against it."""
    support = PIPELINE_CLASSES.get(pipeline_class or "")
    if support is None:
        return None
    if support.tiles_only and not options.vae_tiling:
        return f"vaeTiling: {pipeline_class} decodes in tiles only; set vaeTiling: true"
    wanted: tuple[tuple[bool, str, Callable[[ClassSupport], bool]], ...] = (
        (options.offload != "None", f"offload: {options.offload}", lambda each: options.offload in each.offloads),
        (options.vae_tiling, "vaeTiling", lambda each: each.vae_tiling),
        (options.attention != "Default", f"attention: {options.attention}", lambda each: each.attention),
        (options.compile != "None", f"compile: {options.compile}", lambda each: each.compile),
        (options.vae_of_own_type, "componentDtypes[vae]", lambda each: each.vae_of_own_type),
    )
    for asked, option, honours in wanted:
        if asked and not honours(support):
            others = [name for name, each in PIPELINE_CLASSES.items() if honours(each)]
            what = "a VAE of another type than its denoiser" if option.endswith("[vae]") else "it"
            return f"{option}: {pipeline_class} does not support {what}; of the supported classes {_listed(others)}"
    return None


def _listed(names: list[str]) -> str:
    return f"these do: {', '.join(sorted(names))}" if names else "none does"

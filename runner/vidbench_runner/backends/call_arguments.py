"""How a clip becomes the arguments of a pipeline's call, and which clips its class refuses.

Everything is read off the class: the parameters of its `__call__`, its own `check_inputs`, its VAE's compression in time.
Knows no torch: a generator is passed in as a value.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from vidbench_api.names import Reason
from vidbench_api.pipeline_classes import Input
from vidbench_runner.backends.pictures import synthetic_picture
from vidbench_runner.ports import ClipRequest, ModelFailure

FRAME_PARAMETERS = ("num_frames", "frames", "video_length")
TEMPORAL_RATIO_ATTRIBUTES = (
    "vae_scale_factor_temporal",
    "vae_temporal_compression_ratio",
    "vae_temporal_scale_factor",
)
IMAGE_TO_VIDEO = "ImageToVideo"
"""In the name of a class: it needs an image, whatever the default of its parameter is."""

NOT_CAUSAL_IN_TIME = frozenset({"AllegroPipeline"})
"""Classes whose VAE has no first frame of its own, so that their grid is `nk` and not `nk+1`."""

NEEDS_A_NEGATIVE_PROMPT = frozenset({"EasyAnimatePipeline"})
"""Classes that fail under guidance without a negative prompt (diffusers 0.42.1): they get the empty one that others give themselves."""

OURS = {
    "prompt": "the workload's prompts",
    "image": "the runner: a synthetic picture, drawn from the seed",
    "negative_prompt": "the workload's prompts",
    "height": "clip.height",
    "width": "clip.width",
    "num_frames": "clip.frames",
    "frames": "clip.frames",
    "video_length": "clip.frames",
    "num_inference_steps": "steps",
    "generator": "the workload's seeds",
    "output_type": "the runner",
    "return_dict": "the runner",
    "callback": "the runner",
    "callback_steps": "the runner",
    "callback_on_step_end": "the runner",
    "callback_on_step_end_tensor_inputs": "the runner",
}
"""Parameters that `arguments` may not set, and where they are set instead."""

_logger = logging.getLogger(__name__)


def call_parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's call."""
    return inspect.signature(type(pipeline).__call__).parameters


def call_arguments(pipeline: Any, clip: ClipRequest, generator: Any) -> dict[str, Any]:
    """The keyword arguments for one call; frames as arrays (`np`) wherever the class lets one choose.

    Raises:
        ModelFailure: InvalidArguments, for a clip that the class's parameters cannot express.
    """
    parameters = call_parameters(pipeline)
    inputs = inputs_of(pipeline)
    _refuse_unknown(type(pipeline).__name__, parameters, clip, inputs)
    arguments: dict[str, Any] = {
        **({"prompt": clip.prompt} if "Prompt" in inputs else {}),
        **({"image": synthetic_picture(clip.seed, clip.height, clip.width)} if "Image" in inputs else {}),
        "height": clip.height,
        "width": clip.width,
        "num_inference_steps": clip.steps,
        frames_parameter(parameters): clip.frames,
        "generator": generator,
        **clip.arguments,
    }
    if clip.negative_prompt is not None:
        arguments["negative_prompt"] = clip.negative_prompt
    elif type(pipeline).__name__ in NEEDS_A_NEGATIVE_PROMPT:
        arguments["negative_prompt"] = ""
    if "output_type" in parameters:
        arguments["output_type"] = "np"
    needed = [
        name
        for name, parameter in parameters.items()
        if name != "self"
        and name not in arguments
        and parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    ]
    if needed:
        raise _invalid(
            f"{type(pipeline).__name__} needs {', '.join(needed)}, which neither a prompt nor a picture gives"
        )
    return arguments


def inputs_of(pipeline: Any) -> tuple[Input, ...]:
    """What a pipeline's clips are made from: an image where its class cannot do without, a prompt where it takes one."""
    parameters = call_parameters(pipeline)
    image = parameters.get("image")
    led = image is not None and (image.default is inspect.Parameter.empty or IMAGE_TO_VIDEO in type(pipeline).__name__)
    inputs: list[Input] = ["Prompt"] if "prompt" in parameters or not led else []
    return (*inputs, "Image") if led else tuple(inputs)


def check_clip(pipeline: Any, clip: ClipRequest) -> None:
    """Refuse a clip that the pipeline's signature or its own size rules do not allow.

    A number of frames off the grid is not refused: pipelines round it, and the delivered frames are what is reported.

    Raises:
        ModelFailure: InvalidArguments.
    """
    for field, value in (
        ("height", clip.height),
        ("width", clip.width),
        ("frames", clip.frames),
        ("steps", clip.steps),
    ):
        if value < 1:
            raise _invalid(f"{field} is {value}; it must be at least 1")
    arguments = call_arguments(pipeline, clip, generator=None)
    _refuse_cut_tiles(pipeline, clip)
    own_check = getattr(pipeline, "check_inputs", None)
    if own_check is None:
        return
    defaults = {name: parameter.default for name, parameter in call_parameters(pipeline).items()}
    known = {**defaults, **arguments}
    wanted = inspect.signature(own_check).parameters
    values = {
        name: known[name] for name in wanted if known.get(name, inspect.Parameter.empty) is not inspect.Parameter.empty
    }
    unknown = [name for name, p in wanted.items() if name not in values and p.default is inspect.Parameter.empty]
    if unknown:
        _logger.info(
            "%s.check_inputs needs %s: the call itself will check", type(pipeline).__name__, ", ".join(unknown)
        )
        return
    try:
        own_check(**values)
    except (ValueError, TypeError) as error:
        raise _invalid(f"{type(pipeline).__name__} refuses this clip: {error}") from error


def frames_parameter(parameters: Mapping[str, inspect.Parameter]) -> str:
    """The name that a class gives to its number of frames.

    Raises:
        ModelFailure: InvalidArguments, where it takes none.
    """
    for name in FRAME_PARAMETERS:
        if name in parameters:
            return name
    raise _invalid(f"this class takes no number of frames (none of {', '.join(FRAME_PARAMETERS)}); it makes no video")


def frame_grid(pipeline: Any) -> str | None:
    """The frame counts that a pipeline delivers without rounding, e.g. `4k+1`; None where any will do or it is not told."""
    for attribute in TEMPORAL_RATIO_ATTRIBUTES:
        ratio = getattr(pipeline, attribute, None)
        if isinstance(ratio, int) and ratio > 1:
            return f"{ratio}k" if type(pipeline).__name__ in NOT_CAUSAL_IN_TIME else f"{ratio}k+1"
    return None


def is_guided(pipeline: Any, clip: ClipRequest) -> bool:
    """Whether the call uses classifier-free guidance: its guidance scale, given or by default or its guider's, is above 1."""
    parameter = call_parameters(pipeline).get("guidance_scale")
    guider = getattr(getattr(pipeline, "guider", None), "guidance_scale", None)
    if parameter is None and guider is not None:
        return bool(guider > 1)
    scale = clip.arguments.get("guidance_scale", parameter.default if parameter is not None else None)
    return isinstance(scale, int | float) and scale > 1


def _refuse_cut_tiles(pipeline: Any, clip: ClipRequest) -> None:
    """Refuse a clip that a VAE which decodes whole tiles only would leave blank at its ends, as Allegro's does."""
    vae = getattr(pipeline, "vae", None)
    kernel, stride = getattr(vae, "kernel", None), getattr(vae, "stride", None)
    if kernel is None or stride is None:
        return
    for name, value, tile, step in zip(
        ("frames", "height", "width"), (clip.frames, clip.height, clip.width), kernel, stride, strict=True
    ):
        if value < tile or (value - tile) % step:
            raise _invalid(
                f"{name} is {value}; {type(pipeline).__name__} decodes whole tiles only, and leaves the rest blank: it must be"
                f" {tile} or {tile} + k x {step}"
            )


def _refuse_unknown(
    class_name: str, parameters: Mapping[str, inspect.Parameter], clip: ClipRequest, inputs: tuple[Input, ...]
) -> None:
    for name in clip.arguments:
        if name in OURS:
            raise _invalid(f"arguments.{name} is set by {OURS[name]}; take it out of arguments")
        if name not in parameters or name == "self":
            allowed = sorted(set(parameters) - set(OURS) - {"self"})
            raise _invalid(f"arguments.{name}: {class_name} has no such call argument; it takes {', '.join(allowed)}")
    texts = (("prompt", clip.prompt if "Prompt" in inputs else None), ("negative_prompt", clip.negative_prompt))
    for name, value in texts:
        if value is not None and name not in parameters:
            raise _invalid(f"{class_name} takes no {name}")
    for name in ("height", "width", "num_inference_steps", "generator"):
        if name not in parameters:
            raise _invalid(f"{class_name} takes no {name}, so this benchmark cannot set it")


def _invalid(message: str) -> ModelFailure:
    return ModelFailure(Reason.INVALID_ARGUMENTS, message)

"""The `random` backend: a model's true configuration with weights drawn at random, where it runs, without a download.

What time, memory and energy depend on is the model's: shapes, types, which parameters stay in float32. Its videos are
noise. Buffers (rotary tables, positions) hold what they hold in the model. Scale keeps activations finite in float16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from vidbench_api.architectures import ARCHITECTURES, Architecture, Component
from vidbench_api.names import Reason
from vidbench_runner.backends.generation import PipelineModel
from vidbench_runner.backends.placement import torch_dtype
from vidbench_runner.backends.synthetic_tokenizer import make_tokenizer
from vidbench_runner.ports import ModelFailure, ModelRequest

WEIGHTS_SEED = 20_261_124
NOISE_ELEMENTS = 4_194_301
"""A prime, so that no row of a matrix gets the same numbers as the one above it."""


class RandomModel(PipelineModel):
    """The `random` backend. `source` is the name of an architecture, `architecture_digest` what the operator means by it."""

    weights = "Random"
    synthetic_tokenizer = True
    loads_weights = False

    def build(self, request: ModelRequest) -> Any:
        """Build the pipeline on the accelerator, or on the CPU where its weights are offloaded to.

        Raises:
            ModelFailure: InvalidRequest for an architecture that this runner does not know as the operator does,
                UnsupportedOption for components that it does not have.
        """
        import torch

        architecture = find_architecture(request.source, request.architecture_digest)
        on_accelerator = torch.cuda.is_available() and request.offload == "None"
        return build_random(architecture, request, "cuda" if on_accelerator else "cpu")


def find_architecture(name: str, digest: str | None) -> Architecture:
    """The architecture of that name, if its digest is the one that is asked for.

    Raises:
        ModelFailure: InvalidRequest.
    """
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise ModelFailure(
            Reason.INVALID_REQUEST,
            f"architecture {name!r} is not known to this runner; it knows {', '.join(ARCHITECTURES)}",
        )
    if architecture.digest != digest:
        raise ModelFailure(
            Reason.INVALID_REQUEST,
            f"this runner's configuration of {name!r} is not the operator's: use a runner image of the operator's version",
        )
    return architecture


def build_random(architecture: Architecture, request: ModelRequest, device: str) -> Any:
    """Build an architecture's pipeline with random weights on a device, in the request's dtypes.

    Raises:
        ModelFailure: UnsupportedOption for a component dtype of a component that it does not have.
    """
    unknown = set(request.component_dtypes) - set(architecture.components)
    if unknown:
        raise ModelFailure(
            Reason.UNSUPPORTED_OPTION,
            f"componentDtypes names {', '.join(sorted(unknown))}; {architecture.pipeline_class} has"
            f" {', '.join(architecture.components)}",
        )
    noise = Noise(device)
    parts: dict[str, Any] = {}
    for name, component in architecture.components.items():
        if component.parameters is None:
            parts[name] = _class_of(component)(**component.config)
            continue
        dtype = torch_dtype(request.component_dtypes.get(name, request.dtype))
        parts[name] = empty_module(component, dtype)
        fill(parts[name], dtype, noise)
    for name, tokenizer in architecture.tokenizers.items():
        vocabulary = architecture.components[tokenizer.vocabulary_of].config["vocab_size"]
        parts[name] = make_tokenizer(vocabulary, tokenizer.maximum_length)
    pipeline_class = getattr(import_module("diffusers"), architecture.pipeline_class)
    return pipeline_class(**parts, **architecture.pipeline_arguments)


def empty_module(component: Component, dtype: Any) -> Any:
    """Build a component whose parameters have shapes and no memory (torch's meta device); buffers are real.

    As the libraries do before they load: default dtype, no memory, tied parameters are one.
    """
    from accelerate import init_empty_weights

    made = _class_of(component)
    with _default_dtype(dtype), init_empty_weights(include_buffers=False):
        module = (
            made(made.config_class(**component.config)) if _is_of_transformers(component) else made(**component.config)
        )
    if _is_of_transformers(component):
        module.tie_weights()
    return module.eval()


class Noise:
    """Normally distributed numbers on a device, the same every time: one block, copied over and over.

    Drawing billions of numbers anew takes minutes on a CPU, where offloaded weights lie, and tells no more of time or memory.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._blocks: dict[Any, Any] = {}
        self._offset = 0

    def write(self, tensor: Any, deviation: float) -> None:
        """Fill a contiguous tensor with numbers of mean 0 and that standard deviation."""
        import torch

        if tensor.dtype not in self._blocks:
            generator = torch.Generator(self.device).manual_seed(WEIGHTS_SEED)
            block = torch.empty(NOISE_ELEMENTS, dtype=torch.float32, device=self.device).normal_(generator=generator)
            self._blocks[tensor.dtype] = block.to(tensor.dtype)
        block, flat, written = self._blocks[tensor.dtype], tensor.view(-1), 0
        while written < flat.numel():
            length = min(NOISE_ELEMENTS - self._offset, flat.numel() - written)
            source = block[self._offset : self._offset + length]
            torch.mul(source, deviation, out=flat[written : written + length])
            written += length
            self._offset = (self._offset + length) % NOISE_ELEMENTS


def fill(module: Any, dtype: Any, noise: Noise) -> None:
    """Give every parameter without memory random values on the noise's device.

    Matrices and kernels get a normal distribution with variance 1 / fan-in, which keeps the scale of what goes through;
    biases are 0, and other vectors, which scale, are 1.
    """
    import torch

    made: dict[int, Any] = {}
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        if id(parameter) not in made:
            kept = torch.float32 if stays_in_float32(module, name, dtype) else dtype
            tensor = torch.empty(parameter.shape, dtype=kept, device=noise.device)
            fan_in = parameter.numel() // parameter.shape[0] if parameter.ndim else 1
            if name.endswith("bias") and parameter.ndim < 2:
                tensor.zero_()
            elif fan_in == 1:
                tensor.fill_(1.0)
            else:
                noise.write(tensor, 1.0 / math.sqrt(fan_in))
            # The first entry keeps the old parameter alive: its id must not be given to another one.
            made[id(parameter)] = (parameter, torch.nn.Parameter(tensor, requires_grad=False))
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, made[id(parameter)][1])
    module.to(noise.device)


def stays_in_float32(module: Any, name: str, dtype: Any) -> bool:
    """Whether the libraries keep a parameter in float32 when they load a model in a smaller type.

    diffusers (0.42.1, `model_loading_utils`): its `_keep_in_fp32_modules`, by a part of the name, in any type. transformers
    (5.23, `modeling_utils`): these in float16 only, and the strict ones in bfloat16 too.
    """
    import torch

    parts = name.split(".")
    kept = set(getattr(module, "_keep_in_fp32_modules", None) or ())
    if type(module).__module__.startswith("transformers."):
        kept = kept if dtype == torch.float16 else set()
        kept |= set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    return any(part in kept for part in parts)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _class_of(component: Component) -> Any:
    return getattr(import_module(component.library), component.class_name)


def _is_of_transformers(component: Component) -> bool:
    return component.library == "transformers"

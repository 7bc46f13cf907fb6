"""Where a pipeline runs: device, offload, VAE tiling; and the accelerator's memory figures of a sample.

Refuses what a class or a machine does not support, with the reason, instead of running something else.
"""

from __future__ import annotations

import os
from typing import Any

from vidbench_api.names import Reason
from vidbench_runner.ports import AcceleratorMemory, ModelFailure, ModelRequest

DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("None", "Model", "Sequential", "Group")

TILES_ONLY = frozenset({"AutoencoderKLAllegro"})
"""VAEs whose decode without tiling is not implemented (diffusers 0.42.1)."""

ALIGNMENT_BYTES = 64
"""What torch's CPU allocator aligns to."""


def torch_dtype(name: str) -> Any:
    """The torch dtype of that name.

    Raises:
        ModelFailure: UnsupportedOption.
    """
    import torch

    if name not in DTYPES:
        raise ModelFailure(
            Reason.UNSUPPORTED_OPTION, f"dtype {name!r} is not supported; use one of {', '.join(DTYPES)}"
        )
    return getattr(torch, name)


def choose_algorithms(*, deterministic: bool) -> None:
    """Have torch use only algorithms that give the same bits again, where it has one, or the usual ones.

    Where there is none it warns and goes on: whether the bits were equal is then the finding. To be called before the first
    use of the accelerator: cuBLAS reads its workspace setting once.
    """
    import torch

    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def place(pipeline: Any, request: ModelRequest) -> str:
    """Put the pipeline on the accelerator, or where its offload wants it; return the device, `cuda` or `cpu`.

    Raises:
        ModelFailure: UnsupportedOption.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if request.vae_tiling:
        _tile(pipeline)
    elif type(getattr(pipeline, "vae", None)).__name__ in TILES_ONLY:
        raise _unsupported(f"{type(pipeline).__name__} decodes in tiles only: set vaeTiling: true")
    if request.offload not in OFFLOADS:
        raise _unsupported(f"offload {request.offload!r} is not one of {', '.join(OFFLOADS)}")
    if request.memory_cap_bytes is not None:
        _cap_memory(device, request.memory_cap_bytes)
    if request.offload == "None":
        pipeline.to(device)
        if device == "cpu":
            _own_memory(pipeline)
    elif device == "cpu":
        raise _unsupported(f"offload {request.offload} needs an accelerator, and this machine shows none")
    else:
        offload(pipeline, request.offload, device, tiled=request.vae_tiling, ahead=True)
    if device == "cuda":
        torch.cuda.synchronize()
    return device


def _cap_memory(device: str, cap: int) -> None:
    """Have the allocator refuse what goes beyond the cap, as a smaller accelerator would."""
    import torch

    if device == "cpu":
        raise _unsupported("memoryCapMebibytes needs an accelerator, and this machine shows none")
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if cap > total:
        raise _unsupported(f"memoryCapMebibytes is {cap >> 20}, and the accelerator has {total >> 20} MiB")
    torch.cuda.set_per_process_memory_fraction(cap / total)


def offload(pipeline: Any, kind: str, device: str, *, tiled: bool, ahead: bool) -> None:
    """Keep weights in host memory and bring them to `device` when they are needed.

    `ahead` fetches groups on a stream of their own before they are needed, which only an accelerator has.
    """
    import torch

    if kind == "Model":
        pipeline.enable_model_cpu_offload(device=device)
    elif kind == "Sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        _offload_by_groups(pipeline, torch.device(device), tiled=tiled, ahead=ahead)


def device_in_use() -> str:
    """`cuda` if this process holds a CUDA context by now, else `cpu`."""
    import torch

    cuda: Any = torch.cuda
    return "cuda" if cuda.is_available() and cuda.is_initialized() else "cpu"


def reset_accelerator_memory(device: str) -> None:
    """Start the peaks of a sample."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()


def accelerator_memory(device: str) -> AcceleratorMemory:
    """The peaks since `reset_accelerator_memory`, or since the start of the process, and what the allocator holds now.

    Never raises: it is read after failures.
    """
    if device == "cpu":
        return AcceleratorMemory(None, None, "cpu")
    import torch

    try:
        return AcceleratorMemory(
            torch.cuda.max_memory_allocated(),
            torch.cuda.max_memory_reserved(),
            None,
            reserved_now=torch.cuda.memory_reserved(),
        )
    except RuntimeError as error:
        return AcceleratorMemory(None, None, f"the device does not answer: {type(error).__name__}")


def _own_memory(pipeline: Any) -> None:
    """Copy weights that lie as their file has them into aligned memory of the process.

    Safetensors are mapped, not read: left so, the first sample pays for reading the file, and matrix products on unaligned
    weights take other kernels, whose results differ in the last bits from those on the same weights elsewhere.
    """
    import torch

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.data_ptr() % ALIGNMENT_BYTES:
                    tensor.data = tensor.data.clone()


def _tile(pipeline: Any) -> None:
    vae: Any = getattr(pipeline, "vae", None)
    try:
        vae.enable_tiling()
    except (AttributeError, NotImplementedError) as error:
        name = type(vae).__name__ if vae is not None else "no VAE"
        raise _unsupported(f"VAE tiling is not supported by {type(pipeline).__name__} ({name})") from error


def _offload_by_groups(pipeline: Any, device: Any, *, tiled: bool, ahead: bool) -> None:
    """Fetch leaf modules, ahead on a stream of their own where there is one.

    What is fetched next is learned from the order of the first pass. Tiles repeat that order within one decode, so a tiled
    VAE is fetched without looking ahead.
    """
    apart = ["vae"] if tiled else []
    pipeline.enable_group_offload(
        onload_device=device, offload_type="leaf_level", use_stream=ahead, exclude_modules=apart
    )
    if tiled:
        pipeline.vae.enable_group_offload(onload_device=device, offload_type="leaf_level")


def _unsupported(message: str) -> ModelFailure:
    return ModelFailure(Reason.UNSUPPORTED_OPTION, message)

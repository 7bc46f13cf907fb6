"""What decides times beside the model: processor, kernel and versions of the libraries, as this process finds them.

Reads metadata only and imports none of the libraries. The device is the trial's matter.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from vidbench_api.measured import Environment


def find_environment(processors: Path = Path("/proc/cpuinfo")) -> Environment:
    """Return the environment of this process, with `cpu` as its device."""
    return Environment(
        device="cpu",
        cpu=_processor_name(processors),
        cpu_count=len(os.sched_getaffinity(0)),
        kernel=platform.release()[:128],
        python=platform.python_version(),
        torch=_version("torch"),
        cuda=_cuda_version(),
        diffusers=_version("diffusers"),
        transformers=_version("transformers"),
        vidbench=_version("vidbench"),
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)[:64]
    except metadata.PackageNotFoundError:
        return None


def _cuda_version() -> str | None:
    """The CUDA runtime that the installed torch brings along; None for a torch without one."""
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12"):
        version = _version(name)
        if version is not None:
            return version
    return None


def _processor_name(processors: Path) -> str | None:
    try:
        lines = processors.read_text().splitlines()
    except OSError:
        return None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0][:128] if names else None

"""What this machine has: its GPUs, processors and memory, and the node that it stands for. Loads no torch.

NVML is asked through nvidia-ml-py, which the runner brings along, else `nvidia-smi`. What neither shows is not there.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vidbench_operator.core.observed import ObservedNode

GPU_RESOURCE: Final = "nvidia.com/gpu"
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_MEBIBYTE: Final = 1024 * 1024
_SMI: Final = ("nvidia-smi", "--query-gpu=uuid,name,driver_version,memory.total", "--format=csv,noheader,nounits")
_SMI_SECONDS: Final = 20
_NOT_IN_LABELS: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Gpu:
    """One GPU. `token` is what CUDA_VISIBLE_DEVICES calls it."""

    token: str
    name: str | None = None
    driver: str | None = None
    memory_mebibytes: int | None = None


@dataclass(frozen=True)
class Machine:
    """This machine, as far as a run needs to know it."""

    name: str
    gpus: tuple[Gpu, ...]
    cpus: int
    memory_mebibytes: int
    architecture: str
    kernel: str
    machine_id: str

    def labels(self) -> dict[str, str]:
        """Return the labels that a node of this machine would have, as GPU feature discovery and the kubelet write them."""
        shown = {
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(self.architecture, self.architecture),
            "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": self.name,
        }
        if not self.gpus:
            return shown
        first = self.gpus[0]
        shown["nvidia.com/gpu.count"] = str(len(self.gpus))
        if first.name and all(gpu.name == first.name for gpu in self.gpus):
            shown["nvidia.com/gpu.product"] = label_value(first.name)
        if first.driver:
            shown["nvidia.com/cuda.driver-version.full"] = label_value(first.driver)
        if first.memory_mebibytes and all(gpu.memory_mebibytes == first.memory_mebibytes for gpu in self.gpus):
            shown["nvidia.com/gpu.memory"] = str(first.memory_mebibytes)
        return shown

    def node(self) -> ObservedNode:
        """Return the machine as the one node of a cluster."""
        allocatable = {"cpu": str(self.cpus), "memory": f"{self.memory_mebibytes}Mi"}
        if self.gpus:
            allocatable[GPU_RESOURCE] = str(len(self.gpus))
        return ObservedNode(
            name=self.name,
            labels=self.labels(),
            ready=True,
            allocatable=allocatable,
            system={
                "architecture": self.labels()["kubernetes.io/arch"],
                "kernelVersion": self.kernel,
                "machineID": self.machine_id,
            },
        )


def label_value(text: str) -> str:
    """Return text in the form of a label's value: what it may not hold becomes `-`, as GPU feature discovery does it."""
    return _NOT_IN_LABELS.sub("-", text)[:63].strip("-_.")


def find_machine(
    environment: Mapping[str, str] = os.environ, list_gpus: Callable[[], list[Gpu]] | None = None
) -> Machine:
    """Look at this machine. `environment` may hide GPUs by CUDA_VISIBLE_DEVICES."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        name=label_value(platform.node().lower()) or "localhost",
        gpus=visible((list_gpus or find_gpus)(), environment.get(VISIBLE)),
        cpus=len(os.sched_getaffinity(0)),
        memory_mebibytes=pages // _MEBIBYTE,
        architecture=platform.machine(),
        kernel=platform.release(),
        machine_id=_machine_id(),
    )


def visible(gpus: list[Gpu], setting: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of CUDA_VISIBLE_DEVICES leaves, in its order; all of them for none.

    As CUDA does it: what comes after the first entry that names no GPU is not visible. A MIG slice is taken at its word.
    """
    if setting is None:
        return tuple(gpus)
    chosen: list[Gpu] = []
    for word in (part.strip() for part in setting.split(",")):
        if word.isdigit() and int(word) < len(gpus):
            chosen.append(gpus[int(word)])
            continue
        named = next((gpu for gpu in gpus if word.startswith("GPU-") and gpu.token.startswith(word)), None)
        if named is None and not word.startswith("MIG-"):
            break
        chosen.append(named or Gpu(word))
    return tuple(dict.fromkeys(chosen))


def find_gpus() -> list[Gpu]:
    """List the machine's NVIDIA GPUs; none where the driver does not answer."""
    try:
        import pynvml
    except ImportError:
        return parse_smi(_ask_smi())
    return list_by_nvml(pynvml)


def list_by_nvml(nvml: Any) -> list[Gpu]:
    """List the GPUs that a module `pynvml` shows."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    try:
        driver = str(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [
            Gpu(
                token=str(nvml.nvmlDeviceGetUUID(handle)),
                name=str(nvml.nvmlDeviceGetName(handle)),
                driver=driver,
                memory_mebibytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // _MEBIBYTE,
            )
            for handle in handles
        ]
    except nvml.NVMLError:
        return []
    finally:
        nvml.nvmlShutdown()


def parse_smi(text: str) -> list[Gpu]:
    """Read the lines of `nvidia-smi --query-gpu=uuid,name,driver_version,memory.total`; others are left out."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and fields[0].startswith("GPU-"):
            gpus.append(Gpu(fields[0], fields[1], fields[2], int(fields[3]) if fields[3].isdigit() else None))
    return gpus


def _ask_smi() -> str:
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""

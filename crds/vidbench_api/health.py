"""The health of the host that a shard ran on: what is looked at, the admin's limits, and which of them a look crosses.

Runner and operator judge by the same function: the runner decides whether a shard starts and counts, the operator whether
somebody is told. A figure that was not measured crosses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import ApiModel, Count

_MEBIBYTE = 1024 * 1024
_Bytes = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
_Mebibytes = Annotated[int, Field(ge=0, le=16_777_216)]


class HostHealth(ApiModel):
    """One look at a host and its GPU. A figure that could not be read is absent, and `unmeasured` says why."""

    cpu_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Busy share of all processors of the host, over a moment without work of the shard."
    )
    memory_available_bytes: _Bytes | None = Field(
        default=None, description="Memory of the host that can be had without swapping."
    )
    cgroup_memory_bytes: _Bytes | None = Field(default=None, description="Memory of the container's cgroup.")
    scratch_free_bytes: _Bytes | None = Field(
        default=None, description="Free on the file system of the temporary folder."
    )
    gpu_temperature_celsius: Annotated[int, Field(ge=-50, le=200)] | None = None
    gpu_foreign_memory_bytes: _Bytes | None = Field(default=None, description="GPU memory that others use.")
    gpu_uncorrected_errors: Count | None = Field(
        default=None, description="Uncorrected ECC errors since the driver was loaded."
    )
    gpu_xids: Count | None = Field(
        default=None, description="Xid errors that the driver told of since the shard began."
    )
    gpu_last_xid: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class Health(ApiModel):
    """The host before a shard loaded its model, and after its last sample."""

    before: HostHealth | None = None
    after: HostHealth | None = None


class HealthLimits(ApiModel):
    """Limits of a host's health. One that is absent is none.

    A host that crosses one before a shard does not get it; one that does after it makes the shard Invalid.
    """

    max_gpu_temperature_celsius: Annotated[int, Field(ge=20, le=120)] | None = None
    min_free_scratch_mebibytes: _Mebibytes | None = None
    min_available_memory_mebibytes: _Mebibytes | None = None
    max_host_cpu_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    max_foreign_gpu_memory_mebibytes: _Mebibytes | None = None


class HealthFinding(StrEnum):
    """What is wrong with a host; stands among the reasons of an Invalid shard."""

    GPU_TOO_HOT = "GpuTooHot"
    DISK_LOW = "DiskLow"
    MEMORY_LOW = "MemoryLow"
    CPU_BUSY = "CpuBusy"
    GPU_SHARED = "GpuShared"
    ECC_ERRORS = "EccErrors"
    XID_ERRORS = "XidErrors"


@dataclass(frozen=True)
class Crossing:
    """A limit that a look crosses; `text` names figure, limit and field for people."""

    finding: HealthFinding
    text: str


def crossings(limits: HealthLimits, look: HostHealth) -> tuple[Crossing, ...]:
    """Return the limits that a look crosses. A figure equal to its limit crosses nothing."""
    return tuple(_crossings(limits, look))


def _crossings(limits: HealthLimits, look: HostHealth) -> Iterator[Crossing]:
    temperature, hottest = look.gpu_temperature_celsius, limits.max_gpu_temperature_celsius
    if temperature is not None and hottest is not None and temperature > hottest:
        text = f"the GPU has {temperature} °C, above health.maxGpuTemperatureCelsius: {hottest}"
        yield Crossing(HealthFinding.GPU_TOO_HOT, text)
    cpu, busiest = look.cpu_percent, limits.max_host_cpu_percent
    if cpu is not None and busiest is not None and cpu > busiest:
        yield Crossing(
            HealthFinding.CPU_BUSY, f"the processors are {cpu} % busy, above health.maxHostCpuPercent: {busiest}"
        )
    foreign, most = _mebibytes(look.gpu_foreign_memory_bytes), limits.max_foreign_gpu_memory_mebibytes
    if foreign is not None and most is not None and foreign > most:
        text = f"others use {foreign:.0f} MiB of the GPU, above health.maxForeignGpuMemoryMebibytes: {most}"
        yield Crossing(HealthFinding.GPU_SHARED, text)
    scratch, least = _mebibytes(look.scratch_free_bytes), limits.min_free_scratch_mebibytes
    if scratch is not None and least is not None and scratch < least:
        text = f"{scratch:.0f} MiB of scratch are free, below health.minFreeScratchMebibytes: {least}"
        yield Crossing(HealthFinding.DISK_LOW, text)
    memory, lowest = _mebibytes(look.memory_available_bytes), limits.min_available_memory_mebibytes
    if memory is not None and lowest is not None and memory < lowest:
        text = f"{memory:.0f} MiB of memory are available, below health.minAvailableMemoryMebibytes: {lowest}"
        yield Crossing(HealthFinding.MEMORY_LOW, text)


def faults(health: Health) -> tuple[Crossing, ...]:
    """Return the GPU's own errors between the two looks: they need no limit."""
    found = []
    before, after = health.before or HostHealth(), health.after or HostHealth()
    if before.gpu_uncorrected_errors is not None and after.gpu_uncorrected_errors is not None:
        more = after.gpu_uncorrected_errors - before.gpu_uncorrected_errors
        if more > 0:
            found.append(Crossing(HealthFinding.ECC_ERRORS, f"{more} uncorrected ECC errors of the GPU"))
    if after.gpu_xids:
        text = f"{after.gpu_xids} Xid errors of the GPU, the last one {after.gpu_last_xid}"
        found.append(Crossing(HealthFinding.XID_ERRORS, text))
    return tuple(found)


def _mebibytes(number: int | None) -> float | None:
    return None if number is None else number / _MEBIBYTE

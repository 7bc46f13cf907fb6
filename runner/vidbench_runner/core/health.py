"""Whether a host is fit for a shard, and whether what was measured on it counts. Pure.

Before the load a crossed limit keeps the shard from this host: another node may be well. After the last sample it makes
the shard Invalid, as do errors that the GPU had meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidbench_api.health import Health, HealthLimits, HostHealth, crossings, faults
from vidbench_runner.core.columns import REASON_CHARACTERS
from vidbench_runner.core.endings import HostUnfit, shortened
from vidbench_runner.ports import DeviceReading, HostLook

NOT_READ = "not_read"
HOST_FIGURES = ("cpu_percent", "memory_available_bytes", "cgroup_memory_bytes", "scratch_free_bytes")
GPU_FIGURES = ("gpu_temperature_celsius", "gpu_foreign_memory_bytes", "gpu_uncorrected_errors", "gpu_xids")
"""Each of these is there or has a reason; the last Xid is no figure but says which."""


@dataclass(frozen=True)
class Look:
    """One look, and why figures are absent from it, by the names that `unmeasured` gives them."""

    health: HostHealth
    unmeasured: dict[str, str]


def look_of(host: HostLook, device: DeviceReading) -> Look:
    """Put together what host and device showed at one moment."""
    health = HostHealth(
        cpu_percent=host.cpu_percent,
        memory_available_bytes=host.memory_available_bytes,
        cgroup_memory_bytes=host.cgroup_memory_bytes,
        scratch_free_bytes=host.scratch_free_bytes,
        gpu_temperature_celsius=device.temperature_celsius,
        gpu_foreign_memory_bytes=device.foreign_memory_bytes,
        gpu_uncorrected_errors=device.uncorrected_errors,
        gpu_xids=device.xids,
        gpu_last_xid=device.last_xid,
    )
    of_device = shortened(device.reason or NOT_READ, REASON_CHARACTERS)
    unmeasured = {f"health{_camel(name)}": NOT_READ for name in HOST_FIGURES if getattr(health, name) is None}
    absent = [name for name in GPU_FIGURES if getattr(health, name) is None]
    # No figure of the GPU at all has one reason, not the same one four times: the message is short.
    named = ["gpu"] if len(absent) == len(GPU_FIGURES) else absent
    return Look(health, unmeasured | {f"health{_camel(name)}": of_device for name in named})


def refusal_of(limits: HealthLimits, before: HostHealth, other_processes: int | None = None) -> HostUnfit | None:
    """Return why a shard does not begin on a host, or None. `other_processes` are those that are none too many."""
    wrong = [crossing.text for crossing in crossings(limits, before)]
    if other_processes:
        wrong.append(f"{other_processes} other processes use the GPU, and validity.exclusiveGpu is Require")
    return HostUnfit("; ".join(wrong)) if wrong else None


def reasons_against(limits: HealthLimits, health: Health) -> tuple[str, ...]:
    """Return why what was measured does not count, for all that the host showed after it."""
    found = (*crossings(limits, health.after or HostHealth()), *faults(health))
    return tuple(crossing.finding.value for crossing in found)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))

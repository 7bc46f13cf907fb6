"""Peak memory of a shard: which figures count, and why others are absent. Pure.

Once samples are measured, their peaks count and those of warm-ups no more; until then, whatever there was. A failure
counts always: what was in use when memory ran out is the finding.

The driver is asked when a clip is done, and offload by model has then taken everything off the device. What the allocator
had at its peak and no longer has is therefore added to what the driver says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidbench_api.measured import ColdMemory, Memory, SeriesName
from vidbench_api.verdict import Verdict
from vidbench_runner.core.columns import REASON_CHARACTERS
from vidbench_runner.core.endings import shortened
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.ports import AcceleratorMemory, DeviceReading, HostReading

NOT_READ = "not_read"
_NAMED_BY_SERIES = frozenset({SeriesName.MEMORY_ALLOCATED.value, SeriesName.MEMORY_RESERVED.value})


@dataclass(frozen=True)
class Failure:
    """What a failed attempt had in use when it failed."""

    accelerator: AcceleratorMemory | None
    device: DeviceReading


def peak_memory(
    warmups: Sequence[MeasuredSample],
    samples: Sequence[MeasuredSample],
    failure: Failure | None,
    last: DeviceReading,
    host: HostReading,
    cap: int | None = None,
) -> tuple[Memory, dict[str, str]]:
    """Return the peaks so far, and the reasons of those that are absent by the names that `unmeasured` gives them."""
    seen = samples or warmups
    allocator = (failure.accelerator if failure is not None else None) or AcceleratorMemory(None, None, None)
    allocator_reason = seen[0].clip.memory_reason if seen else allocator.reason
    devices = [_device_peak(sample) for sample in seen] or [last.memory_used_bytes]
    if failure is not None:
        devices.append(_with_given_back(failure.device.memory_used_bytes, allocator.reserved, allocator.reserved_now))
    figures: Mapping[str, tuple[int | None, str | None]] = {
        "allocated": (
            _largest([*(sample.clip.memory_allocated_bytes for sample in seen), allocator.allocated]),
            allocator_reason,
        ),
        "reserved": (
            _largest([*(sample.clip.memory_reserved_bytes for sample in seen), allocator.reserved]),
            allocator_reason,
        ),
        "device": (_largest(devices), last.reason),
        "host": (host.peak_resident_bytes, None),
        "cgroup": (host.cgroup_peak_bytes, None),
    }
    reasons = {
        f"memory{name.capitalize()}": shortened(reason or NOT_READ, REASON_CHARACTERS)
        for name, (value, reason) in figures.items()
        if value is None
    }
    if samples:
        # The columns of the samples say it of these two.
        reasons = {name: reason for name, reason in reasons.items() if name not in _NAMED_BY_SERIES}
    return Memory(cap=cap, **{name: value for name, (value, _) in figures.items()}), reasons


def cold_memory(warmups: Sequence[MeasuredSample]) -> ColdMemory | None:
    """Return the peaks of the first warm-up; None without one, or on a machine without an accelerator."""
    if not warmups:
        return None
    first = warmups[0]
    cold = ColdMemory(
        allocated=first.clip.memory_allocated_bytes,
        reserved=first.clip.memory_reserved_bytes,
        device=_device_peak(first),
    )
    return cold if cold != ColdMemory() else None


def with_outer_peaks(verdict: Verdict, host: int | None, cgroup: int | None) -> Verdict:
    """Return the verdict with what its supervisor sees of memory, where that is more than the worker last said.

    A worker that was killed for its memory had no time to say how much it was.
    """
    memory = verdict.memory or Memory()
    peaks = {"host": _largest([memory.host, host]), "cgroup": _largest([memory.cgroup, cgroup])}
    if (memory.host, memory.cgroup) == (peaks["host"], peaks["cgroup"]):
        return verdict
    told = {f"memory{name.capitalize()}" for name, value in peaks.items() if value is not None}
    unmeasured = {name: reason for name, reason in verdict.unmeasured.items() if name not in told}
    return verdict.model_copy(update={"memory": memory.model_copy(update=peaks), "unmeasured": unmeasured})


def _device_peak(sample: MeasuredSample) -> int | None:
    clip = sample.clip
    return _with_given_back(
        sample.device.memory_used_bytes, clip.memory_reserved_bytes, clip.memory_reserved_after_bytes
    )


def _with_given_back(used: int | None, peak: int | None, now: int | None) -> int | None:
    """What the device had in use at the allocator's peak: what it uses now, and what the allocator gave back since."""
    if used is None or peak is None or now is None:
        return used
    return used + max(0, peak - now)


def _largest(values: Iterable[int | None]) -> int | None:
    seen = [value for value in values if value is not None]
    return max(seen) if seen else None

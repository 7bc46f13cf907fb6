"""One finished sample: its figures without its frames, and the line that the raw record keeps of it.

Pure. The line holds nanoseconds as they were read; rounding is the columns' matter.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vidbench_runner.ports import DeviceReading, GeneratedClip

SCHEMA = "vidbench.io/sample/1"
NANOSECONDS_PER_SECOND = 1_000_000_000
SHORTEST_ENERGY_WINDOW_NANOSECONDS = NANOSECONDS_PER_SECOND
"""The driver's energy counter moves in steps of some 10 to 100 ms: over less than a second it says too little."""


@dataclass(frozen=True)
class Energy:
    """What the device's counter moved by, in millijoules, while a sample was generated; None with a reason."""

    millijoules: int | None
    window_nanoseconds: int
    """Time between the two readings of the counter: the sample, and the rounding of its frames."""

    reason: str | None = None


@dataclass(frozen=True)
class MeasuredSample:
    """A sample that was generated. `clip` no longer holds the frames."""

    number: int
    """From 0, counted apart for warm-ups and measured samples."""

    warmup: bool
    prompt: str
    seed: int
    clip: GeneratedClip
    digest: str
    """SHA-256 of the raw frames, in hex."""

    energy: Energy
    device: DeviceReading
    """The device right after the sample."""

    @property
    def name(self) -> str:
        """Return a name that files of this sample carry."""
        return f"{'warmup' if self.warmup else 'sample'}-{self.number:03d}"

    def to_line(self, video: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object of the raw record; `video` names the stored file, if there is one."""
        clip = self.clip
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "number": self.number,
            "warmup": self.warmup,
            "prompt": self.prompt,
            "seed": self.seed,
            "latencyNanoseconds": clip.latency_nanoseconds,
            "phaseNanoseconds": {phase.value: clip.phase_nanoseconds.get(phase) for phase in clip.phase_nanoseconds},
            "phaseCalls": {phase.value: calls for phase, calls in clip.phase_calls.items()},
            "denoiserForwardCalls": clip.denoiser_forward_calls,
            "stepNanoseconds": list(clip.step_nanoseconds),
            "callMismatches": [
                {"phase": mismatch.phase.value, "expected": mismatch.expected, "seen": mismatch.seen}
                for mismatch in clip.call_mismatches
            ],
            "frames": clip.delivered_frames,
            "height": clip.delivered_height,
            "width": clip.delivered_width,
            "framesSha256": self.digest,
            "memoryAllocatedBytes": clip.memory_allocated_bytes,
            "memoryReservedBytes": clip.memory_reserved_bytes,
            "memoryReason": clip.memory_reason,
            "energyMillijoules": self.energy.millijoules,
            "energyWindowNanoseconds": self.energy.window_nanoseconds,
            "energyReason": self.energy.reason,
            "device": asdict(self.device),
        }
        return line if video is None else line | {"video": video}


def energy_between(before: DeviceReading, after: DeviceReading, window_nanoseconds: int) -> Energy:
    """Return the energy between two readings; None where the counter does not speak of this sample alone."""

    def unknown(reason: str) -> Energy:
        return Energy(None, window_nanoseconds, reason)

    if before.mig or after.mig:
        return unknown("mig")
    if before.total_energy_millijoules is None or after.total_energy_millijoules is None:
        return unknown(after.reason or before.reason or "no_counter")
    if before.uuid != after.uuid or after.total_energy_millijoules < before.total_energy_millijoules:
        return unknown("counter_reset")
    if window_nanoseconds < SHORTEST_ENERGY_WINDOW_NANOSECONDS:
        return unknown("window_below_1s")
    return Energy(after.total_energy_millijoules - before.total_energy_millijoules, window_nanoseconds)

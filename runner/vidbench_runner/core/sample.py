"""One finished sample: its figures without its frames, and the line that the raw record keeps of it.

Pure. The line holds nanoseconds as they were read; rounding is the columns' matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vidbench_api.verdict import Phase
from vidbench_runner.core.device_watch import WatchedSample
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.quality import NOT_ASSESSED, NOT_STORED, quality_line, quality_of_line
from vidbench_runner.ports import CallMismatch, ClipQuality, DeviceReading, GeneratedClip, ServiceCall

SCHEMA = "vidbench.io/sample/1"
_PHASES = tuple(Phase)


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

    quality: ClipQuality = NOT_ASSESSED
    latents_digest: str | None = None
    """SHA-256 of the final latents, in hex; None where the decoder was not seen."""

    watch: WatchedSample = field(default_factory=WatchedSample)
    """The device while it was generated."""

    @property
    def name(self) -> str:
        """Return a name that files of this sample carry."""
        return f"{'warmup' if self.warmup else 'sample'}-{self.number:03d}"

    def to_line(self, video: Mapping[str, str | int] | None = None) -> dict[str, Any]:
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
            "latentsSha256": self.latents_digest,
            "memoryAllocatedBytes": clip.memory_allocated_bytes,
            "memoryReservedBytes": clip.memory_reserved_bytes,
            "memoryReason": clip.memory_reason,
            "memoryReservedAfterBytes": clip.memory_reserved_after_bytes,
            "energyMillijoules": self.energy.millijoules,
            "energyWindowNanoseconds": self.energy.window_nanoseconds,
            "energyReason": self.energy.reason,
            "energySampledMillijoules": self.energy.sampled_millijoules,
            "energyPhasesMillijoules": dict(self.energy.phases),
            "watch": asdict(self.watch),
            "device": asdict(self.device),
            "quality": quality_line(self.quality),
        }
        if clip.compilations is not None:
            line |= {"compilations": clip.compilations, "compileNanoseconds": clip.compile_nanoseconds}
        if clip.phases_reason is not None:
            line["phasesReason"] = clip.phases_reason
        if clip.service is not None:
            line["service"] = asdict(clip.service)
        return line if video is None else line | {"video": video}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> MeasuredSample:
        """Return the sample of a line; how many calls its class should make is not in there.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no line of this schema.
        """
        if line["schema"] != SCHEMA:
            raise ValueError(f"schema {line['schema']!r}, not {SCHEMA}")
        clip = GeneratedClip(
            latency_nanoseconds=_whole(line["latencyNanoseconds"]),
            phase_nanoseconds={phase: _optional(taken) for phase, taken in _by_phase(line["phaseNanoseconds"])},
            phase_calls={phase: _whole(calls) for phase, calls in _by_phase(line["phaseCalls"])},
            denoiser_forward_calls=_optional(line["denoiserForwardCalls"]),
            step_nanoseconds=tuple(_whole(step) for step in line["stepNanoseconds"]),
            delivered_frames=_whole(line["frames"]),
            delivered_height=_whole(line["height"]),
            delivered_width=_whole(line["width"]),
            frames=None,
            finite=True,
            memory_allocated_bytes=_optional(line["memoryAllocatedBytes"]),
            memory_reserved_bytes=_optional(line["memoryReservedBytes"]),
            memory_reason=line["memoryReason"],
            memory_reserved_after_bytes=_optional(line.get("memoryReservedAfterBytes")),
            call_mismatches=tuple(
                CallMismatch(Phase(entry["phase"]), _whole(entry["expected"]), _whole(entry["seen"]))
                for entry in line["callMismatches"]
            ),
            compilations=_optional(line.get("compilations")),
            compile_nanoseconds=_optional(line.get("compileNanoseconds")),
            phases_reason=line.get("phasesReason"),
            service=ServiceCall(**line["service"]) if "service" in line else None,
        )
        return cls(
            number=_whole(line["number"]),
            warmup=bool(line["warmup"]),
            prompt=str(line["prompt"]),
            seed=_whole(line["seed"]),
            clip=clip,
            digest=str(line["framesSha256"]),
            energy=Energy(
                _optional(line["energyMillijoules"]),
                _whole(line["energyWindowNanoseconds"]),
                line["energyReason"],
                _optional(line.get("energySampledMillijoules")),
                {str(Phase(name)): _whole(taken) for name, taken in line.get("energyPhasesMillijoules", {}).items()},
            ),
            device=DeviceReading(**line["device"]),
            quality=quality_of_line(line["quality"]) if "quality" in line else NOT_STORED,
            latents_digest=line.get("latentsSha256"),
            watch=WatchedSample(**line.get("watch", {})),
        )


def _by_phase(values: Mapping[str, Any]) -> list[tuple[Phase, Any]]:
    """In the order of the phases, which the line does not keep: rounding to microseconds goes by it."""
    return sorted(((Phase(name), value) for name, value in values.items()), key=lambda entry: _PHASES.index(entry[0]))


def _whole(value: Any) -> int:
    """A number that is a whole one, and no boolean."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} where a whole number was expected")
    return value


def _optional(value: Any) -> int | None:
    return None if value is None else _whole(value)

"""What the measuring core needs of the world, as protocols and plain values.

The core (`vidbench_runner.core`) runs a trial against these and knows no torch, no NVML and no file system. Times are
integer nanoseconds of one monotonic clock, memory is bytes. A figure that was not measured is None and has a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vidbench_api.measured import SeriesName
from vidbench_api.pipeline_classes import Input
from vidbench_api.services import HttpSource, MockSource
from vidbench_api.verdict import LoadPhase, Phase, Stage
from vidbench_runner.core.purse import Purse


@dataclass(frozen=True)
class ClipRequest:
    """What one call of a pipeline is asked for. `arguments` are extra call arguments, checked before the load."""

    prompt: str
    negative_prompt: str | None
    seed: int
    height: int
    width: int
    frames: int
    steps: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRequest:
    """Which pipeline to load, from where and how; resolved at acceptance, never changed in flight."""

    backend: str
    """`diffusers` (a folder or a hub id), `tiny` (built here, small), `random` (built here, in a model's true size), `http` or `mock`."""

    pipeline_class: str | None
    """A class of diffusers; None lets the folder's model_index.json decide."""

    source: str
    """A folder's path, a hub id, for `tiny` the name of a preset, for `random` that of an architecture, for `http` the server's
    name of the model.
    """

    commit: str | None
    """The hub commit, 40 hex digits; None for a folder."""

    dtype: str
    """`float32`, `bfloat16` or `float16`."""

    component_dtypes: Mapping[str, str] = field(default_factory=dict)
    """Components that need another dtype than the rest, e.g. `{"vae": "float32"}`."""

    offload: str = "None"
    vae_tiling: bool = False
    attention: str = "Default"
    """What computes attention in the denoisers, by the API's name."""

    compile: str = "None"
    """Mode of torch.compile for the denoisers, by the API's name."""

    memory_cap_bytes: int | None = None
    """What the allocator may take of the accelerator's memory; None: all there is."""

    deterministic: bool = False
    """Whether only algorithms are used that give the same bits again, as far as the framework has them: never timed."""

    http: HttpSource | None = None
    """The server, for `http`."""

    mock: MockSource | None = None
    """How long to sleep, for `mock`."""

    frames_per_second: int = 16
    """What a server is asked for; a pipeline of ours makes frames, and knows no time."""
    architecture_digest: str | None = None
    """For `random`: what the operator means by the architecture's name."""


@dataclass(frozen=True)
class LoadedModel:
    """What a load found out. Seconds are in nanoseconds; dtypes and parameter counts are read off the modules."""

    pipeline_class: str
    load_nanoseconds: int | None
    """None where nothing was loaded: random weights, a server, a mock."""

    to_device_nanoseconds: int | None
    """None where nothing is moved."""

    device: str
    """What computes: as torch calls it, or `service` or `mock`, where no device of this machine does."""

    component_dtypes: Mapping[str, str]
    component_parameters: Mapping[str, int]
    timed_call_nanoseconds: int | None
    """What timing one call costs on this machine; None where no calls are timed."""

    frame_grid: str | None
    """Which frame counts the pipeline can deliver, e.g. `4k+1`; None where it takes any."""

    opaque_reason: str | None = None
    """Why nothing is known of its modules, e.g. `unsupported`; None where they were looked at."""

    purse: Purse | None = None
    """What a service was asked for so far, and at what cost; None for a model of ours."""
    weights: Literal["Pretrained", "Random"] = "Pretrained"
    synthetic_tokenizer: bool = False

    inputs: tuple[Input, ...] = ("Prompt",)
    """What clips are made from; an image is synthetic, drawn from the seed."""

    fetch_nanoseconds: int | None = None
    """Finding the weights at their hub and downloading them; None where they come from elsewhere."""

    fetch_bytes: int | None = None
    """How much was downloaded: 0 where all of it was here already."""


@dataclass(frozen=True)
class AcceleratorMemory:
    """Peak bytes of the caching allocator since the clip or the load began; None with a reason without an accelerator."""

    allocated: int | None
    reserved: int | None
    reason: str | None
    reserved_now: int | None = None
    """What it holds at this moment: less than the peak where it has given memory back since, as offload by model does."""


@dataclass(frozen=True)
class PhaseStretch:
    """A stretch of a sample that one phase had, in nanoseconds since the sample's start."""

    phase: Phase
    start: int
    end: int


@dataclass(frozen=True)
class CallMismatch:
    """A phase whose calls, in one sample, were not as many as its pipeline class is known to make.

    Such a sample's phases cannot be trusted: a call was missed by the seam, or the pipeline did other work than thought.
    """

    phase: Phase
    expected: int
    seen: int


@dataclass(frozen=True)
class ServiceCall:
    """What a server told of one clip. Times are None where it does not tell."""

    request_id: str
    queue_nanoseconds: int | None
    """From the submission until a poll first saw the job begun, as this client saw it: good to the poll interval."""

    run_nanoseconds: int | None
    """What the server says that the job took."""

    polls: int
    transient_errors: int
    """Answers that were tried again: too many requests, server errors, broken connections."""


@dataclass(frozen=True)
class GeneratedClip:
    """One generated clip and what its generation cost.

    `phase_nanoseconds` has an entry for every `Phase`; None means that no call of that phase was seen, and
    `phase_calls` then says 0. The entries that are not None sum to `latency_nanoseconds` exactly.
    """

    latency_nanoseconds: int
    phase_nanoseconds: Mapping[Phase, int | None]
    phase_calls: Mapping[Phase, int]
    denoiser_forward_calls: int | None
    step_nanoseconds: tuple[int, ...]
    delivered_frames: int
    delivered_height: int
    delivered_width: int
    frames: Any
    """uint8 RGB array of shape (frames, height, width, 3), rounded from the pipeline's float output."""

    finite: bool
    """Whether every value of the pipeline's float output was finite; a NaN output is a failure, never a sample."""

    latents: tuple[Any, ...] = ()
    """The bytes that the decoder was given, in order, as uint8 arrays on the host; empty where it was not seen."""

    memory_allocated_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_reason: str | None = None
    """Why the two are None, e.g. `cpu`."""

    memory_reserved_after_bytes: int | None = None
    """What the allocator still held when the clip was done: what the device then uses is to be told from its peak."""

    call_mismatches: tuple[CallMismatch, ...] = ()
    """Phases whose call count is not what the class makes; empty as well for a class whose counts are not known."""

    phase_stretches: tuple[PhaseStretch, ...] = ()
    """When which phase ran, in order; neighbours of one phase are one stretch. Empty where that is not known."""

    expected_calls: Mapping[Phase, int] = field(default_factory=dict)
    """How many calls of which phase the class makes for this clip; empty for a class whose counts are not known."""

    compilations: int | None = None
    """Graphs that torch compiled in this clip; None for a model that is not compiled. After the first clip: recompiles."""

    compile_nanoseconds: int | None = None
    """How much of the latency was spent compiling them."""

    phases_reason: str | None = None
    """Why nothing is known of phases, calls and steps, e.g. `unsupported` by a backend that does not see them."""

    service: ServiceCall | None = None
    """What a service told of this clip; None for a model of ours."""


@dataclass(frozen=True)
class ClipQuality:
    """What the raw frames of one clip show, by the definitions of docs/quality.md.

    Every column of quality stands either in `figures`, in its natural unit (shares of 1, pixels, frames), or in `reasons`.
    """

    figures: Mapping[SeriesName, float]
    reasons: Mapping[SeriesName, str]
    blank: bool | None = None
    """Whether nothing is to be seen in any frame; None where that was not looked at."""

    static: bool | None = None
    """Whether all frames show the same; None for a single frame, or where that was not looked at."""

    occluded: float | None = None
    """Mean share of the picture that could not be followed from one frame to the next."""

    nanoseconds: int = 0
    """What looking took, after the sample's clock had stopped."""


class ClipAssessor(Protocol):
    """Looks at the raw frames of a clip: `quality.assessment`."""

    def assess(self, frames: Any, progress: Progress) -> ClipQuality:
        """Measure uint8 RGB frames (frames, height, width, 3), telling of progress; what fails is a reason, not an error."""
        ...


class VideoModel(Protocol):
    """A pipeline that can be loaded once and called many times. Implemented in `backends`."""

    def load(self, request: ModelRequest) -> LoadedModel:
        """Load the pipeline; raises a `ModelFailure` with the reason."""
        ...

    def check(self, clip: ClipRequest) -> None:
        """Refuse a clip that the pipeline's signature or size rules do not allow, before any time is spent."""
        ...

    def generate(self, clip: ClipRequest) -> GeneratedClip:
        """Generate one clip; raises a `ModelFailure` (out of memory, failed call, ...)."""
        ...

    def free(self) -> None:
        """Give memory back as far as possible."""
        ...


@dataclass(frozen=True)
class DeviceReading:
    """One look at the device. None where the meter cannot tell; `reason` then says why."""

    name: str | None = None
    uuid: str | None = None
    driver: str | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    total_energy_millijoules: int | None = None
    power_milliwatts: int | None = None
    power_limit_milliwatts: int | None = None
    temperature_celsius: int | None = None
    sm_clock_megahertz: int | None = None
    throttle_reasons: int | None = None
    other_processes: int | None = None
    mig: bool | None = None
    ecc: bool | None = None
    foreign_memory_bytes: int | None = None
    """What others use of the device's memory."""

    uncorrected_errors: int | None = None
    """Uncorrected ECC errors since the driver was loaded."""

    xids: int | None = None
    """Xid errors of the device that the driver told of since this meter was made."""

    last_xid: int | None = None
    reason: str | None = None


class DeviceMeter(Protocol):
    """Reads the accelerator from outside the framework. `meters.null` stands in where there is none."""

    def read(self) -> DeviceReading:
        """Take one reading; never raises."""
        ...

    def close(self) -> None:
        """Let the driver go."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One of the readings that are taken all the time; None where the device does not tell."""

    nanoseconds: int
    """On the monotonic clock that all processes of the machine share."""

    power_milliwatts: int | None = None
    sm_clock_megahertz: int | None = None
    memory_clock_megahertz: int | None = None
    temperature_celsius: int | None = None
    clock_reasons: int | None = None
    """NVML's bits of why the clocks are not higher."""


class DeviceWatch(Protocol):
    """Readings of the device that somebody takes ten times a second while this process works."""

    @property
    def reason(self) -> str | None:
        """Return why there are no readings; None where there are."""
        ...

    def between(self, start: int, end: int, /) -> tuple[DeviceSample, ...]:
        """Return the readings between two moments in nanoseconds, in order; those that were overwritten are missing."""
        ...

    def cost_ppm(self) -> int | None:
        """Return the processor time that the readings take, in millionths of one processor."""
        ...

    def rest(self, nanoseconds: int, /) -> None:
        """Do nothing for so long."""
        ...


@dataclass(frozen=True)
class HostReading:
    """One look at this process and its container. Peaks are since the start of each; counters only grow.

    None where the kernel or the container does not show it.
    """

    peak_resident_bytes: int | None = None
    """Peak resident set of this process."""

    cgroup_peak_bytes: int | None = None
    """Peak memory of the container's cgroup, page cache included."""

    cpu_throttled_periods: int | None = None
    """`nr_throttled` of the container's cgroup: take the difference of two readings."""

    cpu_throttled_microseconds: int | None = None
    cpu_periods: int | None = None
    """`nr_periods` of the same cgroup: enforcement periods in which it ran; 0 where it has no limit."""


@dataclass(frozen=True)
class HostLook:
    """The host as a whole, for its health; None where it does not show it."""

    cpu_percent: int | None = None
    memory_available_bytes: int | None = None
    cgroup_memory_bytes: int | None = None
    scratch_free_bytes: int | None = None


class HostMeter(Protocol):
    """Reads the host's side: `meters.host`."""

    def read(self) -> HostReading:
        """Take one reading; never raises."""
        ...

    def look(self) -> HostLook:
        """Look at the host for a quarter of a second, in which this process does nothing; never raises."""
        ...


class Clock(Protocol):
    """A monotonic clock."""

    def nanoseconds(self) -> int:
        """Return nanoseconds since an arbitrary start."""
        ...


Heartbeat = Callable[[Stage, str], None]
"""Called at every boundary and denoising step with the stage and a short word on what was reached."""


Progress = Callable[[str], None]
"""What a `VideoModel` is built with: called at every boundary and denoiser call with a short word on what was reached.

A model does not know whether it is warming up or sampling; the worker binds the stage and passes it on as `Heartbeat`.
It runs between two clock readings of the sample: keep it to a few microseconds.
"""


class ModelFailure(Exception):  # noqa: N818 - a failure of the model is a finding, not an error of ours
    """A model could not be loaded or run. `reason` is one of `vidbench_api.names.Reason`."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        phase: Phase | LoadPhase | None = None,
        memory: AcceleratorMemory | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.phase = phase
        self.memory = memory
        """Peak of the accelerator's memory up to the failure; None where the model could not look."""

"""What a runner measured of one shard: the parts that its verdict and the `BenchmarkResult` share.

A figure that was not measured is absent and `unmeasured` says why, by the figure's name. Times are integer
microseconds, memory is bytes, energy is millijoules. Statistics are exact over all measured samples; the values of a
series are quantised by its `step` (1 where nothing was lost).
"""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from .base import ATOMIC, SET, ApiModel, Count, Microseconds, ShortText, map_list
from .health import Health
from .names import MAX_SAMPLES, Validity
from .pipeline_classes import Input
from .services import ServiceFacts

Figure = Annotated[int, Field(ge=-9_007_199_254_740_991, le=9_007_199_254_740_991)]
Bytes = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
Text64 = Annotated[str, Field(max_length=64)]
Text128 = Annotated[str, Field(max_length=128)]


Unit = Literal["microseconds", "bytes", "millijoules", "count", "partsPerMillion", "millipixels"]


class SeriesName(StrEnum):
    """The columns of a shard, one value a sample. In the order in which they are kept when space runs out."""

    LATENCY = "latency"
    DENOISE = "denoise"
    VAE_DECODE = "vaeDecode"
    STEP = "step"
    ENERGY = "energy"
    ENERGY_NET = "energyNet"
    MEMORY_ALLOCATED = "memoryAllocated"
    MEMORY_RESERVED = "memoryReserved"
    TEXT_ENCODE = "textEncode"
    IMAGE_ENCODE = "imageEncode"
    PREPARE = "prepare"
    AUDIO = "audio"
    POSTPROCESS = "postprocess"
    OTHER = "other"
    SERVICE_QUEUE = "serviceQueue"
    SERVICE_RUN = "serviceRun"
    FRAMES = "frames"
    DENOISER_CALLS = "denoiserCalls"
    TEXT_ENCODE_CALLS = "textEncodeCalls"
    VAE_DECODE_CALLS = "vaeDecodeCalls"
    DYNAMIC_DEGREE = "dynamicDegree"
    WARPING_ERROR = "warpingError"
    FLICKER = "flicker"
    FROZEN_FRAMES = "frozenFrames"
    SCENE_CUTS = "sceneCuts"
    SHARPNESS = "sharpness"
    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    CLIPPED = "clipped"
    BLACK_FRAMES = "blackFrames"
    DUPLICATE_FRAMES = "duplicateFrames"
    DRIFT_10 = "drift10"
    DRIFT_50 = "drift50"
    DRIFT_20 = "drift20"
    DRIFT_5 = "drift5"
    DRIFT_2 = "drift2"


class Statistics(ApiModel):
    """Exact figures over the samples of one series, in its unit."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    mean: FiniteFloat
    standard_deviation: Annotated[FiniteFloat, Field(ge=0)] | None = Field(
        default=None, description="Of the samples (n-1); absent for one sample."
    )
    min: Figure
    median: FiniteFloat
    max: Figure

    @classmethod
    def of(cls, values: Sequence[int]) -> Statistics:
        """Summarise at least one value; mean and median are rounded to 3 decimals of the unit."""
        return cls(
            count=len(values),
            mean=round(stdlib_statistics.fmean(values), 3),
            standard_deviation=round(stdlib_statistics.stdev(values), 3) if len(values) > 1 else None,
            min=min(values),
            median=round(stdlib_statistics.median(values), 3),
            max=max(values),
        )


class Series(ApiModel):
    """One column: a figure of every measured sample, in the order of the samples."""

    name: SeriesName
    unit: Unit
    statistics: Statistics
    step: Annotated[int, Field(ge=1, le=9_007_199_254_740_991)] = Field(
        default=1, description="Width of the steps that `values` are rounded to."
    )
    values: Annotated[tuple[Figure, ...], Field(max_length=MAX_SAMPLES, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Empty if the column did not fit (see columnsDropped)."
    )


class Setup(ApiModel):
    """What happened once, before the samples; the image's pull is `figures.startSeconds`, compiling is in `compilation`."""

    fetch_microseconds: Microseconds | None = Field(
        default=None, description="Resolving the weights at their hub, and downloading what was not here already."
    )
    fetch_bytes: Bytes | None = Field(default=None, description="How much of them was downloaded.")
    load_microseconds: Microseconds | None = Field(
        default=None, description="Reading the weights into a pipeline, from disk or from a mounted claim."
    )
    to_device_microseconds: Microseconds | None = None
    warmups: Count = 0
    first_warmup_microseconds: Microseconds | None = Field(default=None, description="The cold pass.")
    warmup_microseconds: Microseconds | None = Field(default=None, description="All warm-ups together.")


class Compilation(ApiModel):
    """What torch.compile did, cold and hot apart; of compiled models alone. Each figure is of generated clips."""

    graphs: Count = Field(description="Graphs that the first clip compiled.")
    cold_microseconds: Microseconds = Field(description="Latency of the first clip, compiling included.")
    compile_microseconds: Microseconds = Field(description="How much of it went into compiling.")
    recompiles: Count = Field(description="Graphs that later clips, warm-ups included, compiled again or anew.")


class StopReason(StrEnum):
    """Why a shard took no more samples."""

    ALL_DONE = "AllDone"
    """Every sample of the plan."""

    PRECISION = "Precision"
    """The mean is known as well as was asked for."""

    MAXIMUM = "Maximum"
    """samples.max, without that precision."""

    DEADLINE = "Deadline"
    """Another one would not have ended within timeouts.shardSeconds."""


class Protocol(ApiModel):
    """By which plan the samples were taken, and where it ended."""

    plan: Literal["Fixed", "Precision", "Repro"]
    stopped_by: StopReason | None = Field(default=None, description="Absent if the shard was ended in between.")
    warm: bool | None = Field(
        default=None, description="Whether the last warm-ups were flat; absent where their number was fixed."
    )
    instrument_ppm: Count | None = Field(
        default=None, description="What the timed calls of the samples cost, in millionths of the samples' time."
    )
    metric: Text64 | None = Field(default=None, description="With plan Precision: the figure that is looked at.")
    half_width_ppm: Count | None = Field(
        default=None,
        description="Half-width of the 95 % interval (t) of its mean over the samples, in millionths of the mean.",
    )


class Reproducibility(ApiModel):
    """Whether a rerun of the same prompt and seed in the same process gave the same latents and raw frames, to the bit."""

    reruns: Count
    equal: Count
    first_difference: ShortText | None = Field(default=None, description="Prompt and seed of the first that differs.")


class Environment(ApiModel):
    """What decides times: where and with what the shard ran."""

    device: Text128 = Field(description="GPU name, or cpu.")
    device_count: Annotated[int, Field(ge=0, le=64)] = 0
    gpu_uuid: Text64 | None = None
    driver: Text64 | None = None
    power_limit_milliwatts: Count | None = None
    cpu: Text128 | None = None
    cpu_count: Count | None = None
    kernel: Text128 | None = None
    python: Text64 | None = None
    torch: Text64 | None = None
    cuda: Text64 | None = None
    diffusers: Text64 | None = None
    transformers: Text64 | None = None
    vidbench: Text64 | None = None


class ModelFacts(ApiModel):
    """What was loaded, read off the modules."""

    pipeline_class: Text128
    parameters: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] = Field(
        description="Parameters of all components together."
    )
    dtypes: Annotated[dict[Text64, Text64], Field(max_length=16)] = Field(
        default_factory=dict, description="Type of each component's weights."
    )
    frame_grid: Text64 | None = Field(
        default=None, description="Frame counts that the pipeline can deliver, e.g. 4k+1."
    )
    weights: Literal["Random"] | None = Field(
        default=None, description="Random: weights were drawn, not loaded; absent: loaded."
    )
    tokenizer: Literal["Synthetic"] | None = Field(
        default=None,
        description="Synthetic: ids are drawn from the text, below the true vocabulary's size; absent: the model's.",
    )
    inputs: Annotated[tuple[Input, ...], Field(max_length=2, json_schema_extra=SET)] | None = Field(
        default=None,
        description="What clips are made from, if not a prompt alone. An image is synthetic: drawn from the sample's seed.",
    )


class ClipFacts(ApiModel):
    """What was asked for and what came."""

    height: Count
    width: Count
    frames_requested: Count
    frames_delivered: Count | None = None
    steps: Count


class Memory(ApiModel):
    """Peak memory in bytes over the measured samples, where the meter allows it; before the first one, over what there was.

    After a failure it includes what was in use when it failed.
    """

    allocated: Bytes | None = Field(default=None, description="Tensors, by the framework's allocator.")
    reserved: Bytes | None = Field(default=None, description="What the allocator took from the device.")
    device: Bytes | None = Field(default=None, description="Used on the device, as its driver says.")
    cap: Bytes | None = Field(default=None, description="What the allocator was held to, if it was.")
    host: Bytes | None = Field(default=None, description="Peak resident set of the worker process.")
    cgroup: Bytes | None = Field(default=None, description="Peak of the container's cgroup.")


class ColdMemory(ApiModel):
    """Peak memory in bytes of the first warm-up, which compiles, picks kernels and fills caches."""

    allocated: Bytes | None = None
    reserved: Bytes | None = None
    device: Bytes | None = None


class QualityFacts(ApiModel):
    """What has to be known of the columns of quality (from dynamicDegree on) before they are compared with others."""

    comparable: bool
    reason: Text64 | None = Field(default=None, description="Why not, e.g. random_weights.")
    microseconds: Microseconds = Field(description="Time that looking took over all samples, outside of their times.")


class EnergyFacts(ApiModel):
    """Energy beside the columns `energy` (by the device's counter) and `energyNet` (without what it takes at rest)."""

    idle_milliwatts: Count | None = Field(
        default=None, description="Power of the device at rest, with the model loaded; subtracted in `energyNet`."
    )
    per_frame_millijoules: Count | None = Field(default=None, description="Mean, by delivered frames.")
    per_step_millijoules: Count | None = Field(default=None, description="Mean, by denoising steps.")
    phase_millijoules: Annotated[dict[Text64, Count], Field(max_length=8)] = Field(
        default_factory=dict, description="Mean by sampled power, of phases of a second or more."
    )
    disagreement_ppm: Figure | None = Field(
        default=None, description="Sampled power against the counter, in millionths of the counter; beyond 5 % noted."
    )


class DeviceFacts(ApiModel):
    """What the device did while the samples were generated, by readings ten times a second."""

    readings: Count
    throttled_ppm: Annotated[dict[Text64, Count], Field(max_length=8)] = Field(
        default_factory=dict, description="Share of readings, in millionths, by what held the clocks down."
    )
    sm_clock_megahertz: Count | None = Field(default=None, description="Median of the samples' medians.")
    sm_clock_min_megahertz: Count | None = None
    memory_clock_megahertz: Count | None = None
    temperature_celsius: Annotated[int, Field(ge=-50, le=200)] | None = None
    temperature_max_celsius: Annotated[int, Field(ge=-50, le=200)] | None = None
    sampler_ppm: Count | None = Field(
        default=None, description="Processor time of the readings, in millionths of one processor."
    )


class Steadiness(ApiModel):
    """How steady the latency was from sample to sample of one process."""

    drift_ppm: Figure = Field(
        description="Change over the samples by the Theil-Sen slope, in millionths of the median."
    )
    trend_p_ppm: Count = Field(description="Two-sided p of the Mann-Kendall test, in millionths.")
    autocorrelation_ppm: Figure = Field(description="At lag 1, in millionths.")
    effective_samples: FiniteFloat = Field(description="Independent samples that tell as much about the mean.")
    outliers: Count = Field(description="Samples far from the median: 5 deviations and 3 %.")


class ValidityVerdict(ApiModel):
    """Whether the figures may be believed."""

    state: Validity
    reasons: Annotated[tuple[Text64, ...], Field(max_length=16, json_schema_extra=SET)] = Field(
        default=(), description="Why they may not, or not all of them; docs/validity.md has every word."
    )
    notes: Annotated[tuple[Text64, ...], Field(max_length=16, json_schema_extra=SET)] = Field(
        default=(), description="What a reader should know of figures that count."
    )


class ArtifactsFacts(ApiModel):
    """Where the full samples and videos are."""

    uri: Annotated[str, Field(max_length=512)]
    digest: Annotated[str, Field(max_length=64)] = Field(description="SHA-256 of the stored samples document.")


class Measured(ApiModel):
    """Everything that was measured; each part may be missing if the shard did not get so far."""

    protocol: Protocol | None = None
    reproducibility: Reproducibility | None = Field(default=None, description="With plan Repro, instead of any time.")
    setup: Setup | None = None
    environment: Environment | None = None
    loaded: ModelFacts | None = None
    clip: ClipFacts | None = None
    compilation: Compilation | None = None
    memory: Memory | None = None
    memory_cold: ColdMemory | None = None
    energy: EnergyFacts | None = None
    watch: DeviceFacts | None = None
    steadiness: Steadiness | None = None
    health: Health | None = None
    expected_calls: Annotated[dict[Text64, Count], Field(max_length=8)] = Field(
        default_factory=dict, description="Calls a sample should make, by series name; a mismatch makes it Invalid."
    )
    cpu_throttled_periods: Count | None = Field(
        default=None, description="nr_throttled of the cgroup over the samples."
    )
    service: ServiceFacts | None = Field(default=None, description="Of a service alone.")
    output_digest: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="SHA-256 over the final latents, where the decoder was seen, and the raw frames of all samples, in order.",
    )
    artifacts: ArtifactsFacts | None = None
    quality: QualityFacts | None = Field(default=None, description="Absent as long as there is no column of quality.")
    series: Annotated[tuple[Series, ...], Field(max_length=64, json_schema_extra=map_list("name"))] = ()
    columns_dropped: Annotated[tuple[Text64, ...], Field(max_length=64, json_schema_extra=SET)] = Field(
        default=(), description="What did not fit into the termination message."
    )
    unmeasured: Annotated[dict[Text64, ShortText], Field(max_length=64)] = Field(
        default_factory=dict, description="Figures that are absent, with the reason."
    )

    def find_series(self, name: SeriesName) -> Series | None:
        """Return the series of that name, or None."""
        return next((series for series in self.series if series.name == name), None)

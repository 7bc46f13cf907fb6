"""The metrics that gates, comparisons, research and plans may name, and all that is fixed about each in advance.

What is fixed here cannot be chosen by looking at results: unit, which direction is better, the scale on which
comparisons are made, and what is paired. Knows results; knows neither cells nor statistics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vidbench_api.measured import SeriesName
from vidbench_api.names import Comparability
from vidbench_api.result import BenchmarkResultSpec


class Direction(StrEnum):
    """Which direction is better."""

    LOWER = "Lower"
    HIGHER = "Higher"
    NEITHER = "Neither"
    """More is neither better nor worse: differences are shown, Equivalent, AtMost and AtLeast may be asked for."""


class Scale(StrEnum):
    """On which scale comparisons are made."""

    RATIO = "Ratio"
    """Logarithms of means: positive figures whose spread grows with them."""

    DIFFERENCE = "Difference"
    """Means as they are: figures that may be zero."""


class Pairing(StrEnum):
    """What is paired in a comparison."""

    NONE = "None"
    """Nothing: shards of the one against shards of the other (Welch; within GPUs where both ran on the same ones)."""

    NODE = "Node"
    """Shards of the same number on the same node (`measurement.pairing: Node`)."""

    PROMPT = "Prompt"
    """Means of the same prompts: what a clip shows decides more than who made it."""


@dataclass(frozen=True)
class Reading:
    """A metric as one shard has it.

    `mean` is exact, over `count` samples; `values` has one value a sample, in their order, and is empty where the column
    was dropped or where the metric is one figure of the whole shard. `basis` is what two readings must share to be
    compared: a currency, or which memory was looked at.
    """

    mean: float
    count: int
    values: tuple[float, ...] = ()
    basis: str = ""


@dataclass(frozen=True)
class Absent:
    """Why a shard has no reading, in a word, as `unmeasured` says it where it does."""

    reason: str


Reader = Callable[[BenchmarkResultSpec], Reading | Absent]


@dataclass(frozen=True)
class Metric:
    """One metric. `read` takes it off a result; it does not look at outcome or validity (`observations` does)."""

    name: str
    unit: str
    better: Direction
    scale: Scale
    pairing: Pairing
    description: str
    read: Reader = field(repr=False, compare=False)
    is_quality: bool = False
    """Of frames that a trained model made alone: never of random weights, nor where `quality.comparable` is false."""


@dataclass(frozen=True)
class Margin:
    """The smallest difference that matters. Relative: a share of the reference (0.02 is 2 %); else in the metric's unit."""

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Margin:
        """Read `2%` (a share of the reference) or `1500` (in the metric's unit).

        Raises:
            ValueError: it is neither, or not above zero.
        """
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", text.strip())
        if match is None or float(match[1]) <= 0:
            raise ValueError(f"a margin is a share like 2% or a number in the metric's unit, above zero, not {text!r}")
        return cls(float(match[1]) / (100 if match[2] else 1), bool(match[2]))

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.relative else f"{self.value:g}"


def find_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise ValueError(f"{name!r} is no metric; there are: {', '.join(METRICS)}") from None


def _series(name: SeriesName) -> Reader:
    def read(result: BenchmarkResultSpec) -> Reading | Absent:
        series = result.find_series(name)
        if series is None:
            dropped = name.value in result.columns_dropped
            return Absent(result.unmeasured.get(name.value, "dropped" if dropped else "not_measured"))
        return Reading(series.statistics.mean, series.statistics.count, tuple(float(value) for value in series.values))

    return read


def _once(result: BenchmarkResultSpec, figure: float | None, name: str, basis: str = "") -> Reading | Absent:
    if figure is None:
        return Absent(result.unmeasured.get(name, "not_measured"))
    latency = result.find_series(SeriesName.LATENCY)
    return Reading(float(figure), latency.statistics.count if latency else 1, basis=basis)


def _videos_per_hour(result: BenchmarkResultSpec) -> Reading | Absent:
    return _once(result, result.figures.videos_per_hour if result.figures else None, "videosPerHour")


def _real_time_factor(result: BenchmarkResultSpec) -> Reading | Absent:
    return _once(result, result.figures.video_seconds_per_second if result.figures else None, "videoSecondsPerSecond")


def _cost(result: BenchmarkResultSpec) -> Reading | Absent:
    cost = result.costs.cost if result.costs else None
    if cost is None:
        return Absent("no_price")
    return _once(result, cost.per_video, "costPerVideo", basis=cost.currency)


def _carbon(result: BenchmarkResultSpec) -> Reading | Absent:
    carbon = result.costs.carbon if result.costs else None
    if carbon is None:
        return Absent("no_grid_factor")
    return _once(result, carbon.grams_per_video, "carbonPerVideo")


def _memory(result: BenchmarkResultSpec) -> Reading | Absent:
    """Read the device's memory; the host's only where the host is the device. Of a service ours is only the client's."""
    memory = result.memory
    if memory is None or result.comparability == Comparability.SERVICE:
        return _once(result, None, "memory")
    if memory.device is not None:
        return _once(result, memory.device, "memory", basis="device")
    is_cpu = result.environment is not None and result.environment.device == "cpu"
    return _once(result, memory.host if is_cpu else None, "memory", basis="host")


def _load(result: BenchmarkResultSpec) -> Reading | Absent:
    setup = result.setup
    return (
        Absent("not_measured")
        if setup is None or setup.load_microseconds is None
        else Reading(float(setup.load_microseconds), 1)
    )


def _cold(result: BenchmarkResultSpec) -> Reading | Absent:
    setup = result.setup
    return (
        Absent("not_measured")
        if setup is None or setup.first_warmup_microseconds is None
        else Reading(float(setup.first_warmup_microseconds), 1)
    )


_L, _H, _N = Direction.LOWER, Direction.HIGHER, Direction.NEITHER
_QUALITY: Mapping[SeriesName, tuple[str, Direction, str]] = {
    SeriesName.DYNAMIC_DEGREE: ("millipixels", _N, "How much moves."),
    SeriesName.WARPING_ERROR: ("partsPerMillion", _L, "Whether what moves keeps its colours."),
    SeriesName.FLICKER: ("partsPerMillion", _L, "Difference of neighbouring frames; it punishes motion."),
    SeriesName.FROZEN_FRAMES: ("count", _L, "Frames that hardly differ from the one before."),
    SeriesName.SCENE_CUTS: ("count", _N, "Cuts in a clip."),
    SeriesName.SHARPNESS: ("partsPerMillion", _N, "Spread of the Laplacian; noise is sharp."),
    SeriesName.BRIGHTNESS: ("partsPerMillion", _N, "Mean luma."),
    SeriesName.CONTRAST: ("partsPerMillion", _N, "Spread of luma."),
    SeriesName.CLIPPED: ("partsPerMillion", _L, "Share of values at the ends of the range."),
    SeriesName.BLACK_FRAMES: ("count", _L, "Black frames."),
    SeriesName.DUPLICATE_FRAMES: ("count", _L, "Frames equal to the one before, to the bit."),
    SeriesName.DRIFT_2: ("partsPerMillion", _L, "How far colours wander in 2 frames."),
    SeriesName.DRIFT_5: ("partsPerMillion", _L, "How far colours wander in 5 frames."),
    SeriesName.DRIFT_10: ("partsPerMillion", _L, "How far colours wander in 10 frames."),
    SeriesName.DRIFT_20: ("partsPerMillion", _L, "How far colours wander in 20 frames."),
    SeriesName.DRIFT_50: ("partsPerMillion", _L, "How far colours wander in 50 frames."),
}
_SERIES: Mapping[SeriesName, tuple[str, Scale, str]] = {
    SeriesName.LATENCY: ("microseconds", Scale.RATIO, "Time of one video."),
    SeriesName.DENOISE: ("microseconds", Scale.RATIO, "Time of denoising."),
    SeriesName.VAE_DECODE: ("microseconds", Scale.RATIO, "Time of decoding."),
    SeriesName.STEP: ("microseconds", Scale.RATIO, "Time of one denoising step."),
    SeriesName.TEXT_ENCODE: ("microseconds", Scale.RATIO, "Time of encoding the prompt."),
    SeriesName.ENERGY: ("millijoules", Scale.RATIO, "Energy of one video, by the GPU's counter."),
    SeriesName.ENERGY_NET: ("millijoules", Scale.DIFFERENCE, "The same without what the idle GPU takes."),
    SeriesName.MEMORY_ALLOCATED: ("bytes", Scale.RATIO, "Peak of tensors, by the framework's allocator."),
    SeriesName.MEMORY_RESERVED: ("bytes", Scale.RATIO, "Peak of what the allocator took from the device."),
    SeriesName.SERVICE_QUEUE: ("microseconds", Scale.DIFFERENCE, "Time that a service let the job wait."),
    SeriesName.SERVICE_RUN: ("microseconds", Scale.RATIO, "Time that a service worked on it."),
}


def _all() -> Mapping[str, Metric]:
    found = [
        Metric(name.value, unit, _L, scale, Pairing.NONE, text, _series(name))
        for name, (unit, scale, text) in _SERIES.items()
    ]
    once: tuple[tuple[str, str, Direction, str, Reader], ...] = (
        (
            "memory",
            "bytes",
            _L,
            "Peak used on the device, as its driver says; on a CPU of the worker on its host.",
            _memory,
        ),
        ("videosPerHour", "perHour", _H, "Videos of one shard, one after the other.", _videos_per_hour),
        ("videoSecondsPerSecond", "ratio", _H, "Real-time factor.", _real_time_factor),
        ("costPerVideo", "currency", _L, "Price of the GPUs' time, by the class's prices.", _cost),
        ("carbonPerVideo", "grams", _L, "CO2 of the GPUs' energy, by the class's factor.", _carbon),
        ("load", "microseconds", _L, "Time of loading the model.", _load),
        ("coldPass", "microseconds", _L, "Time of the first warm-up.", _cold),
    )
    found += [Metric(n, unit, better, Scale.RATIO, Pairing.NONE, text, read) for n, unit, better, text, read in once]
    found += [
        Metric(name.value, unit, better, Scale.DIFFERENCE, Pairing.PROMPT, text, _series(name), is_quality=True)
        for name, (unit, better, text) in _QUALITY.items()
    ]
    return {metric.name: metric for metric in found}


METRICS: Mapping[str, Metric] = _all()
"""Every metric by its name, in the order in which they are shown."""

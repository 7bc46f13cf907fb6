"""Figures that follow from what a shard measured: one function, so that the result, the CLI and reports show the same.

A figure whose parts were not measured is absent. Units are in the names; a GPU-second is one GPU held for one second.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from .base import ApiModel, Count
from .measured import Measured, SeriesName

MICROSECONDS_PER_SECOND = 1_000_000
SECONDS_PER_HOUR = 3_600
_MEBIBYTE = 1024 * 1024
_DIGITS = 6
_NO_GPUS = frozenset({"cpu", "service", "mock"})
"""Devices of an environment that are none of our GPUs, whatever its pod held."""

Positive = Annotated[FiniteFloat, Field(ge=0)]


class NeededMemory(ApiModel):
    """Of how much GPU memory is known that the cell runs in it, and from where."""

    mebibytes: Count
    basis: Literal["Measured", "Estimate"] = Field(
        description="Measured: it ran while the allocator was capped; that cap, and what the device used beside it."
        " Estimate: its device's peak on a GPU that may have had more, so that a smaller one may behave otherwise; or the"
        " cap alone, where what was used beside it is not known."
    )


class Figures(ApiModel):
    """Derived figures of a shard; means over its samples."""

    denoiser_calls_per_video: Positive | None = Field(
        default=None, description="Forward calls of the denoisers for one video (NFE)."
    )
    frames_per_video: Positive | None = Field(default=None, description="Delivered frames.")
    video_seconds_per_second: Positive | None = Field(
        default=None, description="Real-time factor: seconds of video, at the cell's frame rate, for one second."
    )
    video_seconds_per_gpu_second: Positive | None = Field(
        default=None, description="The same for one GPU-second; absent without a GPU."
    )
    videos_per_hour: Positive | None = Field(default=None, description="Of one shard, one after the other.")
    needed_gpu_memory: NeededMemory | None = None
    start_seconds: Positive | None = Field(
        default=None, description="From a node to a running container: volumes, sandbox, image."
    )
    overhead_percent: Annotated[FiniteFloat, Field(ge=0, le=100)] | None = Field(
        default=None, description="Share of the container's life that was in no measured sample: load, warm-up, checks."
    )


def figures_of(
    measured: Measured,
    *,
    frames_per_second: int,
    gpus: int,
    start_seconds: float | None = None,
    container_seconds: float | None = None,
) -> Figures:
    """Return the figures of a shard that ran on so many GPUs, whose container started and ran for so long."""
    latency = _mean(measured, SeriesName.LATENCY)
    seconds = latency / MICROSECONDS_PER_SECOND if latency else None
    frames = _mean(measured, SeriesName.FRAMES)
    factor = None if seconds is None or frames is None else frames / frames_per_second / seconds
    on_gpu = gpus > 0 and measured.environment is not None and measured.environment.device not in _NO_GPUS
    return Figures(
        denoiser_calls_per_video=_rounded(_mean(measured, SeriesName.DENOISER_CALLS)),
        frames_per_video=_rounded(frames),
        video_seconds_per_second=_rounded(factor),
        video_seconds_per_gpu_second=_rounded(factor / gpus) if factor is not None and on_gpu else None,
        videos_per_hour=_rounded(SECONDS_PER_HOUR / seconds) if seconds else None,
        needed_gpu_memory=_needed(measured),
        start_seconds=_rounded(start_seconds) if start_seconds is not None and start_seconds >= 0 else None,
        overhead_percent=_overhead(measured, container_seconds),
    )


def _mean(measured: Measured, name: SeriesName) -> float | None:
    """The mean of a series; None where there is none, or where it is no amount: figures come from a pod."""
    series = measured.find_series(name)
    return series.statistics.mean if series is not None and series.statistics.mean >= 0 else None


def _needed(measured: Measured) -> NeededMemory | None:
    memory = measured.memory
    if memory is None or measured.find_series(SeriesName.LATENCY) is None:
        return None
    if memory.cap is not None:
        if memory.device is None or memory.reserved is None:
            return NeededMemory(mebibytes=_mebibytes(memory.cap), basis="Estimate")
        # The driver's context and the libraries' memory are none of the allocator's, and the cap does not hold them.
        beside = max(0, memory.device - memory.reserved)
        return NeededMemory(mebibytes=_mebibytes(memory.cap + beside), basis="Measured")
    return NeededMemory(mebibytes=_mebibytes(memory.device), basis="Estimate") if memory.device is not None else None


def _mebibytes(figure: int) -> int:
    return min(2_147_483_647, -(-figure // _MEBIBYTE))


def _overhead(measured: Measured, container_seconds: float | None) -> float | None:
    latency = measured.find_series(SeriesName.LATENCY)
    if latency is None or not container_seconds or container_seconds <= 0:
        return None
    sampled = latency.statistics.mean * latency.statistics.count / MICROSECONDS_PER_SECOND
    return round(100 * (1 - sampled / container_seconds), 3) if 0 <= sampled <= container_seconds else None


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, _DIGITS)

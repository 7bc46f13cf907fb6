"""What a compiled model's clips compiled: the cold one apart from the hot ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vidbench_api.measured import Compilation
from vidbench_runner.core.columns import NANOSECONDS_PER_MICROSECOND, latency_microseconds
from vidbench_runner.core.sample import MeasuredSample


def compilation_of(warmups: Sequence[MeasuredSample], samples: Sequence[MeasuredSample]) -> Compilation | None:
    """Return what the first clip compiled and how often later ones did; None for a model that is not compiled, or no clip."""
    clips = [*warmups, *samples]
    if not clips or clips[0].clip.compilations is None:
        return None
    cold = clips[0]
    return Compilation(
        graphs=cold.clip.compilations or 0,
        cold_microseconds=latency_microseconds(cold),
        compile_microseconds=(cold.clip.compile_nanoseconds or 0) // NANOSECONDS_PER_MICROSECOND,
        recompiles=sum(sample.clip.compilations or 0 for sample in clips[1:]),
    )

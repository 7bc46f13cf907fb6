"""Models that need no VideoModel object: here the tiny ones, which every installation can run without a download.

A VideoModel of the same name in the run's namespace overrides an entry.
"""

from __future__ import annotations

from typing import Final, Literal

from .kinds import ModelDefaults, ModelSource, VideoModelSpec


def _tiny(preset: Literal["wan", "ltx", "wan-mid"], pipeline_class: str, defaults: ModelDefaults) -> VideoModelSpec:
    return VideoModelSpec(
        source=ModelSource(tiny=preset),
        pipeline_class=pipeline_class,
        licence="none: random weights, made in the pod",
        defaults=defaults,
    )


CATALOGUE: Final[dict[str, VideoModelSpec]] = {
    "tiny-wan": _tiny("wan", "WanPipeline", ModelDefaults(dtype="float32", height=32, width=32, frames=9, steps=4)),
    "tiny-ltx": _tiny("ltx", "LTXPipeline", ModelDefaults(dtype="float32", height=32, width=32, frames=9, steps=4)),
    "mid-wan": _tiny("wan-mid", "WanPipeline", ModelDefaults(dtype="float32", height=64, width=64, frames=9, steps=4)),
}

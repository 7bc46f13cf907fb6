"""Quality as columns, as a line of the raw record, and when it may be compared. Pure; what the figures are is `quality`'s.

Columns hold whole numbers: shares of full scale in millionths, pixels in thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vidbench_api.measured import QualityFacts, SeriesName, Unit
from vidbench_runner.ports import ClipQuality, ModelRequest

QUALITY_COLUMNS: Mapping[SeriesName, Unit] = {
    SeriesName.DYNAMIC_DEGREE: "millipixels",
    SeriesName.WARPING_ERROR: "partsPerMillion",
    SeriesName.FLICKER: "partsPerMillion",
    SeriesName.FROZEN_FRAMES: "count",
    SeriesName.SCENE_CUTS: "count",
    SeriesName.SHARPNESS: "partsPerMillion",
    SeriesName.BRIGHTNESS: "partsPerMillion",
    SeriesName.CONTRAST: "partsPerMillion",
    SeriesName.CLIPPED: "partsPerMillion",
    SeriesName.BLACK_FRAMES: "count",
    SeriesName.DUPLICATE_FRAMES: "count",
    SeriesName.DRIFT_10: "partsPerMillion",
    SeriesName.DRIFT_50: "partsPerMillion",
    SeriesName.DRIFT_20: "partsPerMillion",
    SeriesName.DRIFT_5: "partsPerMillion",
    SeriesName.DRIFT_2: "partsPerMillion",
}
_PER_UNIT: Mapping[Unit, int] = {"millipixels": 1000, "partsPerMillion": 1_000_000, "count": 1}

_NOISE: Mapping[str, str] = {"tiny": "random_weights", "random": "random_weights"}
"""Backends whose frames no trained model made, and the reason that says so."""

INCOMPARABLE: Mapping[str, str] = {**_NOISE, "http": "encoded_video"}
"""Backends whose frames are not the raw ones of a trained model: an encoder hides flicker and noise."""

NOTHING_TO_SEE: Mapping[str, str] = {"mock": "mock"}
"""Backends of which the frames are not looked at: they are a pattern of ours."""


class QualitySample(Protocol):
    """A sample, as far as it matters here."""

    @property
    def quality(self) -> ClipQuality:
        """Return what its frames show."""
        ...


def absent(reason: str) -> ClipQuality:
    """Return the quality of frames at which nobody could look, for this reason."""
    return ClipQuality({}, dict.fromkeys(QUALITY_COLUMNS, reason))


NOT_ASSESSED = absent("not_assessed")
NOT_STORED = absent("not_stored")


def quality_figure(quality: ClipQuality, name: SeriesName) -> int | None:
    """Return a column's value, rounded to the nearest whole number of its unit."""
    figure = quality.figures.get(name)
    return None if figure is None else round(figure * _PER_UNIT[QUALITY_COLUMNS[name]])


def quality_reason(quality: ClipQuality, name: SeriesName) -> str:
    """Return why a column has no value."""
    return quality.reasons.get(name, "not_assessed")


def shows_the_model(model: ModelRequest) -> bool:
    """Return whether the frames show what a trained model makes, and not noise or a pattern of ours."""
    return model.backend not in (*_NOISE, *NOTHING_TO_SEE)


def quality_facts(model: ModelRequest, samples: Sequence[QualitySample]) -> QualityFacts | None:
    """Return whether the quality of these samples may be compared with that of others; None if there is none."""
    assessed = [sample.quality for sample in samples if sample.quality.figures]
    if not assessed:
        return None
    reason = INCOMPARABLE.get(model.backend)
    taken = sum(quality.nanoseconds for quality in assessed)
    return QualityFacts(comparable=reason is None, reason=reason, microseconds=taken // 1000)


def quality_line(quality: ClipQuality) -> dict[str, Any]:
    """Return the JSON object that the raw record keeps; nothing is rounded."""
    return {
        "figures": {name.value: figure for name, figure in quality.figures.items()},
        "reasons": {name.value: reason for name, reason in quality.reasons.items()},
        "blank": quality.blank,
        "static": quality.static,
        "occluded": quality.occluded,
        "nanoseconds": quality.nanoseconds,
    }


def quality_of_line(line: Mapping[str, Any]) -> ClipQuality:
    """Return the quality of such an object.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    figures = {SeriesName(name): float(figure) for name, figure in line["figures"].items()}
    if any(figure != figure or figure in (float("inf"), float("-inf")) for figure in figures.values()):
        raise ValueError("a figure of quality is not finite")
    return ClipQuality(
        figures=figures,
        reasons={SeriesName(name): str(reason) for name, reason in line["reasons"].items()},
        blank=_flag(line["blank"]),
        static=_flag(line["static"]),
        occluded=None if line["occluded"] is None else float(line["occluded"]),
        nanoseconds=int(line["nanoseconds"]),
    )


def _flag(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} where true, false or null was expected")
    return value

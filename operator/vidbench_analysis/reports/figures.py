"""Figures as people read them: one way for the command line and for reports, so that both show the same.

Four significant digits for means, with their interval; changes as a share of the reference. What is not known is `-`.
"""

from __future__ import annotations

import math

from vidbench_analysis.comparison import Comparison
from vidbench_analysis.intervals import Doubt, Estimate
from vidbench_analysis.verdicts import Verdict

NOT_KNOWN = "-"
_SCALES = {
    "microseconds": (1e6, " s"),
    "millijoules": (1e3, " J"),
    "bytes": (2.0**20, " MiB"),
    "partsPerMillion": (1.0, " ppm"),
    "millipixels": (1e3, " px"),
    "grams": (1.0, " g"),
    "perHour": (1.0, " /h"),
}
"""What a figure is divided by, and the unit that it then has; others have none."""

_DIGITS = 4
_LARGEST_EFFECT = 1000
_LARGEST_DECIMALS = 6


_DOUBTS = {Doubt.WITHIN_PROCESS: "within one process", Doubt.OUTLIERS: "with outliers"}


def figure_text(value: float | None, unit: str) -> str:
    """Return a figure with its unit: 1681000 microseconds are `1.681 s`."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    scale, name = _SCALES.get(unit, (1.0, ""))
    return f"{_rounded(value / scale)}{name}"


def estimate_text(found: Estimate) -> str:
    """Return a mean with its interval, `1.681 s (1.67 to 1.692)`; with a word for each doubt, as `within one process`."""
    if found.low is None or found.high is None:
        return figure_text(found.mean, found.unit)
    scale, _ = _SCALES.get(found.unit, (1.0, ""))
    doubts = "".join(f", {_DOUBTS[doubt]}" for doubt in found.doubts)
    bounds = f"{_rounded(found.low / scale)} to {_rounded(found.high / scale)}"
    return f"{figure_text(found.mean, found.unit)} ({bounds}{doubts})"


def change_text(found: Comparison) -> str:
    """Return by how much the subject differs: `-9.8 % (-11.2 to -8.3)`; in the metric's unit where there is no ratio."""
    if found.ratio is not None:
        low, high = found.ratio.low, found.ratio.high
        bounds = "" if low is None or high is None else f" ({_share(low - 1)} to {_share(high - 1)})"
        return f"{_share(found.ratio.value - 1)} %{bounds}"
    difference = found.difference
    if difference is None:
        return NOT_KNOWN
    text = figure_text(difference.value, found.unit)
    if difference.low is None or difference.high is None:
        return text
    return f"{text} ({figure_text(difference.low, found.unit)} to {figure_text(difference.high, found.unit)})"


def change_share(value: float) -> str:
    """Return a change as a share of the reference, with its sign: 0.1 is `+10.0 %`."""
    return f"{_share(value)} %"


def share_text(value: float | None) -> str:
    """Return a share in per cent, without a sign: 0.021 is `2.1 %`."""
    return NOT_KNOWN if value is None or not math.isfinite(value) else f"{_share(value).lstrip('+')} %"


def p_text(p: float | None) -> str:
    """Return a p value: three decimals, and `<0.001` below that."""
    if p is None or not math.isfinite(p):
        return NOT_KNOWN
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def effect_text(found: Comparison) -> str:
    """Return Hedges' g; it has no unit. Beyond 1,000 the spread is what rounding left of none."""
    if found.effect is None or not math.isfinite(found.effect.value):
        return NOT_KNOWN
    value = found.effect.value
    return f"{value:+.2f}" if abs(value) <= _LARGEST_EFFECT else f"{'>' if value > 0 else '<-'}{_LARGEST_EFFECT}"


def why_text(found: Comparison) -> str:
    """Return what has to be known of a verdict: its reason, and what would decide."""
    if found.verdict == Verdict.IDENTICAL:
        return str(found.reason or "")
    parts = [str(found.reason)] if found.reason else []
    parts += [found.message] if found.message and found.verdict == Verdict.INCONCLUSIVE else []
    parts += [f"would decide: {found.decides}"] if found.decides else []
    return "; ".join(parts)


def _share(value: float) -> str:
    percent = 100 * value
    decimals = 2 if abs(percent) < 1 else 1
    text = f"{percent:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text


def _rounded(value: float) -> str:
    """Return four significant digits without an exponent; the noughts at the end stay, they were measured."""
    if value == 0:
        return "0"
    whole = math.floor(math.log10(abs(value))) + 1
    return f"{value:.{min(_LARGEST_DECIMALS, max(0, _DIGITS - whole))}f}"

"""The mean of a cell's metric, how well it is known, and whether the interval keeps what it says.

t on the means of shards, devices or prompts (`units`) below 40 of them, bootstrap over them from there on. With one shard
the interval is of that process only (`within_process`): it is no interval of the cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from . import steadiness
from .distributions import t_quantile
from .metrics import Metric, Reading
from .moments import deviation, mean_of
from .observations import CellObservations, ShardObservation
from .resampling import bootstrap_t
from .units import Scope, Unit, Units, units_of

CONFIDENCE = 0.95
CLUSTERS_FOR_BOOTSTRAP = 40


class IntervalMethod(StrEnum):
    """How an interval was made."""

    NONE = "None"
    T_ON_SHARDS = "TOnShards"
    T_ON_DEVICES = "TOnDevices"
    T_WITHIN_DEVICES = "TWithinDevices"
    T_ON_PROMPTS = "TOnPrompts"
    BOOTSTRAP_ON_SHARDS = "BootstrapOnShards"
    BOOTSTRAP_ON_DEVICES = "BootstrapOnDevices"
    BOOTSTRAP_ON_PROMPTS = "BootstrapOnPrompts"
    T_WITHIN_PROCESS = "TWithinProcess"
    """Over the samples of one process, by their effective number."""

    NO_VARIANCE = "NoVariance"
    """All units are equal: the interval has no width."""


class Doubt(StrEnum):
    """Why an interval may cover less than it says."""

    WITHIN_PROCESS = "WithinProcess"
    """One shard: it says nothing about another process."""

    OUTLIERS = "Outliers"
    """Some samples lie far from the others: rare slow ones decide the mean."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, in the metric's unit.

    `mean` is None where nothing counts, `low` and `high` where there is no interval; `reason` says why in a word.
    `clusters` are the independent units, `samples` the samples behind them. `effective_samples` is what the samples of all
    shards are worth under autocorrelation, `outlier_share` and `largest` are over samples; None where the columns were
    dropped or the metric has none. `is_nominal` is False where the interval does not promise its confidence (`doubts`).
    """

    metric: str
    unit: str
    mean: float | None
    low: float | None
    high: float | None
    confidence: float
    method: IntervalMethod
    scope: Scope | None
    clusters: int
    shards: int
    samples: int
    within_process: bool
    effective_samples: float | None = None
    outlier_share: float | None = None
    largest: float | None = None
    doubts: tuple[Doubt, ...] = ()
    devices: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def is_nominal(self) -> bool:
        """Whether the interval covers the truth as often as its confidence says."""
        return self.low is not None and not self.doubts

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, as a share of the mean; None where there is none."""
        if self.mean is None or self.low is None or self.high is None or self.mean == 0:
            return None
        return (self.high - self.low) / 2 / abs(self.mean)


def estimate(cell: CellObservations, metric: Metric, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of a metric over a cell's shards (or prompts), with its interval."""
    found = cell.reading(metric)
    units = units_of(cell, metric)
    if units is None:
        reason = "PromptsUnknown" if found else cell.why_absent(metric) or "NoResults"
        return _nothing(metric, confidence, reason)
    within_process = units.unit != Unit.PROMPT and units.shards == 1
    if within_process:
        mean, low, high, method = _within_process(found[0][1], confidence)
    else:
        mean, low, high, method = _over_units(units, confidence)
    outlier_share, largest, effective = _of_samples(found)
    return Estimate(
        metric=metric.name,
        unit=metric.unit,
        mean=mean,
        low=low,
        high=high,
        confidence=confidence,
        method=method,
        scope=units.scope,
        clusters=len(units.values),
        shards=units.shards,
        samples=units.samples,
        within_process=within_process,
        effective_samples=effective,
        outlier_share=outlier_share,
        largest=largest,
        doubts=_doubts(within_process, outlier_share) if low is not None else (),
        devices=cell.devices,
        products=cell.products,
        reason=None if low is not None else _why_no_interval(units),
    )


def t_interval(mean: float, standard_error: float, freedom: float, confidence: float) -> tuple[float, float]:
    """Return mean -+ t * standard error."""
    half = t_quantile(0.5 + confidence / 2, freedom) * standard_error
    return mean - half, mean + half


_T_METHODS = {
    Unit.SHARD: IntervalMethod.T_ON_SHARDS,
    Unit.DEVICE: IntervalMethod.T_ON_DEVICES,
    Unit.PROMPT: IntervalMethod.T_ON_PROMPTS,
}
_BOOTSTRAP_METHODS = {
    Unit.SHARD: IntervalMethod.BOOTSTRAP_ON_SHARDS,
    Unit.DEVICE: IntervalMethod.BOOTSTRAP_ON_DEVICES,
    Unit.PROMPT: IntervalMethod.BOOTSTRAP_ON_PROMPTS,
}
_Interval = tuple[float, float | None, float | None, IntervalMethod]


def _over_units(units: Units, confidence: float) -> _Interval:
    if units.unit == Unit.SHARD_IN_DEVICE:
        return _within_devices(units, confidence)
    values = units.values
    mean, count = mean_of(values), len(values)
    if count < 2:
        return mean, None, None, IntervalMethod.NONE
    if min(values) == max(values):
        return mean, mean, mean, IntervalMethod.NO_VARIANCE
    if count >= CLUSTERS_FOR_BOOTSTRAP:
        return mean, *bootstrap_t(values, confidence), _BOOTSTRAP_METHODS[units.unit]
    low, high = t_interval(mean, deviation(values) / math.sqrt(count), count - 1, confidence)
    return mean, low, high, _T_METHODS[units.unit]


def _within_devices(units: Units, confidence: float) -> _Interval:
    """The mean of the devices' means, by the pooled variance within devices: a statement about these devices."""
    by_device: dict[str, list[float]] = {}
    for value, device in zip(units.values, units.groups, strict=True):
        by_device.setdefault(device, []).append(value)
    means = [mean_of(values) for values in by_device.values()]
    mean, freedom = mean_of(means), len(units.values) - len(by_device)
    squares = sum((value - mean_of(values)) ** 2 for values in by_device.values() for value in values)
    variance = squares / freedom * sum(1 / len(values) for values in by_device.values()) / len(by_device) ** 2
    if variance == 0:
        return mean, mean, mean, IntervalMethod.NO_VARIANCE
    return mean, *t_interval(mean, math.sqrt(variance), freedom, confidence), IntervalMethod.T_WITHIN_DEVICES


def _within_process(reading: Reading, confidence: float) -> _Interval:
    values = reading.values
    if len(values) < 2:
        return reading.mean, None, None, IntervalMethod.NONE
    if min(values) == max(values):
        return reading.mean, reading.mean, reading.mean, IntervalMethod.NO_VARIANCE
    worth = max(2.0, steadiness.effective_samples(values))
    error = deviation(values) / math.sqrt(worth)
    return reading.mean, *t_interval(reading.mean, error, worth - 1, confidence), IntervalMethod.T_WITHIN_PROCESS


def _of_samples(
    found: tuple[tuple[ShardObservation, Reading], ...],
) -> tuple[float | None, float | None, float | None]:
    series = [reading.values for _, reading in found if reading.values]
    if not series or len(series) < len(found):
        return None, None, None
    count = sum(len(values) for values in series)
    outliers = sum(steadiness.outliers(values) for values in series)
    effective = sum(steadiness.effective_samples(values) for values in series)
    return outliers / count, max(max(values) for values in series), effective


def _doubts(within_process: bool, outlier_share: float | None) -> tuple[Doubt, ...]:
    doubts = {
        Doubt.WITHIN_PROCESS: within_process,
        Doubt.OUTLIERS: bool(outlier_share),
    }
    return tuple(doubt for doubt, applies in doubts.items() if applies)


def _why_no_interval(units: Units) -> str:
    return "OnePrompt" if units.unit == Unit.PROMPT else "OneShard"


def _nothing(metric: Metric, confidence: float, reason: str) -> Estimate:
    return Estimate(
        metric=metric.name,
        unit=metric.unit,
        mean=None,
        low=None,
        high=None,
        confidence=confidence,
        method=IntervalMethod.NONE,
        scope=None,
        clusters=0,
        shards=0,
        samples=0,
        within_process=False,
        reason=reason,
    )

"""How a metric of the same cell goes over time, drivers, nodes, devices or clusters, by what the store holds.

Only like is put together: the same names, pixels (generation hash), weights, rung, kind, GPU product and number of GPUs a shard. What counts and the intervals
are `vidbench_analysis`'s, over the means of shards; what does not count is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, null, select

from vidbench_analysis.intervals import Estimate, estimate
from vidbench_analysis.metrics import METRICS, Metric, Pairing, Reading
from vidbench_analysis.observations import CellObservations, ShardObservation
from vidbench_api.measured import SeriesName
from vidbench_api.names import Comparability, Outcome, Validity

from .store import Filter, Store
from .tables import RESULTS, SERIES

NOT_SEEN = "(not seen)"
_COLUMNS = frozenset(name.value for name in SeriesName)


class Axis(StrEnum):
    """What a trend goes over."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    DRIVER = "driver"
    NODE = "node"
    CLUSTER = "cluster"
    RUN = "run"


@dataclass(frozen=True, order=True)
class Subject:
    """What is the same along a trend. `content` is the generation hash: other pixels are another subject.

    `gpus` are those of a shard; 0 on a CPU, and where nobody saw the device.
    """

    model: str
    hardware: str
    variant: str
    device: str
    gpus: int
    content: str
    rung: str
    weights: str
    comparability: str


@dataclass(frozen=True)
class Point:
    """A subject at one place of the axis: what is known of the metric, and how many results did not count."""

    subject: Subject
    at: str
    first: datetime
    last: datetime
    estimate: Estimate
    left_out: int


class NotASeriesError(ValueError):
    """The metric is no column of samples, so the store has no statistics of it."""


def find_trends(store: Store, metric: Metric, axis: Axis, which: Filter | None = None) -> list[Point]:
    """Return the points of every subject, by subject and place on the axis.

    Raises:
        NotASeriesError: the metric is none of the columns of results.
        StoreError: the store cannot be read.
    """
    if not is_series(metric):
        raise NotASeriesError(f"{metric.name} is no column of samples")
    found: dict[Subject, dict[str, list[_Row]]] = {}
    # By the columns as they are stored first: to make and to compare a Subject for each of many rows costs more than to read them.
    by_columns: dict[tuple[object, ...], dict[str, list[_Row]]] = {}
    for row in map(_Row._make, store.rows(_query(metric, axis, which or Filter()))):
        columns = row[:_SUBJECT_COLUMNS]
        places = by_columns.get(columns)
        if places is None:
            places = by_columns[columns] = found.setdefault(_subject_of(row), defaultdict(list))
        places[_place_of(row, axis)].append(row)
    points = [_point(subject, at, rows, metric) for subject, places in found.items() for at, rows in places.items()]
    return sorted(points, key=lambda point: (point.subject, point.at))


def is_series(metric: Metric) -> bool:
    """Whether the store's statistics of columns are all that the metric needs: no prompts, nothing from elsewhere."""
    return metric.name in _COLUMNS and metric.pairing is Pairing.NONE


def series_metrics() -> list[str]:
    """Return the names of the metrics of which there are trends."""
    return [name for name, metric in METRICS.items() if is_series(metric)]


class _Row(NamedTuple):
    """What a point is made of and no more: the subject's columns, the place, the shard and its mean, whether it counts."""

    model: str
    hardware: str
    variant: str
    device: str | None
    device_count: int | None
    generation_hash: str
    rung: str | None
    weights: str | None
    comparability: str
    place: str | None
    measured_at: datetime
    uid: str
    counts: bool
    run_uid: str
    cell: str
    shard: int
    node: str | None
    gpu_uuid: str | None
    mean: float
    """None where `counts` is not."""

    samples: int


_SUBJECT_COLUMNS: Final = _Row._fields.index("comparability") + 1


def _query(metric: Metric, axis: Axis, which: Filter) -> Select[Any]:
    """Return the query of the rows, in the order in which the database finds them: to sort them there takes longer."""
    columns = RESULTS.c
    joined = RESULTS.outerjoin(SERIES, and_(SERIES.c.result_id == columns.id, SERIES.c.name == metric.name))
    named = {"place": _place_column(axis), "counts": _counts(), "mean": SERIES.c.mean, "samples": SERIES.c["count"]}
    wanted = [named[name] if name in named else columns[name] for name in _Row._fields]
    return select(*wanted).select_from(joined).where(which.to_clause())


def _counts() -> ColumnElement[bool]:
    """Return the condition that a result counts, by the same rules as `vidbench_analysis.observations`."""
    columns = RESULTS.c
    return and_(
        columns.outcome == Outcome.SUCCEEDED.value,
        columns.validity == Validity.VALID.value,
        columns.superseded.is_(False),
        columns.comparability != Comparability.MOCK.value,
        SERIES.c.mean.is_not(None),
    )


def _place_column(axis: Axis) -> ColumnElement[Any]:
    if axis in _FORMATS:
        return null()
    if axis is Axis.RUN:
        return RESULTS.c.namespace + "/" + RESULTS.c.run
    return RESULTS.c[axis.value]


def _place_of(row: _Row, axis: Axis) -> str:
    form = _FORMATS.get(axis)
    return row.place or NOT_SEEN if form is None else row.measured_at.strftime(form)


_FORMATS: Final[Mapping[Axis, str]] = {Axis.DAY: "%Y-%m-%d", Axis.WEEK: "%G-W%V", Axis.MONTH: "%Y-%m"}
"""Of places that are a part of the moment; the others are a column."""


def _subject_of(row: _Row) -> Subject:
    return Subject(
        row.model, row.hardware, row.variant, row.device or NOT_SEEN, row.device_count or 0, row.generation_hash,
        row.rung or "", row.weights or "", row.comparability,
    )  # fmt: skip


def _point(subject: Subject, at: str, rows: Sequence[_Row], metric: Metric) -> Point:
    counted: dict[tuple[str, str, int], _Row] = {}
    for row in rows:
        if row.counts:
            # The same shard of the same run is one process, also where a backup brought its result back under another UID.
            first = counted.setdefault((row.run_uid, row.cell, row.shard), row)
            if first is not row and _order(row) < _order(first):
                counted[row.run_uid, row.cell, row.shard] = row
    cell = CellObservations(
        label=f"{subject.model}/{subject.hardware}/{subject.variant}",
        shards=tuple(_observed(counted[key], metric) for key in sorted(counted)),
        comparability=Comparability(subject.comparability) if counted else None,
        results=len(rows),
    )
    moments = [row.measured_at for row in rows]
    return Point(subject, at, min(moments), max(moments), estimate(cell, metric), len(rows) - len(counted))


def _order(row: _Row) -> tuple[datetime, str]:
    return row.measured_at, row.uid


def _observed(row: _Row, metric: Metric) -> ShardObservation:
    """Return what the interval of a mean over shards asks of a shard."""
    return ShardObservation(
        run_uid=row.run_uid,
        shard=row.shard,
        readings={metric.name: Reading(row.mean, row.samples)},
        node=row.node,
        gpu_uuid=row.gpu_uuid,
        product=row.device,
    )


def contents_by_names(points: Iterable[Point]) -> Counter[tuple[str, str, str]]:
    """Return how many contents each model, hardware and variant has: where it is more than one, names do not tell them apart."""
    seen = {
        (point.subject.model, point.subject.hardware, point.subject.variant, point.subject.content) for point in points
    }
    return Counter((model, hardware, variant) for model, hardware, variant, _ in seen)

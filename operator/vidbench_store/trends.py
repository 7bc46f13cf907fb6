"""How a metric of the same cell goes over time, drivers, nodes, devices or clusters, by what the store holds.

Only like is put together: the same names, pixels (generation hash), weights, rung, kind and GPU product. What counts and the intervals
are `vidbench_analysis`'s, over the means of shards; what does not count is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, select

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
    """What is the same along a trend. `content` is the generation hash: other pixels are another subject."""

    model: str
    hardware: str
    variant: str
    device: str
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
    groups: dict[tuple[Subject, str], list[Any]] = defaultdict(list)
    for row in store.rows(_query(metric, which or Filter())):
        groups[_subject_of(row), _place_of(row, axis)].append(row)
    points = [_point(subject, at, rows, metric) for (subject, at), rows in groups.items()]
    return sorted(points, key=lambda point: (point.subject, point.at))


def is_series(metric: Metric) -> bool:
    """Whether the store's statistics of columns are all that the metric needs: no prompts, nothing from elsewhere."""
    return metric.name in _COLUMNS and metric.pairing is Pairing.NONE


def series_metrics() -> list[str]:
    """Return the names of the metrics of which there are trends."""
    return [name for name, metric in METRICS.items() if is_series(metric)]


def _query(metric: Metric, which: Filter) -> Any:
    columns = RESULTS.c
    joined = RESULTS.outerjoin(SERIES, and_(SERIES.c.result_id == columns.id, SERIES.c.name == metric.name))
    return (
        select(
            columns.cluster, columns.namespace, columns.run, columns.run_uid, columns.cell, columns.shard,
            columns.attempts, columns.model, columns.hardware, columns.variant, columns.device, columns.driver,
            columns.node, columns.gpu_uuid, columns.generation_hash, columns.rung, columns.weights,
            columns.comparability, columns.outcome, columns.validity, columns.superseded, columns.measured_at,
            SERIES.c.mean, SERIES.c["count"].label("samples"),
        )
        .select_from(joined)
        .where(which.to_clause())
        .order_by(columns.measured_at, columns.uid)
    )  # fmt: skip


def _subject_of(row: Any) -> Subject:
    return Subject(
        row.model, row.hardware, row.variant, row.device or NOT_SEEN, row.generation_hash, row.rung or "",
        row.weights or "", row.comparability,
    )  # fmt: skip


def _place_of(row: Any, axis: Axis) -> str:
    moment: datetime = row.measured_at
    if axis is Axis.DAY:
        return f"{moment:%Y-%m-%d}"
    if axis is Axis.WEEK:
        return f"{moment:%G-W%V}"
    if axis is Axis.MONTH:
        return f"{moment:%Y-%m}"
    if axis is Axis.RUN:
        return f"{row.namespace}/{row.run}"
    return str(getattr(row, axis.value) or NOT_SEEN)


def _counts(row: Any) -> bool:
    """Whether a result counts, by the same rules as `vidbench_analysis.observations`."""
    return (
        row.outcome == Outcome.SUCCEEDED
        and row.validity == Validity.VALID
        and not row.superseded
        and row.comparability != Comparability.MOCK
        and row.mean is not None
    )


def _point(subject: Subject, at: str, rows: Iterable[Any], metric: Metric) -> Point:
    rows = list(rows)
    # The same shard of the same run is one process, also where a backup brought its result back under another UID.
    counted: Mapping[tuple[str, str, int], Any] = {
        (row.run_uid, row.cell, row.shard): row for row in reversed(rows) if _counts(row)
    }
    kept = sorted(counted.values(), key=lambda row: (row.run_uid, row.cell, row.shard))
    cell = CellObservations(
        label=f"{subject.model}/{subject.hardware}/{subject.variant}",
        shards=tuple(
            ShardObservation(
                run_uid=row.run_uid,
                shard=row.shard,
                readings={metric.name: Reading(row.mean, row.samples)},
                node=row.node,
                gpu_uuid=row.gpu_uuid,
                product=row.device,
                weights_random=row.weights == "Random",
                run_name=row.run,
                attempt=row.attempts,
            )
            for row in kept
        ),
        comparability=Comparability(subject.comparability) if kept else None,
        results=len(rows),
    )
    moments = [row.measured_at for row in rows]
    return Point(subject, at, min(moments), max(moments), estimate(cell, metric), len(rows) - len(kept))


def contents_by_names(points: Iterable[Point]) -> Counter[tuple[str, str, str]]:
    """Return how many contents each model, hardware and variant has: where it is more than one, names do not tell them apart."""
    seen = {
        (point.subject.model, point.subject.hardware, point.subject.variant, point.subject.content) for point in points
    }
    return Counter((model, hardware, variant) for model, hardware, variant, _ in seen)

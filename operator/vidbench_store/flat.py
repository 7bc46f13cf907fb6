"""Results as flat records, for tables, CSV and Parquet: a record a column of a result, or a record a sample. Pure.

A result without columns (it failed before its first sample) has one record in which they are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from .documents import Entry, Unreadable, read_document

Record = dict[str, Any]


class Rows(StrEnum):
    """What a record is of."""

    SERIES = "series"
    SAMPLES = "samples"


_DROPPED: Final = frozenset({"digest", "document", "kept"})
_RESULT_COLUMNS: Final = (
    "cluster", "namespace", "name", "uid", "run", "run_uid", "cell", "model", "hardware", "variant", "shard", "attempts",
    "rung", "weights", "request_digest", "generation_hash", "environment_hash", "outcome", "validity", "comparability",
    "superseded", "reason", "samples_done", "device", "device_count", "gpu_uuid", "driver", "torch", "node", "image_id",
    "gpu_seconds", "created_at", "started_at", "finished_at", "measured_at",
)  # fmt: skip
COLUMNS: Final[Mapping[Rows, tuple[str, ...]]] = {
    Rows.SERIES: (
        *_RESULT_COLUMNS, "series", "unit", "count", "mean", "standard_deviation", "min", "median", "max",
    ),
    Rows.SAMPLES: (*_RESULT_COLUMNS, "series", "unit", "step", "sample", "value"),
}  # fmt: skip
"""The columns of the records, in their order. Times are UTC; a value is in the series' unit, rounded to its `step`."""


def flatten(cluster: str, raw: Mapping[str, Any], rows: Rows) -> list[Record] | Unreadable:
    """Return the records of an object, or what is wrong with it."""
    entry = read_document(raw)
    if isinstance(entry, Unreadable):
        return entry
    shared = {name: value for name, value in entry.row.items() if name not in _DROPPED} | {"cluster": cluster}
    own = list(_series(entry) if rows is Rows.SERIES else _samples(entry)) or [{}]
    return [{name: (shared | record).get(name) for name in COLUMNS[rows]} for record in own]


def _series(entry: Entry) -> Iterator[Record]:
    for row in entry.series:
        yield {**row, "series": row["name"], "name": entry.row["name"]}


def _samples(entry: Entry) -> Iterator[Record]:
    for series in entry.row["document"]["spec"].get("series", ()):
        head = {"series": series["name"], "unit": series["unit"], "step": series.get("step", 1)}
        for number, value in enumerate(series.get("values", ()), start=1):
            yield {**head, "sample": number, "value": value}

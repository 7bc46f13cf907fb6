"""Writes results as JSON, CSV or Parquet to a file, to standard output or to whatever fsspec reaches.

A file appears under its name when it is whole. Texts of CSV are escaped: a spreadsheet computes nothing that a pod wrote.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from vidbench_store.documents import Unreadable
from vidbench_store.flat import COLUMNS, Record, Rows, flatten

from .errors import UsageError
from .escaping import csv_text, json_text
from .texts import _

STANDARD_OUTPUT: Final = "-"
_BATCH: Final = 5_000


class FileFormat(StrEnum):
    """Values of `export --format`."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


Found = tuple[str, Mapping[str, Any]]
"""A cluster's name and an object of its."""


@dataclass
class Exported:
    """What was written."""

    results: int = 0
    records: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)


def export(found: Iterable[Found], target: BinaryIO, form: FileFormat, rows: Rows) -> Exported:
    """Write results; those that are none are named, not written."""
    writers: dict[FileFormat, Callable[[Iterator[Record], BinaryIO, Rows], None]] = {
        FileFormat.CSV: _write_csv,
        FileFormat.PARQUET: _write_parquet,
    }
    done = Exported()
    if form is FileFormat.JSON:
        _write_json(found, target, done)
    else:
        writers[form](_records(found, rows, done), target, rows)
    return done


def guess_format(target: str) -> FileFormat | None:
    """Return the format that the end of a name says."""
    suffix = Path(urlsplit(target).path or target).suffix.lower().lstrip(".")
    return next((form for form in FileFormat if form.value == suffix), None)


@contextmanager
def opened(target: str) -> Iterator[BinaryIO]:
    """Open a path or an fsspec URL for writing; what fails leaves no file of that name. Raises UsageError."""
    if "://" not in target:
        with _local(Path(target)) as file:
            yield file
        return
    import fsspec

    where = _shown(target)
    try:
        # Inside a transaction a file appears when all of it is written.
        system, path = fsspec.core.url_to_fs(target)
        with system.transaction, system.open(path, "wb") as file:
            yield file
    except (ImportError, ValueError) as error:
        raise UsageError(
            _("{target} cannot be written: {error}").format(target=where, error=error),
            _("install the file system's package beside vidbench, such as s3fs or gcsfs, or write to a path"),
        ) from error
    except OSError as error:
        raise UsageError(_("{target} cannot be written: {error}").format(target=where, error=error)) from error


def _shown(target: str) -> str:
    """A URL without what may be secret in it: user, password and query."""
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def _local(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        text = _("{target} cannot be written: {error}")
        raise UsageError(text.format(target=path, error=error.strerror or error)) from error
    finally:
        part.unlink(missing_ok=True)


def _records(found: Iterable[Found], rows: Rows, done: Exported) -> Iterator[Record]:
    for cluster, raw in found:
        records = flatten(cluster, raw, rows)
        if isinstance(records, Unreadable):
            done.unreadable.append(records)
            continue
        done.results += 1
        done.records += len(records)
        yield from records


def _write_json(found: Iterable[Found], target: BinaryIO, done: Exported) -> None:
    target.write(b"[")
    for cluster, raw in found:
        text = json_text(json.dumps({"cluster": cluster, **raw}, ensure_ascii=False))
        target.write(b",\n" if done.results else b"\n")
        target.write(text.encode())
        done.results += 1
    done.records = done.results
    target.write(b"\n]\n")


def _write_csv(records: Iterator[Record], target: BinaryIO, rows: Rows) -> None:
    sheet = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(COLUMNS[rows])
    for record in records:
        writer.writerow([_csv_cell(value) for value in record.values()])
    sheet.detach()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return csv_text(value)
    return value


def _write_parquet(records: Iterator[Record], target: BinaryIO, rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow_type(pa, name)) for name in COLUMNS[rows]])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        while batch := list(islice(records, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


_WHOLE: Final = frozenset({"shard", "attempts", "samples_done", "device_count", "gpu_seconds", "count", "min", "max", "step",
                           "sample", "value"})  # fmt: skip


def _arrow_type(pa: Any, name: str) -> Any:
    if name.endswith("_at"):
        return pa.timestamp("us", tz="UTC")
    if name in ("mean", "standard_deviation", "median"):
        return pa.float64()
    if name == "superseded":
        return pa.bool_()
    return pa.int64() if name in _WHOLE else pa.string()

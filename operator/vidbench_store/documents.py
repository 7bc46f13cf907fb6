"""BenchmarkResult objects to rows. Strict about what the rows need, and silent about the rest: it stays in the document.

So a store also takes the results of newer and older operators. What does not fit is said, by field, and not stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic.alias_generators import to_camel

from vidbench_api.identity import digest_of
from vidbench_api.names import LABEL_KEEP

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_LONG: Final = 9_223_372_036_854_775_807
_INTEGER: Final = 2_147_483_647
_KEPT_METADATA: Final = ("name", "namespace", "uid", "labels", "creationTimestamp")
"""Annotations and managed fields may hold the manifest that somebody applied; none of ours are needed here."""


def _in_utc(value: datetime) -> datetime:
    # Times of the API are RFC 3339, which always has a zone.
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("a time beyond the calendar") from None


_Moment = Annotated[datetime, AfterValidator(_in_utc)]
_Count = Annotated[int, Field(ge=0, le=_INTEGER)]
_Long = Annotated[int, Field(ge=-_LONG, le=_LONG)]
_Text16 = Annotated[str, Field(max_length=16)]
_Text32 = Annotated[str, Field(max_length=32)]
_Text64 = Annotated[str, Field(max_length=64)]
_Text128 = Annotated[str, Field(max_length=128)]
_Text256 = Annotated[str, Field(max_length=256)]
_Text512 = Annotated[str, Field(max_length=512)]
_Given64 = Annotated[str, Field(min_length=1, max_length=64)]
_Given256 = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore", hide_input_in_errors=True)


class _Metadata(_Part):
    uid: _Given64
    namespace: _Given256
    name: _Given256
    creation_timestamp: _Moment
    labels: dict[str, str] = Field(default_factory=dict)


class _Run(_Part):
    name: _Given256
    uid: _Given64


class _Cell(_Part):
    id: Annotated[str, Field(min_length=1, max_length=8)]
    model: _Given64
    hardware: _Given64
    variant: _Given64


class _Validity(_Part):
    state: _Text32


class _Environment(_Part):
    device: _Text128 | None = None
    device_count: _Count | None = None
    gpu_uuid: _Text64 | None = None
    driver: _Text64 | None = None
    torch: _Text64 | None = None


class _Origin(_Part):
    node: _Text256 | None = None
    image_id: _Text512 | None = None
    started_at: _Moment | None = None
    finished_at: _Moment | None = None
    gpu_seconds: _Count = 0


class _Statistics(_Part):
    count: _Count
    mean: FiniteFloat
    standard_deviation: FiniteFloat | None = None
    min: _Long
    median: FiniteFloat
    max: _Long


class _Series(_Part):
    name: _Given64
    unit: _Text32
    statistics: _Statistics


class _Spec(_Part):
    run: _Run
    cell: _Cell
    shard: _Count
    attempts: _Count
    rung: _Text64 | None = None
    weights: _Text16 | None = None
    request_digest: _Text64
    generation_hash: _Text64
    environment_hash: _Text64 | None = None
    outcome: _Text32
    validity: _Validity
    comparability: _Text32 = "Device"
    superseded: bool = False
    reason: _Text256 | None = None
    samples_done: _Count = 0
    environment: _Environment = Field(default_factory=_Environment)
    origin: _Origin
    series: tuple[_Series, ...] = ()


class _Result(_Part):
    metadata: _Metadata
    spec: _Spec


@dataclass(frozen=True)
class Entry:
    """A result as the tables hold it: the columns of its row but `cluster` and `stored_at`, and rows of series."""

    row: dict[str, Any]
    series: tuple[dict[str, Any], ...]

    @property
    def uid(self) -> str:
        """The object's UID: what it is found again by."""
        return str(self.row["uid"])


@dataclass(frozen=True)
class Unreadable:
    """An object that is no BenchmarkResult for this version, and why not."""

    name: str
    problem: str


def read_document(raw: Mapping[str, Any]) -> Entry | Unreadable:
    """Return the rows of an object, as the API server gives it."""
    clean = _storable(raw)
    try:
        result = _Result.model_validate(clean)
    except ValidationError as error:
        return Unreadable(_name_of(clean), _first_problem(error))
    names = [entry.name for entry in result.spec.series]
    if len(set(names)) < len(names):
        return Unreadable(_name_of(clean), "spec.series: a name is there twice")
    document = {
        "apiVersion": clean.get("apiVersion"),
        "kind": clean.get("kind"),
        "metadata": {key: clean["metadata"][key] for key in _KEPT_METADATA if key in clean["metadata"]},
        "spec": clean["spec"],
    }
    try:
        text = json.dumps(document, sort_keys=True, ensure_ascii=True, allow_nan=False)
    except ValueError:
        return Unreadable(_name_of(clean), "a number in it is not finite, which is no JSON")
    row = _row_of(result, document) | {"digest": digest_of(text)}
    return Entry(row, tuple(_series_row(entry) for entry in result.spec.series))


def read_documents(documents: Sequence[Mapping[str, Any]]) -> tuple[list[Entry], list[Unreadable]]:
    """Return the rows of those that can be read, each UID once, and what is wrong with the others.

    They are in the order of their UIDs: two writers that update the same rows in two orders would wait for each other.
    """
    entries: dict[str, Entry] = {}
    unreadable: list[Unreadable] = []
    for raw in documents:
        read = read_document(raw)
        if isinstance(read, Entry):
            entries[read.uid] = read
        else:
            unreadable.append(read)
    return sorted(entries.values(), key=lambda entry: entry.uid), unreadable


def _row_of(result: _Result, document: dict[str, Any]) -> dict[str, Any]:
    metadata, spec = result.metadata, result.spec
    return {
        "uid": metadata.uid,
        "namespace": metadata.namespace,
        "name": metadata.name,
        "run": spec.run.name,
        "run_uid": spec.run.uid,
        "cell": spec.cell.id,
        "model": spec.cell.model,
        "hardware": spec.cell.hardware,
        "variant": spec.cell.variant,
        **spec.model_dump(
            include={
                "shard",
                "attempts",
                "rung",
                "weights",
                "request_digest",
                "generation_hash",
                "environment_hash",
                "outcome",
                "comparability",
                "superseded",
                "reason",
                "samples_done",
            }
        ),
        "validity": spec.validity.state,
        **spec.environment.model_dump(),
        **spec.origin.model_dump(),
        "created_at": metadata.creation_timestamp,
        "measured_at": spec.origin.finished_at or metadata.creation_timestamp,
        "kept": metadata.labels.get(LABEL_KEEP) == "true",
        "document": document,
    }


def _series_row(series: _Series) -> dict[str, Any]:
    return {"name": series.name, "unit": series.unit, **series.statistics.model_dump()}


def _storable(value: Any) -> Any:
    """Return a JSON value without what PostgreSQL's or UTF-8's texts cannot hold: NUL and lone surrogates.

    A whole number is an integer: the API server answers a POST with 1.0 and a list with 1.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        clean = value.replace("\0", _REPLACEMENT) if "\0" in value else value
        return clean if clean.isascii() else clean.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(entry) for entry in value]
    return value


def _name_of(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    return f"{named.get('namespace', '?')}/{named.get('name', '?')}"


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}{more}"

"""For every bound in a structural schema: a value that just holds to it and one that just does not."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]

FIRST = 0
"""Stands in a path for a list's first entry."""

_DATE_TIME = "date-time"


@dataclass(frozen=True)
class Probe:
    """One bound: values that hold to it, one that does not, and where the server must say so."""

    keyword: str
    good: tuple[Any, ...]
    bad: Any
    field: str


def find_nodes(schema: Schema, example: Any, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Yield every schema node that an example reaches, with the path of keys and indices that leads there."""
    yield path, schema
    if isinstance(example, list) and example:
        yield from find_nodes(schema["items"], example[FIRST], (*path, FIRST))
    elif isinstance(example, dict):
        properties = schema.get("properties")
        for name, value in example.items():
            child = properties[name] if properties is not None else schema["additionalProperties"]
            yield from find_nodes(child, value, (*path, name))


def schema_paths(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every node of a schema; `[]` and `{}` stand for entries of lists and maps."""
    yield path
    for name, child in schema.get("properties", {}).items():
        yield from schema_paths(child, (*path, name))
    if "items" in schema:
        yield from schema_paths(schema["items"], (*path, "[]"))
    if "additionalProperties" in schema:
        yield from schema_paths(schema["additionalProperties"], (*path, "{}"))


def example_paths(schema: Schema, example: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path, as `schema_paths` writes it, of every node that an example reaches."""
    yield path
    if isinstance(example, list):
        for entry in example:
            yield from example_paths(schema["items"], entry, (*path, "[]"))
    elif isinstance(example, dict):
        properties = schema.get("properties")
        for name, value in example.items():
            child = properties[name] if properties is not None else schema["additionalProperties"]
            yield from example_paths(child, value, (*path, name if properties is not None else "{}"))


def put(document: Any, path: Path, value: Any) -> Any:
    """Return a copy of a document with another value at a path."""
    if not path:
        return value
    changed = copy.copy(document)
    changed[path[0]] = put(document[path[0]], path[1:], value)
    return changed


def look_up(document: Any, path: Path) -> Any:
    """Return the value at a path."""
    for step in path:
        document = document[step]
    return document


def write_path(path: Path) -> str:
    """Write a path as the API server does, e.g. `spec.models[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def probes(schema: Schema, path: Path, value: Any) -> Iterator[Probe]:
    """Yield a probe for each bound of one node, given the value that the example has there."""
    makers = {
        "string": _of_string,
        "integer": _of_number,
        "number": _of_number,
        "array": _of_list,
        "object": _of_object,
    }
    maker = makers.get(schema["type"])
    if maker is not None:
        yield from maker(schema, write_path(path), value)
    wrong = "text" if schema["type"] != "string" else 12345
    yield Probe("type", (value,), wrong, write_path(path))


def _of_string(schema: Schema, field: str, value: str) -> Iterator[Probe]:
    if "enum" in schema:
        yield Probe("enum", tuple(schema["enum"]), "Nonsense", field)
    if "maxLength" in schema:
        limit = schema["maxLength"]
        longest = value if schema.get("format") == _DATE_TIME else _longest(limit, schema.get("pattern"))
        yield Probe("maxLength", (longest,), "a" * (limit + 1), field)
    if schema.get("minLength"):
        yield Probe("minLength", (value,), "a" * (schema["minLength"] - 1), field)
    if "pattern" in schema:
        length = max(1, schema.get("minLength", 1))
        yield Probe("pattern", (value,), "!" * length, field)
        if length <= len("../x") <= schema.get("maxLength", 4):
            yield Probe("pattern", (value,), "../x", field)
    if schema.get("format") == _DATE_TIME:
        yield Probe("format", (value,), "yesterday", field)


def _longest(length: int, pattern: str | None) -> str:
    candidates = (
        "a" * length, f"/{'a' * (length - 1)}", f"a/{'a' * (length - 2)}", "1" * length, f"claim://{'a' * (length - 8)}",
        f"{'A' * (length - 8)}Pipeline", f"{'a' * (length - 64)}/{'a' * 63}",
        f"1{'0' * (length - 2)}%",
        f"1.{'0' * (length - 3)}%",
        f"http://{'a' * (length - 7)}", f"vidbench-service-{'a' * (length - 17)}",
        "A" * length, f"{'1' * (length - 7)}.{'1' * 6}",
    )  # fmt: skip
    for candidate in candidates:
        if len(candidate) == length and (pattern is None or re.fullmatch(pattern, candidate)):
            return candidate
    raise LookupError(f"no text of {length} characters is known that matches {pattern}")


def _of_number(schema: Schema, field: str, value: float) -> Iterator[Probe]:
    for keyword, step in (("minimum", -1), ("maximum", 1)):
        if keyword in schema:
            yield Probe(keyword, (schema[keyword],), schema[keyword] + step, field)


def _of_list(schema: Schema, field: str, value: list[Any]) -> Iterator[Probe]:
    limit = schema["maxItems"]
    longest = _distinct(schema, value[FIRST], limit)
    yield Probe("maxItems", (longest,), [*longest, *[value[FIRST]] * (limit + 1 - len(longest))], field)
    if schema.get("minItems"):
        yield Probe("minItems", (value,), [], field)
    if schema["x-kubernetes-list-type"] in {"map", "set"}:
        # The entry, not the list, is what the server points at.
        yield Probe("duplicates", (value,), [value[FIRST], value[FIRST]], f"{field}[1]")


def _distinct(schema: Schema, entry: Any, count: int) -> list[Any]:
    """Return entries that differ in their key: as many as asked for, or as an enum has words."""
    kind = schema["x-kubernetes-list-type"]
    if kind == "atomic":
        return [entry] * count
    keys = schema.get("x-kubernetes-list-map-keys")
    key_schema = schema["items"]["properties"][keys[0]] if keys else schema["items"]
    own = entry[keys[0]] if keys else entry
    prefix = "/" if own.startswith("/") else "http://" if own.startswith("http://") else "x/" if "/" in own else ""
    words = key_schema.get("enum") or [own, *(f"{prefix}b{number}" for number in range(1, count))]
    chosen = words[:count]
    return [{**entry, keys[0]: word} if keys else word for word in chosen]


def _of_object(schema: Schema, field: str, value: dict[str, Any]) -> Iterator[Probe]:
    for name in schema.get("required", ()):
        without = {key: entry for key, entry in value.items() if key != name}
        yield Probe(f"required {name}", (value,), without, f"{field}.{name}".removeprefix("."))
    if schema.get("minProperties"):
        yield Probe("minProperties", (value,), {}, field)
    if "maxProperties" in schema:
        limit = schema["maxProperties"]
        some = next(iter(value.values()))
        full = value | {f"b{number}": some for number in range(limit - len(value))}
        yield Probe("maxProperties", (full,), full | {"c": some}, field)

"""What an API server with our CRDs would say of an object that people write, found without one.

Looks at the schema that the CRD carries: unknown fields, types, bounds, required fields, lists that may hold an entry once,
and the CEL rules, on the object with its defaults filled in. Rules about a change of an object are not for a new one.
What is left to a cluster: names that lead somewhere, quotas, admission policies.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from .cel import EvaluationError, UnsupportedError, compile_expression, matches
from .crdgen import Schema, root_schema
from .kinds import KINDS, Kind
from .names import API_VERSION, GROUP

_SHOWN: Final = 60
_OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_GENERATED: Final = "00000"
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_WORDS: Final = {"object": "an object", "array": "a list", "string": "text", "integer": "an integer", "number": "a number",
                 "boolean": "true or false"}  # fmt: skip


@dataclass(frozen=True)
class FieldError:
    """What is wrong with a field, and what to do about it where that is known."""

    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Admission:
    """The object with its defaults, and all that speaks against it."""

    body: dict[str, Any]
    errors: tuple[FieldError, ...]
    unchecked: tuple[str, ...] = ()
    """Rules that are not evaluated here, by their message."""


def admit(body: Mapping[str, Any]) -> Admission:
    """Check an object of one of our kinds as a new one."""
    whole = copy.deepcopy(dict(body))
    kind = next((kind for kind in KINDS if kind.kind == whole.get("kind")), None)
    errors = [*_identity_errors(whole, kind)]
    if kind is None or errors:
        return Admission(whole, tuple(errors))
    schema = _schema_of(kind.kind)
    _fill_in(whole, schema)
    _name_as_server_does(whole)
    errors = [*_metadata_errors(whole, kind), *_structure_errors(whole, schema, "")]
    if errors:
        return Admission(whole, tuple(errors))
    unchecked: dict[str, None] = {}
    errors = [*_rule_errors(whole, schema, "", unchecked)]
    return Admission(whole, tuple(errors), tuple(unchecked))


@cache
def _schema_of(name: str) -> Schema:
    return root_schema(next(kind for kind in KINDS if kind.kind == name))


def _identity_errors(body: Mapping[str, Any], kind: Kind | None) -> Iterator[FieldError]:
    names = ", ".join(kind.kind for kind in KINDS)
    if kind is None:
        yield FieldError("kind", f"{_shown(body.get('kind'))} is no kind of {GROUP}", f"it has {names}")
    elif body.get("apiVersion") != API_VERSION:
        yield FieldError("apiVersion", f"is {_shown(body.get('apiVersion'))}", f"write {API_VERSION}")


def _name_as_server_does(body: dict[str, Any]) -> None:
    """Give an object with `generateName` a name of the length that the server's has."""
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and not metadata.get("name") and isinstance(metadata.get("generateName"), str):
        metadata["name"] = metadata["generateName"] + _GENERATED


def _metadata_errors(body: Mapping[str, Any], kind: Kind) -> Iterator[FieldError]:
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        yield FieldError("metadata.name", "is missing", "give the object a name")
    elif not kind.root_rules and (len(name) > 253 or not matches(_OBJECT_NAME, name)):
        yield FieldError(
            "metadata.name", f"{_shown(name)} is no name of an object", "use lower case letters, digits and -"
        )


def _fill_in(value: Any, schema: Schema) -> None:
    """Fill in defaults as the API server does: a null counts as absent, defaults come from the outermost inwards."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if value.get(name) is None:
                value.pop(name, None)
                if "default" in child:
                    value[name] = copy.deepcopy(child["default"])
            if name in value:
                _fill_in(value[name], child)
        if "additionalProperties" in schema:
            for entry in value.values():
                _fill_in(entry, schema["additionalProperties"])
    elif isinstance(value, list):
        for entry in value:
            _fill_in(entry, schema.get("items", {}))


def _structure_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    kind = schema.get("type", "object")
    if not _is_of(value, kind):
        yield FieldError(path, f"must be {_WORDS[kind]}, not {_shown(value)}", _quoting_remedy(value, kind))
    elif kind == "object":
        yield from _object_errors(value, schema, path)
    elif kind == "array":
        yield from _list_errors(value, schema, path)
    elif kind == "string":
        yield from _text_errors(value, schema, path)
    else:
        yield from _number_errors(value, schema, path)


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    answers = {
        "object": isinstance(value, dict), "array": isinstance(value, list), "string": isinstance(value, str),
        "integer": whole, "number": isinstance(value, int | float), "boolean": False,
    }  # fmt: skip
    return answers[kind]


def _quoting_remedy(value: Any, kind: str) -> str:
    if kind == "string" and isinstance(value, bool | int | float):
        return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if kind in ("integer", "number") and isinstance(value, str):
        return "write it without quotes"
    return ""


def _object_errors(value: dict[Any, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    for name in schema.get("required", ()):
        if name not in value:
            yield FieldError(_join(path, name), "is missing")
    properties = schema.get("properties")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        yield FieldError(path, f"has {len(value)} entries, at most {schema['maxProperties']} are allowed")
    if len(value) < schema.get("minProperties", 0):
        yield FieldError(path, f"has {len(value)} entries, at least {schema['minProperties']} are needed")
    for name, entry in value.items():
        if not isinstance(name, str):
            yield FieldError(_join(path, str(name)), "the key must be text", f'put it in quotes: "{name}"')
        elif properties is None:
            if "additionalProperties" in schema:
                yield from _structure_errors(entry, schema["additionalProperties"], _join(path, name))
        elif name in properties:
            if path or name not in ("metadata", "status"):
                yield from _structure_errors(entry, properties[name], _join(path, name))
        elif path or name not in _TOP:
            yield FieldError(_join(path, name), "there is no such field", _near(name, properties))


def _near(name: str, properties: Mapping[str, Any]) -> str:
    near = get_close_matches(name, properties, n=1) or [
        known for known in properties if known.lower() == name.replace("_", "").replace("-", "").lower()
    ]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(properties)}"


def _list_errors(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    if len(value) > schema.get("maxItems", len(value)):
        yield FieldError(path, f"has {len(value)} entries, at most {schema['maxItems']} are allowed")
    if len(value) < schema.get("minItems", 0):
        yield FieldError(path, f"has {len(value)} entries, at least {schema['minItems']} are needed")
    for number, entry in enumerate(value):
        yield from _structure_errors(entry, schema["items"], f"{path}[{number}]")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    kind = schema.get("x-kubernetes-list-type")
    seen: list[Any] = []
    for number, entry in enumerate(value):
        own = [entry.get(key) for key in keys] if kind == "map" and isinstance(entry, dict) else entry
        if kind in ("map", "set") and own in seen:
            what = ", ".join(keys) if keys else "entry"
            yield FieldError(f"{path}[{number}]", f"has the {what} of another entry, {_shown(own)}", "use each once")
        seen.append(own)


def _text_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        near = get_close_matches(value, schema["enum"], n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else ""
        yield FieldError(path, f"is {_shown(value)}, and must be one of {', '.join(schema['enum'])}", remedy)
    if len(value) > schema.get("maxLength", len(value)):
        yield FieldError(path, f"has {len(value)} characters, at most {schema['maxLength']} are allowed")
    elif len(value) < schema.get("minLength", 0):
        yield FieldError(path, "is empty" if not value else f"needs {schema['minLength']} characters")
    elif "pattern" in schema and not matches(schema["pattern"], value):
        yield FieldError(path, f"{_shown(value)} does not match {schema['pattern']}")


def _number_errors(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    if "minimum" in schema and value < schema["minimum"]:
        yield FieldError(path, f"must be at least {schema['minimum']}, not {value}")
    if "maximum" in schema and value > schema["maximum"]:
        yield FieldError(path, f"must be at most {schema['maximum']}, not {value}")


def _rule_errors(value: Any, schema: Schema, path: str, unchecked: dict[str, None]) -> Iterator[FieldError]:
    for entry in schema.get("x-kubernetes-validations", ()):
        try:
            expression = compile_expression(entry["rule"])
            if "oldSelf" not in expression.names and not expression.evaluate({"self": value}):
                yield FieldError(f"{path}{entry.get('fieldPath', '')}".removeprefix("."), entry["message"])
        except UnsupportedError:
            unchecked[entry["message"]] = None
        except EvaluationError as error:
            yield FieldError(path, f"{entry['message']} ({error})")
    if isinstance(value, dict):
        children = schema.get("properties", {})
        for name, inner in value.items():
            if name in children:
                yield from _rule_errors(inner, children[name], _join(path, name), unchecked)
            elif "additionalProperties" in schema:
                yield from _rule_errors(inner, schema["additionalProperties"], _join(path, name), unchecked)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _rule_errors(inner, schema["items"], f"{path}[{number}]", unchecked)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

"""Reads the objects of a manifest file as kubectl does: YAML or JSON, several documents, `-` for standard input.

Strict as kubectl is about keys that are given twice. Says where a text is no YAML; knows nothing of what objects should hold.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import UsageError
from .texts import _

STANDARD_INPUT = "-"
Object = dict[str, Any]


class _Named(io.StringIO):
    """A text under its file's name, which PyYAML tells in errors."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class _Loader(yaml.SafeLoader):
    """Refuses a mapping in which a key stands twice, where PyYAML would take the last one."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _value in node.value:
        if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
    loader.flatten_mapping(node)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_objects(files: Sequence[str]) -> list[Object]:
    """Return the objects of these files, lists taken apart; raises UsageError."""
    return [body for file in files for body in parse_objects(_text(file), file)]


def parse_objects(text: str, file: str) -> list[Object]:
    """Return the objects of a text; `file` stands in errors. Raises UsageError."""
    try:
        documents = [entry for entry in yaml.load_all(_Named(text, file), Loader=_Loader) if entry is not None]
    except yaml.constructor.ConstructorError as error:
        problem = " ".join(str(error).split())
        raise UsageError(
            _("{file}: {error}").format(file=file, error=problem), _("leave one of them, or write it as plain YAML")
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(
            _("{file} is not YAML: {error}").format(file=file, error=" ".join(str(error).split())),
            _(
                "a text with `: `, `#` or a leading `*` or `{` goes in quotes; indent with spaces; vidbench init writes a file to begin with"
            ),
        ) from error
    bodies: list[Object] = []
    for number, entry in enumerate(documents, start=1):
        if (
            isinstance(entry, dict)
            and isinstance(entry.get("items"), list)
            and str(entry.get("kind", "")).endswith("List")
        ):
            bodies += [item for item in entry["items"] if isinstance(item, dict)]
        elif isinstance(entry, dict):
            bodies.append(entry)
        else:
            text = _("document {number} of {file} is no object")
            raise UsageError(
                text.format(number=number, file=file), _("an object has apiVersion, kind, metadata and spec")
            )
    if not bodies:
        raise UsageError(_("{file} holds no object").format(file=file), _("vidbench init writes a file to begin with"))
    return bodies


def only_run(bodies: Sequence[Object], files: Sequence[str]) -> Object:
    """Return the one BenchmarkRun among objects; raises UsageError."""
    runs = [body for body in bodies if body.get("kind") == "BenchmarkRun"]
    if len(runs) == 1:
        return runs[0]
    metadata = [body.get("metadata") for body in runs]
    names = ", ".join(str(entry.get("name")) if isinstance(entry, dict) else "?" for entry in metadata)
    raise UsageError(
        _("{files}: one BenchmarkRun is wanted, {count} are there").format(files=", ".join(files), count=len(runs)),
        _("they are {names}: put each in a file of its own").format(names=names)
        if runs
        else _("vidbench init writes one to begin with"),
    )


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            _("there is no file {file}").format(file=file), _("write one with: vidbench init, or name it with -f")
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            _("{file} is no text").format(file=file), _("a manifest is YAML or JSON in UTF-8: vidbench init writes one")
        ) from error
    except OSError as error:
        raise UsageError(
            _("{file} cannot be read: {error}").format(file=file, error=error.strerror or error),
            _("name a file that you may read; several: -f ONE -f OTHER"),
        ) from error

"""A manifest file to the run, models and runner classes in it. Pure; whatever is wrong is told with its document and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from vidbench_api.base import NAME_PATTERN, ApiModel
from vidbench_api.kinds import BENCHMARK_RUN, RUNNER_CLASS, VIDEO_MODEL, RunnerClassSpec, VideoModelSpec
from vidbench_api.names import API_VERSION, MAX_RUN_NAME
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_cli.errors import UsageError
from vidbench_cli.texts import _

PRESET_ANNOTATION: Final = "vidbench.io/local-preset"
"""On a VideoModel with a path: the tiny preset that stands in on a machine without that folder."""

Spec = TypeVar("Spec", bound=ApiModel)


@dataclass(frozen=True)
class Documents:
    """What a manifest holds."""

    name: str
    spec: BenchmarkRunSpec
    models: Mapping[str, VideoModelSpec] = field(default_factory=dict)
    presets: Mapping[str, str] = field(default_factory=dict)
    """Tiny presets by the names of the models that they may stand in for."""

    classes: Mapping[str, RunnerClassSpec] = field(default_factory=dict)


def read_documents(text: str, source: str) -> Documents:
    """Read a manifest that holds one BenchmarkRun. Raises UsageError."""
    runs: dict[str, BenchmarkRunSpec] = {}
    models: dict[str, VideoModelSpec] = {}
    presets: dict[str, str] = {}
    classes: dict[str, RunnerClassSpec] = {}
    for number, body in _bodies(text, source):
        kind, name = body.get("kind"), _name_of(body, source, number)
        where = f"{source}, {kind} {name!r}"
        if kind == BENCHMARK_RUN.kind:
            runs[name] = _validated(BenchmarkRunSpec, body, where)
        elif kind == VIDEO_MODEL.kind:
            models[name] = _validated(VideoModelSpec, body, where)
            preset = (body["metadata"].get("annotations") or {}).get(PRESET_ANNOTATION)
            presets |= {name: str(preset)} if preset else {}
        elif kind == RUNNER_CLASS.kind:
            classes[name] = _validated(RunnerClassSpec, body, where)
    if len(runs) != 1:
        raise UsageError(
            _("{source} holds {count} BenchmarkRuns").format(source=source, count=len(runs)),
            _("Give a file with exactly one; `vidbench init` writes one."),
        )
    name, spec = next(iter(runs.items()))
    if len(name) > MAX_RUN_NAME or not re.fullmatch(NAME_PATTERN, name):
        text = _("{source}: metadata.name {name!r} has other letters than a-z, 0-9 and `-`, or more than {most}")
        raise UsageError(text.format(source=source, name=name, most=MAX_RUN_NAME), _("Rename the run."))
    return Documents(name, spec, models, presets, classes)


def read_class(text: str, source: str, name: str) -> RunnerClassSpec:
    """Read the RunnerClass of a file: the one of that name, or the only one. Raises UsageError."""
    classes = {
        _name_of(body, source, number): _validated(RunnerClassSpec, body, source)
        for number, body in _bodies(text, source)
        if body.get("kind") == RUNNER_CLASS.kind
    }
    if name in classes:
        return classes[name]
    if len(classes) == 1:
        return next(iter(classes.values()))
    raise UsageError(
        _("{source} holds {count} RunnerClasses, none of them {name!r}").format(
            source=source, count=len(classes), name=name
        ),
        _("Give a file with the class that spec.runnerClassName names."),
    )


def _bodies(text: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        loaded = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: {error}", _("Correct the file: it is not YAML.")) from error
    for number, body in enumerate(loaded, 1):
        if body is None:
            continue
        if not isinstance(body, dict):
            raise UsageError(_("{source}: document {number} is no object").format(source=source, number=number))
        yield number, body


def _name_of(body: Mapping[str, Any], source: str, number: int) -> str:
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise UsageError(_("{source}: document {number} has no metadata.name").format(source=source, number=number))
    return name


def _validated(model: type[Spec], body: Mapping[str, Any], where: str) -> Spec:
    if body.get("apiVersion") != API_VERSION:
        text = _("{where}: apiVersion is {found!r}, and this version knows {known}")
        raise UsageError(text.format(where=where, found=body.get("apiVersion"), known=API_VERSION))
    try:
        return model.model_validate(body.get("spec"))
    except ValidationError as error:
        lines = "\n".join(f"{_path_of(entry['loc'])}: {entry['msg']}" for entry in error.errors()[:5])
        text = _("{where} is not valid: {count} fields")
        raise UsageError(text.format(where=where, count=error.error_count()), lines) from error


def _path_of(parts: tuple[int | str, ...]) -> str:
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)

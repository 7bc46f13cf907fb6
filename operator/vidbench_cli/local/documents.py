"""The objects of a manifest to the run, models and runner classes in it. Pure; what is wrong is told with object and field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from vidbench_api.base import NAME_PATTERN, ApiModel
from vidbench_api.kinds import BENCHMARK_RUN, RUNNER_CLASS, VIDEO_MODEL, RunnerClassSpec, VideoModelSpec
from vidbench_api.names import API_VERSION, MAX_RUN_NAME
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_cli.errors import UsageError
from vidbench_cli.texts import _

PRESET_ANNOTATION: Final = "vidbench.io/local-preset"
"""On a VideoModel with a path: the tiny preset that stands in on a machine without that folder."""

Object = dict[str, Any]
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


def documents_of(bodies: Sequence[Object]) -> Documents:
    """Read the objects of a manifest, of which one is a BenchmarkRun; kinds that mean nothing here are left alone.

    Raises:
        UsageError: one of them is not valid.
    """
    runs: dict[str, BenchmarkRunSpec] = {}
    models: dict[str, VideoModelSpec] = {}
    presets: dict[str, str] = {}
    classes: dict[str, RunnerClassSpec] = {}
    for body in bodies:
        kind, name = body.get("kind"), _name_of(body)
        if kind == BENCHMARK_RUN.kind:
            runs[name] = _validated(BenchmarkRunSpec, body)
        elif kind == VIDEO_MODEL.kind:
            models[name] = _validated(VideoModelSpec, body)
            preset = (body["metadata"].get("annotations") or {}).get(PRESET_ANNOTATION)
            presets |= {name: str(preset)} if preset else {}
        elif kind == RUNNER_CLASS.kind:
            classes[name] = _validated(RunnerClassSpec, body)
    if len(runs) != 1:
        raise UsageError(
            _("the file holds {count} BenchmarkRuns; one is needed").format(count=len(runs)),
            _("vidbench init writes one"),
        )
    name, spec = next(iter(runs.items()))
    if len(name) > MAX_RUN_NAME or not re.fullmatch(NAME_PATTERN, name):
        text = _("metadata.name {name!r} has other letters than a-z, 0-9 and `-`, or more than {most}")
        raise UsageError(text.format(name=name, most=MAX_RUN_NAME), _("rename the run, or give --name"))
    return Documents(name, spec, models, presets, classes)


def class_of(bodies: Sequence[Object], source: str, name: str) -> RunnerClassSpec:
    """Return the RunnerClass of that name among the objects of a file, or the only one. Raises UsageError."""
    classes = {_name_of(body): body for body in bodies if body.get("kind") == RUNNER_CLASS.kind}
    body = classes.get(name) or (next(iter(classes.values())) if len(classes) == 1 else None)
    if body is not None:
        return _validated(RunnerClassSpec, body)
    text = _("{source} holds {count} RunnerClasses, none of them {name!r}")
    raise UsageError(
        text.format(source=source, count=len(classes), name=name),
        _("give a file with the class that spec.runnerClassName names"),
    )


def _name_of(body: Object) -> str:
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise UsageError(
            _("{kind}: metadata.name is missing").format(kind=body.get("kind")),
            _("without a cluster nobody makes up names: write one, or give --name for the run's"),
        )
    return name


def _validated(model: type[Spec], body: Object) -> Spec:
    where = f"{body['kind']} {_name_of(body)!r}"
    if body.get("apiVersion") != API_VERSION:
        text = _("{where}: apiVersion is {found!r}, and this version knows {known}")
        raise UsageError(
            text.format(where=where, found=body.get("apiVersion"), known=API_VERSION),
            _("use the vidbench of that version"),
        )
    try:
        return model.model_validate(body.get("spec"))
    except ValidationError as error:
        lines = "\n".join(f"{_path_of(entry['loc'])}: {entry['msg']}" for entry in error.errors()[:5])
        text = _("{where} is not valid: {count} fields")
        raise UsageError(text.format(where=where, count=error.error_count()), lines) from error


def _path_of(parts: tuple[int | str, ...]) -> str:
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)

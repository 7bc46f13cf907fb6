"""The objects of a manifest to the run, models and runner classes in it. Pure; what is wrong is told with object and field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vidbench_api.kinds import BENCHMARK_RUN, RUNNER_CLASS, VIDEO_MODEL, RunnerClassSpec, VideoModelSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_cli.checking import check_schemas
from vidbench_cli.errors import UsageError
from vidbench_cli.texts import _, ngettext

PRESET_ANNOTATION: Final = "vidbench.io/local-preset"
"""On a VideoModel with a path: the tiny preset that stands in on a machine without that folder."""

Object = dict[str, Any]


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
    check(bodies)
    runs = [body for body in bodies if body.get("kind") == BENCHMARK_RUN.kind]
    if len(runs) != 1:
        raise UsageError(
            _("the file holds {count} BenchmarkRuns; one is needed").format(count=len(runs)),
            _("vidbench init writes one"),
        )
    models = [body for body in bodies if body.get("kind") == VIDEO_MODEL.kind]
    presets = {_name_of(body): (body["metadata"].get("annotations") or {}).get(PRESET_ANNOTATION) for body in models}
    return Documents(
        name=_name_of(runs[0]),
        spec=BenchmarkRunSpec.model_validate(runs[0]["spec"]),
        models={_name_of(body): VideoModelSpec.model_validate(body["spec"]) for body in models},
        presets={name: str(preset) for name, preset in presets.items() if preset},
        classes={
            _name_of(body): RunnerClassSpec.model_validate(body["spec"])
            for body in bodies
            if body.get("kind") == RUNNER_CLASS.kind
        },
    )


def check(bodies: Sequence[Object]) -> None:
    """Raise UsageError for what an API server would refuse: by schema and rules, with the fields."""
    findings = [finding for finding in check_schemas(bodies) if finding.level == "Error"]
    if findings:
        lines = [f"{entry.object}: {entry.field}: {entry.message} {entry.remedy}".rstrip() for entry in findings[:8]]
        text = ngettext("the file is not valid", "the file is not valid, {count} things are wrong", len(findings))
        raise UsageError(text.format(count=len(findings)), "\n".join(lines))


def class_of(bodies: Sequence[Object], source: str, name: str) -> RunnerClassSpec:
    """Return the RunnerClass of that name among the objects of a file, or the only one. Raises UsageError."""
    check(bodies)
    classes = {_name_of(body): body for body in bodies if body.get("kind") == RUNNER_CLASS.kind}
    body = classes.get(name) or (next(iter(classes.values())) if len(classes) == 1 else None)
    if body is not None:
        return RunnerClassSpec.model_validate(body["spec"])
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

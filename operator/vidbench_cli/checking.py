"""What is wrong with objects that somebody is about to apply: by schema and rules, and by what the operator would say. Pure.

Every finding names the object, the field and, where it is known, what to do. What could not be looked at is a note, never silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vidbench_analysis.metrics import find_metric
from vidbench_analysis.sides import FEWEST_UNITS
from vidbench_api.admission import admit
from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import KINDS, RunnerClassSpec, VideoModelSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.expand import Accepted, accept
from vidbench_operator.core.observed import ObservedRun, References

from .planning import permissive_class
from .texts import _

Object = dict[str, Any]
OURS = frozenset(kind.kind for kind in KINDS)


@dataclass(frozen=True)
class Finding:
    """One thing about an object. An Error keeps it from being measured; a Warning will disappoint; a Note says what was not looked at."""

    object: str
    field: str
    message: str
    remedy: str = ""
    level: Literal["Error", "Warning", "Note"] = "Error"


@dataclass(frozen=True)
class Surroundings:
    """What a run's names lead to beside the objects that are checked; None: nobody could be asked, `why` says why."""

    runner_classes: Mapping[str, RunnerClassSpec] = field(default_factory=dict)
    models: Mapping[str, VideoModelSpec] | None = None
    namespace: str = "default"
    why: str = ""


def name_of(body: Mapping[str, Any]) -> str:
    """Return kind and name of an object for people."""
    metadata = body.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else None
    return f"{body.get('kind') or _('object')}/{name or '?'}"


def check_schemas(bodies: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return what schema and rules say; objects of other kinds are a note."""
    findings: list[Finding] = []
    for body in bodies:
        name = name_of(body)
        group = str(body.get("apiVersion") or "").partition("/")[0]
        if str(body.get("kind")) not in OURS and group != "vidbench.io" and body.get("kind"):
            findings.append(Finding(name, "kind", _("is of no kind of vidbench's and was not looked at"), level="Note"))
            continue
        answer = admit(body)
        findings += [Finding(name, error.path, error.message, error.remedy) for error in answer.errors]
        findings += [
            Finding(name, "", _("a rule was not evaluated: {rule}").format(rule=rule), level="Note")
            for rule in answer.unchecked
        ]
    return findings


def check_runs(bodies: Sequence[Mapping[str, Any]], around: Surroundings, now: float) -> list[Finding]:
    """Return what the operator would say of the runs among objects that hold to their schemas."""
    findings: list[Finding] = []
    for body in bodies:
        if body.get("kind") != "BenchmarkRun":
            continue
        run = observed_run(body, around.namespace, now)
        findings += [
            Finding(name_of(body), field, message, remedy, "Warning")
            for field, message, remedy in undecidable(run.spec)
        ]
        runner_class = class_in(bodies, run.spec.runner_class_name) or around.runner_classes.get(
            run.spec.runner_class_name
        )
        if runner_class is None and around.why:
            text = _("RunnerClass {name!r} was not looked at: {why}")
            findings.append(
                Finding(
                    name_of(body),
                    "spec.runnerClassName",
                    text.format(name=run.spec.runner_class_name, why=around.why),
                    level="Note",
                )
            )
            runner_class = permissive_class()
        models = {**(around.models or {}), **models_in(bodies)}
        outcome = accept(run, References(runner_class, models), CATALOGUE, now)
        if not isinstance(outcome, Accepted):
            field, message = split_path(outcome.message)
            guess = around.models is None and around.why and outcome.reason.value == "ModelNotFound"
            findings.append(
                Finding(
                    name_of(body),
                    field,
                    message,
                    _("put the VideoModel into the file, or ask with a cluster") if guess else "",
                    "Note" if guess else "Error",
                )
            )
    return findings


def undecidable(spec: BenchmarkRunSpec) -> list[tuple[str, str, str]]:
    """Return field, message and remedy of each gate and hypothesis of which the run measures too few units to decide it."""
    stated = {"spec.gates": spec.gates, "spec.analysis.hypotheses": spec.analysis.hypotheses}
    found = []
    for path, statement in ((path, statement) for path, statements in stated.items() for statement in statements):
        of_prompts = find_metric(statement.metric).is_quality
        if of_prompts and len(spec.workload.prompts) < FEWEST_UNITS:
            message = _("one prompt says nothing about another: it can only be Inconclusive (OnePrompt)")
            found.append((f"{path}[{statement.name}]", message, _("workload.prompts: two or more")))
        elif not of_prompts and spec.measurement.shards < FEWEST_UNITS:
            message = _("one process says nothing about another: it can only be Inconclusive (OneShard)")
            found.append((f"{path}[{statement.name}]", message, _("measurement.shards: 3 or more")))
    return found


def measured_already(body: Mapping[str, Any], phase: str | None) -> Finding:
    """Warn of a run that is there under its name and has ended, in this phase."""
    text = _("there is a run of this name that has ended ({phase}): applying it again measures nothing")
    remedy = _("another metadata.name; or kubectl delete br {name}, its results stay")
    name = body["metadata"]["name"]
    return Finding(name_of(body), "metadata.name", text.format(phase=phase), remedy.format(name=name), "Warning")


def observed_run(body: Mapping[str, Any], namespace: str, now: float, uid: str = "not-yet") -> ObservedRun:
    """Return a run as the operator would see it if it were applied now; the body holds to its schema."""
    whole = admit(body).body
    metadata = whole["metadata"]
    return ObservedRun(
        namespace=metadata.get("namespace") or namespace,
        name=metadata["name"],
        uid=uid,
        generation=1,
        resource_version="0",
        created_at=now,
        spec=BenchmarkRunSpec.model_validate(whole["spec"]),
        status=BenchmarkRunStatus(),
    )


def models_in(bodies: Sequence[Mapping[str, Any]]) -> dict[str, VideoModelSpec]:
    """Return the VideoModels among objects, by name."""
    return {
        body["metadata"]["name"]: VideoModelSpec.model_validate(admit(body).body["spec"])
        for body in bodies
        if body.get("kind") == "VideoModel"
    }


def class_in(bodies: Sequence[Mapping[str, Any]], name: str) -> RunnerClassSpec | None:
    """Return the RunnerClass of that name among objects, or None."""
    specs = [
        admit(body).body["spec"]
        for body in bodies
        if body.get("kind") == "RunnerClass" and body["metadata"]["name"] == name
    ]
    return RunnerClassSpec.model_validate(specs[0]) if specs else None


def split_path(message: str) -> tuple[str, str]:
    """Return the field path that a message begins with, and the rest; no path if it begins with none."""
    path, separator, rest = message.partition(": ")
    return (path, rest) if separator and path.startswith("spec.") and " " not in path else ("", message)

"""Raw API objects, as decoded JSON, to what the core sees of them.

Children are written by others: nonsense in an annotation, label, status or timestamp never raises here, it makes a
field absent or, where the object then means nothing, the whole projection None. A run that does not fit its schema
raises BrokenRun, which says where. Pure; knows neither watches nor HTTP.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from vidbench_api.base import NAME_PATTERN, ApiModel
from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_api.names import (
    ANNOTATION_SAMPLES,
    ANNOTATION_SECONDS,
    GROUP,
    LABEL_HARDWARE,
    LABEL_KEEP,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_VARIANT,
    MAX_RUN_NAME,
    RUNNER_CONTAINER,
    ConditionType,
    Outcome,
    RunPhase,
)
from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import (
    CreationRefusal,
    NodeCondition,
    NodeTaint,
    ObservedJob,
    ObservedNode,
    ObservedPod,
    ObservedRun,
)
from vidbench_operator.core.retention import LedgerEntry
from vidbench_operator.core.timestamps import parse_time
from vidbench_operator.ports import BrokenRun, RunKey

_Model = TypeVar("_Model", bound=ApiModel)


class _MisfitError(ValueError):
    pass


_MESSAGE_CHARACTERS: Final = 4096
_DETAIL_CHARACTERS: Final = 1024
_SYSTEM_FACTS: Final = frozenset({"architecture", "kernelVersion", "machineID"})
_ATTEMPT_NAME: Final = re.compile(
    r"^.+-(?P<cell>[0-9a-f]{8})-(?P<shard>[0-9]{1,4})-(?P<attempt>[0-9]{1,6})(?P<harvests>-h)?$"
)


def run_key_of(raw: Any) -> RunKey | None:
    """Return the key of a run from the run itself."""
    metadata = _mapping(_get(raw, "metadata"))
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    return RunKey(namespace, name) if namespace and name else None


def run_key_of_child(raw: Any) -> RunKey | None:
    """Return the key of the run that a Job or pod is labelled with."""
    metadata = _mapping(_get(raw, "metadata"))
    namespace = _text(metadata.get("namespace"))
    name = _text(_mapping(metadata.get("labels")).get(LABEL_RUN))
    return RunKey(namespace, name) if namespace and name else None


@dataclass(frozen=True)
class RunHead:
    """What the watch of runs is good for: to notice that a run came, went or was changed by somebody."""

    uid: str
    generation: int
    deleting: bool
    accepted: bool
    phase: str
    ended: bool = False
    breakers: tuple[str, ...] = ()
    """Kinds of the circuit breakers that are not closed, one entry each; none once the run has ended."""


def project_head(raw: Any) -> RunHead:
    """Return the head of a run, whatever the rest of it looks like."""
    metadata, status = _mapping(_get(raw, "metadata")), _mapping(_get(raw, "status"))
    return RunHead(
        uid=_text(metadata.get("uid")) or "",
        generation=_number(metadata.get("generation")) or 0,
        deleting=metadata.get("deletionTimestamp") is not None,
        accepted=bool(_text(status.get("requestDigest"))),
        phase=_text(status.get("phase"), 64) or RunPhase.PENDING.value,
        ended=(ended := _has_ended(status.get("conditions"))),
        breakers=() if ended else _breaker_kinds(status.get("breakers")),
    )


def _has_ended(conditions: Any) -> bool:
    return any(
        entry.get("type") in (ConditionType.COMPLETE, ConditionType.FAILED) and entry.get("status") == "True"
        for entry in _entries(conditions)
    )


def _breaker_kinds(raw: Any) -> tuple[str, ...]:
    return tuple(kind for entry in _entries(raw) if (kind := _text(entry.get("kind"), 64)))


def project_ledger_entry(raw: Any) -> LedgerEntry | None:
    """Return a result as the ledger's limits see it; None for one that cannot be told from others."""
    metadata = _mapping(_get(raw, "metadata"))
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    uid, version = _text(metadata.get("uid")), _text(metadata.get("resourceVersion"))
    created_at = parse_time(_text(metadata.get("creationTimestamp")))
    if not (namespace and name and uid and version) or created_at is None:
        return None
    labels = _mapping(metadata.get("labels"))
    return LedgerEntry(
        namespace=namespace,
        name=name,
        uid=uid,
        version=version,
        created_at=created_at,
        run_uid=_text(labels.get(LABEL_RUN_UID)),
        kept=labels.get(LABEL_KEEP) == "true",
    )


def project_run(raw: Mapping[str, Any]) -> ObservedRun:
    """Return a run.

    Raises:
        BrokenRun: spec or status does not fit the schema; the text names the fields.
    """
    metadata = _mapping(raw.get("metadata"))
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    uid, version = _text(metadata.get("uid")), _text(metadata.get("resourceVersion"))
    created_at = parse_time(_text(metadata.get("creationTimestamp")))
    if not (namespace and name and uid and version) or created_at is None:
        raise BrokenRun("metadata: no namespace, name, uid, resourceVersion or creationTimestamp")
    # The server vouches for these three: to say what is wrong with a run must not fail on its name.
    identity = RunIdentity.model_construct(namespace=namespace, name=name, uid=uid)
    if len(name) > MAX_RUN_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise BrokenRun(f"metadata.name: {name!r} cannot be part of the names of Jobs", identity)
    try:
        spec = _validated(BenchmarkRunSpec, raw.get("spec"), "spec")
        status = _validated(BenchmarkRunStatus, raw.get("status") or {}, "status")
    except _MisfitError as error:
        raise BrokenRun(str(error), identity) from error
    generation = _number(metadata.get("generation"))
    return ObservedRun(namespace, name, uid, generation or 0, version, created_at, spec, status)


def project_job(raw: Any) -> ObservedJob | None:
    """Return a Job whose name is that of an attempt; cell, shard and attempt are read off the name, which nobody can change."""
    metadata = _mapping(_get(raw, "metadata"))
    name, uid = _text(metadata.get("name")), _text(metadata.get("uid"))
    created_at = parse_time(_text(metadata.get("creationTimestamp")))
    match = _ATTEMPT_NAME.match(name or "")
    if name is None or not uid or created_at is None or match is None:
        return None
    spec, status = _mapping(_get(raw, "spec")), _mapping(_get(raw, "status"))
    finished, condition = _job_end(status)
    return ObservedJob(
        name=name,
        uid=uid,
        owner_uid=_owner_uid(metadata, BENCHMARK_RUN.kind, f"{GROUP}/"),
        cell=match["cell"],
        shard=int(match["shard"]),
        attempt=int(match["attempt"]),
        created_at=created_at,
        finished=finished,
        finished_at=parse_time(_text(condition.get("lastTransitionTime"))),
        finished_reason=_text(condition.get("reason"), _DETAIL_CHARACTERS) or "",
        finished_message=_text(condition.get("message"), _DETAIL_CHARACTERS) or "",
        ttl_seconds=_number(spec.get("ttlSecondsAfterFinished")),
        # Until the Job controller has followed, a Job that was let go on still has the start time of its last round.
        suspended=spec.get("suspend") is True or _is_true(_condition(status, "Suspended")),
        started_at=parse_time(_text(status.get("startTime"))),
        required_node=_required_node(spec),
        deleting=metadata.get("deletionTimestamp") is not None,
        harvests=match["harvests"] is not None,
    )


def project_pod(raw: Any, *, gone: bool = False) -> ObservedPod | None:
    """Return a pod that a Job controls, with the end of its runner container; `gone` if this is its last state."""
    metadata = _mapping(_get(raw, "metadata"))
    status = _mapping(_get(raw, "status"))
    name, uid = _text(metadata.get("name")), _text(metadata.get("uid"))
    job_uid = _owner_uid(metadata, "Job", "batch/")
    created_at = parse_time(_text(metadata.get("creationTimestamp")))
    if not name or not uid or not job_uid or created_at is None:
        return None
    container = _runner_status(status)
    state = _mapping(container.get("state"))
    running, waiting = _mapping(state.get("running")), _mapping(state.get("waiting"))
    terminated = _mapping(state.get("terminated"))
    scheduled = _condition(status, "PodScheduled")
    disruption = _condition(status, "DisruptionTarget")
    unscheduled = scheduled.get("status") == "False"
    return ObservedPod(
        name=name,
        uid=uid,
        job_uid=job_uid,
        phase=_text(status.get("phase"), 64) or "Unknown",
        created_at=created_at,
        node=_text(_mapping(_get(raw, "spec")).get("nodeName")),
        scheduled_at=parse_time(_text(scheduled.get("lastTransitionTime"))) if _is_true(scheduled) else None,
        unschedulable_message=(_text(scheduled.get("message"), _DETAIL_CHARACTERS) or "") if unscheduled else None,
        started_at=parse_time(_text(terminated.get("startedAt") or running.get("startedAt"))),
        finished_at=parse_time(_text(terminated.get("finishedAt"))),
        exit_code=_number(terminated.get("exitCode")),
        container_reason=_text(terminated.get("reason"), 256),
        waiting_reason=_text(waiting.get("reason"), 256),
        waiting_message=_text(waiting.get("message"), _DETAIL_CHARACTERS),
        pod_reason=_text(status.get("reason"), 256),
        pod_message=_text(status.get("message"), 256),
        disruption=_text(disruption.get("reason"), 256) if _is_true(disruption) else None,
        image_id=_text(container.get("imageID"), 512),
        message=_text(terminated.get("message"), _MESSAGE_CHARACTERS),
        deleting=metadata.get("deletionTimestamp") is not None,
        deletes_at=parse_time(_text(metadata.get("deletionTimestamp"))),
        gone=gone,
    )


def project_node(raw: Any) -> ObservedNode | None:
    """Return a node with its readiness."""
    metadata = _mapping(_get(raw, "metadata"))
    status = _mapping(_get(raw, "status"))
    name = _text(metadata.get("name"))
    if not name:
        return None
    ready = _condition(status, "Ready")
    return ObservedNode(
        name=name,
        labels=_texts(metadata.get("labels")),
        ready=_is_true(ready),
        not_ready_since=None if _is_true(ready) else parse_time(_text(ready.get("lastTransitionTime"))),
        unschedulable=_mapping(_get(raw, "spec")).get("unschedulable") is True,
        allocatable=_texts(status.get("allocatable")),
        system={key: text for key, text in _texts(status.get("nodeInfo")).items() if key in _SYSTEM_FACTS},
        conditions=_node_conditions(status),
        taints=_taints(_mapping(_get(raw, "spec"))),
    )


def _node_conditions(status: Mapping[str, Any]) -> tuple[NodeCondition, ...]:
    """Return the conditions but Ready; sorted, so that their order says nothing."""
    conditions = []
    for entry in _entries(status.get("conditions")):
        kind, said = _text(entry.get("type"), 256), _text(entry.get("status"), 16)
        if kind and said and kind != "Ready":
            conditions.append(NodeCondition(sys.intern(kind), sys.intern(said)))
    return tuple(sorted(conditions, key=lambda condition: (condition.type, condition.status)))


def _taints(spec: Mapping[str, Any]) -> tuple[NodeTaint, ...]:
    taints = []
    for entry in _entries(spec.get("taints")):
        key, effect = _text(entry.get("key"), 317), _text(entry.get("effect"), 32)
        if key and effect:
            taints.append(NodeTaint(key, effect, _text(entry.get("value"), 64) or ""))
    return tuple(sorted(taints, key=lambda taint: (taint.key, taint.effect, taint.value)))


def project_result(raw: Any) -> BenchmarkResultSpec | None:
    """Return the spec of a result; None if what is stored does not fit the schema."""
    try:
        return BenchmarkResultSpec.model_validate(_get(raw, "spec"))
    except ValidationError:
        return None


def project_ledger_head(raw: Any) -> LedgerHead | None:
    """Return what a result's metadata tells of its shard; None where it does not say how long that took."""
    metadata = _mapping(_get(raw, "metadata"))
    labels, annotations = _texts(metadata.get("labels")), _texts(metadata.get("annotations"))
    names = [labels.get(label) for label in (LABEL_MODEL, LABEL_HARDWARE, LABEL_VARIANT)]
    figures = [annotations.get(key, "") for key in (ANNOTATION_SECONDS, ANNOTATION_SAMPLES)]
    if not all(names) or labels.get(LABEL_OUTCOME) != Outcome.SUCCEEDED.value:
        return None
    if not all(figure.isdecimal() and len(figure) < 10 for figure in figures):
        return None
    model, hardware, variant = (name or "" for name in names)
    return LedgerHead(model, hardware, variant, float(figures[0]), int(figures[1]))


def project_refusal(raw: Any) -> tuple[float, CreationRefusal] | None:
    """Return when, and what, the Job controller said about a Job for which it can make no pod."""
    job_uid = _text(_mapping(_get(raw, "involvedObject")).get("uid"))
    if not job_uid or _get(raw, "reason") != "FailedCreate":
        return None
    series = _mapping(_get(raw, "series")).get("lastObservedTime")
    moments = (series, _get(raw, "lastTimestamp"), _get(raw, "eventTime"))
    times = [moment for moment in (parse_time(_text(text)) for text in moments) if moment is not None]
    message = _text(_get(raw, "message"), _DETAIL_CHARACTERS) or ""
    return max(times, default=0.0), CreationRefusal(job_uid, message)


def explain(error: ValidationError, root: str) -> str:
    """Return what does not fit, by field path, in one line."""
    parts = []
    for entry in error.errors(include_url=False, include_input=False)[:4]:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"])
        parts.append(f"{root}{path}: {entry['msg']}")
    more = error.error_count() - len(parts)
    return "; ".join(parts)[:_DETAIL_CHARACTERS] + (f"; and {more} more" if more > 0 else "")


def _validated(model: type[_Model], raw: Any, root: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _MisfitError(explain(error, root)) from error


def _job_end(status: Mapping[str, Any]) -> tuple[Literal["Complete", "Failed"] | None, Mapping[str, Any]]:
    complete, failed = _condition(status, "Complete"), _condition(status, "Failed")
    if _is_true(complete):
        return "Complete", complete
    if _is_true(failed):
        return "Failed", failed
    return None, {}


def _required_node(job_spec: Mapping[str, Any]) -> str | None:
    """Return the node that a Job's pod template names, in the way in which the operator writes it."""
    node: Any = job_spec
    for key in ("template", "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        node = _mapping(node.get(key))
    for term in _entries(node.get("nodeSelectorTerms")):
        for field in _entries(term.get("matchFields")):
            values = field.get("values")
            if field.get("operator") == "In" and isinstance(values, list) and values:
                return _text(values[0])
    return None


def _owner_uid(metadata: Mapping[str, Any], kind: str, group_prefix: str) -> str | None:
    for entry in _entries(metadata.get("ownerReferences")):
        version = _text(entry.get("apiVersion")) or ""
        if entry.get("kind") == kind and version.startswith(group_prefix) and entry.get("controller") is True:
            return _text(entry.get("uid"))
    return None


def _runner_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = _entries(status.get("containerStatuses"))
    return next((entry for entry in entries if entry.get("name") == RUNNER_CONTAINER), {})


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((entry for entry in _entries(status.get("conditions")) if entry.get("type") == kind), {})


def _is_true(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"


def _get(raw: Any, key: str) -> Any:
    return raw.get(key) if isinstance(raw, Mapping) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list | tuple) else ()


def _text(value: Any, limit: int = 1024) -> str | None:
    return value[:limit] if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in _mapping(value).items() if isinstance(key, str) and isinstance(text, str)}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

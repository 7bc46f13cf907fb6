"""Raw runs, Jobs and pods, as decoded JSON, to what the core sees of them; nodes and results: `core/projections.py`.

Children are written by others: nonsense in an annotation, label, status or timestamp never raises here, it makes a
field absent or, where the object then means nothing, the whole projection None. A run that does not fit its schema
raises BrokenRun, which says where. Pure; knows neither watches nor HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from vidbench_api.base import NAME_PATTERN, ApiModel
from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_api.names import (
    GROUP,
    LABEL_BASELINE,
    LABEL_KEEP,
    LABEL_RUN,
    LABEL_RUN_UID,
    MAX_RUN_NAME,
    RUNNER_CONTAINER,
    ConditionType,
    RunPhase,
)
from vidbench_api.request import RunIdentity
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.observed import (
    CreationRefusal,
    ObservedJob,
    ObservedPod,
    ObservedRun,
)
from vidbench_operator.core.projections import (
    condition_of,
    entries_of,
    explain,
    field_of,
    is_true,
    mapping_of,
    number_of,
    text_of,
)
from vidbench_operator.core.retention import LedgerEntry
from vidbench_operator.core.timestamps import parse_time
from vidbench_operator.ports import BrokenRun, RunKey

_Model = TypeVar("_Model", bound=ApiModel)


class _MisfitError(ValueError):
    pass


_MESSAGE_CHARACTERS: Final = 4096
_DETAIL_CHARACTERS: Final = 1024
_ATTEMPT_NAME: Final = re.compile(
    r"^.+-(?P<cell>[0-9a-f]{8})-(?P<shard>[0-9]{1,4})-(?P<attempt>[0-9]{1,6})(?P<harvests>-h)?$"
)


def run_key_of(raw: Any) -> RunKey | None:
    """Return the key of a run from the run itself."""
    metadata = mapping_of(field_of(raw, "metadata"))
    namespace, name = text_of(metadata.get("namespace")), text_of(metadata.get("name"))
    return RunKey(namespace, name) if namespace and name else None


def run_key_of_child(raw: Any) -> RunKey | None:
    """Return the key of the run that a Job or pod is labelled with."""
    metadata = mapping_of(field_of(raw, "metadata"))
    namespace = text_of(metadata.get("namespace"))
    name = text_of(mapping_of(metadata.get("labels")).get(LABEL_RUN))
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
    waits: bool = False
    """Whether shards of it wait for something to run on."""

    breakers: tuple[str, ...] = ()
    """Kinds of the circuit breakers that are not closed, one entry each; none once the run has ended."""


def project_head(raw: Any) -> RunHead:
    """Return the head of a run, whatever the rest of it looks like."""
    metadata, status = mapping_of(field_of(raw, "metadata")), mapping_of(field_of(raw, "status"))
    return RunHead(
        uid=text_of(metadata.get("uid")) or "",
        generation=number_of(metadata.get("generation")) or 0,
        deleting=metadata.get("deletionTimestamp") is not None,
        accepted=bool(text_of(status.get("requestDigest"))),
        phase=text_of(status.get("phase"), 64) or RunPhase.PENDING.value,
        ended=(ended := _has_ended(status.get("conditions"))),
        waits=not ended and bool(number_of(mapping_of(status.get("parallelism")).get("waiting"))),
        breakers=() if ended else _breaker_kinds(status.get("breakers")),
    )


def _has_ended(conditions: Any) -> bool:
    return any(
        entry.get("type") in (ConditionType.COMPLETE, ConditionType.FAILED) and entry.get("status") == "True"
        for entry in entries_of(conditions)
    )


def _breaker_kinds(raw: Any) -> tuple[str, ...]:
    return tuple(kind for entry in entries_of(raw) if (kind := text_of(entry.get("kind"), 64)))


def project_ledger_entry(raw: Any) -> LedgerEntry | None:
    """Return a result as the ledger's limits see it; None for one that cannot be told from others."""
    metadata = mapping_of(field_of(raw, "metadata"))
    namespace, name = text_of(metadata.get("namespace")), text_of(metadata.get("name"))
    uid, version = text_of(metadata.get("uid")), text_of(metadata.get("resourceVersion"))
    created_at = parse_time(text_of(metadata.get("creationTimestamp")))
    if not (namespace and name and uid and version) or created_at is None:
        return None
    labels = mapping_of(metadata.get("labels"))
    return LedgerEntry(
        namespace=namespace,
        name=name,
        uid=uid,
        version=version,
        created_at=created_at,
        run_uid=text_of(labels.get(LABEL_RUN_UID)),
        kept=labels.get(LABEL_KEEP) == "true" or bool(labels.get(LABEL_BASELINE)),
    )


def project_run(raw: Mapping[str, Any]) -> ObservedRun:
    """Return a run.

    Raises:
        BrokenRun: spec or status does not fit the schema; the text names the fields.
    """
    metadata = mapping_of(raw.get("metadata"))
    namespace, name = text_of(metadata.get("namespace")), text_of(metadata.get("name"))
    uid, version = text_of(metadata.get("uid")), text_of(metadata.get("resourceVersion"))
    created_at = parse_time(text_of(metadata.get("creationTimestamp")))
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
    generation = number_of(metadata.get("generation"))
    return ObservedRun(namespace, name, uid, generation or 0, version, created_at, spec, status)


def project_job(raw: Any) -> ObservedJob | None:
    """Return a Job whose name is that of an attempt; cell, shard and attempt are read off the name, which nobody can change."""
    metadata = mapping_of(field_of(raw, "metadata"))
    name, uid = text_of(metadata.get("name")), text_of(metadata.get("uid"))
    created_at = parse_time(text_of(metadata.get("creationTimestamp")))
    match = _ATTEMPT_NAME.match(name or "")
    if name is None or not uid or created_at is None or match is None:
        return None
    spec, status = mapping_of(field_of(raw, "spec")), mapping_of(field_of(raw, "status"))
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
        finished_at=parse_time(text_of(condition.get("lastTransitionTime"))),
        finished_reason=text_of(condition.get("reason"), _DETAIL_CHARACTERS) or "",
        finished_message=text_of(condition.get("message"), _DETAIL_CHARACTERS) or "",
        ttl_seconds=number_of(spec.get("ttlSecondsAfterFinished")),
        # Until the Job controller has followed, a Job that was let go on still has the start time of its last round.
        suspended=spec.get("suspend") is True or is_true(condition_of(status, "Suspended")),
        started_at=parse_time(text_of(status.get("startTime"))),
        required_node=_required_node(spec),
        deleting=metadata.get("deletionTimestamp") is not None,
        harvests=match["harvests"] is not None,
    )


def project_pod(raw: Any, *, gone: bool = False) -> ObservedPod | None:
    """Return a pod that a Job controls, with the end of its runner container; `gone` if this is its last state."""
    metadata = mapping_of(field_of(raw, "metadata"))
    status = mapping_of(field_of(raw, "status"))
    name, uid = text_of(metadata.get("name")), text_of(metadata.get("uid"))
    job_uid = _owner_uid(metadata, "Job", "batch/")
    created_at = parse_time(text_of(metadata.get("creationTimestamp")))
    if not name or not uid or not job_uid or created_at is None:
        return None
    container = _runner_status(status)
    state = mapping_of(container.get("state"))
    running, waiting = mapping_of(state.get("running")), mapping_of(state.get("waiting"))
    terminated = mapping_of(state.get("terminated"))
    scheduled = condition_of(status, "PodScheduled")
    disruption = condition_of(status, "DisruptionTarget")
    unscheduled = scheduled.get("status") == "False"
    return ObservedPod(
        name=name,
        uid=uid,
        job_uid=job_uid,
        phase=text_of(status.get("phase"), 64) or "Unknown",
        created_at=created_at,
        node=text_of(mapping_of(field_of(raw, "spec")).get("nodeName")),
        scheduled_at=parse_time(text_of(scheduled.get("lastTransitionTime"))) if is_true(scheduled) else None,
        unschedulable_message=(text_of(scheduled.get("message"), _DETAIL_CHARACTERS) or "") if unscheduled else None,
        started_at=parse_time(text_of(terminated.get("startedAt") or running.get("startedAt"))),
        finished_at=parse_time(text_of(terminated.get("finishedAt"))),
        exit_code=number_of(terminated.get("exitCode")),
        container_reason=text_of(terminated.get("reason"), 256),
        waiting_reason=text_of(waiting.get("reason"), 256),
        waiting_message=text_of(waiting.get("message"), _DETAIL_CHARACTERS),
        pod_reason=text_of(status.get("reason"), 256),
        pod_message=text_of(status.get("message"), 256),
        disruption=text_of(disruption.get("reason"), 256) if is_true(disruption) else None,
        image_id=text_of(container.get("imageID"), 512),
        message=text_of(terminated.get("message"), _MESSAGE_CHARACTERS),
        deleting=metadata.get("deletionTimestamp") is not None,
        deletes_at=parse_time(text_of(metadata.get("deletionTimestamp"))),
        gone=gone,
    )


def project_refusal(raw: Any) -> tuple[float, CreationRefusal] | None:
    """Return when, and what, the Job controller said about a Job for which it can make no pod."""
    job_uid = text_of(mapping_of(field_of(raw, "involvedObject")).get("uid"))
    if not job_uid or field_of(raw, "reason") != "FailedCreate":
        return None
    series = mapping_of(field_of(raw, "series")).get("lastObservedTime")
    moments = (series, field_of(raw, "lastTimestamp"), field_of(raw, "eventTime"))
    times = [moment for moment in (parse_time(text_of(text)) for text in moments) if moment is not None]
    message = text_of(field_of(raw, "message"), _DETAIL_CHARACTERS) or ""
    return max(times, default=0.0), CreationRefusal(job_uid, message)


def _validated(model: type[_Model], raw: Any, root: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _MisfitError(explain(error, root)) from error


def _job_end(status: Mapping[str, Any]) -> tuple[Literal["Complete", "Failed"] | None, Mapping[str, Any]]:
    complete, failed = condition_of(status, "Complete"), condition_of(status, "Failed")
    if is_true(complete):
        return "Complete", complete
    if is_true(failed):
        return "Failed", failed
    return None, {}


def _required_node(job_spec: Mapping[str, Any]) -> str | None:
    """Return the node that a Job's pod template names, in the way in which the operator writes it."""
    node: Any = job_spec
    for key in ("template", "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        node = mapping_of(node.get(key))
    for term in entries_of(node.get("nodeSelectorTerms")):
        for field in entries_of(term.get("matchFields")):
            values = field.get("values")
            if field.get("operator") == "In" and isinstance(values, list) and values:
                return text_of(values[0])
    return None


def _owner_uid(metadata: Mapping[str, Any], kind: str, group_prefix: str) -> str | None:
    for entry in entries_of(metadata.get("ownerReferences")):
        version = text_of(entry.get("apiVersion")) or ""
        if entry.get("kind") == kind and version.startswith(group_prefix) and entry.get("controller") is True:
            return text_of(entry.get("uid"))
    return None


def _runner_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = entries_of(status.get("containerStatuses"))
    return next((entry for entry in entries if entry.get("name") == RUNNER_CONTAINER), {})

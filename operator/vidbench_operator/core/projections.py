"""Raw nodes and results, as decoded JSON, to what the core sees of them; and how to look into raw objects at all.

What others wrote never raises here: nonsense makes a field absent or, where the object then means nothing, the whole
projection None. Pure; knows neither watches nor HTTP. Runs and their children: `adapters/projections.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from vidbench_api.names import (
    ANNOTATION_SAMPLES,
    ANNOTATION_SECONDS,
    LABEL_HARDWARE,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_VARIANT,
    Outcome,
)
from vidbench_api.result import BenchmarkResultSpec

from .estimates import LedgerHead
from .observed import NodeCondition, NodeTaint, ObservedNode
from .timestamps import parse_time

_TEXT_CHARACTERS: Final = 1024
_SYSTEM_FACTS: Final = frozenset({"architecture", "kernelVersion", "machineID"})


def project_node(raw: Any) -> ObservedNode | None:
    """Return a node with its readiness."""
    metadata = mapping_of(field_of(raw, "metadata"))
    status = mapping_of(field_of(raw, "status"))
    name = text_of(metadata.get("name"))
    if not name:
        return None
    ready = condition_of(status, "Ready")
    return ObservedNode(
        name=name,
        labels=texts_of(metadata.get("labels")),
        ready=is_true(ready),
        not_ready_since=None if is_true(ready) else parse_time(text_of(ready.get("lastTransitionTime"))),
        unschedulable=mapping_of(field_of(raw, "spec")).get("unschedulable") is True,
        allocatable=texts_of(status.get("allocatable")),
        system={key: text for key, text in texts_of(status.get("nodeInfo")).items() if key in _SYSTEM_FACTS},
        conditions=_node_conditions(status),
        taints=_taints(mapping_of(field_of(raw, "spec"))),
    )


def _node_conditions(status: Mapping[str, Any]) -> tuple[NodeCondition, ...]:
    """Return the conditions but Ready; sorted, so that their order says nothing."""
    conditions = []
    for entry in entries_of(status.get("conditions")):
        kind, said = text_of(entry.get("type"), 256), text_of(entry.get("status"), 16)
        if kind and said and kind != "Ready":
            conditions.append(NodeCondition(sys.intern(kind), sys.intern(said)))
    return tuple(sorted(conditions, key=lambda condition: (condition.type, condition.status)))


def _taints(spec: Mapping[str, Any]) -> tuple[NodeTaint, ...]:
    taints = []
    for entry in entries_of(spec.get("taints")):
        key, effect = text_of(entry.get("key"), 317), text_of(entry.get("effect"), 32)
        if key and effect:
            taints.append(NodeTaint(key, effect, text_of(entry.get("value"), 64) or ""))
    return tuple(sorted(taints, key=lambda taint: (taint.key, taint.effect, taint.value)))


def project_result(raw: Any) -> BenchmarkResultSpec | None:
    """Return the spec of a result; None if what is stored does not fit the schema."""
    try:
        return BenchmarkResultSpec.model_validate(field_of(raw, "spec"))
    except ValidationError:
        return None


def project_ledger_head(raw: Any) -> LedgerHead | None:
    """Return what a result's metadata tells of its shard; None where it does not say how long that took."""
    metadata = mapping_of(field_of(raw, "metadata"))
    labels, annotations = texts_of(metadata.get("labels")), texts_of(metadata.get("annotations"))
    names = [labels.get(label) for label in (LABEL_MODEL, LABEL_HARDWARE, LABEL_VARIANT)]
    figures = [annotations.get(key, "") for key in (ANNOTATION_SECONDS, ANNOTATION_SAMPLES)]
    if not all(names) or labels.get(LABEL_OUTCOME) != Outcome.SUCCEEDED.value:
        return None
    if not all(figure.isdecimal() and len(figure) < 10 for figure in figures):
        return None
    model, hardware, variant = (name or "" for name in names)
    return LedgerHead(model, hardware, variant, float(figures[0]), int(figures[1]))


def explain(error: ValidationError, root: str) -> str:
    """Return what does not fit, by field path, in one line."""
    parts = []
    for entry in error.errors(include_url=False, include_input=False)[:4]:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"])
        parts.append(f"{root}{path}: {entry['msg']}")
    more = error.error_count() - len(parts)
    return "; ".join(parts)[:_TEXT_CHARACTERS] + (f"; and {more} more" if more > 0 else "")


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of that type, or an empty one."""
    return next((entry for entry in entries_of(status.get("conditions")) if entry.get("type") == kind), {})


def is_true(condition: Mapping[str, Any]) -> bool:
    """Whether a condition says True."""
    return condition.get("status") == "True"


def field_of(raw: Any, key: str) -> Any:
    """Return what an object holds there; None if it is no object."""
    return raw.get(key) if isinstance(raw, Mapping) else None


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def entries_of(value: Any) -> Iterable[Mapping[str, Any]]:
    """Return those entries of a list that are objects."""
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list | tuple) else ()


def text_of(value: Any, limit: int = 1024) -> str | None:
    """Return the value if it is text, cut to so many characters."""
    return value[:limit] if isinstance(value, str) else None


def texts_of(value: Any) -> dict[str, str]:
    """Return those entries of an object that are text."""
    return {key: text for key, text in mapping_of(value).items() if isinstance(key, str) and isinstance(text, str)}


def number_of(value: Any) -> int | None:
    """Return the value if it is an integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None

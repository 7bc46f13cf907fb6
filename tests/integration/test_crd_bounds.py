"""Every bound, enum, pattern, required field and list key of every CRD, on a real API server.

The cases are read off the generated schema, so that a new field has its tests from its first day; the examples must
reach every field. What CEL rules say has its tests in `test_crd_rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError
from support.kube_api import Answer, KubeApi
from support.manifests import (
    complete_result,
    complete_run,
    complete_runner_class,
    complete_status,
    complete_video_model,
    http_source,
    statement_runs,
)
from support.schema_cases import example_paths, find_nodes, look_up, probes, put, schema_paths, write_path

from vidbench_api.crdgen import root_schema
from vidbench_api.kinds import KINDS, Kind

RUN_WITH_STATUS = complete_run() | {"status": complete_status()}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "BenchmarkRun": [RUN_WITH_STATUS, *statement_runs()],
    "VideoModel": [
        complete_video_model({"hub": {"id": "organisation/model", "commit": "a" * 40}}),
        complete_video_model({"path": "/weights/model"}),
        complete_video_model({"tiny": "wan"}),
        complete_video_model(http_source()),
        complete_video_model({"mock": {"loadMilliseconds": 5, "clipMilliseconds": 5}}),
    ],
    "RunnerClass": [complete_runner_class()],
    "BenchmarkResult": [complete_result()],
}
TOP = ("apiVersion", "kind", "metadata")
EXCEPTIONS_OF_GOOD_VALUES = {
    # A rule forbids it beside `value`; test_crd_rules.py sends both ways.
    ("tolerations", "operator", "Exists"),
    ("defaultTolerations", "operator", "Exists"),
    # A rule forbids `samples` and `precision` beside them; test_crd_rules.py sends both ways.
    ("measurement", "plan", "Fixed"),
    ("measurement", "plan", "Repro"),
    # A rule wants models of these names; test_crd_rules.py sends 64 of them.
    ("variants", "onlyFor", "maxItems"),
    # Rules want names of the run in them; test_crd_rules.py sends both ways.
    ("where", "models", "maxItems"),
    ("where", "hardware", "maxItems"),
    ("where", "variants", "maxItems"),
    # Rules want a bound instead of a baseline, or the other way round; test_crd_rules.py sends both ways.
    ("gates", "test", "AtMost"),
    ("gates", "test", "AtLeast"),
    ("hypotheses", "test", "AtMost"),
    ("hypotheses", "test", "AtLeast"),
}
NOT_CHECKED_BY_TYPES = {"type", "format", "duplicates"}
"""pydantic converts some types, and leaves dates and keys of lists to the server."""


@dataclass(frozen=True)
class Case:
    """One field of one example."""

    kind: Kind
    example: dict[str, Any]
    path: tuple[str | int, ...]
    schema: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind.kind}.{write_path(self.path)}"


def cases() -> Iterator[Case]:
    for kind in KINDS:
        seen: set[tuple[str | int, ...]] = set()
        for example in EXAMPLES[kind.kind]:
            for path, schema in find_nodes(root_schema(kind), example):
                if path and path[0] not in TOP and path not in seen:
                    seen.add(path)
                    yield Case(kind, example, path, schema)


@pytest.fixture(scope="module")
def stored_run(api: KubeApi) -> dict[str, Any]:
    """A run that exists, for the status cases."""
    answer = api.create(complete_run("bounds"))
    assert answer.accepted, answer.message
    return answer.body


def send(api: KubeApi, case: Case, value: Any, stored_run: dict[str, Any]) -> Answer:
    changed = put(case.example, case.path, value)
    if case.path[0] == "status":
        return api.replace(stored_run | {"status": changed["status"]}, "status", dry_run=True)
    return api.create({key: part for key, part in changed.items() if key != "status"}, dry_run=True)


def types_accept(case: Case, value: Any) -> bool:
    part = "status" if case.path[0] == "status" else "spec"
    model = case.kind.status if part == "status" else case.kind.spec
    assert model is not None
    try:
        model.model_validate(put(case.example, case.path, value).get(part))
    except ValidationError:
        return False
    return True


def is_exception(case: Case, word: Any) -> bool:
    names = {step for step in case.path if isinstance(step, str)}
    return any(
        {part, field} <= names and case.path[-1] == field and word == what
        for part, field, what in EXCEPTIONS_OF_GOOD_VALUES
    )


@pytest.mark.parametrize("case", tuple(cases()), ids=str)
def test_bound_is_kept_by_server_and_types(api: KubeApi, stored_run: dict[str, Any], case: Case) -> None:
    for probe in probes(case.schema, case.path, look_up(case.example, case.path)):
        for good in probe.good:
            if is_exception(case, good if probe.keyword == "enum" else probe.keyword):
                continue
            answer = send(api, case, good, stored_run)
            assert answer.accepted, f"{probe.keyword}: {good!r} was refused: {answer.message}"
            assert types_accept(case, good), f"{probe.keyword}: the types refuse {good!r}"
        answer = send(api, case, probe.bad, stored_run)
        assert answer.status == 422, f"{probe.keyword}: {probe.bad!r} gave {answer.status} {answer.message}"
        assert probe.field in answer.causes, f"{probe.keyword}: no word of {probe.field} in {answer.causes}"
        if probe.keyword not in NOT_CHECKED_BY_TYPES:
            assert not types_accept(case, probe.bad), f"{probe.keyword}: the types accept {probe.bad!r}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_examples_reach_every_field(kind: Kind) -> None:
    schema = root_schema(kind)
    every = {path for path in schema_paths(schema) if path and path[0] not in TOP}
    reached = {path for example in EXAMPLES[kind.kind] for path in example_paths(schema, example)}
    assert every - reached == set()

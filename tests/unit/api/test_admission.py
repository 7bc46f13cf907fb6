"""What is said of objects without a cluster is what the API server says: the same cases, which it answers in tests/integration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from integration.test_crd_bounds import Case, cases, is_exception
from integration.test_crd_rules import RULES, RuleCase
from support.manifests import benchmark_run, complete_run, runner_class, video_model
from support.schema_cases import look_up, probes, put

from vidbench_api.admission import Admission, admit
from vidbench_api.cel import EvaluationError, UnsupportedError, compile_expression
from vidbench_api.crdgen import root_schema
from vidbench_api.kinds import KINDS

WRITTEN_BY_PEOPLE = ("BenchmarkRun", "VideoModel", "RunnerClass")


@pytest.mark.parametrize(
    "case", [case for case in cases() if case.kind.kind in WRITTEN_BY_PEOPLE and case.path[0] == "spec"], ids=str
)
def test_every_bound_is_held_to(case: Case) -> None:
    for probe in probes(case.schema, case.path, look_up(case.example, case.path)):
        for good in probe.good:
            if not is_exception(case, good if probe.keyword == "enum" else probe.keyword):
                assert admit(put(case.example, case.path, good)).errors == ()
        refused = admit(put(case.example, case.path, probe.bad))
        assert probe.field in [entry.path for entry in refused.errors], f"{probe.keyword}: {refused.errors}"


@pytest.mark.parametrize("case", [case for case in RULES if case.kind in WRITTEN_BY_PEOPLE], ids=str)
def test_every_rule_says_what_the_server_says(case: RuleCase) -> None:
    for good in case.good:
        assert admit(good).errors == ()
    for bad in case.bad:
        errors = admit(bad).errors
        assert any(case.words in entry.message for entry in errors), errors
        assert any(entry.path == (case.field or case.path) for entry in errors), errors


def test_no_rule_of_any_kind_is_beyond_what_is_evaluated() -> None:
    assert admit(complete_run()).unchecked == ()
    for kind in KINDS:
        for entry in _rules(root_schema(kind)):
            compile_expression(entry["rule"])


def _rules(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    for child in (
        *schema.get("properties", {}).values(),
        *(schema[key] for key in ("items", "additionalProperties") if key in schema),
    ):
        yield from _rules(child)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (benchmark_run(modles=[]), "spec.modles", "did you mean models?"),
        (benchmark_run(runner_class_name="gpu"), "spec.runner_class_name", "did you mean runnerClassName?"),
        (benchmark_run(parallelism="4"), "spec.parallelism", "without quotes"),
        (benchmark_run(runnerClassName=True), "spec.runnerClassName", 'in quotes: "true"'),
        (benchmark_run(variants=[{"name": "a", "offload": "Modell"}]), "spec.variants[0].offload", "did you mean Model?"),
        (benchmark_run(variants=[{"name": "a"}, {"name": "a"}]), "spec.variants[1]", "use each once"),
        ({**benchmark_run(), "metadata": {}}, "metadata.name", "give the object a name"),
        ({**benchmark_run(), "kind": "Job"}, "kind", "BenchmarkRun"),
        ({**benchmark_run(), "apiVersion": "v1"}, "apiVersion", "vidbench.io/v1alpha1"),
        ({**benchmark_run(), "sepc": {}}, "sepc", "no such field"),
        (video_model(source={}), "spec.source", "exactly one"),
        (runner_class(resources={"cpu": 4}), "spec.resources.cpu", 'in quotes: "4"'),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_a_remedy(body: dict[str, Any], path: str, words: str) -> None:
    found = [str(entry) for entry in admit(body).errors if entry.path == path]
    assert found, admit(body).errors
    assert words in found[0]


def test_a_generated_name_counts_with_its_letters() -> None:
    body = benchmark_run() | {"metadata": {"generateName": "a" * 35}}
    assert admit(body).errors == ()
    longer = admit(body | {"metadata": {"generateName": "a" * 36}})
    assert [entry.path for entry in longer.errors] == ["metadata.name"]


def test_defaults_are_filled_in_and_nothing_of_the_callers_is_changed() -> None:
    body = benchmark_run(variants=None)
    before = json.dumps(body)
    spec = admit(body).body["spec"]
    assert spec["variants"][0]["name"] == "default"
    assert spec["hardware"][0] | {"name": "default", "gpus": 1} == spec["hardware"][0]
    assert spec["timeouts"]["shardSeconds"] == 7200
    assert json.dumps(body) == before


def test_a_broken_object_is_answered_not_raised() -> None:
    for spec in (None, [], 7, {"models": "wan"}, {"models": [None], "workload": []}):
        answer: Admission = admit(
            {"apiVersion": "vidbench.io/v1alpha1", "kind": "BenchmarkRun", "metadata": {"name": "a"}, "spec": spec}
        )
        assert answer.errors


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4", 3),
        ("-(1) < 0 && !false", True),
        ("self.a == 'x' ? 1 : 2", 1),
        ("has(self.a) && !has(self.b)", True),
        ("self.b == 1 || true", True),
        ("true || self.b == 1", True),
        ("self.b == 1 && false", False),
        ("self.list.map(x, x * 2).sum()", 12),
        ("self.list.filter(x, x > 1).size()", 2),
        ("self.list.exists(x, x == 3) && self.list.all(x, x > 0)", True),
        ("2 in self.list", True),
        ("self.list[1] == 2", True),
        ("self.a.matches('^x$')", True),
        ("bytes('\u00e4').size()", 2),
        ("[has(self.a), has(self.b)].filter(x, x).size() == 1", True),
    ],
)  # fmt: skip
def test_expressions(text: str, value: Any) -> None:
    assert compile_expression(text).evaluate({"self": {"a": "x", "list": [1, 2, 3]}}) == value


@pytest.mark.parametrize("text", ["self.a.lowerAscii()", "quantity('1Gi')", "self +", "1 % 2", "has(1)", "self.a b"])
def test_what_is_beyond_us_is_said_when_it_is_compiled(text: str) -> None:
    with pytest.raises(UnsupportedError):
        compile_expression(text)


def test_a_field_that_is_not_there_has_no_value() -> None:
    with pytest.raises(EvaluationError, match="no such key: b"):
        compile_expression("self.b == 1").evaluate({"self": {}})
    assert compile_expression("self.a == oldSelf.a").names == {"self", "oldSelf"}

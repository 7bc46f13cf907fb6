"""What the CRDs refuse and accept by rules, on a real API server: CEL, immutability, unknown fields, names.

Plain bounds, enums and patterns are in `test_crd_bounds.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from support.kube_api import Answer, KubeApi
from support.manifests import (
    DIGEST,
    Manifest,
    benchmark_result,
    benchmark_run,
    complete_result,
    complete_run,
    complete_runner_class,
    complete_video_model,
    runner_class,
    video_model,
)

from localcluster.errors import LocalClusterError
from vidbench_api.crdgen import root_schema
from vidbench_api.kinds import KINDS
from vidbench_api.run_spec import IMMUTABLE_FIELDS, IMMUTABLE_TIMEOUTS

PROMPTS = [{"id": "cat", "text": "A cat walks."}]


def names(count: int, prefix: str = "m") -> list[dict[str, Any]]:
    return [{"name": f"{prefix}{number}"} for number in range(count)]


def prompts(count: int, size: int = 1, letter: str = "a") -> list[dict[str, Any]]:
    return [{"id": f"p{number}", "text": letter * size} for number in range(count)]


def run_on(**hardware: Any) -> Manifest:
    return benchmark_run(hardware=[{"name": "gpu"} | hardware])


def run_of(**variant: Any) -> Manifest:
    return benchmark_run(variants=[{"name": "short"} | variant])


@dataclass(frozen=True)
class RuleCase:
    """A rule at a place of a schema, with objects that hold to it and objects that do not."""

    kind: str
    path: str
    words: str
    good: tuple[Manifest, ...]
    bad: tuple[Manifest, ...]
    field: str = ""
    """Where the server must point, if that is not `path`."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}:{self.words}".replace(" ", "-")


def key_case(kind: str, path: str, build: Callable[[str], Manifest], longest: int, field: str) -> RuleCase:
    return RuleCase(kind, path, "keys must have", (build("k" * longest),), (build("k" * (longest + 1)),), field)


RULES = (
    RuleCase(
        "BenchmarkRun",
        "",
        "metadata.name may have at most 40 characters",
        good=(benchmark_run("a" * 40),),
        bad=(benchmark_run("a" * 41), benchmark_run("a" * 253)),
        field="metadata.name",
    ),
    RuleCase(
        "BenchmarkRun",
        "",
        "metadata.name may hold lower case letters",
        good=(benchmark_run("a-1"),),
        bad=(benchmark_run("a.b"), benchmark_run("../a"), benchmark_run("A")),
        field="metadata.name",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec",
        "models x hardware x variants may be at most 200 cells",
        good=(benchmark_run(models=names(40), variants=names(5, "v")),),
        bad=(
            benchmark_run(models=names(51), variants=names(4, "v")),
            benchmark_run(models=names(3), variants=names(34, "v"), hardware=names(2, "h")),
        ),
        field="spec.models",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec",
        "cells x measurement.shards may be at most 600 shards",
        good=(benchmark_run(models=names(60), measurement={"shards": 10}),),
        bad=(
            benchmark_run(models=names(60), measurement={"shards": 11}),
            benchmark_run(models=names(10), measurement={"shards": 61}),
        ),
        field="spec.measurement",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec",
        "an exclusion names a model, hardware or variant that is not in this run",
        good=(
            benchmark_run(
                models=names(2), matrix={"exclude": [{"model": "m1"}, {"model": "m0", "variant": "default"}]}
            ),
            benchmark_run(matrix={"exclude": [{"hardware": "default"}]}),
        ),
        bad=tuple(
            benchmark_run(matrix={"exclude": [{"model": "wan"}, {part: "other"}]})
            for part in ("model", "hardware", "variant")
        ),
        field="spec.matrix",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec",
        "onlyFor names a model that is not in this run",
        good=(
            run_of(onlyFor=["wan"]),
            benchmark_run(models=names(64), variants=[{"name": "v", "onlyFor": [f"m{i}" for i in range(64)]}]),
        ),
        bad=(run_of(onlyFor=["wan", "ltx"]),),
        field="spec.variants",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec",
        "the spec may hold at most 64 KiB",
        good=(benchmark_run(workload={"prompts": prompts(30, 2000)}),),
        bad=(
            benchmark_run(workload={"prompts": prompts(31, 2000)}),
            benchmark_run(workload={"prompts": prompts(16, 2000, letter="猫")}),
            benchmark_run(
                variants=[
                    {"name": f"v{number}", "arguments": {f"a{i}": "x" * 256 for i in range(16)}} for number in range(16)
                ]
            ),
            benchmark_run(
                hardware=[
                    {"name": f"h{number}", "nodeSelector": {f"{'d' * 240}/k{i}": "v" for i in range(16)}}
                    for number in range(16)
                ]
            ),
        ),
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.hardware[].nodeSelector",
        "keys must have",
        good=(
            run_on(nodeSelector={"a": "b", "nvidia.com/gpu.product": "x", f"{'d' * 253}/{'k' * 63}": ""}),
            run_on(nodeSelector={}),
        ),
        bad=tuple(
            run_on(nodeSelector={key: "x"})
            for key in ("", "-a", "a/b/c", "../a", "A.b/c", "a..b/c", "k" * 64, f"{'d' * 254}/{'k' * 63}")
        ),
        field="spec.hardware[0].nodeSelector",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.hardware[].tolerations[]",
        "operator Exists takes no value, and Equal needs a key",
        good=(
            run_on(
                tolerations=[{"operator": "Exists"}, {"key": "a", "operator": "Exists"}, {"key": "a", "value": "b"}]
            ),
        ),
        bad=(
            run_on(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
            run_on(tolerations=[{"value": "b"}]),
        ),
        field="spec.hardware[0].tolerations[0]",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.matrix.exclude[]",
        "an exclusion names a model, hardware or variant",
        good=(benchmark_run(matrix={"exclude": [{"variant": "default"}]}),),
        bad=(benchmark_run(matrix={"exclude": [{}]}),),
        field="spec.matrix.exclude[0]",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.workload",
        "prompts x seeds.count may be at most 64",
        good=(
            benchmark_run(workload={"prompts": prompts(16), "seeds": {"count": 4}}),
            benchmark_run(workload={"prompts": PROMPTS, "seeds": {"count": 64}}),
        ),
        bad=(
            benchmark_run(workload={"prompts": prompts(5), "seeds": {"count": 13}}),
            benchmark_run(workload={"prompts": prompts(64), "seeds": {"count": 2}}),
        ),
        field="spec.workload",
    ),
    key_case(
        "BenchmarkRun",
        "spec.variants[].arguments",
        lambda key: run_of(arguments={key: "1"}),
        64,
        "spec.variants[0].arguments",
    ),
    RuleCase(
        "VideoModel",
        "spec.source",
        "exactly one of hub, path and tiny is given",
        good=(
            video_model(source={"tiny": "ltx"}),
            video_model(source={"path": "/w"}),
            video_model(source={"hub": {"id": "a/b", "commit": "0" * 40}}),
        ),
        bad=(
            video_model(source={}),
            video_model(source={"tiny": "ltx", "path": "/w"}),
            video_model(source={"hub": {"id": "a/b", "commit": "0" * 40}, "path": "/w"}),
        ),
    ),
    key_case(
        "VideoModel",
        "spec.componentDtypes",
        lambda key: video_model(componentDtypes={key: "float32"}),
        64,
        "spec.componentDtypes",
    ),
    key_case(
        "VideoModel",
        "spec.defaults.arguments",
        lambda key: video_model(defaults={"height": 8, "width": 8, "frames": 1, "steps": 1, "arguments": {key: "1"}}),
        64,
        "spec.defaults.arguments",
    ),
    RuleCase(
        "RunnerClass",
        "spec.defaultTolerations[]",
        "operator Exists takes no value, and Equal needs a key",
        good=(runner_class(defaultTolerations=[{"operator": "Exists"}]),),
        bad=(runner_class(defaultTolerations=[{"operator": "Equal"}]),),
        field="spec.defaultTolerations[0]",
    ),
    *(
        key_case("BenchmarkResult", f"spec.{path}", build, 64, f"spec.{path}")
        for path, build in (
            ("expectedCalls", lambda key: benchmark_result(expectedCalls={key: 1})),
            ("unmeasured", lambda key: benchmark_result(unmeasured={key: "why"})),
            (
                "loaded.dtypes",
                lambda key: benchmark_result(
                    loaded={"pipelineClass": "WanPipeline", "parameters": 1, "dtypes": {key: "float32"}}
                ),
            ),
        )
    ),
)


def all_rules() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield kind, place and rule of every CEL rule of every CRD."""

    def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, str]]]:
        yield from ((path, rule) for rule in schema.get("x-kubernetes-validations", ()))
        for name, child in schema.get("properties", {}).items():
            yield from walk(child, f"{path}.{name}".removeprefix("."))
        for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
            if key in schema:
                yield from walk(schema[key], path + suffix)

    for kind in KINDS:
        for path, rule in walk(root_schema(kind), ""):
            yield kind.kind, path, rule


def assert_refused(answer: Answer, field: str, words: str = "") -> None:
    assert answer.status == 422, f"{answer.status} {answer.message}"
    assert field in answer.causes, answer.causes
    assert words in answer.message


@pytest.mark.parametrize("case", RULES, ids=str)
def test_rule_holds_on_the_server(api: KubeApi, case: RuleCase) -> None:
    for good in case.good:
        answer = api.create(good, dry_run=True)
        assert answer.accepted, answer.message
    for bad in case.bad:
        assert_refused(api.create(bad, dry_run=True), case.field or case.path, case.words)


def test_every_rule_has_a_case() -> None:
    transitions = {(kind, path) for kind, path, rule in all_rules() if "oldSelf" in rule["rule"]}
    assert transitions == {("BenchmarkRun", "spec"), ("VideoModel", "spec"), ("BenchmarkResult", "spec")}
    without = [
        (kind, path, rule["message"])
        for kind, path, rule in all_rules()
        if "oldSelf" not in rule["rule"]
        and not any(case.kind == kind and case.path == path and case.words in rule["message"] for case in RULES)
    ]
    assert without == []


class TestBadManifests:
    """What the issue lists, by every client that people use."""

    @pytest.mark.parametrize(
        ("manifest", "field"),
        [
            pytest.param(benchmark_run(models=names(65)), "spec.models", id="65 models"),
            pytest.param(
                benchmark_run(models=names(3), variants=names(67, "v")), "spec.variants", id="201 cells: 3 models x 67"
            ),
            pytest.param(
                benchmark_run(models=names(51), variants=names(4, "v")),
                "spec.models",
                id="204 cells: the next number above 200 that short lists can make",
            ),
            pytest.param(run_of(steps=-1), "spec.variants[0].steps", id="negative steps"),
            pytest.param(run_of(steps=0), "spec.variants[0].steps", id="no step"),
            pytest.param(benchmark_run("a" * 41), "metadata.name", id="a name of 41 characters"),
            pytest.param(benchmark_run("../a"), "metadata.name", id="a name with dots and slashes"),
            pytest.param(benchmark_run(models=[{"name": "../a"}]), "spec.models[0].name", id="a model called ../a"),
            pytest.param(benchmark_run(models=[]), "spec.models", id="an empty list of models"),
            pytest.param(benchmark_run(workload={"prompts": []}), "spec.workload.prompts", id="no prompt"),
            pytest.param(
                benchmark_run(models=[{"name": "a"}, {"name": "a"}]), "spec.models[1]", id="the same model twice"
            ),
            pytest.param(
                video_model(source={"hub": {"id": "a/b", "commit": "main"}}), "spec.source.hub.commit", id="a branch"
            ),
            pytest.param(video_model(source={"path": "/w/../etc"}), "spec.source.path", id="a path that climbs"),
        ],
    )
    def test_bad_manifest_is_refused_at_its_field(self, api: KubeApi, manifest: Manifest, field: str) -> None:
        assert_refused(api.create(manifest, dry_run=True), field)

    def test_run_without_models_is_refused_at_its_field(self, api: KubeApi) -> None:
        manifest = benchmark_run()
        del manifest["spec"]["models"]
        assert_refused(api.create(manifest, dry_run=True), "spec.models", "Required value")

    def test_run_without_spec_is_refused_at_its_field(self, api: KubeApi) -> None:
        manifest = benchmark_run()
        del manifest["spec"]
        assert_refused(api.create(manifest, dry_run=True), "spec", "Required value")

    def test_generated_name_is_checked_too(self, api: KubeApi) -> None:
        manifest = benchmark_run()
        manifest["metadata"] = {"generateName": "a" * 36}
        answer = api.create(manifest, dry_run=True)
        assert_refused(answer, "metadata.name", "at most 40 characters")
        manifest["metadata"] = {"generateName": "a" * 35}
        assert api.create(manifest, dry_run=True).accepted

    @pytest.mark.parametrize(
        ("manifest", "path"),
        [
            pytest.param(benchmark_run(gates=[]), "spec.gates", id="a field of a later version"),
            pytest.param(benchmark_run(podTemplate={}), "spec.podTemplate", id="a pod-shaped field"),
            pytest.param(
                benchmark_run(workload={"prompts": [{"id": "cat", "text": "A cat", "seed": 1}]}),
                "spec.workload.prompts[0].seed",
                id="a field of a list's entry",
            ),
            pytest.param(run_of(clip={"hieght": 480}), "spec.variants[0].clip.hieght", id="a misspelt field"),
        ],
    )
    def test_unknown_field_is_refused(
        self, api: KubeApi, kubectl: Callable[..., str], manifest: Manifest, path: str
    ) -> None:
        strict = api.create(manifest, dry_run=True)
        assert strict.status == 400
        assert f'unknown field "{path}"' in strict.message

        applied = api.apply(manifest, dry_run=True)
        assert applied.status == 500  # the API server has no better code for it
        assert path.rsplit(".", 1)[1] in applied.message
        assert "field not declared in schema" in applied.message

        text = yaml.safe_dump(manifest)
        with pytest.raises(LocalClusterError, match=r'strict decoding error: unknown field "spec\.'):
            kubectl("create", "--dry-run=server", "-f", "-", stdin=text)
        with pytest.raises(LocalClusterError, match="field not declared in schema"):
            kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text)

    def test_unknown_field_of_a_client_that_does_not_ask_is_pruned(self, api: KubeApi) -> None:
        answer = api.create(benchmark_run(gates=[]), dry_run=True, strict=False)
        assert answer.accepted
        assert "gates" not in answer.body["spec"]


@dataclass(frozen=True)
class Change:
    """One edit of the spec of a run that exists."""

    field: str
    what: str
    before: dict[str, Any] = field(repr=False)
    after: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.what}-{self.field}"


def _edits(name: str, absent: dict[str, Any], first: Any, second: Any) -> tuple[Change, ...]:
    """Adding, changing and removing one field; `absent` is the spec without it."""
    return (
        Change(name, "add", absent, absent | {name: first}),
        Change(name, "change", absent | {name: first}, absent | {name: second}),
        Change(name, "remove", absent | {name: first}, absent),
    )


def _list_edits(
    name: str, base: dict[str, Any], one: dict[str, Any], other: dict[str, Any], changed: Any
) -> tuple[Change, ...]:
    return (
        Change(name, "add-an-entry-to", base | {name: [one]}, base | {name: [one, other]}),
        Change(name, "change-an-entry-of", base | {name: [one]}, base | {name: [one | changed]}),
        Change(name, "remove-an-entry-of", base | {name: [one, other]}, base | {name: [one]}),
    )


MINIMAL: dict[str, Any] = {"models": [{"name": "wan"}], "workload": {"prompts": PROMPTS}}
FORBIDDEN = (
    *_edits("runnerClassName", MINIMAL, "gpu", "cpu"),
    *_edits("hardware", MINIMAL, [{"name": "a"}], [{"name": "a", "gpus": 2}]),
    *_edits("variants", MINIMAL, [{"name": "a"}], [{"name": "a", "steps": 2}]),
    *_edits("matrix", MINIMAL, {"exclude": [{"model": "wan"}]}, {"exclude": [{"hardware": "default"}]}),
    *_edits("measurement", MINIMAL, {"shards": 2}, {"shards": 3}),
    *_edits("failurePolicy", MINIMAL, {"infrastructureRetries": 1}, {"infrastructureRetries": 2}),
    *_edits("artifacts", MINIMAL, {"storageUri": "claim://a"}, {"storageUri": "claim://b"}),
    *_list_edits("models", MINIMAL, {"name": "wan"}, {"name": "ltx"}, {"modelRef": {"name": "mine"}}),
    *_list_edits("hardware", MINIMAL, {"name": "a"}, {"name": "b"}, {"nodeSelector": {"a": "b"}}),
    *_list_edits("variants", MINIMAL, {"name": "a"}, {"name": "b"}, {"arguments": {"a": "1"}}),
    *(
        Change("workload", f"{verb}", MINIMAL | {"workload": before}, MINIMAL | {"workload": after})
        for verb, before, after in (
            ("add-a-prompt-to", {"prompts": PROMPTS}, {"prompts": [*PROMPTS, {"id": "dog", "text": "A dog."}]}),
            ("change-a-prompt-of", {"prompts": PROMPTS}, {"prompts": [{"id": "cat", "text": "Two cats."}]}),
            ("remove-a-prompt-of", {"prompts": [*PROMPTS, {"id": "dog", "text": "A dog."}]}, {"prompts": PROMPTS}),
            ("change-the-seeds-of", {"prompts": PROMPTS}, {"prompts": PROMPTS, "seeds": {"count": 2}}),
        )
    ),
    *(
        change
        for name in IMMUTABLE_TIMEOUTS
        for change in (
            Change(f"timeouts.{name}", "add", MINIMAL, MINIMAL | {"timeouts": {name: 11}}),
            Change(
                f"timeouts.{name}", "change", MINIMAL | {"timeouts": {name: 11}}, MINIMAL | {"timeouts": {name: 12}}
            ),
            Change(f"timeouts.{name}", "remove", MINIMAL | {"timeouts": {name: 11}}, MINIMAL),
        )
    ),
)
ALLOWED = (
    *_edits("parallelism", MINIMAL, 0, 1000),
    *_edits("ttl", MINIMAL, {"jobsSeconds": 1}, {"jobsSeconds": 2, "failedJobsSeconds": 3, "runSeconds": 4}),
    Change("timeouts.runSeconds", "add", MINIMAL, MINIMAL | {"timeouts": {"runSeconds": 5}}),
    Change(
        "timeouts.runSeconds",
        "change",
        MINIMAL | {"timeouts": {"runSeconds": 5}},
        MINIMAL | {"timeouts": {"runSeconds": 6}},
    ),
    Change("timeouts.runSeconds", "remove", MINIMAL | {"timeouts": {"runSeconds": 5}}, MINIMAL),
    Change("measurement", "spell-out-the-default-of", MINIMAL, MINIMAL | {"measurement": {"shards": 1}}),
    Change("hardware", "spell-out-the-default-of", MINIMAL, MINIMAL | {"hardware": [{"name": "default", "gpus": 1}]}),
    Change(
        "models",
        "reorder",
        MINIMAL | {"models": [{"name": "a"}, {"name": "b"}]},
        MINIMAL | {"models": [{"name": "b"}, {"name": "a"}]},
    ),
)
_run_numbers = itertools.count(1)


def edit(api: KubeApi, namespace: str, change: Change) -> Answer:
    """Create a run, then replace its spec; the answer to the second request."""
    manifest = benchmark_run(f"run-{next(_run_numbers)}", namespace)
    created = api.create(manifest | {"spec": change.before})
    assert created.accepted, created.message
    return api.replace(created.body | {"spec": change.after})


class TestImmutability:
    @pytest.mark.parametrize("change", FORBIDDEN, ids=str)
    def test_run_refuses_change_of_what_shapes_a_measurement(
        self, api: KubeApi, namespace: str, change: Change
    ) -> None:
        assert_refused(edit(api, namespace, change), f"spec.{change.field}", "cannot be changed: apply a new run")

    @pytest.mark.parametrize("change", ALLOWED, ids=str)
    def test_run_accepts_change_of_the_rest(self, api: KubeApi, namespace: str, change: Change) -> None:
        answer = edit(api, namespace, change)
        assert answer.accepted, answer.message

    def test_every_immutable_field_is_tried(self) -> None:
        fields = {*IMMUTABLE_FIELDS, *(f"timeouts.{name}" for name in IMMUTABLE_TIMEOUTS)}
        for verb in ("add", "change", "remove"):
            assert {change.field for change in FORBIDDEN if change.what.startswith(verb)} == fields

    def test_kubectl_apply_names_the_changed_field(self, namespace: str, kubectl: Callable[..., str]) -> None:
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace)))
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace, parallelism=3)))
        with pytest.raises(
            LocalClusterError, match=r"spec\.measurement: .*measurement cannot be changed: apply a new run"
        ):
            kubectl(
                "apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace, measurement={"shards": 2}))
            )

    @pytest.mark.parametrize(
        ("manifest", "patch"),
        [
            pytest.param(video_model("m"), {"licence": "MIT"}, id="a model gets a licence"),
            pytest.param(complete_video_model({"tiny": "wan"}, "m"), {"licence": None}, id="a model loses its licence"),
            pytest.param(video_model("m"), {"defaults": {"steps": 5}}, id="a model's default"),
            pytest.param(benchmark_result("r"), {"outcome": "Succeeded"}, id="a result's outcome"),
            pytest.param(benchmark_result("r"), {"node": None, "samplesDone": 1}, id="a result gains a figure"),
            pytest.param(complete_result("r"), {"memory": None}, id="a result loses a figure"),
            pytest.param(benchmark_result("r"), {"requestDigest": DIGEST[::-1]}, id="a result's digest"),
        ],
    )
    def test_models_and_results_never_change(
        self, api: KubeApi, namespace: str, manifest: Manifest, patch: dict[str, Any]
    ) -> None:
        manifest = manifest | {"metadata": {"name": manifest["metadata"]["name"], "namespace": namespace}}
        assert api.create(manifest).accepted
        assert_refused(api.merge_patch(manifest, {"spec": patch}), "spec", "cannot be changed")
        labelled = api.merge_patch(manifest, {"metadata": {"labels": {"baseline": "v1"}}})
        assert labelled.accepted, labelled.message

    def test_runner_class_may_change(self, api: KubeApi) -> None:
        manifest = complete_runner_class("changing")
        assert api.create(manifest).accepted
        assert api.merge_patch(manifest, {"spec": {"image": "other:2"}}).accepted
        api.delete(manifest)


def test_complete_run_is_kept_as_it_was_sent(api: KubeApi) -> None:
    manifest = complete_run()
    assert api.create(manifest, dry_run=True).body["spec"] == manifest["spec"]

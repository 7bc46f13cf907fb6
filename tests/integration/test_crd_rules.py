"""What the CRDs refuse and accept by rules, on a real API server: CEL, unknown fields, names.

Plain bounds, enums and patterns are in `test_crd_bounds.py`, what may change in `test_crd_immutability.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from support.kube_api import KubeApi, assert_refused
from support.manifests import (
    Manifest,
    benchmark_result,
    benchmark_run,
    complete_run,
    http_source,
    runner_class,
    video_model,
)

from localcluster.errors import LocalClusterError
from vidbench_api.crdgen import root_schema
from vidbench_api.gates import UNDIRECTED
from vidbench_api.kinds import KINDS

PROMPTS = [{"id": "cat", "text": "A cat walks."}]
TINY_CLIP = {"height": 32, "width": 32, "frames": 9, "steps": 4}


def names(count: int, prefix: str = "m") -> list[dict[str, Any]]:
    return [{"name": f"{prefix}{number}"} for number in range(count)]


def prompts(count: int, size: int = 1, letter: str = "a") -> list[dict[str, Any]]:
    return [{"id": f"p{number}", "text": letter * size} for number in range(count)]


def run_on(**hardware: Any) -> Manifest:
    return benchmark_run(hardware=[{"name": "gpu"} | hardware])


def run_of(**variant: Any) -> Manifest:
    return benchmark_run(variants=[{"name": "short"} | variant])


def say(*statements: dict[str, Any], **spec: Any) -> tuple[Manifest, Manifest]:
    """A run with such gates, and one with such hypotheses; two models, hardware entries and variants, one baseline."""
    lists = {part: names(2, part[0]) for part in ("models", "hardware", "variants")}
    given = lists | {"baselines": [{"name": "old"}]} | spec
    claims = list(statements)
    return benchmark_run(**given, gates=claims), benchmark_run(**given, analysis={"hypotheses": claims})


def claim(against: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """A gate against the baseline `old`; None takes a field away."""
    fields = {
        "name": "a", "metric": "latency", "against": against or {"baseline": "old"}, "test": "NoWorseThan", "margin": "2%",
    } | fields  # fmt: skip
    return {key: value for key, value in fields.items() if value is not None}


def bounded(bound: str, metric: str = "latency", test: str = "AtMost") -> dict[str, Any]:
    """A gate against a number."""
    return claim({"bound": bound}, metric=metric, test=test, margin=None)


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
        "spec.measurement",
        "precision and samples are for plan Precision only",
        good=(
            benchmark_run(measurement={"plan": "Precision"}),
            benchmark_run(measurement={"plan": "Precision", "samples": {}, "precision": {"metric": "denoise"}}),
            benchmark_run(measurement={"plan": "Repro"}),
        ),
        bad=(
            benchmark_run(measurement={"precision": {}}),
            benchmark_run(measurement={"plan": "Fixed", "samples": {"min": 5}}),
            benchmark_run(measurement={"plan": "Repro", "samples": {}}),
        ),
        field="spec.measurement.plan",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.measurement.warmup",
        "warmup.min may not be above warmup.max",
        good=(benchmark_run(measurement={"warmup": {"min": 3, "max": 3}}), benchmark_run(measurement={"warmup": {}})),
        bad=(benchmark_run(measurement={"warmup": {"min": 3, "max": 2}}),),
        field="spec.measurement.warmup.min",
    ),
    RuleCase(
        "BenchmarkRun",
        "spec.measurement.samples",
        "samples.min may not be above samples.max",
        good=(benchmark_run(measurement={"plan": "Precision", "samples": {"min": 20, "max": 20}}),),
        bad=(benchmark_run(measurement={"plan": "Precision", "samples": {"min": 51}}),),
        field="spec.measurement.samples.min",
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
                workload={"prompts": prompts(14, 2000)},
                baselines=[
                    {
                        "name": f"b{number}",
                        "selector": {"matchLabels": {f"{'d' * 240}/k{i}": "v" * 63 for i in range(8)}},
                    }
                    for number in range(16)
                ],
            ),
            benchmark_run(
                models=names(64, "m" * 37),
                workload={"prompts": prompts(10, 2000)},
                gates=[
                    bounded("12s") | {"name": f"g{number}", "where": {"models": [f"{'m' * 37}{i}" for i in range(64)]}}
                    for number in range(16)
                ],
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
    key_case(
        "BenchmarkRun",
        "spec.variants[].componentDtypes",
        lambda key: run_of(componentDtypes={key: "float32"}),
        64,
        "spec.variants[0].componentDtypes",
    ),
    RuleCase(
        "VideoModel",
        "spec.source",
        "exactly one of hub, path, tiny, http and mock is given",
        good=(
            video_model(source=http_source()),
            video_model(source={"mock": {}}),
            video_model(source={"tiny": "ltx"}),
            video_model(source={"path": "/w"}),
            video_model(source={"hub": {"id": "a/b", "commit": "0" * 40}}),
        ),
        bad=(
            video_model(source={}),
            video_model(source={"tiny": "ltx", "path": "/w"}),
            video_model(source={"hub": {"id": "a/b", "commit": "0" * 40}, "path": "/w"}),
            video_model(source=http_source() | {"mock": {}}),
        ),
    ),
    RuleCase(
        "VideoModel",
        "spec.source.hub",
        "a VideoModel names the commit of its hub id",
        good=(video_model(source={"hub": {"id": "a/b", "commit": "0" * 40}}),),
        bad=(video_model(source={"hub": {"id": "a/b"}}),),
    ),
    RuleCase(
        "VideoModel",
        "spec",
        "a server loads its model itself",
        good=(video_model(source=http_source(), licence="none"),),
        bad=(
            video_model(source=http_source(), pipelineClass="WanPipeline"),
            video_model(source=http_source(), componentDtypes={"vae": "float32"}),
            video_model(source=http_source(), forbiddenDtypes=["float16"]),
            video_model(source=http_source(), estimatedMemoryMebibytes=1),
            video_model(source=http_source(), defaults=TINY_CLIP | {"offload": "Model"}),
            video_model(source=http_source(), defaults=TINY_CLIP | {"vaeTiling": True}),
        ),
    ),
    RuleCase(
        "VideoModel",
        "spec.source.http",
        "maxCostPerAttempt needs pricePerVideo",
        good=(video_model(source=http_source(maxCostPerAttempt=None)),),
        bad=(video_model(source=http_source(pricePerVideo=None, currency=None)),),
        field="spec.source.http.maxCostPerAttempt",
    ),
    RuleCase(
        "VideoModel",
        "spec.source.http",
        "pricePerVideo and currency are given together",
        good=(video_model(source=http_source(maxCostPerAttempt=None, pricePerVideo=None, currency=None)),),
        bad=(
            video_model(source=http_source(currency=None)),
            video_model(source=http_source(maxCostPerAttempt=None, pricePerVideo=None)),
        ),
        field="spec.source.http.currency",
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
            ("energy.phaseMillijoules", lambda key: benchmark_result(energy={"phaseMillijoules": {key: 1}})),
            ("watch.throttledPpm", lambda key: benchmark_result(watch={"readings": 1, "throttledPpm": {key: 1}})),
            (
                "loaded.dtypes",
                lambda key: benchmark_result(
                    loaded={"pipelineClass": "WanPipeline", "parameters": 1, "dtypes": {key: "float32"}}
                ),
            ),
        )
    ),
)


def statement_cases() -> Iterator[RuleCase]:
    """The rules of gates, and the same of hypotheses."""
    other = [f"x{number}" for number in range(64)]
    table: tuple[tuple[str, str, tuple[dict[str, Any], ...], tuple[dict[str, Any], ...], str], ...] = (
        (
            ".against",
            "exactly one of baseline, variant and bound is given",
            (claim(), claim({"variant": "v0"}), bounded("12s")),
            (
                claim({}) | {"against": {}},
                claim({"baseline": "old", "variant": "v0"}),
                claim({"baseline": "old", "bound": "12s"}),
                claim({"variant": "v0", "bound": "12s"}, test="AtMost", margin=None),
            ),
            ".against",
        ),
        (
            "",
            "AtMost and AtLeast take against.bound",
            (bounded("12s"), bounded("3600", "videosPerHour", "AtLeast"), claim(test="Equivalent")),
            (
                claim(test="AtMost", margin=None),
                claim(test="AtLeast", margin=None),
                claim({"bound": "12s"}),
                claim({"bound": "12s"}, test="Equivalent"),
            ),
            ".against",
        ),
        (
            "",
            "NoWorseThan and Equivalent need a margin",
            (claim(), claim({"variant": "v0"}, test="Equivalent", margin="0.5%"), bounded("12s")),
            (claim(margin=None), claim(test="Equivalent", margin=None), bounded("12s") | {"margin": "2%"}),
            "",
        ),
        (
            "",
            "more is neither better nor worse",
            (claim(metric="brightness", test="Equivalent"), bounded("5", "sharpness"), claim(metric="flicker")),
            tuple(claim(metric=metric) for metric in UNDIRECTED),
            ".test",
        ),
        (
            "",
            "against.bound has the unit of the metric",
            (
                bounded("12.5s"), bounded("900ms", "step"), bounded("40GiB", "memory"), bounded("512MiB", "memoryAllocated"),
                bounded("350J", "energy"), bounded("2.5kJ", "energyNet"), bounded("0", "frozenFrames"),
            ),
            (
                bounded("12"), bounded("40GiB"), bounded("350J"), bounded("12s", "memory"), bounded("12", "memory"),
                bounded("12s", "energy"), bounded("12", "energyNet"), bounded("12s", "frozenFrames"),
            ),
            ".against.bound",
        ),
        (
            "",
            "a margin is a share (2%) or has the unit of the metric",
            (claim(margin="20ms"), claim(metric="memory", margin="100MiB"), claim(metric="flicker", margin="50")),
            (claim(margin="20"), claim(margin="20J"), claim(metric="memory", margin="1s"), claim(metric="flicker", margin="1J")),
            ".margin",
        ),
        (
            "spec",
            "names a baseline that is not in this run",
            (claim(),),
            (claim({"baseline": "new"}),),
            "spec",
        ),
        (
            "spec",
            "is against a variant that is not in this run",
            (claim({"variant": "v1"}), claim({"variant": "v1"}, where={"variants": ["v0"]})),
            (claim({"variant": "v2"}),),
            "spec",
        ),
        (
            "spec",
            "against a variant needs another variant that is compared with it",
            (claim({"variant": "v0"}), claim({"variant": "v0"}, where={"variants": ["v0", "v1"]})),
            (claim({"variant": "v0"}, where={"variants": ["v0"]}),),
            "spec",
        ),
        (
            "spec",
            "names a model, hardware or variant that is not in this run",
            (
                claim(where={"models": ["m0"], "hardware": ["h1"], "variants": ["v0", "v1"]}),
                claim(where={"models": [], "hardware": ["h0"]}),
                claim(where={}),
            ),
            (
                claim(where={"models": ["m0", "m2"]}),
                claim(where={"models": ["m0"], "hardware": ["h2"]}),
                claim(where={"variants": other}),
            ),
            "spec",
        ),
    )  # fmt: skip
    for position, list_path in enumerate(("spec.gates", "spec.analysis.hypotheses")):
        for path, words, good, bad, field in table:
            place = path if path == "spec" else f"{list_path}[]{path}"
            pointed = ".".join(list_path.split(".")[:2]) if field == "spec" else f"{list_path}[0]{field}"
            prefix = "" if path != "spec" else ("a gate ", "a hypothesis ")[position]
            yield RuleCase(
                "BenchmarkRun",
                place,
                f"{prefix}{words}",
                tuple(say(entry)[position] for entry in good),
                tuple(say(entry)[position] for entry in bad),
                pointed,
            )


RULES += (
    *statement_cases(),
    RuleCase(
        "BenchmarkRun",
        "spec.baselines[].selector.matchLabels",
        "keys must have",
        good=(benchmark_run(baselines=[{"name": "a", "selector": {"matchLabels": {"vidbench.io/run": "nightly"}}}]),),
        bad=tuple(
            benchmark_run(baselines=[{"name": "a", "selector": {"matchLabels": {key: "x"}}}])
            for key in ("", "a/b/c", "-a")
        ),
        field="spec.baselines[0].selector.matchLabels",
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


class TestStatementsAreNamedOnce:
    """Lists by name: the server's own check."""

    @pytest.mark.parametrize("position", [0, 1], ids=["gates", "hypotheses"])
    def test_a_name_given_twice_is_refused(self, api: KubeApi, position: int) -> None:
        field = ("spec.gates[1]", "spec.analysis.hypotheses[1]")[position]
        assert_refused(api.create(say(claim(), claim(margin="3%"))[position], dry_run=True), field, "Duplicate value")

    def test_a_baseline_given_twice_is_refused(self, api: KubeApi) -> None:
        manifest = benchmark_run(baselines=[{"name": "a"}, {"name": "a", "across": "Model"}])
        assert_refused(api.create(manifest, dry_run=True), "spec.baselines[1]", "Duplicate value")


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
            pytest.param(
                benchmark_run(models=[{"name": "a", "weights": "Guessed"}]),
                "spec.models[0].weights",
                id="other weights",
            ),
            pytest.param(
                video_model(architecture="Wan 14B"), "spec.architecture", id="an architecture that is no name"
            ),
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
            pytest.param(benchmark_run(report={}), "spec.report", id="a field of a later version"),
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
        answer = api.create(benchmark_run(report={}), dry_run=True, strict=False)
        assert answer.accepted
        assert "report" not in answer.body["spec"]


def test_complete_run_is_kept_as_it_was_sent(api: KubeApi) -> None:
    manifest = complete_run()
    assert api.create(manifest, dry_run=True).body["spec"] == manifest["spec"]

"""What a person meets with kubectl, and what the server makes of objects: columns, scale, explain, defaults, sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from support.kube_api import KubeApi
from support.manifests import (
    Manifest,
    benchmark_run,
    complete_result,
    complete_run,
    complete_runner_class,
    complete_status,
    evidence,
    gate_status,
    runner_class,
    status_row,
    video_model,
)

from vidbench_api.gates import MAX_EVIDENCE, MAX_GATES
from vidbench_api.kinds import KINDS, Kind
from vidbench_api.names import MAX_CELLS, MAX_SHARDS_OF_RUN, SPEC_LIMIT
from vidbench_api.run_status import BenchmarkRunStatus

MEBIBYTE = 1_048_576
"""etcd takes 1.5 MiB a request by default."""


def create(api: KubeApi, manifest: Manifest, namespace: str | None = None) -> Manifest:
    if namespace:
        manifest = manifest | {"metadata": manifest["metadata"] | {"namespace": namespace}}
    answer = api.create(manifest)
    assert answer.accepted, answer.message
    return answer.body


def write_status(api: KubeApi, run: Manifest, status: dict[str, Any]) -> Manifest:
    answer = api.replace(run | {"status": status}, "status")
    assert answer.accepted, answer.message
    return answer.body


class TestDefaults:
    def test_defaults_of_a_minimal_run_arrive(self, api: KubeApi, namespace: str) -> None:
        spec = create(api, benchmark_run(), namespace)["spec"]
        assert spec == {
            "runnerClassName": "default",
            "models": [{"name": "wan", "weights": "Pretrained"}],
            "hardware": [
                {
                    "name": "default",
                    "nodeSelector": {},
                    "tolerations": [],
                    "gpus": 1,
                    "resourceName": "nvidia.com/gpu",
                }
            ],
            "variants": [
                {
                    "name": "default",
                    "clip": {},
                    "arguments": {},
                    "attention": "Default",
                    "compile": "None",
                    "componentDtypes": {},
                    "onlyFor": [],
                }
            ],
            "validity": {"exclusiveGpu": "Require", "onInvalid": "Retry"},
            "matrix": {"exclude": []},
            "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}], "seeds": {"base": 0, "count": 1}},
            "measurement": {"plan": "Fixed", "shards": 1, "warmup": {"min": 1}, "pairing": "None"},
            "parallelism": 16,
            "autoscaling": {"mode": "Capacity", "min": 1},
            "scheduling": {"queueName": "", "priorityClassName": ""},
            "failurePolicy": {
                "infrastructureRetries": 3,
                "unknownRetries": 1,
                "outOfMemory": "Record",
                "maxFailedCells": "100%",
            },
            "timeouts": {
                "runSeconds": 86_400,
                "schedulingSeconds": 1_800,
                "imagePullSeconds": 1_800,
                "loadSeconds": 1_800,
                "shardSeconds": 7_200,
                "noProgressSeconds": 300,
            },
            "artifacts": {"storageUri": "", "keepVideos": "First"},
            "ttl": {"jobsSeconds": 3_600, "failedJobsSeconds": 86_400},
            "reuse": {"policy": "Never", "maxAgeSeconds": 604_800},
            "baselines": [],
            "gates": [],
            "analysis": {"hypotheses": [], "correction": "Holm"},
            "suspend": False,
            "cancel": "None",
        }

    def test_defaults_fill_half_given_objects(self, api: KubeApi, namespace: str) -> None:
        run = benchmark_run(timeouts={"runSeconds": 60}, hardware=[{"name": "a", "tolerations": [{"key": "x"}]}])
        spec = create(api, run, namespace)["spec"]
        assert spec["timeouts"]["loadSeconds"] == 1_800
        assert spec["hardware"][0]["gpus"] == 1
        assert spec["hardware"][0]["tolerations"] == [{"key": "x", "operator": "Equal"}]

    def test_explicit_null_means_absent(self, api: KubeApi, namespace: str) -> None:
        run = benchmark_run(ttl={"runSeconds": None, "jobsSeconds": None}, variants=None)
        spec = create(api, run, namespace)["spec"]
        assert spec["ttl"] == {"jobsSeconds": 3_600, "failedJobsSeconds": 86_400}
        assert [variant["name"] for variant in spec["variants"]] == ["default"]

    @pytest.mark.parametrize(
        "manifest",
        [
            pytest.param(benchmark_run(), id="BenchmarkRun"),
            pytest.param(video_model(), id="VideoModel"),
            pytest.param(runner_class(), id="RunnerClass"),
        ],
    )
    def test_server_fills_in_what_the_types_fill_in(self, api: KubeApi, manifest: Manifest) -> None:
        kind = next(kind for kind in KINDS if kind.kind == manifest["kind"])
        stored = api.create(manifest, dry_run=True).body["spec"]
        assert stored == kind.spec.model_validate(manifest["spec"]).to_wire()

    def test_status_and_results_get_no_defaults(self, api: KubeApi, namespace: str) -> None:
        """A default there would be a figure that nobody measured."""
        run = create(api, benchmark_run(), namespace)
        row = {"id": "01234567", "model": "a", "hardware": "b", "variant": "c", "phase": "Pending"}
        assert write_status(api, run, {"rows": [row]})["status"] == {"rows": [row]}


class TestKubectl:
    def test_scale_changes_parallelism_only(self, api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
        before = create(api, complete_run("scaled"), namespace)
        write_status(api, before, complete_status())
        kubectl("scale", "br/scaled", "--replicas=0", "-n", namespace)
        after = api.get(before).body
        assert after["spec"] == before["spec"] | {"parallelism": 0}
        scale = json.loads(kubectl("get", "--raw", f"{_path(namespace, 'scaled')}/scale"))
        assert scale["spec"] == {}  # the Scale type leaves out a zero
        assert scale["status"] == {"replicas": 1, "selector": "vidbench.io/run-uid=0"}

    def test_explain_describes_fields(self, kubectl: Callable[..., str]) -> None:
        text = kubectl("explain", "br.spec")
        assert "What to measure, where and how." in text
        assert "hardware" in text
        assert "<[]Object>" in text
        assert "Denoising steps." in kubectl("explain", "br.spec.variants.steps")

    @pytest.mark.parametrize(("short_name", "plural"), [(kind.short_names[0], kind.plural) for kind in KINDS])
    def test_short_name_means_the_kind(self, kubectl: Callable[..., str], short_name: str, plural: str) -> None:
        resources = [
            line.split() for line in kubectl("api-resources", "--api-group=vidbench.io", "--no-headers").splitlines()
        ]
        assert [plural, short_name] in [words[:2] for words in resources]
        kubectl("get", short_name, "-A")

    def test_category_lists_all_kinds_and_all_none(
        self, api: KubeApi, namespace: str, kubectl: Callable[..., str]
    ) -> None:
        create(api, benchmark_run("mine"), namespace)
        create(api, complete_result("mine-01234567-1"), namespace)
        listed = kubectl("get", "vidbench", "-n", namespace, "-o", "name")
        assert "benchmarkrun.vidbench.io/mine" in listed
        assert "benchmarkresult.vidbench.io/mine-01234567-1" in listed
        assert "vidbench.io" not in kubectl("get", "all", "-n", namespace, "-o", "name")

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
    def test_wide_columns_are_those_of_the_kind(
        self, api: KubeApi, namespace: str, kubectl: Callable[..., str], kind: Kind
    ) -> None:
        examples: dict[str, Manifest] = {
            "BenchmarkRun": complete_run(),
            "VideoModel": video_model(),
            "RunnerClass": complete_runner_class("columns"),
            "BenchmarkResult": complete_result(),
        }
        manifest = create(api, examples[kind.kind], namespace if kind.scope == "Namespaced" else None)
        try:
            header = kubectl("get", kind.plural, "-n", namespace, "-o", "wide").splitlines()[0].split()
            narrow = kubectl("get", kind.plural, "-n", namespace).splitlines()[0].split()
        finally:
            api.delete(manifest)
        assert header == ["NAME", *(column.name.upper() for column in kind.columns)]
        assert narrow == ["NAME", *(column.name.upper() for column in kind.columns if not column.priority)]

    def test_columns_of_a_run_show_its_status(self, api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
        run = create(api, complete_run("shown"), namespace)
        write_status(api, run, complete_status())
        line = kubectl("get", "br", "-n", namespace, "--no-headers").split()
        assert line[:6] == ["shown", "Running", "1/1", "1", "0", "0"]
        assert " ".join(line[6:9]) == "wan/default/default 20.35 s"

    def test_wait_sees_conditions(self, api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
        run = create(api, complete_run("awaited"), namespace)
        write_status(api, run, complete_status())
        kubectl("wait", "--for=condition=Accepted", "br/awaited", "-n", namespace, "--timeout=5s")

    def test_manifest_survives_edit_and_diff(self, api: KubeApi, namespace: str, kubectl: Callable[..., str]) -> None:
        """What kubectl reads back applies again without a change: defaults are stable."""
        create(api, benchmark_run("stable"), namespace)
        text = kubectl("get", "br/stable", "-n", namespace, "-o", "yaml")
        assert api.get(benchmark_run("stable", namespace)).body["metadata"]["generation"] == 1
        kubectl("replace", "-f", "-", stdin=text)
        assert api.get(benchmark_run("stable", namespace)).body["metadata"]["generation"] == 1


class TestSizes:
    @pytest.mark.parametrize("shards", [1, 3], ids=["one shard a cell", "three shards a cell: the most a run may have"])
    def test_status_of_the_largest_run_fits(
        self, api: KubeApi, namespace: str, shards: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert MAX_CELLS * 3 == MAX_SHARDS_OF_RUN
        status = complete_status() | {"rows": [status_row(number, shards) for number in range(MAX_CELLS)]}
        status |= {"gates": [gate_status(f"{'g' * 38}{number:02}", shown=MAX_EVIDENCE) for number in range(MAX_GATES)]}
        status |= {"hypotheses": [status["hypotheses"][0] | {"message": "m" * 512} for _ in range(MAX_GATES)]}
        for statement in (*status["gates"], *status["hypotheses"]):
            statement |= {"message": "m" * 512, "evidence": [evidence(number) for number in range(MAX_EVIDENCE)]}
        run = create(api, complete_run(), namespace)
        stored = write_status(api, run, status)
        assert stored["status"] == status
        sizes = {name: _bytes(part) for name, part in (("status", stored["status"]), ("object", stored))}
        managed = _bytes(stored["metadata"]["managedFields"])
        with capsys.disabled():
            print(f"\n{MAX_CELLS} rows x {shards} shards: status {sizes['status']:,} B, object {sizes['object']:,} B,"
                  f" managedFields {managed:,} B")  # fmt: skip
        assert sizes["object"] < MEBIBYTE

    def test_types_read_back_what_the_server_stored(self, api: KubeApi, namespace: str) -> None:
        run = create(api, complete_run(), namespace)
        stored = write_status(api, run, complete_status())
        assert BenchmarkRunStatus.model_validate(stored["status"]).to_wire() == complete_status()

    def test_largest_spec_stays_below_its_limit(
        self, api: KubeApi, namespace: str, kubectl: Callable[..., str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The rule counts at least what JSON takes, so the largest spec that it lets through fits, defaults included."""
        largest: Manifest | None = None
        low, high = 0, 2_000
        while low < high:
            middle = (low + high + 1) // 2
            candidate = _wide_run(middle)
            if api.create(candidate | {"metadata": {"name": "wide", "namespace": namespace}}, dry_run=True).accepted:
                low, largest = middle, candidate
            else:
                high = middle - 1
        assert largest is not None
        largest["metadata"] = {"name": "wide", "namespace": namespace}
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(largest))
        stored = api.get(largest).body
        with capsys.disabled():
            print(f"\nlargest spec: {_bytes(stored['spec']):,} B of JSON, object {_bytes(stored):,} B")
        assert 0.9 * SPEC_LIMIT < _bytes(stored["spec"]) <= SPEC_LIMIT


def _wide_run(text_size: int) -> Manifest:
    """A run that is wide in every list, with prompts of a given size; above 0 accepted, at 2,000 refused."""
    models = [{"name": f"{'m' * 37}{number:03}", "modelRef": {"name": "r" * 200}} for number in range(20)]
    return benchmark_run(
        "wide",
        models=models,
        hardware=[
            {
                "name": f"{'h' * 37}{number:03}",
                "nodeSelector": {f"{'d' * 100}/{'k' * 60}{entry}": "v" * 63 for entry in range(4)},
                "tolerations": [{"key": f"{'d' * 100}/{'k' * 60}", "value": "v" * 63, "effect": "PreferNoSchedule"}] * 2,
                "resourceName": f"{'d' * 180}/{'k' * 60}",
            }
            for number in range(2)
        ],
        variants=[
            {
                "name": f"{'v' * 37}{number:03}",
                "dtype": "bfloat16",
                "clip": {"height": 4320, "width": 7680, "frames": 2000},
                "steps": 1000,
                "arguments": {f"argument_{entry}": "1" * 200 for entry in range(8)},
                "onlyFor": [model["name"] for model in models],
            }
            for number in range(5)
        ],
        matrix={"exclude": [{"model": models[0]["name"], "hardware": f"{'h' * 37}000", "variant": f"{'v' * 37}000"}] * 64},
        workload={"prompts": [{"id": f"{'p' * 37}{number:03}", "text": "t" * (1 + text_size)} for number in range(30)]},
    )  # fmt: skip


def _bytes(part: Any) -> int:
    return len(json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode())


def _path(namespace: str, name: str) -> str:
    return f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/benchmarkruns/{name}"

"""Commands before a run, where no cluster is asked or none is there: what they write, and that errors say what to do next."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from vidbench_api.admission import admit
from vidbench_api.catalogue import CATALOGUE, NOT_RUNNABLE
from vidbench_cli.app import app
from vidbench_cli.errors import Exit, UsageError
from vidbench_cli.first_run import hardware_name
from vidbench_cli.manifest_files import parse_objects
from vidbench_cli.model_list import MemoryFigure, fit_of

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments], input=stdin, catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def silent(tmp_path: Path) -> str:
    """A kubeconfig of a server that nobody listens for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "config"
    body = {
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "me"}}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(body))
    return str(path)


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    assert run("init", "-f", str(path)).exit_code == 0
    return str(path)


class TestInit:
    @pytest.mark.parametrize(
        "options",
        [
            [],
            ["--model", "wan21-1-3b", "--model", "ltx-video", "--gpu", "NVIDIA-H100-80GB-HBM3", "--gpu", "NVIDIA-L40S"],
            ["--model", "wan21-14b", "--random-weights", "--name", "costs"],
            ["--cpu", "--model", "tiny-ltx", "--shards", "64", "--seeds", "64"],
            ["--model", "my-own", "--runner-class", "fast"],
        ],
    )
    def test_every_file_holds_to_the_schema(self, options: list[str], tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        result = run("init", "-f", str(path), *options)
        assert result.exit_code == 0, result.output
        text = path.read_text()
        assert admit(yaml.safe_load(text)).errors == ()
        assert text.count("#") > 8

    @pytest.mark.parametrize(("model", "gpus"), [("tiny-wan", 0), ("mock", 0), ("wan21-1-3b", 1), ("my-own", 1)])
    def test_what_needs_no_gpu_asks_for_none_and_runs_one_at_a_time(self, model: str, gpus: int) -> None:
        spec = yaml.safe_load(run("init", "-f", "-", "--model", model).stdout)["spec"]
        assert [entry["gpus"] for entry in spec["hardware"]] == [gpus]
        assert spec["parallelism"] == (4 if gpus else 1)

    def test_what_is_chosen_stands_in_it(self) -> None:
        result = run("init", "-f", "-", "--model", "wan21-1-3b", "--gpu", "NVIDIA-L40S", "--cpu", "--shards", "4")
        spec = yaml.safe_load(result.stdout)["spec"]
        assert spec["models"] == [{"name": "wan21-1-3b"}]
        assert [entry["gpus"] for entry in spec["hardware"]] == [0, 1]
        assert spec["hardware"][1]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L40S"}
        assert spec["measurement"]["shards"] == 4

    def test_a_file_is_not_written_over(self, manifest: str) -> None:
        result = run("init", "-f", manifest)
        assert result.exit_code == Exit.USAGE
        assert "--force" in result.stderr
        assert run("init", "-f", manifest, "--force").exit_code == 0

    def test_what_nothing_runs_is_refused_with_the_reason(self) -> None:
        name = next(iter(NOT_RUNNABLE))
        result = run("init", "-f", "-", "--model", name)
        assert result.exit_code == Exit.USAGE
        assert "list-models --runnable" in result.stderr

    @pytest.mark.parametrize("options", [["--name", "Bad_Name"], ["--model", "Wan 2.1"], ["--gpu", "a b"]])
    def test_what_would_be_refused_is_not_written(self, options: list[str]) -> None:
        result = run("init", "-f", "-", *options)
        assert result.exit_code == Exit.USAGE
        assert result.stdout == ""
        assert "would be refused" in result.stderr

    def test_a_near_name_is_asked_for(self) -> None:
        result = run("init", "-f", "-", "--model", "wan21-1-3")
        assert "did you mean wan21-1-3b" in result.stderr

    def test_names_of_gpus(self) -> None:
        assert hardware_name("NVIDIA-H100-80GB-HBM3") == "h100-80gb-hbm3"
        assert hardware_name("???") == "gpu"


class TestValidate:
    @pytest.mark.parametrize("file", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
    def test_examples_are_right(self, file: str) -> None:
        result = run("validate", "-f", str(EXAMPLES / file), "--offline")
        assert result.exit_code == 0, result.output
        assert "was not looked at" in result.stdout

    def test_without_a_cluster_it_says_so_and_goes_on(self, manifest: str) -> None:
        result = run("validate", "-f", manifest)
        assert result.exit_code == 0, result.output
        assert "no usable kubeconfig" in result.stdout

    def test_a_cluster_that_is_away_is_not_passed_over(self, manifest: str, silent: str) -> None:
        result = run("validate", "-f", manifest, "--kubeconfig", silent)
        assert result.exit_code == Exit.CLUSTER
        assert "--offline" in result.stderr

    def test_errors_have_field_and_remedy(self, manifest: str) -> None:
        text = Path(manifest).read_text().replace("shards: 3", "shards: 65").replace("prompts:", "promts:")
        result = run("validate", "-f", "-", "--offline", "-o", "json", stdin=text)
        assert result.exit_code == Exit.USAGE
        findings = {entry["field"]: entry for entry in json.loads(result.stdout)["findings"]}
        assert findings["spec.measurement.shards"]["message"] == "must be at most 64, not 65"
        assert findings["spec.workload.promts"]["remedy"] == "did you mean prompts?"
        assert findings["spec.workload.prompts"]["message"] == "is missing"

    def test_a_rule_of_the_crd_is_checked(self, manifest: str) -> None:
        text = (
            Path(manifest)
            .read_text()
            .replace("count: 5", "count: 64")
            .replace("    seeds", '      - {id: dog, text: "A dog"}\n    seeds')
        )
        result = run("validate", "-f", "-", "--offline", "-o", "json", stdin=text)
        assert [entry["field"] for entry in json.loads(result.stdout)["findings"]] == ["spec.workload"]

    def test_what_the_operator_would_refuse_is_found(self, manifest: str) -> None:
        text = Path(manifest).read_text().replace("- {name: default}", "- {name: default, offload: Model}")
        result = run("validate", "-f", "-", "--offline", "-o", "json", stdin=text)
        assert result.exit_code == Exit.USAGE
        errors = [entry for entry in json.loads(result.stdout)["findings"] if entry["level"] == "Error"]
        assert errors[0]["field"] == "spec.variants[default].offload"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: [", "is not YAML"),
            ("a: 1\na: 2", "the key 'a' stands twice in \"-\", line 2"),
            ("", "holds no object"),
            ("- 1", "is no object"),
            ("kind: BenchmarkRun\nspec: {}", "apiVersion"),
            ("x: 2024-13-45", "is not YAML"),
            ("[" * 5000, "is not YAML"),
            ("apiVersion: vidbench.io/v1alpha1\nkind: [1]", "kind"),
            ("apiVersion: vidbench.io/v1alpha1\nkind: BenchmarkRuns", "no kind of vidbench.io"),
        ],
    )
    def test_a_text_that_is_none_is_answered(self, text: str, words: str) -> None:
        result = run("validate", "-f", "-", "--offline", stdin=text)
        assert result.exit_code == Exit.USAGE
        assert words in result.output

    @pytest.mark.parametrize(
        ("metric", "shards", "prompts", "reason"),
        [
            ("latency", 1, 2, "OneShard"),
            ("memory", 1, 2, "OneShard"),
            ("latency", 2, 1, None),
            ("flicker", 1, 2, None),
            ("flicker", 3, 1, "OnePrompt"),
        ],
    )
    def test_a_gate_that_nothing_can_decide_is_warned_of(
        self, manifest: str, metric: str, shards: int, prompts: int, reason: str | None
    ) -> None:
        body = yaml.safe_load(Path(manifest).read_text())
        body["spec"]["variants"] = [{"name": "default"}, {"name": "short", "steps": 2}]
        body["spec"]["workload"]["prompts"] = [{"id": f"p{number}", "text": "A cat"} for number in range(prompts)]
        body["spec"]["measurement"]["shards"] = shards
        body["spec"]["gates"] = [
            {"name": "quick", "metric": metric, "against": {"variant": "default"}, "test": "NoWorseThan", "margin": "2%"}
        ]  # fmt: skip
        text = yaml.safe_dump(body)
        result = run("validate", "-f", "-", "--offline", "-o", "json", stdin=text)
        assert result.exit_code == 0, result.output
        found = [entry for entry in json.loads(result.stdout)["findings"] if entry["level"] == "Warning"]
        assert [entry["field"] for entry in found] == (["spec.gates[quick]"] if reason else [])
        planned = run("plan", "-f", "-", "--offline", "-o", "json", stdin=text)
        warnings = json.loads(planned.stdout)["warnings"]
        assert len(warnings) == len(found)
        assert all(reason in text for text in (*warnings, *(entry["message"] for entry in found)) if reason)

    def test_objects_of_other_kinds_alone_are_not_called_right(self) -> None:
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}"
        result = run("validate", "-f", "-", "--offline", stdin=text)
        assert "nothing was looked at" in result.stdout
        assert "all is right" not in result.stdout

    def test_what_is_no_text_is_told_with_a_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "picture").write_bytes(b"\xff\xfe\x00")
        for name, said in (("picture", "is no text"), ("", "Is a directory")):
            result = run("validate", "-f", str(tmp_path / name))
            assert (result.exit_code, said in result.stderr) == (Exit.USAGE, True), result.stderr
            assert "Errno" not in result.stderr

    def test_a_file_that_is_not_there(self) -> None:
        result = run("validate", "-f", "nowhere.yaml")
        assert result.exit_code == Exit.USAGE
        assert "vidbench init" in result.stderr


class TestPlan:
    def test_offline_knows_cells_and_no_times(self, manifest: str) -> None:
        result = run("plan", "-f", manifest, "--offline", "-o", "json")
        data = json.loads(result.stdout)
        assert data["shards"] == 3
        assert data["cells"][0]["secondsPerShard"] == {"value": None, "reason": "no cluster was asked (--offline)"}
        assert data["cells"][0]["cost"]["value"] is None
        assert data["hardware"][0]["usableNodes"] is None

    def test_without_a_cluster_it_names_the_ways(self, manifest: str) -> None:
        result = run("plan", "-f", manifest)
        assert result.exit_code == Exit.CLUSTER
        assert "--offline" in result.stderr
        assert "--kubeconfig" in result.stderr

    def test_a_wrong_file_is_told_by_field(self, manifest: str) -> None:
        text = Path(manifest).read_text().replace("parallelism: 1", "parallelism: many")
        result = run("plan", "-f", "-", "--offline", stdin=text)
        assert result.exit_code == Exit.USAGE
        assert "spec.parallelism: must be an integer" in result.stderr

    def test_two_runs_are_one_too_many(self, manifest: str) -> None:
        result = run("plan", "-f", manifest, "-f", manifest, "--offline")
        assert result.exit_code == Exit.USAGE
        assert "one BenchmarkRun is wanted, 2 are there" in result.stderr

    def test_a_run_whose_metadata_is_no_object_is_one_too_many(self, manifest: str) -> None:
        result = run("plan", "-f", manifest, "-f", "-", "--offline", stdin="kind: BenchmarkRun\nmetadata: text")
        assert result.exit_code == Exit.USAGE
        assert "one BenchmarkRun is wanted, 2 are there" in result.stderr

    def test_a_run_that_would_be_refused_ends_with_2(self, manifest: str) -> None:
        name = next(iter(NOT_RUNNABLE))
        text = Path(manifest).read_text().replace("{name: tiny-wan}", f"{{name: {name}}}")
        result = run("plan", "-f", "-", "--offline", stdin=text)
        assert result.exit_code == Exit.USAGE
        assert "would be refused (ModelNotRunnable)" in result.stdout


class TestListModels:
    def models(self, *options: str) -> dict[str, dict[str, Any]]:
        result = run("list-models", "--offline", "-o", "json", *options)
        assert result.exit_code == 0, result.output
        return {entry["name"]: entry for entry in json.loads(result.stdout)["models"]}

    def test_all_are_there_with_the_source_of_their_memory(self) -> None:
        models = self.models()
        assert models.keys() == CATALOGUE.keys() | NOT_RUNNABLE.keys()
        assert all(entry["memorySource"] for entry in models.values())
        assert models["wan21-1-3b"]["atLeast"] is True
        assert all((entry["whyNot"] is None) == entry["runnable"] for entry in models.values())

    def test_filters(self) -> None:
        assert {entry["task"] for entry in self.models("--task", "ImageToVideo").values()} == {"ImageToVideo"}
        assert all(entry["runnable"] for entry in self.models("--runnable").values())
        small, large = self.models("--max-vram", "14Gi"), self.models("--max-vram", "80G")
        assert small.keys() < large.keys()
        assert all(entry["gpuMemoryMebibytes"] <= 14 * 1024 for entry in small.values())

    @pytest.mark.parametrize("size", ["much", "0", "-1Gi", "5"])
    def test_a_size_that_is_none(self, size: str) -> None:
        result = run("list-models", "--offline", f"--max-vram={size}")
        assert result.exit_code == Exit.USAGE
        assert "24Gi" in result.stderr

    def test_fits_needs_a_cluster(self) -> None:
        assert run("list-models", "--fits", "--offline").exit_code == Exit.USAGE
        result = run("list-models", "--fits")
        assert result.exit_code == Exit.CLUSTER
        assert "--max-vram 24Gi" in result.stderr

    def test_fit(self) -> None:
        assert fit_of(MemoryFigure(10, "", at_least=True), 20) == "Perhaps"
        assert fit_of(MemoryFigure(10, ""), 20) == "Yes"
        assert fit_of(MemoryFigure(30, "", at_least=True), 20) == "No"
        assert fit_of(MemoryFigure(None, ""), 20) == "Unknown"


class TestWithoutACluster:
    @pytest.mark.parametrize(
        "command", [["health-check"], ["test-model", "tiny-wan"], ["version", "--context", "prod"]]
    )
    def test_it_is_said_what_to_do(self, command: list[str]) -> None:
        result = run(*command)
        assert result.exit_code == Exit.CLUSTER
        assert "--kubeconfig" in result.stderr

    @pytest.mark.parametrize("command", [["health-check"], ["test-model", "tiny-wan"], ["version"], ["list-models"]])
    def test_a_server_that_is_silent_is_named(self, command: list[str], silent: str) -> None:
        result = run(*command, "--kubeconfig", silent)
        assert result.exit_code == Exit.CLUSTER
        assert "no cluster answers at https://127.0.0.1" in result.stderr

    def test_a_model_is_tested_by_a_process_here(self) -> None:
        result = run("test-model", "mock", "--gpus", "0", "--local", "-o", "json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["run"]["status"]["rows"][0]["outcome"] == "Succeeded"
        assert run("test-model", "mock", "-f", "model.yaml").exit_code == Exit.USAGE
        ignored = run("test-model", "mock", "--local", "-n", "lab", "--context", "prod")
        assert ignored.exit_code == Exit.USAGE
        assert "--namespace, --context: of a cluster" in ignored.stderr

    def test_version_of_the_command_alone(self) -> None:
        result = run("version", "--client", "-o", "json")
        assert json.loads(result.stdout)[0]["part"] == "vidbench"
        assert run("version").exit_code == 0

    @pytest.mark.parametrize(
        "options", [["--node-selector", "gpu"], ["--steps", "0"], ["--frames", "9999"], ["--prompt", "x" * 2001]]
    )
    def test_a_trial_that_would_be_refused_asks_nobody(self, options: list[str]) -> None:
        assert run("test-model", "tiny-wan", *options).exit_code == Exit.USAGE


def test_lists_are_taken_apart() -> None:
    bodies = parse_objects("kind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\n", "file")
    assert [body["kind"] for body in bodies] == ["A", "B", "C"]
    with pytest.raises(UsageError, match="document 1 of file is no object"):
        parse_objects("7", "file")

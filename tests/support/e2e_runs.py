"""Runs and models for the e2e tests, as manifests."""

from __future__ import annotations

from typing import Any

from support.manifests import benchmark_run
from vidbench_api.names import API_VERSION

Manifest = dict[str, Any]

SCRIPTED_IMAGE = "localhost/vidbench-scripted:e2e"

SMALL = {"dtype": "float32", "height": 32, "width": 32, "frames": 9, "steps": 2}
LIMITS = {
    "runSeconds": 600,
    "schedulingSeconds": 120,
    "imagePullSeconds": 120,
    "loadSeconds": 180,
    "shardSeconds": 400,
}
CPU = {"name": "cpu", "gpus": 0}


def folder_model(namespace: str, name: str, folder: str, *, pipeline_class: str | None = "WanPipeline") -> Manifest:
    """A model whose weights are a folder in the runner's image."""
    spec = {"source": {"path": folder}, "defaults": SMALL}
    if pipeline_class:
        spec["pipelineClass"] = pipeline_class
    return {
        "apiVersion": API_VERSION,
        "kind": "VideoModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def scripted_models(namespace: str, *behaviours: str) -> list[Manifest]:
    """Models that the scripted runner plays."""
    return [
        folder_model(namespace, behaviour, f"/scripted/{behaviour}", pipeline_class=None) for behaviour in behaviours
    ]


def scripted_run(
    namespace: str, name: str, runner_class: str, *, cells: int = 1, seconds: float = 1.0, **spec: Any
) -> list[Manifest]:
    """A run of `cells` cells that each succeed after about `seconds`, with its model. `spec` adds or replaces."""
    samples = 4
    variants = [
        {"name": f"v{number:02}", "arguments": {"sample_seconds": str(seconds / samples)}}
        for number in range(1, cells + 1)
    ]
    defaults = {
        "runnerClassName": runner_class,
        "models": [{"name": "steady"}],
        "hardware": [CPU],
        "variants": variants,
        "workload": {"prompts": [{"id": "none", "text": "nothing"}], "seeds": {"count": samples}},
        "timeouts": LIMITS,
    }
    return [*scripted_models(namespace, "steady"), benchmark_run(name, namespace, **(defaults | spec))]


def real_run(namespace: str, name: str, runner_class: str, **spec: Any) -> Manifest:
    """A run with the real runner on the CPU, one pod at a time; `spec` names the models."""
    defaults = {
        "runnerClassName": runner_class,
        "hardware": [CPU],
        "workload": {"prompts": [{"id": "cat", "text": "A cat walks over wet grass."}], "seeds": {"count": 2}},
        "measurement": {"warmup": {"min": 1}},
        # A slow sample on a busy machine must not add an attempt to those that a test counts.
        "validity": {"onInvalid": "Flag"},
        "parallelism": 1,
        "timeouts": LIMITS,
    }
    return benchmark_run(name, namespace, **(defaults | spec))

"""What the benches apply: runs of so many cells each, and the very Jobs that the operator would make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.names import API_VERSION
from vidbench_operator.adapters.projections import project_run
from vidbench_operator.core.expand import Accepted, accept
from vidbench_operator.core.observed import References
from vidbench_operator.manifests import job_manifest

Manifest = dict[str, Any]

RUNNER_CLASS = "bench"
SEEDS = 10
"""Samples of a shard: one prompt with so many seeds."""


@dataclass(frozen=True)
class Shape:
    """How many cells a run has; one shard each."""

    models: int
    variants: int

    @property
    def cells(self) -> int:
        """Return models x variants."""
        return self.models * self.variants


ONE_CELL, TEN_CELLS, HUNDRED_CELLS = Shape(1, 1), Shape(5, 2), Shape(10, 10)


@dataclass(frozen=True)
class Workload:
    """So many runs of one shape in a namespace."""

    namespace: str
    runs: int
    shape: Shape = TEN_CELLS
    ttl: dict[str, int] = field(default_factory=dict)
    """`spec.ttl` of the runs; empty: the defaults, which outlast a bench."""

    @property
    def shards(self) -> int:
        """Return the number of shards, and of Jobs if nothing fails."""
        return self.runs * self.shape.cells

    def path(self, resource: str) -> str:
        """Return the URL path of a kind's objects in the namespace."""
        prefix = {
            "pods": "/api/v1",
            "jobs": "/apis/batch/v1",
            "videomodels": "/apis/vidbench.io/v1alpha1",
            "benchmarkruns": "/apis/vidbench.io/v1alpha1",
            "benchmarkresults": "/apis/vidbench.io/v1alpha1",
        }[resource]
        return f"{prefix}/namespaces/{self.namespace}/{resource}"

    def model_manifests(self) -> list[Manifest]:
        """Return the models; the runners that would load them do not exist here."""
        names = (f"model-{number}" for number in range(self.shape.models))
        return [_object("VideoModel", name, self.namespace, _model_spec()) for name in names]

    def run_manifests(self) -> list[Manifest]:
        """Return the runs in the order of their names."""
        return [self.run_manifest(number) for number in range(self.runs)]

    def run_manifest(self, number: int) -> Manifest:
        """Return one run; its parallelism lets every Job start at once."""
        spec: Manifest = {
            "runnerClassName": RUNNER_CLASS,
            "models": [{"name": f"model-{model}"} for model in range(self.shape.models)],
            "variants": [{"name": f"steps-{steps}", "steps": steps} for steps in range(4, 4 + self.shape.variants)],
            "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}], "seeds": {"count": SEEDS}},
            "parallelism": self.shape.cells,
            "autoscaling": {"mode": "Off"},
        }
        if self.ttl:
            spec["ttl"] = self.ttl
        return _object("BenchmarkRun", f"run-{number:04d}", self.namespace, spec)

    def job_manifests(self, stored_run: Manifest) -> list[Manifest]:
        """Return the first attempt's Jobs of a run that the API server has stored, as the operator makes them."""
        run = project_run(stored_run)
        models = {manifest["metadata"]["name"]: manifest["spec"] for manifest in self.model_manifests()}
        references = References(
            RunnerClassSpec.model_validate(runner_class_manifest()["spec"]),
            {name: VideoModelSpec.model_validate(spec) for name, spec in models.items()},
        )
        accepted = accept(run, references, {}, run.created_at)
        assert isinstance(accepted, Accepted), f"the bench's own run is not accepted: {accepted.message}"
        return [job_manifest(accepted.document, cell.id, 1, 1) for cell in accepted.document.cells]


def runner_class_manifest() -> Manifest:
    """Return the class that shapes the pods; its image is never pulled."""
    return _object(
        "RunnerClass",
        RUNNER_CLASS,
        None,
        {
            "image": "bench.invalid/never-pulled:1",
            "imagePullPolicy": "Never",
            "defaultTolerations": [{"operator": "Exists"}],
            "allowedTolerationKeys": ["*"],
        },
    )


def _model_spec() -> Manifest:
    return {
        "source": {"tiny": "wan"},
        "pipelineClass": "WanPipeline",
        "defaults": {"dtype": "float32", "height": 32, "width": 32, "frames": 9, "steps": 4},
    }


def _object(kind: str, name: str, namespace: str | None, spec: Manifest) -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

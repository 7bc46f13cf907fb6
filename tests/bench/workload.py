"""What the bench applies: runs of ten cells each, and the very Jobs that the operator would make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.names import API_VERSION
from vidbench_operator.adapters.projections import project_run
from vidbench_operator.core.expand import Accepted, accept
from vidbench_operator.core.observed import References
from vidbench_operator.manifests import job_manifest

Manifest = dict[str, Any]

RUNNER_CLASS = "bench"
MODELS = 5
VARIANTS = 2
CELLS_PER_RUN = MODELS * VARIANTS
SEEDS = 10
"""Samples of a shard: one prompt with so many seeds."""


@dataclass(frozen=True)
class Workload:
    """So many runs in a namespace."""

    namespace: str
    runs: int

    @property
    def shards(self) -> int:
        """Return the number of shards, and of Jobs if nothing fails."""
        return self.runs * CELLS_PER_RUN

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
        return [_object("VideoModel", f"model-{number}", self.namespace, _model_spec()) for number in range(MODELS)]

    def run_manifests(self) -> list[Manifest]:
        """Return the runs; their parallelism lets every Job start at once."""
        spec = {
            "runnerClassName": RUNNER_CLASS,
            "models": [{"name": f"model-{number}"} for number in range(MODELS)],
            "variants": [{"name": f"steps-{steps}", "steps": steps} for steps in (4, 8)],
            "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}], "seeds": {"count": SEEDS}},
            "parallelism": CELLS_PER_RUN,
        }
        return [_object("BenchmarkRun", f"run-{number:04d}", self.namespace, spec) for number in range(self.runs)]

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

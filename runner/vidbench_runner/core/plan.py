"""What one attempt has to do, read off the request document: which model, which clips, in which order.

Pure. Decides nothing about times or failures.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidbench_api.health import HealthLimits
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.run_spec import MeasurementPlan, Precision
from vidbench_runner.core.stopping import PrecisionTarget, Quota
from vidbench_runner.core.warming import WarmupLimits
from vidbench_runner.ports import ClipRequest, ModelRequest

MEBIBYTE = 1024 * 1024
DIGEST_CHARACTERS = 16
"""How much of the request's digest a verdict repeats."""


class PlanError(ValueError):
    """The request document has no such cell or shard. The message says which there are."""


@dataclass(frozen=True)
class Attempt:
    """Which attempt at which shard of which cell a process is, and of which request document."""

    request_digest: str
    """The first 16 hex digits of the digest."""

    cell: str
    shard: int
    attempt: int


@dataclass(frozen=True)
class PlannedSample:
    """One clip to generate and the id of its prompt."""

    prompt: str
    clip: ClipRequest


@dataclass(frozen=True)
class TrialPlan:
    """Everything that a trial does, in order. `gpus` is what the shard's pod was given; 0 measures on the CPU."""

    attempt: Attempt
    model: ModelRequest
    plan: MeasurementPlan
    samples: tuple[PlannedSample, ...]
    """All that may be taken, in order."""

    clips: int
    """How many different ones there are: the first of `samples`."""

    quota: Quota
    warmups: WarmupLimits
    gpus: int
    frames_per_second: int
    health: HealthLimits
    exclusive_gpu: bool = False
    """Whether a GPU that others use does not count."""

    shared_resource: bool = False
    """Whether the resource that the shard is given stands for a part of a GPU's time."""

    @property
    def reruns(self) -> bool:
        """Whether the samples are only compared with each other, and never timed."""
        return self.plan == "Repro"

    def warmup(self, number: int) -> PlannedSample:
        """Return what warm-up `number` (from 0) generates: the measured samples' clips in turn, as all have one shape."""
        return self.samples[number % len(self.samples)]


def plan_trial(request: RequestDocument, attempt: Attempt) -> TrialPlan:
    """Return what this attempt has to do.

    Raises:
        PlanError: the document has no such cell or shard, or no samples.
    """
    cell = request.find_cell(attempt.cell)
    if cell is None:
        known = ", ".join(entry.id for entry in request.cells[:8])
        raise PlanError(f"cell {attempt.cell!r} is not in the request document; it has {known}")
    if not 1 <= attempt.shard <= request.shards:
        raise PlanError(f"shard {attempt.shard} is not in the request document; it has 1 to {request.shards}")
    samples = tuple(
        PlannedSample(sample.prompt, _clip(request, cell, sample.prompt, sample.seed)) for sample in request.samples()
    )
    if not samples:
        raise PlanError("the request document has no samples: it needs at least one prompt and one seed")
    least = request.warmup
    hardware = request.find_hardware(cell.hardware)
    return TrialPlan(
        attempt=attempt,
        model=_model(cell, deterministic=request.plan == "Repro"),
        plan=request.plan,
        samples=samples,
        clips=len(request.clips()),
        quota=Quota(request.required_samples(), len(samples), _target(request)),
        warmups=WarmupLimits(least, least if request.warmup_max is None else max(least, request.warmup_max)),
        gpus=hardware.gpus,
        frames_per_second=cell.frames_per_second,
        health=request.runner_class.health,
        exclusive_gpu=request.exclusive_gpu == "Require",
        # The name that NVIDIA's device plugin gives to a time slice or a share by MPS.
        shared_resource=hardware.resource_name.endswith(".shared"),
    )


def _target(request: RequestDocument) -> PrecisionTarget | None:
    if request.plan != "Precision":
        return None
    wanted = request.precision or Precision()
    return PrecisionTarget(wanted.metric, wanted.parts_per_million)


def _model(cell: Cell, *, deterministic: bool) -> ModelRequest:
    source, commit = "", None
    if cell.architecture is not None:
        source = cell.architecture.name
    elif cell.source.hub is not None:
        source, commit = cell.source.hub.id, cell.source.hub.commit
    elif cell.source.path is not None:
        source = cell.source.path
    elif cell.source.tiny is not None:
        source = cell.source.tiny
    elif cell.source.http is not None:
        source = cell.source.http.model
    elif cell.source.mock is not None:
        source = "mock"
    else:
        raise PlanError(f"cell {cell.id}: its model has no source (one of hub, path, tiny, http and mock is needed)")
    return ModelRequest(
        backend=cell.backend,
        pipeline_class=cell.pipeline_class,
        source=source,
        commit=commit,
        dtype=cell.dtype,
        component_dtypes=dict(cell.component_dtypes),
        offload=cell.offload,
        vae_tiling=cell.vae_tiling,
        attention=cell.attention,
        compile=cell.compile,
        deterministic=deterministic,
        memory_cap_bytes=None if cell.memory_cap_mebibytes is None else cell.memory_cap_mebibytes * MEBIBYTE,
        http=cell.source.http,
        mock=cell.source.mock,
        frames_per_second=cell.frames_per_second,
        architecture_digest=cell.architecture.digest if cell.architecture else None,
    )


def _clip(request: RequestDocument, cell: Cell, prompt_id: str, seed: int) -> ClipRequest:
    prompt = request.find_prompt(prompt_id)
    return ClipRequest(
        prompt=prompt.text,
        negative_prompt=prompt.negative_text,
        seed=seed,
        height=cell.height,
        width=cell.width,
        frames=cell.frames,
        steps=cell.steps,
        arguments=dict(cell.arguments),
    )

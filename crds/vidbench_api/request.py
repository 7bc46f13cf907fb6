"""The request document: a run, resolved and frozen at acceptance. Operator and runner read the same bytes.

Nothing that changes later (a model, a class, the catalogue, an operator upgrade) changes a run in flight, because Jobs
are made from this document alone. Its digest stands in the run's status and in every Job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from .base import ApiModel, Attention, Compile, Digest, DType, Name, ObjectName, Offload, Uid, Weights
from .identity import canonical_json, digest_of
from .kinds import ModelSource, RunnerClassSpec
from .names import Comparability
from .run_spec import (
    Artifacts,
    Hardware,
    MeasurementPlan,
    Precision,
    Prompt,
    SampleLimits,
    Scheduling,
    Seeds,
    Timeouts,
)
from .rungs import rung_cell, rungs_of
from .services import Backend, comparability_of

Scalar = bool | int | float | str | None


class RequestedSample(ApiModel):
    """Sample i of every shard: a function of the request, so that a result need not repeat it."""

    prompt: str
    seed: int


class ArchitectureReference(ApiModel):
    """A configuration by name and digest: the runner refuses to build another one of that name."""

    name: Name
    digest: Digest


class Cell(ApiModel):
    """One cell, resolved: every default filled in."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    model: Name
    hardware: Name
    variant: Name
    backend: Backend
    source: ModelSource
    weights: Weights = "Pretrained"
    architecture: ArchitectureReference | None = Field(default=None, description="What random weights are built from.")
    pipeline_class: str | None = None
    dtype: DType
    component_dtypes: dict[str, DType] = Field(default_factory=dict)
    height: int
    width: int
    frames: int
    frames_per_second: int
    steps: int
    arguments: dict[str, Scalar] = Field(default_factory=dict, description="Call arguments, parsed from their JSON.")
    offload: Offload = "None"
    vae_tiling: bool = False
    attention: Attention = "Default"
    compile: Compile = "None"
    memory_cap_mebibytes: int | None = None
    estimated_memory_mebibytes: int | None = Field(
        default=None, description="The model's estimate, where this cell is at least as large as a default clip of it."
    )
    generation_hash: Digest
    rung: str | None = Field(
        default=None, description="The change by which it differs from the cell that was asked for."
    )

    @property
    def comparability(self) -> Comparability:
        """What its results may be compared with."""
        return comparability_of(self.backend)


class RunIdentity(ApiModel):
    """Which run this is."""

    namespace: ObjectName
    name: ObjectName
    uid: Uid


class RequestDocument(ApiModel):
    """Everything that a Job of the run is made from."""

    schema_version: Literal["vidbench.io/request/1"] = "vidbench.io/request/1"
    run: RunIdentity
    runner_class_name: ObjectName
    runner_class: RunnerClassSpec
    hardware: tuple[Hardware, ...]
    cells: tuple[Cell, ...]
    shards: int
    prompts: tuple[Prompt, ...]
    seeds: Seeds
    warmup: int
    """Warm-ups at least; exactly so many without `warmup_max`."""

    warmup_max: int | None = None
    plan: MeasurementPlan = "Fixed"
    sample_limits: SampleLimits | None = None
    """With plan Precision only, as is `precision`."""

    precision: Precision | None = None
    timeouts: Timeouts
    artifacts: Artifacts
    out_of_memory: Literal["Record", "Fallback"] = "Record"
    exclusive_gpu: Literal["Require", "Ignore"] = "Ignore"
    """What documents had before there was a choice."""

    scheduling: Scheduling = Field(default_factory=Scheduling)

    def to_text(self) -> str:
        """Return the canonical text: the same document gives the same bytes."""
        return canonical_json(self.to_wire())

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the canonical text, in hex: made once, as every Job of the run carries it."""
        return digest_of(self.to_text())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, which has a digest of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    @classmethod
    def from_text(cls, text: str) -> RequestDocument:
        """Parse a document; raises pydantic's ValidationError or a ValueError for text that is no JSON.

        Its digest is that of the text: a version of ours that writes more fields must not give it another one.
        """
        value: Any = json.loads(text)
        document = cls.model_validate(value)
        document.__dict__["digest"] = digest_of(text)
        return document

    def samples(self) -> tuple[RequestedSample, ...]:
        """Return the samples that a shard takes at most, in order: the clips, and with some plans the same ones again."""
        clips = self.clips()
        count = {"Fixed": len(clips), "Repro": 2 * len(clips)}.get(self.plan) or self._limits().max
        return tuple(clips[number % len(clips)] for number in range(count)) if clips else ()

    def clips(self) -> tuple[RequestedSample, ...]:
        """Return every prompt with every seed, prompts outermost."""
        seeds = range(self.seeds.base, self.seeds.base + self.seeds.count)
        return tuple(RequestedSample(prompt=prompt.id, seed=seed) for prompt in self.prompts for seed in seeds)

    def required_samples(self) -> int:
        """Return how many samples make a shard complete: all, or with plan Precision at least the minimum."""
        return self._limits().min if self.plan == "Precision" else len(self.samples())

    def _limits(self) -> SampleLimits:
        return self.sample_limits or SampleLimits()

    def find_cell(self, cell_id: str) -> Cell | None:
        """Return the cell of that id, or None. Rungs are not written down: each follows from its cell."""
        cell = next((cell for cell in self.cells if cell.id == cell_id), None)
        if cell is not None or self.out_of_memory != "Fallback":
            return cell
        rungs = (rung_cell(parent, rung) for parent in self.cells for rung in rungs_of(parent))
        return next((rung for rung in rungs if rung.id == cell_id), None)

    def find_hardware(self, name: str) -> Hardware:
        """Return the hardware entry of that name; a document that was made by `expand` has it."""
        return next(entry for entry in self.hardware if entry.name == name)

    def find_prompt(self, prompt_id: str) -> Prompt:
        """Return the prompt of that id; a document that was made by `expand` has it."""
        return next(prompt for prompt in self.prompts if prompt.id == prompt_id)

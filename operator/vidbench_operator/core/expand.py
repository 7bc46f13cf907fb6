"""Turns a run and what its names resolve to into the request document, or says why not.

Pure: the same run and references give the same document, byte for byte, so that a lost ConfigMap can be rebuilt and
compared. Knows nothing of Jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidbench_api.architectures import ARCHITECTURES
from vidbench_api.catalogue import NOT_RUNNABLE
from vidbench_api.identity import canonical_json, cell_id, digest_of
from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.names import MAX_CELLS, MAX_SHARDS_OF_RUN, REQUEST_LIMIT, ConditionReason
from vidbench_api.request import ArchitectureReference, Cell, RequestDocument, RunIdentity, Scalar
from vidbench_api.run_spec import (
    BenchmarkRunSpec,
    Exclusion,
    Hardware,
    Precision,
    RunModel,
    SampleLimits,
    Toleration,
    Variant,
)
from vidbench_api.rungs import rung_cell, rungs_of

from .observed import ObservedRun, References
from .services import backend_of, reason_against_service
from .variant_options import VariantOptions, variant_options, why_refused

_INFINITIES = (float("inf"), float("-inf"))
"""What JSON numbers beyond the range of a double, such as 1e999, are read as; no JSON can hold them."""


@dataclass(frozen=True)
class Accepted:
    """The run can be measured; the document is frozen from here on."""

    document: RequestDocument


@dataclass(frozen=True)
class Waiting:
    """Something that the run names is not there (yet)."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True)
class Refusal:
    """The run can never be measured as it is."""

    reason: ConditionReason
    message: str


class _RefusedError(Exception):
    def __init__(self, reason: ConditionReason, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def accept(
    run: ObservedRun, references: References, catalogue: Mapping[str, VideoModelSpec], now: float
) -> Accepted | Waiting | Refusal:
    """Resolve a run. What is missing is waited for until schedulingSeconds after the run's creation."""
    refusal = _find_not_runnable(run, references)
    if refusal is not None:
        return refusal
    waiting = _find_missing(run, references, catalogue)
    if waiting is not None:
        return wait_or_refuse(run, waiting, now)
    runner_class = references.runner_class
    if runner_class is None:
        raise AssertionError("a missing runner class was reported above")
    try:
        check_class_allows(run.namespace, run.spec, runner_class)
        document = _build_document(run, runner_class, _resolve_models(run.spec, references, catalogue))
    except _RefusedError as error:
        return error.refusal
    return _check_size(document)


def wait_or_refuse(run: ObservedRun, waiting: Waiting, now: float) -> Waiting | Refusal:
    """Return what is waited for, or after schedulingSeconds the refusal. A suspended run waits for its user first."""
    limit = run.spec.timeouts.scheduling_seconds
    if now - run.created_at < limit or run.spec.suspend:
        return waiting
    return Refusal(waiting.reason, f"{waiting.message}; waited schedulingSeconds ({limit} s) for it")


def _find_not_runnable(run: ObservedRun, references: References) -> Refusal | None:
    """Refuse what the catalogue knows and nothing here runs, unless the namespace has a VideoModel of that name."""
    for model in run.spec.models:
        known = model.name in references.models or f"VideoModel/{model.name}" in references.broken
        if model.model_ref is None and not known and model.name in NOT_RUNNABLE:
            return Refusal(
                ConditionReason.MODEL_NOT_RUNNABLE,
                f"spec.models[{model.name}]: the catalogue lists this model, and nothing runs it here:"
                f" {NOT_RUNNABLE[model.name]}",
            )
    return None


def _find_missing(run: ObservedRun, references: References, catalogue: Mapping[str, VideoModelSpec]) -> Waiting | None:
    class_name = run.spec.runner_class_name
    if references.runner_class is None:
        broken = references.broken.get(f"RunnerClass/{class_name}")
        detail = (
            f"cannot be read: {broken}" if broken else "does not exist; `kubectl get runnerclasses` lists those that do"
        )
        return Waiting(
            ConditionReason.RUNNER_CLASS_NOT_FOUND, f"spec.runnerClassName: RunnerClass {class_name!r} {detail}"
        )
    for model in run.spec.models:
        name = model.model_ref.name if model.model_ref else model.name
        broken = references.broken.get(f"VideoModel/{name}")
        if name in references.models or (model.model_ref is None and name in catalogue and not broken):
            continue
        detail = f"cannot be read: {broken}" if broken else f"does not exist in namespace {run.namespace!r}"
        if model.model_ref is None and not broken:
            detail += ", and the catalogue has no entry of that name"
        return Waiting(ConditionReason.MODEL_NOT_FOUND, f"spec.models[{model.name}]: VideoModel {name!r} {detail}")
    return None


def check_class_allows(namespace: str, spec: BenchmarkRunSpec, runner_class: RunnerClassSpec) -> None:
    """Raise if the class does not allow the namespace, the priority, a selector key, a toleration or a resource name."""
    class_name = spec.runner_class_name
    if not _allowed(namespace, runner_class.allowed_namespaces):
        raise _RefusedError(
            ConditionReason.NAMESPACE_NOT_ALLOWED, f"RunnerClass {class_name!r} does not allow namespace {namespace!r}"
        )
    priority = spec.scheduling.priority_class_name
    if priority and not _allowed(priority, runner_class.allowed_priority_classes):
        raise _RefusedError(
            ConditionReason.PRIORITY_CLASS_NOT_ALLOWED,
            f"spec.scheduling.priorityClassName: RunnerClass {class_name!r} does not allow {priority!r}",
        )
    for hardware in spec.hardware:
        for key in hardware.node_selector:
            if not _allowed(key, runner_class.allowed_selector_keys):
                raise _RefusedError(
                    ConditionReason.SELECTOR_NOT_ALLOWED,
                    f"spec.hardware[{hardware.name}].nodeSelector: RunnerClass {class_name!r} does not allow the key {key!r}",
                )
        for toleration in hardware.tolerations:
            if not _toleration_allowed(toleration, runner_class):
                raise _RefusedError(
                    ConditionReason.TOLERATION_NOT_ALLOWED,
                    f"spec.hardware[{hardware.name}].tolerations: RunnerClass {class_name!r} does not allow the key"
                    f" {toleration.key or '(every key)'!r}",
                )
        if hardware.gpus and not _allowed(hardware.resource_name, runner_class.allowed_resource_names):
            raise _RefusedError(
                ConditionReason.RESOURCE_NOT_ALLOWED,
                f"spec.hardware[{hardware.name}].resourceName: RunnerClass {class_name!r} does not allow"
                f" {hardware.resource_name!r}",
            )


def _allowed(value: str, allowed: tuple[str, ...]) -> bool:
    return "*" in allowed or value in allowed


def _toleration_allowed(toleration: Toleration, runner_class: RunnerClassSpec) -> bool:
    if toleration.key is None:
        return "*" in runner_class.allowed_toleration_keys
    return _allowed(toleration.key, runner_class.allowed_toleration_keys)


def _resolve_models(
    spec: BenchmarkRunSpec, references: References, catalogue: Mapping[str, VideoModelSpec]
) -> dict[str, VideoModelSpec]:
    resolved = {}
    for model in spec.models:
        name = model.model_ref.name if model.model_ref else model.name
        resolved[model.name] = references.models[name] if name in references.models else catalogue[name]
    return resolved


def combinations(spec: BenchmarkRunSpec) -> Iterator[tuple[RunModel, Hardware, Variant]]:
    """Yield the cells of the matrix in the order of the spec, without those that are excluded."""
    for model in spec.models:
        for hardware in spec.hardware:
            for variant in spec.variants:
                if variant.only_for and model.name not in variant.only_for:
                    continue
                if any(_excludes(entry, model, hardware, variant) for entry in spec.matrix.exclude):
                    continue
                yield model, hardware, variant


def _excludes(entry: Exclusion, model: RunModel, hardware: Hardware, variant: Variant) -> bool:
    return (
        entry.model in (None, model.name)
        and entry.hardware in (None, hardware.name)
        and entry.variant in (None, variant.name)
    )


def _build_document(
    run: ObservedRun, runner_class: RunnerClassSpec, models: Mapping[str, VideoModelSpec]
) -> RequestDocument:
    spec = run.spec
    measurement = spec.measurement
    by_precision = measurement.plan == "Precision"
    cells = tuple(
        _resolve_cell(run, runner_class, model, hardware, variant, models[model.name])
        for model, hardware, variant in combinations(spec)
    )
    if not cells:
        raise _RefusedError(ConditionReason.NO_CELLS, "spec.matrix.exclude and onlyFor leave no cell to measure")
    rungs = _possible_rungs(spec, cells)
    if len({cell.id for cell in (*cells, *rungs)}) != len(cells) + len(rungs):
        raise _RefusedError(
            ConditionReason.INVALID_SPEC, "two cells have the same id by chance: delete the run and apply it again"
        )
    return RequestDocument(
        run=RunIdentity(namespace=run.namespace, name=run.name, uid=run.uid),
        runner_class_name=spec.runner_class_name,
        runner_class=runner_class,
        hardware=spec.hardware,
        cells=cells,
        shards=measurement.shards,
        prompts=spec.workload.prompts,
        seeds=spec.workload.seeds,
        warmup=measurement.warmup.min,
        warmup_max=measurement.warmup.max,
        plan=measurement.plan,
        sample_limits=(measurement.samples or SampleLimits()) if by_precision else None,
        precision=(measurement.precision or Precision()) if by_precision else None,
        timeouts=spec.timeouts,
        artifacts=spec.artifacts,
        exclusive_gpu=spec.validity.exclusive_gpu,
        out_of_memory=spec.failure_policy.out_of_memory,
        scheduling=spec.scheduling,
    )


def _possible_rungs(spec: BenchmarkRunSpec, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the cells that a fallback may add; raise if the status could not hold them all."""
    if spec.failure_policy.out_of_memory != "Fallback":
        return ()
    rungs = tuple(rung_cell(cell, rung) for cell in cells for rung in rungs_of(cell))
    rows, shards = len(cells) + len(rungs), spec.measurement.shards
    if rows > MAX_CELLS or rows * shards > MAX_SHARDS_OF_RUN:
        raise _RefusedError(
            ConditionReason.REQUEST_TOO_LARGE,
            f"failurePolicy.outOfMemory: Fallback may add {len(rungs)} rows to {len(cells)} cells, {rows} x {shards} shards"
            f" in all; a run may have {MAX_CELLS} rows and {MAX_SHARDS_OF_RUN} shards: use fewer cells or shards, or Record",
        )
    return rungs


def _resolve_cell(
    run: ObservedRun,
    runner_class: RunnerClassSpec,
    model: RunModel,
    hardware: Hardware,
    variant: Variant,
    video_model: VideoModelSpec,
) -> Cell:
    against = reason_against_service(
        run.spec.runner_class_name, runner_class, hardware, variant, model.name, video_model
    )
    if against is not None:
        raise _RefusedError(*against)
    options = variant_options(variant, video_model)
    refused = why_refused(variant, model.name, hardware, video_model, options)
    if refused is not None:
        raise _RefusedError(ConditionReason.INVALID_VARIANT, refused)
    architecture = _architecture_of(model, video_model)
    resolved = _resolve_options(variant, model, video_model, options, architecture)
    identity = {
        **resolved,
        "source": _source_identity(run, model, video_model, architecture),
        "prompts": [prompt.to_wire() for prompt in run.spec.workload.prompts],
        "seeds": run.spec.workload.seeds.to_wire(),
        "image": runner_class.image,
    }
    if run.spec.measurement.plan == "Repro":
        identity["deterministic"] = True
    return Cell.model_validate(
        {
            **resolved,
            "id": cell_id(run.uid, model.name, hardware.name, variant.name),
            "model": model.name,
            "hardware": hardware.name,
            "variant": variant.name,
            "weights": "Random" if architecture or video_model.source.tiny else "Pretrained",
            "architecture": architecture,
            "frames_per_second": video_model.defaults.frames_per_second,
            "estimated_memory_mebibytes": _estimated_memory(video_model, resolved),
            "generation_hash": digest_of(canonical_json(identity)),
        }
    )


def _resolve_options(
    variant: Variant,
    model: RunModel,
    video_model: VideoModelSpec,
    options: VariantOptions,
    architecture: ArchitectureReference | None,
) -> dict[str, Any]:
    """Return what the runner is asked for: the variant's options where it has them, else the model's defaults."""
    defaults = video_model.defaults
    return {
        "backend": "random" if architecture else backend_of(video_model.source),
        "source": video_model.source,
        "pipeline_class": video_model.pipeline_class,
        "dtype": options.dtype,
        "component_dtypes": dict(options.component_dtypes),
        "height": variant.clip.height or defaults.height,
        "width": variant.clip.width or defaults.width,
        "frames": variant.clip.frames or defaults.frames,
        "steps": variant.steps or defaults.steps,
        "arguments": _parse_arguments(variant.name, model.name, {**defaults.arguments, **variant.arguments}),
        "offload": options.of_class.offload,
        "vae_tiling": options.of_class.vae_tiling,
        # What is not asked for is no part of the identity, so that results of earlier versions keep theirs.
        **({"attention": variant.attention} if variant.attention != "Default" else {}),
        **({"compile": variant.compile} if variant.compile != "None" else {}),
        **({"memory_cap_mebibytes": variant.memory_cap_mebibytes} if variant.memory_cap_mebibytes else {}),
    }


def _architecture_of(model: RunModel, video_model: VideoModelSpec) -> ArchitectureReference | None:
    """Return what random weights are built from; None for weights that are loaded, and for tiny models. Raise if not known."""
    if model.weights == "Pretrained" or video_model.source.tiny:
        return None
    source = video_model.source
    known = ARCHITECTURES.get(video_model.architecture or "") if source.hub or source.path else None
    if known is None:
        raise _RefusedError(
            ConditionReason.ARCHITECTURE_NOT_KNOWN,
            f"spec.models[{model.name}].weights: Random needs the model's configuration, and it is not known"
            f" (VideoModel.spec.architecture); known are {', '.join(ARCHITECTURES)}",
        )
    if video_model.pipeline_class not in (None, known.pipeline_class):
        raise _RefusedError(
            ConditionReason.ARCHITECTURE_NOT_KNOWN,
            f"spec.models[{model.name}].weights: architecture {video_model.architecture} is a {known.pipeline_class}, and the"
            f" model's pipelineClass is {video_model.pipeline_class}",
        )
    return ArchitectureReference(name=video_model.architecture, digest=known.digest)


def _source_identity(
    run: ObservedRun, model: RunModel, video_model: VideoModelSpec, architecture: ArchitectureReference | None
) -> dict[str, object]:
    """Return what says which weights they are."""
    if architecture is not None:
        return {"random": architecture.to_wire()}
    source: dict[str, object] = video_model.source.to_wire()
    if video_model.source.path is not None or video_model.source.http is not None:
        # What a folder or a server holds is known by the VideoModel alone, which never changes: a new version is a new object.
        source["model"] = model.model_ref.name if model.model_ref else model.name
    if video_model.source.hub is not None and video_model.source.hub.commit is None:
        # Nobody knows what the hub will give next time: a result of such a cell never stands for another run's.
        source["run"] = run.uid
    return source


def _estimated_memory(video_model: VideoModelSpec, resolved: Mapping[str, Any]) -> int | None:
    """Return what the cell is expected to take at least: None if nothing is known.

    The model's estimate says something about a cell of the same type with no smaller clip; the weights, if their number is
    known, about any.
    """
    defaults = video_model.defaults
    larger = all(resolved[name] >= getattr(defaults, name) for name in ("height", "width", "frames"))
    applies = larger and resolved["dtype"] == defaults.dtype
    estimates = [video_model.estimated_memory_mebibytes if applies else None]
    known = ARCHITECTURES.get(video_model.architecture or "")
    if known is not None:
        estimates.append(known.weights_mebibytes(resolved["dtype"], resolved["component_dtypes"]))
    return max((estimate for estimate in estimates if estimate is not None), default=None)


def _parse_arguments(variant: str, model: str, arguments: Mapping[str, str]) -> dict[str, Scalar]:
    parsed: dict[str, Scalar] = {}
    for key, text in arguments.items():
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            value = ()
        if not (value is None or isinstance(value, bool | int | float | str)) or value in _INFINITIES:
            raise _RefusedError(
                ConditionReason.INVALID_VARIANT,
                f"spec.variants[{variant}].arguments[{key}] (model {model!r}): {text!r} is not a JSON scalar;"
                f" write a string as {json.dumps(json.dumps(text))}",
            )
        parsed[key] = value
    return parsed


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _check_size(document: RequestDocument) -> Accepted | Refusal:
    size = len(document.to_text().encode())
    if size > REQUEST_LIMIT:
        return Refusal(
            ConditionReason.REQUEST_TOO_LARGE,
            f"the resolved request is {size} bytes, the limit is {REQUEST_LIMIT}: use fewer cells or shorter prompts",
        )
    return Accepted(document)

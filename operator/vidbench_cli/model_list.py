"""Which models a run may name, what is known of their memory, and on which GPUs they fit. Pure.

A memory figure has a source and a strength: measured in this ledger, stated by the VideoModel, or at least so much (the weights alone, by
their counted parameters). What is not known fits nowhere for sure and everywhere perhaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vidbench_api.architectures import ARCHITECTURES
from vidbench_api.catalogue import CATALOGUE, FACTS, NOT_RUNNABLE
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.names import Outcome
from vidbench_api.pipeline_classes import PIPELINE_CLASSES
from vidbench_api.result import BenchmarkResultSpec
from vidbench_operator.core.observed import ObservedNode
from vidbench_operator.core.preflight import MEMORY_LABEL
from vidbench_operator.core.results import headline_memory

from .texts import _, ngettext

_MEBIBYTE = 1024 * 1024
Fit = Literal["Yes", "Perhaps", "No", "Unknown"]
Origin = Literal["Catalogue", "Service", "VideoModel", "Test"]


@dataclass(frozen=True)
class MemoryFigure:
    """GPU memory of a default clip on one GPU, without offload. `at_least`: a lower bound."""

    mebibytes: int | None
    source: str
    at_least: bool = False


@dataclass(frozen=True)
class KnownModel:
    """One model. `why_not` says why no run can name it; `overrides` whether a VideoModel stands for a catalogue entry."""

    name: str
    origin: Origin
    task: str | None
    pipeline_class: str | None
    hub: str | None
    licence: str | None
    parameters: str | None
    memory: MemoryFigure
    memory_said: str | None = None
    """What the catalogue's source says of memory, in its words: nothing is decided by it."""

    default_clip: str | None = None
    why_not: str | None = None
    overrides: bool = False
    random_weights: bool = False
    """Whether `weights: Random` can build it without a download."""


def list_models(models: Mapping[str, VideoModelSpec], results: Iterable[BenchmarkResultSpec]) -> list[KnownModel]:
    """Return the VideoModels of a namespace, then what the catalogue has, services included, without those overridden."""
    measured = _measured(results)
    known = [_of_spec(name, spec, "VideoModel", measured) for name, spec in sorted(models.items())]
    for name, spec in CATALOGUE.items():
        if name not in models:
            origin: Origin = "Catalogue" if name in FACTS.models else "Test"
            known.append(_of_spec(name, spec, origin, measured))
    known += [_of_entry(name, why) for name, why in NOT_RUNNABLE.items() if name not in models]
    return known


def _measured(results: Iterable[BenchmarkResultSpec]) -> dict[str, tuple[int, int]]:
    """Return the highest device peak in MiB, and of how many results, by model; of the variant `default` alone."""
    peaks: dict[str, list[int]] = {}
    for result in results:
        memory = headline_memory(result)
        counts = result.outcome is Outcome.SUCCEEDED and result.cell.variant == "default" and result.rung is None
        if counts and memory is not None and memory.of == "Device":
            peaks.setdefault(result.cell.model, []).append(-(-memory.bytes // _MEBIBYTE))
    return {model: (max(figures), len(figures)) for model, figures in peaks.items()}


def _of_spec(name: str, spec: VideoModelSpec, origin: Origin, measured: Mapping[str, tuple[int, int]]) -> KnownModel:
    facts = FACTS.models.get(name) if origin == "Catalogue" else None
    defaults, source = spec.defaults, spec.source
    return KnownModel(
        name=name,
        origin=origin,
        task=facts.task.value if facts else _task_of(spec),
        pipeline_class=spec.pipeline_class,
        hub=_source_text(spec),
        licence=spec.licence,
        parameters=facts.parameters.value if facts and facts.parameters else None,
        memory=_memory_of(name, spec, measured),
        memory_said=_said(name) if facts else None,
        default_clip=f"{defaults.width}x{defaults.height}x{defaults.frames}, {defaults.steps} {_('steps')}",
        overrides=origin == "VideoModel" and (name in CATALOGUE or name in NOT_RUNNABLE),
        random_weights=source.tiny is not None or (spec.architecture or "") in ARCHITECTURES,
    )


def _of_entry(name: str, why: str) -> KnownModel:
    """Return what the catalogue knows and nothing here runs."""
    model = FACTS.models.get(name)
    if model is None:
        service = FACTS.services[name]
        nothing = MemoryFigure(None, _("a service: none of our GPUs"))
        return KnownModel(
            name, "Service", service.task.value, None, service.provider.value, None, None, nothing, why_not=why
        )
    figure = MemoryFigure(None, _("not known"))
    if model.estimate_mebibytes is not None:
        source = FACTS.sources[model.estimate_mebibytes.source].text
        figure = MemoryFigure(model.estimate_mebibytes.value, _("catalogue: {source}").format(source=source))
    return KnownModel(
        name, "Catalogue", model.task.value, model.pipeline_class.value, model.hub.value,
        model.licence.value if model.licence else None, model.parameters.value if model.parameters else None, figure, memory_said=_said(name), why_not=why,
    )  # fmt: skip


def _said(name: str) -> str | None:
    fact = FACTS.models[name].memory
    return None if fact is None else f"{fact.value} ({FACTS.sources[fact.source].text})"


def _task_of(spec: VideoModelSpec) -> str | None:
    """Return the task as far as the class tells it; None for a class that is not known."""
    known = PIPELINE_CLASSES.get(spec.pipeline_class or "")
    if known is None:
        return None
    return "ImageToVideo" if "Image" in known.takes else "TextToVideo"


def _source_text(spec: VideoModelSpec) -> str | None:
    source = spec.source
    if source.hub is not None:
        return source.hub.id
    if source.http is not None:
        return source.http.endpoint
    return source.path or source.tiny or ("mock" if source.mock is not None else None)


def _memory_of(name: str, spec: VideoModelSpec, measured: Mapping[str, tuple[int, int]]) -> MemoryFigure:
    if spec.source.http is not None:
        return MemoryFigure(None, _("a service: none of our GPUs"))
    if spec.source.mock is not None:
        return MemoryFigure(0, _("a mock: no model"))
    if name in measured:
        peak, count = measured[name]
        return MemoryFigure(
            peak,
            ngettext(
                "ledger: device peak of {count} result", "ledger: highest device peak of {count} results", count
            ).format(count=count),
        )
    if spec.estimated_memory_mebibytes is not None:
        return MemoryFigure(spec.estimated_memory_mebibytes, _("VideoModel: estimatedMemoryMebibytes"))
    architecture = ARCHITECTURES.get(spec.architecture or "")
    if architecture is not None:
        weights = architecture.weights_mebibytes(spec.defaults.dtype, spec.component_dtypes)
        return MemoryFigure(
            weights,
            _("at least: weights alone, by counted parameters in {dtype}").format(dtype=spec.defaults.dtype),
            at_least=True,
        )
    return MemoryFigure(None, _("not known: measure it, or set VideoModel.spec.estimatedMemoryMebibytes"))


def fit_of(memory: MemoryFigure, mebibytes: int) -> Fit:
    """Return whether a default clip fits into a GPU of that size, without offload."""
    if memory.mebibytes is None:
        return "Unknown"
    if memory.mebibytes > mebibytes:
        return "No"
    return "Perhaps" if memory.at_least else "Yes"


def largest_gpu(nodes: Iterable[ObservedNode]) -> tuple[int, str] | None:
    """Return the memory in MiB of the largest GPU that a node's label shows, and the node; None where none shows one."""
    sizes = [
        (int(text), node.name)
        for node in nodes
        if (text := node.labels.get(MEMORY_LABEL, "")).isdecimal() and int(text)
    ]
    return max(sizes, default=None, key=lambda entry: entry[0])

"""Models that need no VideoModel object: open ones with where each fact is from, closed services, and the tiny ones.

The facts stand in `catalogue.yaml`; what has no source is refused when it is read. `CATALOGUE` is what a run may name,
`NOT_RUNNABLE` is what is known but cannot be run here, with why. A VideoModel of the same name overrides either.
"""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import yaml
from pydantic import Field, model_validator

from .architectures import ARCHITECTURES
from .base import ApiModel, DType, Name
from .kinds import HubSource, ModelDefaults, ModelSource, VideoModelSpec
from .pipeline_classes import PIPELINE_CLASSES, TinyPreset
from .services import MockSource

T = TypeVar("T")

Mark = Literal["Verified", "Said", "Unverified"]
Task = Literal["TextToVideo", "TextToVideoWithAudio", "ImageToVideo", "IdentityToVideo"]

NOT_PROVEN: Final = "has not passed the conformance suite of this version; a VideoModel may try it"
NO_SERVICE: Final = "it is a closed service, and this version has no adapter for it"


class Citation(ApiModel):
    """Where facts are from, and what was done to believe them.

    Verified: read in the code that is named, most of it compared by a test. Said: read in the source that is named, not
    measured again. Unverified: check it before use.
    """

    mark: Mark
    text: Annotated[str, Field(min_length=1, max_length=200)]


class Fact(ApiModel, Generic[T]):
    """A value and the name of its source; written as the pair `[value, source]`."""

    value: T
    source: Annotated[str, Field(min_length=1, max_length=40)]

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        if isinstance(data, (list, tuple)) and len(data) == 2:
            return {"value": data[0], "source": data[1]}
        if isinstance(data, (Fact, dict)):
            return data
        raise ValueError("a fact is a pair [value, source]: no value without its source")


class CallDefaults(ApiModel):
    """Defaults of a pipeline class's `__call__`; None where the class takes it from its components, or has no such argument."""

    frames_argument: Literal["num_frames", "frames", "video_length"]
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    steps: int
    guidance: float | None = None


class OpenModel(ApiModel):
    """An open model. Sizes that are None are those of its class."""

    hub: Fact[str]
    commit: Fact[str] | None = None
    pipeline_class: Fact[str]
    task: Fact[Task]
    parameters: Fact[str] | None = None
    height: Fact[int] | None = None
    width: Fact[int] | None = None
    frames: Fact[int] | None = None
    frames_per_second: Fact[int]
    frame_grid: Fact[str] | None = None
    dtype: Fact[DType]
    forbidden_dtypes: Fact[tuple[DType, ...]] | None = None
    component_dtypes: Fact[dict[str, DType]] | None = None
    memory: Fact[str] | None = None
    estimate_mebibytes: Fact[int] | None = None
    """Device memory of a default clip without offload; a run on GPUs with less is refused."""

    licence: Fact[str] | None = None
    adapter: Literal["diffusers", "none"] = "diffusers"
    reason: str | None = None
    """Why nothing runs it here."""

    def facts(self) -> dict[str, Fact[Any]]:
        """Return the facts that are known, by field."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Fact)}

    @property
    def why_not(self) -> str | None:
        """Why a run cannot name it, or None."""
        if self.adapter == "none":
            return self.reason
        name = self.pipeline_class.value
        return None if name in PIPELINE_CLASSES else f"its class {name} {NOT_PROVEN}"


class ClosedService(ApiModel):
    """A model behind an interface of its owner's."""

    provider: Fact[str]
    task: Fact[Task]
    adapter: Literal["none"] = "none"
    reason: str = NO_SERVICE


class Catalogue(ApiModel):
    """The file as a whole."""

    sources: dict[str, Citation]
    classes: dict[str, CallDefaults]
    models: dict[Name, OpenModel]
    services: dict[Name, ClosedService]

    @model_validator(mode="after")
    def _check_references(self) -> Catalogue:
        for name, model in self.models.items():
            if model.pipeline_class.value not in self.classes:
                raise ValueError(f"{name}: classes has no {model.pipeline_class.value}")
            if model.adapter == "none" and model.reason is None:
                raise ValueError(f"{name}: adapter none needs a reason")
            for field, fact in model.facts().items():
                self._check_source(f"{name}.{field}", fact)
            missing = [field for field in ("height", "width", "frames") if self.size_of(model, field) is None]
            if missing:
                raise ValueError(f"{name}: neither it nor its class has {', '.join(missing)}")
            estimate = model.estimate_mebibytes
            if estimate is not None and self.sources[estimate.source].mark == "Unverified":
                raise ValueError(f"{name}: a run is not refused for an estimate that nobody verified")
        for name, service in self.services.items():
            self._check_source(f"{name}.provider", service.provider)
            self._check_source(f"{name}.task", service.task)
        return self

    def _check_source(self, where: str, fact: Fact[Any]) -> None:
        if fact.source not in self.sources:
            raise ValueError(f"{where}: there is no source {fact.source!r}")

    def size_of(self, model: OpenModel, field: str) -> Fact[int] | None:
        """Return the model's own height, width or frames, or that of its class."""
        own: Fact[int] | None = getattr(model, field)
        default: int | None = getattr(self.classes[model.pipeline_class.value], field)
        return own or (Fact[int](value=default, source="signature") if default is not None else None)

    @cached_property
    def not_runnable(self) -> dict[str, str]:
        """Why what is known here cannot be run, by name."""
        models = {name: why for name, model in self.models.items() if (why := model.why_not) is not None}
        return models | {name: service.reason for name, service in self.services.items()}

    def spec_of(self, name: str) -> VideoModelSpec:
        """Return the VideoModel that a run which names an open model gets."""
        model = self.models[name]
        defaults = self.classes[model.pipeline_class.value]
        sizes = {field: fact.value for field in ("height", "width", "frames") if (fact := self.size_of(model, field))}
        guidance = {"guidance_scale": str(defaults.guidance)} if defaults.guidance is not None else {}
        return VideoModelSpec(
            source=ModelSource(hub=HubSource(id=model.hub.value, commit=model.commit.value if model.commit else None)),
            pipeline_class=model.pipeline_class.value,
            licence=model.licence.value if model.licence else None,
            architecture=name if name in ARCHITECTURES else None,
            forbidden_dtypes=model.forbidden_dtypes.value if model.forbidden_dtypes else (),
            component_dtypes=model.component_dtypes.value if model.component_dtypes else {},
            defaults=ModelDefaults(
                **sizes,
                dtype=model.dtype.value,
                steps=defaults.steps,
                frames_per_second=model.frames_per_second.value,
                arguments=guidance,
                vae_tiling=model.pipeline_class.value in PIPELINE_CLASSES
                and PIPELINE_CLASSES[model.pipeline_class.value].tiles_only,
            ),
            estimated_memory_mebibytes=model.estimate_mebibytes.value if model.estimate_mebibytes else None,
        )


def parse_catalogue(text: str) -> Catalogue:
    """Read a catalogue; raises pydantic's ValidationError, also for a value without a source."""
    return Catalogue.model_validate(yaml.load(text, Loader=_LOADER))  # noqa: S506 - both loaders are safe ones


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

FACTS: Final = parse_catalogue(files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8"))
"""The catalogue with its sources."""


def _tiny(preset: TinyPreset, pipeline_class: str, defaults: ModelDefaults) -> VideoModelSpec:
    return VideoModelSpec(
        source=ModelSource(tiny=preset),
        pipeline_class=pipeline_class,
        licence="none: random weights, made in the pod",
        defaults=defaults,
    )


MOCK: Final[dict[str, VideoModelSpec]] = {
    "mock": VideoModelSpec(
        source=ModelSource(mock=MockSource()),
        licence="none: there is no model",
        defaults=ModelDefaults(dtype="float32", height=64, width=64, frames=9, steps=4),
    ),
}
"""For dry runs."""

TINY: Final[dict[str, VideoModelSpec]] = {
    "tiny-wan": _tiny("wan", "WanPipeline", ModelDefaults(dtype="float32", height=32, width=32, frames=9, steps=4)),
    "tiny-ltx": _tiny("ltx", "LTXPipeline", ModelDefaults(dtype="float32", height=32, width=32, frames=9, steps=4)),
    "mid-wan": _tiny("wan-mid", "WanPipeline", ModelDefaults(dtype="float32", height=64, width=64, frames=9, steps=4)),
}

NOT_RUNNABLE: Final[dict[str, str]] = FACTS.not_runnable
CATALOGUE: Final[dict[str, VideoModelSpec]] = (
    MOCK | TINY | {name: FACTS.spec_of(name) for name in FACTS.models if name not in NOT_RUNNABLE}
)

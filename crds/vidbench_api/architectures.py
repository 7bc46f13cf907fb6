"""What models are made of, component by component: for `weights: Random`, and for what weights alone take of memory.

The configurations stand in `architectures.yaml`, each with the source that it was read in; none is guessed. Knows no
torch: who builds them is the runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, model_validator

from .base import ApiModel, DType, Name
from .identity import canonical_json, digest_of

BYTES_OF_DTYPE: Final[Mapping[DType, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}
_MEBIBYTE: Final = 1024 * 1024


class Component(ApiModel):
    """A part of a pipeline: a class of a library, and the arguments that it is built with (others: the class's defaults)."""

    library: Literal["diffusers", "transformers"]
    class_name: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_]*$")]
    config: dict[str, Any] = Field(default_factory=dict)
    source: Annotated[str, Field(min_length=1)]
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Counted; None for what has no weights."""


class SyntheticTokenizer(ApiModel):
    """Stands for a tokenizer, which cannot be made without its files: ids below the vocabulary of a text encoder."""

    vocabulary_of: str
    maximum_length: Annotated[int, Field(ge=1)]


class Architecture(ApiModel):
    """A pipeline as its components are configured."""

    pipeline_class: str
    pipeline_arguments: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, int] = Field(default_factory=dict)
    """Parameters of components as their makers round them."""

    tokenizers: dict[str, SyntheticTokenizer]
    components: dict[str, Component]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical text, in hex: operator and runner must mean the same by a name."""
        return digest_of(canonical_json(self.model_dump(mode="json", by_alias=True)))

    def weights_mebibytes(self, dtype: DType, component_dtypes: Mapping[str, DType]) -> int:
        """Return what the weights take, rounded down: no GPU that holds all components at once can have less.

        Parameters that a class keeps in float32 are counted in `dtype`, so it is a lower bound.
        """
        total = sum(
            component.parameters * BYTES_OF_DTYPE[component_dtypes.get(name, dtype)]
            for name, component in self.components.items()
            if component.parameters is not None
        )
        return total // _MEBIBYTE


class Architectures(ApiModel):
    """The file as a whole; `parts` are what entries share."""

    sources: dict[str, str]
    parts: dict[str, Component]
    architectures: dict[Name, Architecture]

    @model_validator(mode="after")
    def _check_references(self) -> Architectures:
        for name, architecture in self.architectures.items():
            for part, component in architecture.components.items():
                if component.source not in self.sources:
                    raise ValueError(f"{name}.{part}: there is no source {component.source!r}")
            for part, tokenizer in architecture.tokenizers.items():
                if tokenizer.vocabulary_of not in architecture.components:
                    raise ValueError(f"{name}.{part}: there is no component {tokenizer.vocabulary_of!r}")
        return self


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_architectures(text: str) -> Architectures:
    """Read architectures; raises pydantic's ValidationError."""
    return Architectures.model_validate(yaml.load(text, Loader=_LOADER))  # noqa: S506 - both loaders are safe ones


ARCHITECTURE_FILE: Final = parse_architectures(
    files(__package__).joinpath("architectures.yaml").read_text(encoding="utf-8")
)
ARCHITECTURES: Final[Mapping[str, Architecture]] = ARCHITECTURE_FILE.architectures
"""Known configurations, by the name of the catalogue's model."""

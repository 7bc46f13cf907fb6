"""What all API types share: camelCase, frozen, closed; and the marks that the CRD generator reads.

Knows nothing of any kind in particular. `kubernetes_list`, `rule` and `Column` carry what OpenAPI cannot say:
list types, CEL rules, printer columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME_IN_DOMAIN = r"[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?"
LABEL_KEY_PATTERN = rf"^({_DOMAIN}/)?{_NAME_IN_DOMAIN}$"
RESOURCE_NAME = f"{_DOMAIN}/{_NAME_IN_DOMAIN}"
RESOURCE_NAME_PATTERN = f"^{RESOURCE_NAME}$"
LABEL_VALUE_PATTERN = r"^([a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?)?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
PATH_PATTERN = r"^(/[a-zA-Z0-9_][a-zA-Z0-9._-]*)+$"
"""An absolute path without a component that starts with a dot, so that `..` cannot occur."""


class ApiModel(BaseModel):
    """A part of an API object or document: immutable, closed, camelCase outside and snake_case inside."""

    # What a user wrote, a prompt perhaps, must not get into logs by way of a traceback.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object with camelCase keys, without what is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class Rule:
    """A CEL rule of a type. `field_path` points the error at a field, e.g. `.models`."""

    rule: str
    message: str
    field_path: str | None = None

    def to_schema(self) -> dict[str, str]:
        """Return the entry for x-kubernetes-validations."""
        entry = {"rule": self.rule, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        return entry


@dataclass(frozen=True)
class Column:
    """A printer column of a kind; priority 1 shows with `-o wide` only."""

    name: str
    type: Literal["string", "integer", "date"]
    json_path: str
    description: str
    priority: int = 0


def rules(*entries: Rule) -> dict[str, Any]:
    """Return the schema extension that holds CEL rules."""
    return {"x-kubernetes-validations": [entry.to_schema() for entry in entries]}


def map_list(key: str) -> dict[str, Any]:
    """Mark a list whose entries are told apart by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
ATOMIC_MAP: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=NAME_PATTERN)]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", min_length=64, max_length=64)]
Uid = Annotated[str, Field(max_length=64)]
ShortText = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=1024)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
LabelKey = Annotated[str, Field(max_length=317, pattern=LABEL_KEY_PATTERN)]
Quantity = Annotated[str, Field(max_length=24, pattern=QUANTITY_PATTERN)]
AbsolutePath = Annotated[str, Field(max_length=512, pattern=PATH_PATTERN)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=64)]
ArgumentText = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
Microseconds = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
DType = Literal["float32", "bfloat16", "float16"]
Offload = Literal["None", "Model", "Sequential", "Group"]
Attention = Literal[
    "Default", "Native", "NativeMath", "NativeEfficient", "NativeFlash", "NativeCudnn", "Flash2", "Flash3", "Sage"
]
Compile = Literal["None", "Default", "ReduceOverhead", "MaxAutotune"]
ComponentName = Annotated[str, Field(min_length=1, max_length=64)]
Weights = Literal["Pretrained", "Random"]

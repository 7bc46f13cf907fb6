"""What a runner says of its shard, in the termination message and nowhere else. See `message.py` for the bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Count
from .measured import Measured, ValidityVerdict
from .names import Outcome


class Verdict(Measured):
    """One attempt's report. Written ahead with `final` false from the first phase on, so that a kill loses little."""

    schema_version: Literal["vidbench.io/verdict/1"] = "vidbench.io/verdict/1"
    request_digest: Annotated[str, Field(min_length=16, max_length=16)] = Field(
        description="First 16 hex digits of the digest of the request document that was read."
    )
    cell: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$", max_length=8)]
    shard: Annotated[int, Field(ge=1, le=64)]
    attempt: Annotated[int, Field(ge=1, le=1000)]
    final: bool = False
    outcome: Outcome | None = Field(default=None, description="Absent as long as the verdict is not final.")
    validity: ValidityVerdict | None = None
    reason: Annotated[str, Field(max_length=64)] | None = None
    message: Annotated[str, Field(max_length=256)] | None = None
    stage: Annotated[str, Field(max_length=32)] | None = Field(default=None, description="Where the worker was.")
    phase: Annotated[str, Field(max_length=32)] | None = Field(default=None, description="Phase that failed.")
    samples_done: Count = 0

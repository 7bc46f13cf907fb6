"""What a runner says of its shard, in the termination message and nowhere else. See `message.py` for the bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .base import Count
from .measured import Measured, ValidityVerdict
from .names import Outcome


class Stage(StrEnum):
    """Where a worker is in its life. With `phase` it says where a shard failed: the words of a fallback's choice.

    | stage                 | phase                        | what was going on                                          |
    |-----------------------|------------------------------|------------------------------------------------------------|
    | starting              | (none)                       | libraries are imported, the host is looked at              |
    | loading               | fetch, read, to_device       | weights are looked up at their hub and downloaded; read into|
    |                       | (`LoadPhase`)                | host memory; they go to the device                         |
    | warming_up, sampling  | a `Phase`                    | that part of a clip; none if no call of the clip was seen  |
    | storing               | (none)                       | samples and videos are written                             |
    """

    STARTING = "starting"
    LOADING = "loading"
    WARMING_UP = "warming_up"
    SAMPLING = "sampling"
    STORING = "storing"


class LoadPhase(StrEnum):
    """The parts of a load."""

    FETCH = "fetch"
    READ = "read"
    TO_DEVICE = "to_device"


class Phase(StrEnum):
    """The exclusive parts of a sample's time; `OTHER` is what no boundary claimed, so that the parts sum to the whole."""

    PREPARE = "prepare"
    TEXT_ENCODE = "text_encode"
    IMAGE_ENCODE = "image_encode"
    DENOISE = "denoise"
    VAE_DECODE = "vae_decode"
    AUDIO = "audio"
    POSTPROCESS = "postprocess"
    OTHER = "other"


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
    stage: Stage | None = Field(default=None, description="Where the worker was.")
    phase: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Part of the stage in which it was: a `LoadPhase` or a `Phase`."
    )
    samples_done: Count = 0

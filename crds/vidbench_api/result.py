"""The spec of a `BenchmarkResult`: one finished shard, where it came from, and what was measured. Immutable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .accounting import Costs
from .base import ApiModel, Count, Digest, Message, Name, ObjectName, Rule, ShortText, Timestamp, Uid, rules
from .figures import Figures
from .measured import Measured, ValidityVerdict
from .names import Comparability, Outcome
from .verdict import Stage


class RunReference(ApiModel):
    """The run that measured it."""

    name: ObjectName
    uid: Uid


class CellReference(ApiModel):
    """The cell: its id and the names that it is made of."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$", max_length=8)]
    model: Name
    hardware: Name
    variant: Name


class Origin(ApiModel):
    """The attempt that the verdict belongs to. A verdict counts only from the pod that ended the Job."""

    attempt: Count
    job_name: ShortText | None = None
    job_uid: Uid | None = None
    pod_name: ShortText | None = None
    pod_uid: Uid | None = None
    node: ShortText | None = None
    image_id: Annotated[str, Field(max_length=512)] | None = None
    scheduled_at: Timestamp | None = Field(default=None, description="When the pod got its node.")
    started_at: Timestamp | None = Field(default=None, description="When its container ran.")
    finished_at: Timestamp | None = None
    exit_code: Annotated[int, Field(ge=-1, le=255)] | None = None
    gpu_seconds: Count = Field(default=0, description="GPUs x seconds that the pod held them.")


class BenchmarkResultSpec(Measured):
    """One finished shard."""

    model_config = Measured.model_config | {
        "json_schema_extra": rules(Rule("self == oldSelf", "a BenchmarkResult cannot be changed"))
    }
    run: RunReference
    cell: CellReference
    shard: Annotated[int, Field(ge=1, le=64)]
    attempts: Count = Field(description="Attempts that the shard took.")
    request_digest: Digest
    generation_hash: Digest = Field(description="Identity of what decides pixels.")
    environment_hash: Digest | None = Field(
        default=None,
        description="Identity of what decides time, as the node's labels show it; absent where they do not.",
    )
    rung: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Fallback that was measured after the cell itself ran out of memory."
    )
    weights: Literal["Random"] | None = Field(
        default=None,
        description="Random: the model's configuration with random weights. Time, memory and energy may be compared, quality never.",
    )
    outcome: Outcome
    validity: ValidityVerdict
    superseded: bool = Field(
        default=False,
        description="Whether the shard was measured again because this was Invalid: then its name is the attempt's.",
    )
    source: Literal["Measured"] = "Measured"
    comparability: Comparability = Field(
        default=Comparability.DEVICE,
        description="Device: a model on a device of this cluster. Service: a server, from outside. Mock: nothing. Results are"
        " compared with results of the same kind only.",
    )
    reason: ShortText | None = None
    message: Message | None = None
    stage: Stage | None = Field(
        default=None, description="Where a shard that did not succeed was: loading, warming_up, sampling, ..."
    )
    phase: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Part of the stage that failed: fetch, read or to_device of a load, or text_encode, denoise, vae_decode, ... of a sample.",
    )
    samples_done: Count = 0
    latency_text: ShortText | None = Field(
        default=None, description="Mean, standard deviation, number of samples; for the column."
    )
    figures: Figures | None = None
    costs: Costs | None = None
    origin: Origin

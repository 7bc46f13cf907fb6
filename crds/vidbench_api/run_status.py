"""What a `BenchmarkRun` reports: the status that `kubectl get` and `kubectl describe` show.

Integers in the units that the names state. At most 200 rows, one a cell; the attempts of a shard live in its row.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from .base import (
    ATOMIC,
    ApiModel,
    Count,
    Message,
    Microseconds,
    Name,
    ShortText,
    Timestamp,
    Uid,
    map_list,
)
from .gates import MAX_EVIDENCE, MAX_GATES
from .names import MAX_CELLS, Comparability, LimitedBy, Outcome, RowPhase, RunPhase, Validity
from .run_spec import MeasurementPlan


class Condition(ApiModel):
    """A metav1 condition."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=4096)] = ""
    last_transition_time: Timestamp
    observed_generation: Count | None = None


class AttemptFailure(ApiModel):
    """An attempt that failed: what the next one and the circuit breakers go by."""

    attempt: Count
    reason: ShortText
    node: Annotated[str, Field(max_length=253)] | None = None
    ended_at: Timestamp


class ShardStatus(ApiModel):
    """One shard of a cell: which attempt it is at, and how it ended. Written before a Job of the attempt is created."""

    index: Annotated[int, Field(ge=1, le=64)]
    phase: RowPhase = RowPhase.PENDING
    attempt: Count = Field(default=0, description="Number of the latest attempt; written before its Job is created.")
    job_uid: Uid | None = Field(default=None, description="UID of that attempt's Job, once it was seen.")
    started_at: Timestamp | None = Field(default=None, description="When the latest attempt was written down.")
    ended_at: Timestamp | None = Field(default=None, description="When the latest ended attempt ended.")
    not_before: Timestamp | None = Field(default=None, description="When the next attempt may start.")
    node: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Node of the latest attempt, once its pod has one."
    )
    failures: Annotated[tuple[AttemptFailure, ...], Field(max_length=8, json_schema_extra=ATOMIC)] = Field(
        default=(), description="The latest failed attempts, oldest first."
    )
    disruptions: Count = Field(
        default=0, description="Attempts that were evicted, preempted or deleted: not counted against anything."
    )
    retries: Count = Field(default=0, description="Attempts that failed for reasons of the infrastructure.")
    lost_results: Count = Field(default=0, description="Attempts that ended without a readable verdict.")
    unknown_failures: Count = Field(default=0, description="Attempts that failed for no known reason.")
    superseded: Annotated[tuple[ShortText, ...], Field(max_length=4, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Results of attempts that were Invalid, for which the shard was measured again."
    )
    reason: ShortText | None = Field(default=None, description="Reason of the latest failed attempt.")
    outcome: Outcome | None = None
    validity: Validity | None = None
    result: ShortText | None = Field(default=None, description="Name of the BenchmarkResult.")
    harvest_at: Timestamp | None = Field(
        default=None, description="When a look into the artifacts was begun, as the attempt left no readable verdict."
    )
    latency_microseconds: Microseconds | None = None
    spread_microseconds: Microseconds | None = None
    samples: Count | None = None
    reruns: Count | None = Field(default=None, description="With plan Repro: clips that were generated twice.")
    reruns_equal: Count | None = Field(default=None, description="Of these, those that were equal to the bit.")
    memory_mebibytes: Count | None = None


class CellRow(ApiModel):
    """One cell: model x hardware x variant."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$", max_length=8)]
    model: Name
    hardware: Name
    variant: Name
    phase: RowPhase = RowPhase.PENDING
    outcome: Outcome | None = None
    validity: Validity | None = None
    reason: ShortText | None = None
    message: Annotated[str, Field(max_length=256)] | None = None
    latency_microseconds: Microseconds | None = Field(
        default=None, description="Mean time of a clip, over shard means."
    )
    spread_microseconds: Microseconds | None = Field(
        default=None,
        description="Standard deviation: of samples for one shard, of shard means for more (see spreadOf).",
    )
    spread_of: Literal["Samples", "Shards"] | None = None
    plan: MeasurementPlan | None = Field(default=None, description="Plan of the measurement; absent: Fixed.")
    samples: Count | None = Field(default=None, description="Measured samples, warm-ups not counted.")
    reruns: Count | None = Field(default=None, description="With plan Repro: clips that were generated twice.")
    reruns_equal: Count | None = Field(default=None, description="Of these, those that were equal to the bit.")
    memory_mebibytes: Count | None = Field(
        default=None, description="Peak memory: the device's where there is one, else the host's (see memoryOf)."
    )
    memory_of: Literal["Device", "Host"] | None = None
    gpu: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="What it ran on: GPU name, or cpu."
    )
    source: Literal["Measured", "Reused", "Mixed"] | None = Field(
        default=None,
        description="Reused: all shards show results of earlier runs (see their `result`); Mixed: some do.",
    )
    comparability: Comparability = Field(
        default=Comparability.DEVICE, description="Only rows of Device can be the fastest."
    )
    rung: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Fallback that this row measures for the cell of that model, hardware and variant, e.g. VaeTiling.",
    )
    weights: Literal["Random"] | None = Field(
        default=None, description="Random: the model's configuration with random weights; its videos are noise."
    )
    estimate_seconds: Count | None = Field(
        default=None,
        description="Expected time of a shard, from earlier results of this namespace; absent: none known.",
    )
    shards: Annotated[tuple[ShardStatus, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()


class CellCounts(ApiModel):
    """How many cells are in which state."""

    total: Count = 0
    pending: Count = 0
    active: Count = 0
    succeeded: Count = 0
    out_of_memory: Count = 0
    failed: Count = 0
    reused: Count = Field(default=0, description="Of the succeeded ones, those that show results of earlier runs.")


class ShardCounts(ApiModel):
    """How many shards there are and have ended."""

    total: Count = 0
    finished: Count = 0


class HardwareWindow(ApiModel):
    """How many Jobs of a hardware entry may wait for a node at the same time, as learnt from those before."""

    hardware: Name
    probe: Annotated[int, Field(ge=1, le=10_000)]
    changed_at: Timestamp


class Breaker(ApiModel):
    """A model or node that failed too often in this run."""

    kind: Literal["Model", "Node"]
    name: Annotated[str, Field(max_length=253)]
    state: Literal["Open", "HalfOpen"]
    failures: Count = Field(description="Failures in a row.")
    until: Timestamp | None = Field(default=None, description="When one attempt may try again.")


class ParallelismStatus(ApiModel):
    """How many Jobs run, and why not more."""

    active: Count = Field(default=0, description="Jobs that exist and have not ended.")
    running: Count = Field(default=0, description="Of these, Jobs with a running pod.")
    waiting: Count = Field(default=0, description="Shards that wait for their turn.")
    queued: Count = Field(default=0, description="Of the active ones, Jobs that a queue holds back.")
    limited_by: LimitedBy = LimitedBy.NOTHING
    windows: Annotated[tuple[HardwareWindow, ...], Field(max_length=16, json_schema_extra=map_list("hardware"))] = ()


class GpuSeconds(ApiModel):
    """GPU time held by pods of this run: GPUs x seconds from a pod's start to its end."""

    used: Count = Field(default=0, description="By attempts that gave a result.")
    wasted: Count = Field(default=0, description="By attempts that did not, or were measured again.")


class Fastest(ApiModel):
    """The valid cell with the lowest mean latency, of those that were measured on a device of this cluster."""

    cell: Annotated[str, Field(max_length=8)]
    latency_microseconds: Microseconds
    text: ShortText = Field(description="model/hardware/variant and its latency, for the printer column.")


GateVerdict = Literal["Pass", "Fail", "Inconclusive", "Unknown"]
HypothesisVerdict = Literal["Supported", "Refuted", "Inconclusive", "Unknown"]


class Evidence(ApiModel):
    """What was seen of one cell for a gate or hypothesis. Figures that the measurements do not give are absent."""

    cell: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$", max_length=8)]
    verdict: GateVerdict
    unit: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Of estimate, low and high. share: the change against what it is compared with, 0.02 is 2 % more.",
    )
    estimate: FiniteFloat | None = None
    low: FiniteFloat | None = Field(default=None, description="Lower end of the interval that decides.")
    high: FiniteFloat | None = Field(default=None, description="Upper end of it.")
    shards: Count = Field(default=0, description="Of the cell: the processes that were compared.")
    against_shards: Count | None = Field(default=None, description="Of what it is compared with; absent for a bound.")
    gpus: Count | None = Field(
        default=None, description="Different GPUs that these shards ran on; absent where that is not known."
    )
    device: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="What they are, or cpu.")
    p_ppm: Count | None = Field(
        default=None, description="Of a hypothesis: the p value after correction, in millionths."
    )
    reason: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="Why it is inconclusive.")
    decides: ShortText | None = Field(default=None, description="What would decide it.")


class GateStatus(ApiModel):
    """What came of a gate: it passes if every cell that it is about does."""

    name: Name
    verdict: GateVerdict
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Of a verdict that is no Pass."
    )
    message: Annotated[str, Field(max_length=512)] = Field(description="The verdict in words.")
    passed: Count = Field(default=0, description="Cells that pass.")
    cells: Count = Field(default=0, description="Cells that it is about.")
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=MAX_EVIDENCE, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Of the cells that decide: failed ones first, then inconclusive ones, then the closest."
    )


class HypothesisStatus(ApiModel):
    """What came of a hypothesis."""

    name: Name
    role: Literal["Primary", "Secondary"]
    verdict: HypothesisVerdict
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Of a verdict that is Inconclusive or Unknown."
    )
    message: Annotated[str, Field(max_length=512)] = Field(description="The verdict in words.")
    supported: Count = Field(default=0, description="Cells in which it holds.")
    cells: Count = Field(default=0, description="Cells that it is about.")
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=MAX_EVIDENCE, json_schema_extra=ATOMIC)] = ()


class BenchmarkRunStatus(ApiModel):
    """The report."""

    observed_generation: Count | None = None
    phase: RunPhase | None = None
    message: Message | None = None
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=map_list("type"))] = ()
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    request_name: ShortText | None = Field(default=None, description="ConfigMap that holds the request document.")
    request_digest: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="SHA-256 of that document."
    )
    selector: ShortText | None = Field(default=None, description="Label selector of the run's pods.")
    cells: CellCounts | None = None
    shards: ShardCounts | None = None
    progress: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Finished cells of all, e.g. 13/24."
    )
    parallelism: ParallelismStatus | None = None
    breakers: Annotated[tuple[Breaker, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Circuit breakers of this run that are not closed."
    )
    paused_since: Timestamp | None = Field(
        default=None, description="Since when the run is suspended, or nothing of it but Jobs in a queue is left."
    )
    paused_seconds: Count = Field(default=0, description="Such time before that; it does not count for runSeconds.")
    reuse_message: Message | None = Field(default=None, description="What was reused, or why nothing was.")
    gpu_seconds: GpuSeconds | None = None
    fastest: Fastest | None = None
    gates_text: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Gates that passed of all, e.g. 3/4, for the printer column."
    )
    gates: Annotated[tuple[GateStatus, ...], Field(max_length=MAX_GATES, json_schema_extra=ATOMIC)] = ()
    hypotheses: Annotated[tuple[HypothesisStatus, ...], Field(max_length=MAX_GATES, json_schema_extra=ATOMIC)] = ()
    rows: Annotated[tuple[CellRow, ...], Field(max_length=MAX_CELLS, json_schema_extra=ATOMIC)] = ()

"""From results of one cell to what statistics may count, and what they may not, with the reason.

The experimental unit is the shard: one process on one GPU. Only results that succeeded, are Valid and timed something
count; each of the others is named with why. Knows results and metrics; knows no formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from vidbench_api.names import Comparability, Outcome, Validity
from vidbench_api.result import BenchmarkResultSpec

from .metrics import METRICS, Absent, Metric, Reading


class PromptAndSeed(Protocol):
    """Sample i of every shard of a request (`RequestDocument.samples()`)."""

    @property
    def prompt(self) -> str:
        """Return the prompt's id."""
        ...


class LeftOutReason(StrEnum):
    """Why a result does not count."""

    SUPERSEDED = "Superseded"
    """Its shard was measured again."""

    OUT_OF_MEMORY = "OutOfMemory"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INVALID = "Invalid"
    PARTIAL = "Partial"
    MOCK = "Mock"
    """It timed nothing."""

    DUPLICATE = "Duplicate"
    """The same shard of the same run is there already: it is not another process."""

    OTHER_KIND = "OtherKind"
    """A service among results of devices, or the other way round."""

    SHARED = "Shared"
    """The other side of the comparison has the very same result: it counts there, and not twice."""


@dataclass(frozen=True)
class LeftOut:
    """How many results do not count for one reason; `details` are the words of their validity or outcome, sorted."""

    reason: LeftOutReason
    count: int
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardObservation:
    """One shard that counts.

    `readings` and `absent` are by metric name and together hold every metric. `prompts` has the prompt id of each sample,
    in their order, or is None where the request is not known. `gpu_uuid` and `node` are None where nobody saw them;
    `product` is the GPU's name as its driver says it (or `cpu`), `gpus` how many of them the shard had. `request` is the
    digest of the request that it was measured for: what a run reused has that of an earlier run. `process` names the process
    that was measured, whichever run shows it.
    """

    run_uid: str
    shard: int
    readings: Mapping[str, Reading]
    absent: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[str, ...] | None = None
    node: str | None = None
    gpu_uuid: str | None = None
    product: str | None = None
    output_digest: str | None = None
    weights_random: bool = False
    run_name: str = ""
    attempt: int = 0
    request: str = ""
    process: tuple[str, ...] = ()
    gpus: int | None = None
    clip: str | None = None

    @property
    def device(self) -> str | None:
        """What it ran on: its GPU, else its node, else None."""
        return self.gpu_uuid or self.node

    @property
    def key(self) -> tuple[str, ...]:
        """Which process it was; where that is not known, which one within the cell."""
        return self.process or (self.run_uid, str(self.shard))

    @property
    def hardware(self) -> str | None:
        """The product that it ran on, and how many of it where they were several, for people."""
        several = self.product is not None and self.gpus is not None and self.gpus > 1
        return f"{self.gpus} x {self.product}" if several else self.product


@dataclass(frozen=True)
class CellObservations:
    """What counts of one cell, ordered by run and shard, and what was left out.

    `label` names the cell for people (model/hardware/variant); `comparability` is the kind that all its shards share, None
    without shards; `results` is how many results were looked at.
    """

    label: str
    shards: tuple[ShardObservation, ...]
    left_out: tuple[LeftOut, ...] = ()
    comparability: Comparability | None = None
    results: int = 0

    def reading(self, metric: Metric) -> tuple[tuple[ShardObservation, Reading], ...]:
        """Return the shards that have the metric, with it."""
        return tuple((shard, shard.readings[metric.name]) for shard in self.shards if metric.name in shard.readings)

    def why_absent(self, metric: Metric) -> str | None:
        """Return the most frequent reason why shards lack the metric; None if none lacks it."""
        reasons = Counter(shard.absent[metric.name] for shard in self.shards if metric.name in shard.absent)
        return min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else None

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that were seen, sorted; shards of which none is known add nothing."""
        return tuple(sorted({shard.device for shard in self.shards if shard.device is not None}))

    @property
    def products(self) -> tuple[str, ...]:
        """The GPU products that were seen, sorted."""
        return tuple(sorted({shard.product for shard in self.shards if shard.product is not None}))

    @property
    def output_digests(self) -> frozenset[str | None]:
        """The digests of what the shards generated."""
        return frozenset(shard.output_digest for shard in self.shards)

    @property
    def processes(self) -> frozenset[tuple[str, ...]]:
        """The processes that count."""
        return frozenset(shard.key for shard in self.shards)

    @property
    def planned(self) -> int:
        """How many shards there are results of, whatever came of them."""
        again = (LeftOutReason.SUPERSEDED, LeftOutReason.DUPLICATE)
        return self.results - sum(left.count for left in self.left_out if left.reason in again)

    def without(self, processes: AbstractSet[tuple[str, ...]]) -> CellObservations:
        """Return the cell without what the other side of a comparison has as well."""
        kept = tuple(shard for shard in self.shards if shard.key not in processes)
        if len(kept) == len(self.shards):
            return self
        shared = LeftOut(LeftOutReason.SHARED, len(self.shards) - len(kept))
        return replace(self, shards=kept, left_out=(*self.left_out, shared))


def observe(
    results: Iterable[BenchmarkResultSpec],
    *,
    samples: Mapping[str, Sequence[PromptAndSeed]] | None = None,
    label: str | None = None,
    run_uid: str | None = None,
) -> CellObservations:
    """Return what counts of the results of one cell (or of cells that a baseline makes one).

    `samples` has the samples of requests by their digests (`RequestDocument.samples()`): from there prompts are known.
    Reused results are given like measured ones: they are the same objects. `run_uid` is of the run whose cell it is, where it
    is one run's: what it reused is of this run as well.
    """
    ordered = sorted(results, key=lambda result: (result.run.uid, result.shard, -result.origin.attempt))
    counted: dict[tuple[str, str, str, int], BenchmarkResultSpec] = {}
    left_out: dict[LeftOutReason, list[str]] = {}
    for result in ordered:
        verdict = _why_not(result)
        key = (result.run.uid, result.request_digest, result.cell.id, result.shard)
        if verdict is None and key in counted:
            verdict = (LeftOutReason.DUPLICATE, ())
        if verdict is None:
            counted[key] = result
        else:
            left_out.setdefault(verdict[0], []).extend(verdict[1] or ("",))
    kind = _kind(counted.values())
    others = [key for key, result in counted.items() if result.comparability != kind]
    for key in others:
        left_out.setdefault(LeftOutReason.OTHER_KIND, []).append(counted.pop(key).comparability.value)
    return CellObservations(
        label=label if label is not None else _label(ordered),
        shards=tuple(_observed(result, samples or {}, run_uid or result.run.uid) for result in counted.values()),
        left_out=tuple(
            LeftOut(reason, len(details), tuple(sorted({detail for detail in details if detail})))
            for reason, details in sorted(left_out.items())
        ),
        comparability=kind,
        results=len(ordered),
    )


def counts(result: BenchmarkResultSpec) -> bool:
    """Return whether a result counts by itself: it succeeded, is Valid, timed something, and was not measured again."""
    return _why_not(result) is None


def process_of(result: BenchmarkResultSpec) -> tuple[str, ...]:
    """Return which process a result is of: the same for a result and for what another run shows of it."""
    if result.origin.job_uid is not None:
        return (result.origin.job_uid,)
    cell = result.cell
    names = cell.model, cell.hardware, cell.variant, result.rung or ""
    return (result.run.uid, cell.id, *names, str(result.shard))


_OUTCOMES: Mapping[Outcome, LeftOutReason] = {
    Outcome.OUT_OF_MEMORY: LeftOutReason.OUT_OF_MEMORY,
    Outcome.FAILED: LeftOutReason.FAILED,
    Outcome.CANCELLED: LeftOutReason.CANCELLED,
}
_VALIDITIES: Mapping[Validity, LeftOutReason] = {
    Validity.INVALID: LeftOutReason.INVALID,
    Validity.PARTIAL: LeftOutReason.PARTIAL,
}


def _why_not(result: BenchmarkResultSpec) -> tuple[LeftOutReason, tuple[str, ...]] | None:
    if result.superseded:
        return LeftOutReason.SUPERSEDED, (", ".join(result.validity.reasons),)
    if result.outcome in _OUTCOMES:
        return _OUTCOMES[result.outcome], (result.reason or "",)
    if result.validity.state in _VALIDITIES:
        return _VALIDITIES[result.validity.state], (", ".join(result.validity.reasons),)
    if result.comparability == Comparability.MOCK:
        return LeftOutReason.MOCK, ()
    return None


def _kind(results: Iterable[BenchmarkResultSpec]) -> Comparability | None:
    kinds = Counter(result.comparability for result in results)
    return min(kinds, key=lambda kind: (-kinds[kind], kind)) if kinds else None


def _label(results: Sequence[BenchmarkResultSpec]) -> str:
    cells = sorted({f"{result.cell.model}/{result.cell.hardware}/{result.cell.variant}" for result in results})
    return ", ".join(cells)


def _observed(
    result: BenchmarkResultSpec, samples: Mapping[str, Sequence[PromptAndSeed]], run_uid: str
) -> ShardObservation:
    readings: dict[str, Reading] = {}
    absent: dict[str, str] = {}
    for metric in METRICS.values():
        found = _read(result, metric)
        if isinstance(found, Absent):
            absent[metric.name] = found.reason
        else:
            readings[metric.name] = found
    environment = result.environment
    asked = samples.get(result.request_digest)
    return ShardObservation(
        run_uid=run_uid,
        run_name=result.run.name,
        shard=result.shard,
        attempt=result.origin.attempt,
        readings=readings,
        absent=absent,
        prompts=tuple(sample.prompt for sample in asked[: result.samples_done]) if asked is not None else None,
        node=result.origin.node,
        gpu_uuid=environment.gpu_uuid if environment else None,
        product=environment.device if environment else None,
        output_digest=result.output_digest,
        weights_random=has_random_weights(result),
        request=result.request_digest,
        process=process_of(result),
        gpus=environment.device_count if environment else None,
        clip=clip_text(result),
    )


def clip_text(result: BenchmarkResultSpec) -> str | None:
    """Return size and steps of a result's clips, for people; None where it does not say."""
    clip = result.clip
    return None if clip is None else f"{clip.width}x{clip.height}x{clip.frames_requested} in {clip.steps} steps"


def has_random_weights(result: BenchmarkResultSpec) -> bool:
    """Whether a model's architecture was measured without its weights: asked for, or as its folder says."""
    return result.weights == "Random" or (result.loaded is not None and result.loaded.weights == "Random")


def _read(result: BenchmarkResultSpec, metric: Metric) -> Reading | Absent:
    if metric.is_quality:
        if has_random_weights(result):
            return Absent("random_weights")
        if result.quality is None or not result.quality.comparable:
            return Absent((result.quality.reason if result.quality else None) or "quality_not_comparable")
    return metric.read(result)

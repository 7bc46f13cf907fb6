"""Makes the `BenchmarkResult` of a shard from how its last attempt ended, and reads its headline figures back.

A shard is finished from its result alone, also when an earlier pass wrote it: what the ledger holds is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidbench_api.accounting import costs_of
from vidbench_api.figures import Figures, figures_of
from vidbench_api.measured import Measured, Series, SeriesName, ValidityVerdict
from vidbench_api.names import (
    GENERATION_CHARACTERS,
    LABEL_CELL,
    LABEL_GENERATION,
    LABEL_HARDWARE,
    LABEL_MANAGED_BY,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_RUNG,
    LABEL_SHARD,
    LABEL_SUPERSEDED,
    LABEL_VALIDITY,
    LABEL_VARIANT,
    LABEL_WEIGHTS,
    MANAGED_BY,
    Comparability,
    RowPhase,
    Validity,
)
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference
from vidbench_api.run_status import ShardStatus

from .environment import environment_of
from .evidence import AttemptEnd
from .observed import ObservedJob, ObservedNode, ObservedPod, ObservedRun
from .timestamps import format_time, parse_time

_MEBIBYTE = 1024 * 1024
_MAX_COUNT = 2_147_483_647
_MAX_MICROSECONDS = 9_007_199_254_740_991
_EXIT_CODES = range(256)


def held_gpu_seconds(end: AttemptEnd, gpus: int) -> int:
    """Return GPUs x seconds from the pod's binding to its end; 0 where no pod got so far, or clocks contradict that."""
    pod = end.pod
    start = pod.scheduled_at or pod.started_at if pod else None
    if pod is None or start is None:
        return 0
    return min(_MAX_COUNT, round(gpus * max(0.0, (pod.finished_at or end.ended_at) - start)))


def make_result(
    run: ObservedRun,
    document: RequestDocument,
    cell: Cell,
    shard: ShardStatus,
    job: ObservedJob | None,
    end: AttemptEnd,
    node: ObservedNode | None = None,
) -> BenchmarkResultSpec:
    """Return the result of a shard that ended with `end`, on `node` if its pod had one that is visible."""
    verdict, pod = end.verdict, end.pod
    measured = {name: getattr(verdict, name) for name in Measured.model_fields} if verdict else {}
    return BenchmarkResultSpec(
        **measured,
        run=RunReference(name=run.name, uid=run.uid),
        cell=CellReference(id=cell.id, model=cell.model, hardware=cell.hardware, variant=cell.variant),
        shard=shard.index,
        attempts=shard.attempt,
        request_digest=run.status.request_digest or document.digest,
        generation_hash=cell.generation_hash,
        environment_hash=_environment_hash(document, cell, node),
        rung=cell.rung,
        comparability=cell.comparability,
        weights="Random" if cell.weights == "Random" else None,
        outcome=end.outcome,
        validity=_validity_of(end),
        reason=end.reason.value if end.reason else None,
        message=end.message[:1024] or None,
        stage=verdict.stage if verdict else None,
        phase=verdict.phase if verdict else None,
        samples_done=verdict.samples_done if verdict else 0,
        latency_text=latency_text(verdict.find_series(SeriesName.LATENCY)) if verdict else None,
        figures=_figures(document, cell, verdict, pod) if verdict and verdict.series else None,
        costs=costs_of(verdict, document.runner_class.accounting, document.find_hardware(cell.hardware).gpus)
        if verdict
        else None,
        origin=Origin(
            attempt=shard.attempt,
            job_name=job.name if job else None,
            job_uid=(job.uid if job else None) or shard.job_uid,
            pod_name=pod.name if pod else None,
            pod_uid=pod.uid if pod else None,
            node=pod.node if pod else None,
            image_id=pod.image_id[:512] if pod and pod.image_id else None,
            scheduled_at=_format(pod.scheduled_at) if pod else None,
            started_at=_format(pod.started_at) if pod else None,
            finished_at=_format(pod.finished_at) if pod else None,
            exit_code=end.exit_code if end.exit_code in _EXIT_CODES else None,
            gpu_seconds=held_gpu_seconds(end, document.find_hardware(cell.hardware).gpus),
        ),
    )


def _figures(document: RequestDocument, cell: Cell, measured: Measured, pod: ObservedPod | None) -> Figures:
    return figures_of(
        measured,
        frames_per_second=cell.frames_per_second,
        gpus=document.find_hardware(cell.hardware).gpus,
        start_seconds=_between(pod.scheduled_at, pod.started_at) if pod else None,
        container_seconds=_between(pod.started_at, pod.finished_at) if pod else None,
    )


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


def _environment_hash(document: RequestDocument, cell: Cell, node: ObservedNode | None) -> str | None:
    if node is None:
        return None
    return environment_of(node, document.find_hardware(cell.hardware), document.runner_class.image).digest


def result_labels(run: ObservedRun, spec: BenchmarkResultSpec) -> dict[str, str]:
    """Return the labels by which `kubectl get benchmarkresults -l` finds it."""
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_RUN: run.name,
        LABEL_RUN_UID: run.uid,
        LABEL_CELL: spec.cell.id,
        LABEL_MODEL: spec.cell.model,
        LABEL_HARDWARE: spec.cell.hardware,
        LABEL_VARIANT: spec.cell.variant,
        LABEL_SHARD: str(spec.shard),
        LABEL_OUTCOME: spec.outcome.value,
        LABEL_VALIDITY: spec.validity.state.value,
        LABEL_GENERATION: spec.generation_hash[:GENERATION_CHARACTERS],
        **({LABEL_RUNG: spec.rung} if spec.rung else {}),
        **({LABEL_SUPERSEDED: "true"} if spec.superseded else {}),
        **({LABEL_WEIGHTS: spec.weights} if spec.weights else {}),
    }


def reused_shard(shard: ShardStatus, name: str, spec: BenchmarkResultSpec) -> ShardStatus:
    """Return the shard as a result of an earlier run says it ended: nothing was attempted for it."""
    ended_at = parse_time(spec.origin.finished_at) or 0.0
    return finished_shard(shard, name, spec, ended_at).model_copy(update={"attempt": 0, "node": None})


def finished_shard(shard: ShardStatus, name: str, spec: BenchmarkResultSpec, ended_at: float) -> ShardStatus:
    """Return the shard as its result says it ended. A figure that the status cannot hold is left out of it."""
    latency = spec.find_series(SeriesName.LATENCY)
    figures = latency.statistics if latency else None
    memory = headline_memory(spec)
    return shard.model_copy(
        update={
            "phase": RowPhase.FINISHED,
            "attempt": max(shard.attempt, spec.origin.attempt),
            "ended_at": format_time(ended_at),
            "not_before": None,
            "node": shard.node or spec.origin.node,
            "reason": spec.reason,
            "outcome": spec.outcome,
            "validity": spec.validity.state,
            "result": name,
            "latency_microseconds": _whole(figures.mean if figures else None, _MAX_MICROSECONDS),
            "spread_microseconds": _whole(figures.standard_deviation if figures else None, _MAX_MICROSECONDS),
            "samples": figures.count if figures else spec.samples_done or None,
            "reruns": spec.reproducibility.reruns if spec.reproducibility else None,
            "reruns_equal": spec.reproducibility.equal if spec.reproducibility else None,
            "memory_mebibytes": _whole(memory.bytes / _MEBIBYTE if memory else None, _MAX_COUNT),
        }
    )


@dataclass(frozen=True)
class HeadlineMemory:
    """The one figure of memory that a row shows."""

    bytes: int
    of: Literal["Device", "Host"]


def headline_memory(result: BenchmarkResultSpec) -> HeadlineMemory | None:
    """Return the peak of the device where there is one, else the host's; None if neither was measured.

    None as well for a service or a mock, where the host is the client, not the model's.
    """
    memory = result.memory
    if memory is None or result.comparability is not Comparability.DEVICE:
        return None
    if memory.device is not None:
        return HeadlineMemory(memory.device, "Device")
    host = memory.host if memory.host is not None else memory.cgroup
    return HeadlineMemory(host, "Host") if host is not None else None


def latency_text(series: Series | None) -> str | None:
    """Return mean, standard deviation and number of samples of a latency series for a printer column.

    None where there is none, or where its figures are no durations: they come from a pod.
    """
    if series is None:
        return None
    mean = _whole(series.statistics.mean, _MAX_MICROSECONDS)
    deviation = _whole(series.statistics.standard_deviation, _MAX_MICROSECONDS)
    if mean is None:
        return None
    spread = f" ±{seconds_text(deviation)}" if deviation is not None else ""
    return f"{seconds_text(mean)}{spread} ({series.statistics.count})"


def seconds_text(microseconds: float) -> str:
    """Return a duration in seconds with three significant digits, never in exponent notation."""
    seconds = microseconds / 1e6
    decimals = 4 if seconds < 0.1 else 3 if seconds < 1 else 2 if seconds < 100 else 1
    return f"{seconds:.{decimals}f}s"


def _whole(figure: float | None, limit: int) -> int | None:
    """Return the figure as an integer; None for none, and for one that is negative or beyond the limit."""
    return round(figure) if figure is not None and 0 <= figure <= limit else None


def _validity_of(end: AttemptEnd) -> ValidityVerdict:
    verdict = end.verdict
    if verdict is None or not verdict.samples_done:
        return ValidityVerdict(state=Validity.INVALID, reasons=("NotMeasured",))
    if not verdict.final:
        return ValidityVerdict(state=Validity.PARTIAL, reasons=("NotFinal",))
    return verdict.validity or ValidityVerdict(state=Validity.INVALID, reasons=("NotStated",))


def _format(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)

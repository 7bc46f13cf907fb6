"""Builders of what the operator's core sees: runs, documents, Jobs, pods, verdicts, results.

Everything is made by the real code where there is any: documents by `accept`, messages by `encode`, statuses by
`accepted_status`. A test names what it is about and gets working defaults for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from vidbench_api.identity import attempt_name, request_name, result_name
from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.measured import Environment, Memory, Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.message import encode
from vidbench_api.names import Outcome, Reason, RowPhase, Validity
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus, ShardStatus
from vidbench_api.verdict import Verdict
from vidbench_operator.core.decide import decide
from vidbench_operator.core.expand import Accepted, accept
from vidbench_operator.core.observed import Observed, ObservedJob, ObservedPod, ObservedRun, References
from vidbench_operator.core.plan import Plan
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import accepted_status

NOW = 1_800_000_000.0
"""The moment at which runs of tests are created."""

RUN_UID = "0d9c2f5e-0000-4000-8000-000000000001"


def run_spec(**changes: Any) -> BenchmarkRunSpec:
    """A spec of one model and one sample, all of it at once; names of models, hardware and variants may be given alone."""
    for key in ("models", "hardware", "variants"):
        if key in changes:
            changes[key] = [{"name": entry} if isinstance(entry, str) else entry for entry in changes[key]]
    wire = {
        "models": [{"name": "wan"}],
        "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}]},
        "autoscaling": {"mode": "Off"},
    }
    return BenchmarkRunSpec.model_validate(wire | changes)


def observed_run(
    spec: BenchmarkRunSpec | None = None,
    status: BenchmarkRunStatus | None = None,
    *,
    name: str = "nightly",
    uid: str = RUN_UID,
    namespace: str = "lab",
    created_at: float = NOW,
) -> ObservedRun:
    """A run that was just created and that nobody has looked at."""
    return ObservedRun(namespace, name, uid, 1, "1", created_at, spec or run_spec(), status or BenchmarkRunStatus())


def video_model(**changes: Any) -> VideoModelSpec:
    """A model from a folder; a change replaces a part."""
    wire: dict[str, Any] = {
        "source": {"path": "/models/wan"},
        "pipelineClass": "WanPipeline",
        "defaults": {"dtype": "bfloat16", "height": 480, "width": 832, "frames": 33, "steps": 30},
    }
    return VideoModelSpec.model_validate(wire | changes)


def runner_class(**changes: Any) -> RunnerClassSpec:
    """A class that allows all."""
    return RunnerClassSpec.model_validate({"image": "vidbench/runner"} | changes)


def references(spec: BenchmarkRunSpec | None = None, **changes: Any) -> References:
    """What a spec's names resolve to: a class that allows all, and a model of every name."""
    names = [model.model_ref.name if model.model_ref else model.name for model in (spec or run_spec()).models]
    return replace(References(runner_class(), {name: video_model() for name in names}), **changes)


def document_of(run: ObservedRun) -> RequestDocument:
    """The request document of a run whose names all resolve."""
    outcome = accept(run, references(run.spec), {}, run.created_at)
    assert isinstance(outcome, Accepted), outcome
    return outcome.document


def latencies(*microseconds: int) -> Series:
    """A latency column."""
    return Series(
        name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(microseconds), values=microseconds
    )


@dataclass(frozen=True)
class Scene:
    """An accepted run with its document: the stage on which Jobs and pods appear."""

    run: ObservedRun
    document: RequestDocument

    @classmethod
    def of(cls, *, uid: str = RUN_UID, **spec: Any) -> Scene:
        """The scene of a run that was just accepted; `spec` as for `run_spec`."""
        run = observed_run(run_spec(**spec), uid=uid)
        document = document_of(run)
        status = accepted_status(run, document, request_name(run.name, run.uid), NOW)
        return cls(replace(run, status=status), document)

    @property
    def cell(self) -> Cell:
        """The first cell."""
        return self.document.cells[0]

    def cell_of(self, model: str, hardware: str = "default", variant: str = "default") -> Cell:
        """The cell of these names."""
        wanted = (model, hardware, variant)
        return next(cell for cell in self.document.cells if (cell.model, cell.hardware, cell.variant) == wanted)

    def with_status(self, status: BenchmarkRunStatus | None) -> Scene:
        """The scene after a status was written; None changes nothing."""
        return self if status is None else replace(self, run=replace(self.run, status=status))

    def with_shard(self, cell: Cell | None = None, index: int = 1, **changes: Any) -> Scene:
        """The scene with another stored state of a shard."""
        cell = cell or self.cell
        rows = tuple(
            row
            if row.id != cell.id
            else row.model_copy(
                update={
                    "shards": tuple(
                        shard.model_copy(update=changes) if shard.index == index else shard for shard in row.shards
                    )
                }
            )
            for row in self.run.status.rows
        )
        return self.with_status(self.run.status.model_copy(update={"rows": rows}))

    def active(self, cell: Cell | None = None, index: int = 1, attempt: int = 1, **changes: Any) -> Scene:
        """The scene with an attempt written down."""
        return self.with_shard(cell, index, phase=RowPhase.ACTIVE, attempt=attempt, **changes)

    def shard(self, cell: Cell | None = None, index: int = 1) -> ShardStatus:
        """The stored state of a shard."""
        cell = cell or self.cell
        row = next(row for row in self.run.status.rows if row.id == cell.id)
        return next(shard for shard in row.shards if shard.index == index)

    def job(self, cell: Cell | None = None, shard: int = 1, attempt: int = 1, **changes: Any) -> ObservedJob:
        """The Job of an attempt, without an end."""
        cell = cell or self.cell
        name = attempt_name(self.run.name, cell.id, shard, attempt)
        job = ObservedJob(name, f"uid-of-{name}", self.run.uid, cell.id, shard, attempt, NOW)
        return replace(job, **changes)

    def verdict(self, cell: Cell | None = None, shard: int = 1, attempt: int = 1, **changes: Any) -> Verdict:
        """A final verdict of an attempt: measured, valid."""
        measured: dict[str, Any] = {
            "request_digest": self.document.digest[:16],
            "cell": (cell or self.cell).id,
            "shard": shard,
            "attempt": attempt,
            "final": True,
            "outcome": Outcome.SUCCEEDED,
            "validity": ValidityVerdict(state=Validity.VALID),
            "samples_done": 3,
            "series": (latencies(1_000_000, 1_100_000, 1_200_000),),
            "environment": Environment(device="NVIDIA H100", device_count=1),
            "memory": Memory(device=8 * 1024**3),
        }
        return Verdict(**(measured | changes))

    def failure(self, reason: Reason | str, outcome: Outcome = Outcome.FAILED, **changes: Any) -> Verdict:
        """A final verdict of an attempt that failed before its first sample."""
        nothing: dict[str, Any] = {
            "outcome": outcome,
            "reason": str(reason),
            "message": f"it was {reason}",
            "validity": ValidityVerdict(state=Validity.INVALID, reasons=("NotMeasured",)),
            "samples_done": 0,
            "series": (),
            "memory": None,
        }
        return self.verdict(**(nothing | changes))

    def written_ahead(self, samples: int = 3, **changes: Any) -> Verdict:
        """A verdict that is not final."""
        values = tuple(1_000_000 + 100_000 * position for position in range(samples))
        series = (latencies(*values),) if samples else ()
        ahead = {"final": False, "outcome": None, "validity": None, "samples_done": samples, "series": series}
        return self.verdict(**(ahead | changes))

    def observed(self, *children: ObservedJob | ObservedPod, **changes: Any) -> Observed:
        """What is seen: these Jobs and pods and the document."""
        jobs = tuple(child for child in children if isinstance(child, ObservedJob))
        pods = tuple(child for child in children if isinstance(child, ObservedPod))
        return replace(Observed(jobs=jobs, pods=pods, document=self.document), **changes)

    def decide(
        self, *children: ObservedJob | ObservedPod, at: float = 0.0, policy: Policy | None = None, **changes: Any
    ) -> Plan:
        """Decide `at` seconds after the run's creation."""
        return decide(self.run, self.observed(*children, **changes), NOW + at, policy or Policy())

    def decide_live(self, *children: ObservedJob | ObservedPod, at: float = 0.0, **changes: Any) -> Plan:
        """Decide on a live observation in which every Event was read."""
        read = frozenset(child.uid for child in children if isinstance(child, ObservedJob))
        return self.decide(*children, at=at, live=True, **({"refusals_read": read} | changes))

    def after(self, plan: Plan) -> Scene:
        """The scene after the status of a plan was stored."""
        return self.with_status(plan.status)

    def result(self, cell: Cell | None = None, shard: int = 1, **changes: Any) -> BenchmarkResultSpec:
        """A result of a shard that succeeded."""
        cell = cell or self.cell
        spec: dict[str, Any] = {
            "run": RunReference(name=self.run.name, uid=self.run.uid),
            "cell": CellReference(id=cell.id, model=cell.model, hardware=cell.hardware, variant=cell.variant),
            "shard": shard,
            "attempts": 1,
            "request_digest": self.document.digest,
            "generation_hash": cell.generation_hash,
            "outcome": Outcome.SUCCEEDED,
            "validity": ValidityVerdict(state=Validity.VALID),
            "samples_done": 3,
            "series": (latencies(2_000_000, 2_100_000, 2_200_000),),
            "origin": Origin(attempt=1, gpu_seconds=40, finished_at="2027-01-15T08:01:00Z"),
        }
        return BenchmarkResultSpec(**(spec | changes))

    def result_name(self, cell: Cell | None = None, shard: int = 1) -> str:
        """The name of a shard's result."""
        return result_name(self.run.name, (cell or self.cell).id, shard)


def finished(
    job: ObservedJob, how: Literal["Complete", "Failed"] = "Complete", at: float = 60.0, **changes: Any
) -> ObservedJob:
    """The Job after its end, `at` seconds after the run's creation."""
    return replace(job, finished=how, finished_at=NOW + at, **changes)


def pod_of(job: ObservedJob, **changes: Any) -> ObservedPod:
    """A pod of a Job that the scheduler has not looked at."""
    pod = ObservedPod(f"{job.name}-x", f"pod-of-{job.uid}", job.uid, "Pending", job.created_at)
    return replace(pod, **changes)


def unschedulable_pod(job: ObservedJob, message: str = "0/3 nodes are available", **changes: Any) -> ObservedPod:
    """A pod for which there is no node."""
    return pod_of(job, **({"unschedulable_message": message} | changes))


def starting_pod(job: ObservedJob, **changes: Any) -> ObservedPod:
    """A pod that has a node and whose container does not run yet."""
    return pod_of(job, **({"node": "node-1", "scheduled_at": job.created_at + 1} | changes))


def running_pod(job: ObservedJob, **changes: Any) -> ObservedPod:
    """A pod whose runner runs."""
    return starting_pod(job, **({"phase": "Running", "started_at": job.created_at + 2} | changes))


def ended_pod(
    job: ObservedJob, verdict: Verdict | str | None, exit_code: int | None = 0, **changes: Any
) -> ObservedPod:
    """A pod whose runner has ended; `verdict` is its termination message."""
    ended: dict[str, Any] = {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        "finished_at": job.created_at + 50,
        "exit_code": exit_code,
        "container_reason": None if exit_code is None else "Completed" if exit_code == 0 else "Error",
        "message": encode(verdict) if isinstance(verdict, Verdict) else verdict,
    }
    return running_pod(job, **(ended | changes))


def shards_of(status: BenchmarkRunStatus) -> Iterable[ShardStatus]:
    """All shards of a status."""
    return (shard for row in status.rows for shard in row.shards)

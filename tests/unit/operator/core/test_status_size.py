"""How large the status of the largest run can become: etcd takes objects of 1.5 MiB, and the spec has its part of that."""

from __future__ import annotations

import json

import pytest
from support.builders import NOW

from vidbench_api.gates import MAX_EVIDENCE, MAX_GATES
from vidbench_api.identity import attempt_name, result_name
from vidbench_api.names import MAX_CELLS, MAX_RUN_NAME, MAX_SHARDS_OF_RUN, Outcome, Reason, RowPhase, RunPhase, Validity
from vidbench_api.run_status import (
    AttemptFailure,
    BenchmarkRunStatus,
    Breaker,
    CellRow,
    Condition,
    Evidence,
    GateStatus,
    HypothesisStatus,
    ShardStatus,
)
from vidbench_operator.core.evidence import AttemptEnd
from vidbench_operator.core.failures import CLASS_OF_REASON, FailureClass
from vidbench_operator.core.retry import failures_kept, remember_failure
from vidbench_operator.core.timestamps import format_time

LIMIT = 1024 * 1024
TIME = format_time(NOW)
RUN, NAME = "r" * MAX_RUN_NAME, "n" * 40
NODE = "n" * 63
"""The kubelet labels a node with its name, and a label holds no more."""

REASON = max((reason for reason, kind in CLASS_OF_REASON.items() if kind is FailureClass.INFRASTRUCTURE), key=len)


def failures_of(shards: int) -> tuple[AttemptFailure, ...]:
    """What a shard of a run of so many remembers that failed whenever it was tried."""
    failures: tuple[AttemptFailure, ...] = ()
    for attempt in range(10, 30):
        end = AttemptEnd(Outcome.FAILED, NOW, REASON, attempt=attempt)
        failures = remember_failure(failures, end, NODE, failures_kept(shards))
    return failures


def shard(index: int, cell: str, failures: tuple[AttemptFailure, ...]) -> ShardStatus:
    """A shard with every field as long as it gets."""
    return ShardStatus(
        index=index, phase=RowPhase.FINISHED, attempt=29, job_uid="0d9c2f5e-0000-4000-8000-000000000001", started_at=TIME,
        ended_at=TIME, not_before=TIME, node=NODE, failures=failures, disruptions=99, retries=10, lost_results=1,
        unknown_failures=5, superseded=(attempt_name(RUN, cell, index, 10),), reason=REASON.value, outcome=Outcome.FAILED,
        validity=Validity.INVALID, result=result_name(RUN, cell, index), latency_microseconds=10**10,
        spread_microseconds=10**10, samples=1_000, memory_mebibytes=10**6,
    )  # fmt: skip


def row(position: int, per_cell: int, failures: tuple[AttemptFailure, ...]) -> CellRow:
    cell = f"{position:08x}"
    return CellRow(
        id=cell, model=NAME, hardware=NAME, variant=NAME, phase=RowPhase.FINISHED, outcome=Outcome.FAILED,
        validity=Validity.INVALID, reason=REASON.value, message="x" * 256, latency_microseconds=10**10,
        spread_microseconds=10**10, spread_of="Shards", samples=1_000, memory_mebibytes=10**6, memory_of="Device",
        gpu="g" * 64, source="Measured", weights="Random", estimate_seconds=10**6,
        shards=tuple(shard(index, cell, failures) for index in range(1, per_cell + 1)),
    )  # fmt: skip


def status(cells: int, per_cell: int) -> BenchmarkRunStatus:
    """The status of a run with all that there can be: gates, hypotheses, breakers."""
    evidence = Evidence(
        cell="01234567", verdict="Inconclusive", unit="microseconds", estimate=-0.12345678901234567,
        low=-0.12345678901234567, high=0.12345678901234567, shards=3, against_shards=3, gpus=3, device="g" * 64, p_ppm=10**6,
        reason="x" * 64, decides="x" * 256,
    )  # fmt: skip
    gate = {"name": NAME, "verdict": "Inconclusive", "reason": "x" * 64, "message": "x" * 512, "cells": 200}
    seen = (evidence,) * MAX_EVIDENCE
    condition = Condition(
        type="Reconciling", status="False", reason="Waiting", message="x" * 1024, last_transition_time=TIME
    )
    failures = failures_of(cells * per_cell)
    return BenchmarkRunStatus(
        phase=RunPhase.FAILED, message="x" * 1024, conditions=(condition,) * 6, reuse_message="x" * 1024,
        rows=tuple(row(position, per_cell, failures) for position in range(cells)),
        breakers=(Breaker(kind="Node", name=NODE, state="HalfOpen", failures=99, until=TIME),) * 64,
        gates=(GateStatus(**gate, evidence=seen),) * MAX_GATES,
        hypotheses=(HypothesisStatus(**gate, role="Secondary", evidence=seen),) * MAX_GATES,
    )  # fmt: skip


@pytest.mark.parametrize(("cells", "per_cell"), [(MAX_CELLS, 3), (100, 6), (10, 60), (MAX_CELLS, 1), (75, 3)])
def test_the_largest_status_is_below_a_mebibyte(cells: int, per_cell: int) -> None:
    size = len(json.dumps(status(cells, per_cell).to_wire(), separators=(",", ":")))
    print(f"{cells} cells of {per_cell} shards: {size / 1024:.0f} KiB")
    assert cells * per_cell <= MAX_SHARDS_OF_RUN
    assert size < LIMIT


@pytest.mark.parametrize(("shards", "kept"), [(1, 8), (225, 8), (300, 6), (450, 4), (600, 3), (5_000, 3)])
def test_shards_of_large_runs_remember_fewer_failures(shards: int, kept: int) -> None:
    assert failures_kept(shards) == kept


def test_what_is_forgotten_first_is_what_says_nothing_about_a_node() -> None:
    failures: tuple[AttemptFailure, ...] = ()
    for attempt, reason in enumerate((Reason.NODE_LOST, Reason.EVICTED, Reason.HUNG, Reason.PREEMPTED), start=1):
        failures = remember_failure(failures, AttemptEnd(Outcome.FAILED, NOW, reason, attempt=attempt), NODE, 3)
    assert [failure.attempt for failure in failures] == [1, 3, 4]

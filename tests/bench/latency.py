"""How long one run waits for the operator: many small runs, one after the other, on an operator with nothing else to do.

Times are between timestamps of the API server's audit log: one clock, microseconds.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bench.audit import Call
from bench.ledger import ended
from bench.pod_ender import PodEnder, is_running
from bench.scenario import Bench, accepted
from bench.workload import Manifest, Workload
from vidbench_api.names import LABEL_RUN

REST_SECONDS = 0.3
"""Between the start of a pod and its end, and between two runs: the operator has nothing to do meanwhile."""


@dataclass(frozen=True)
class Latency:
    """One run of one shard."""

    apply_to_job: float
    """Seconds from the arrival of the run's POST to the answer to the POST of its Job."""

    end_to_status: float
    """Seconds from the arrival of the write that ends the pod to the answer to the status write that ends the run."""


async def measure_latencies(bench: Bench, workload: Workload) -> list[Latency]:
    """Apply the runs one by one; the operator runs and is at rest."""
    mark = bench.audit.mark()
    ender = PodEnder(bench.ender_api, workload.path("pods"))
    async with (
        aclosing(bench.api.watch(workload.path("benchmarkruns"))) as runs,
        aclosing(bench.ender_api.watch(workload.path("pods"))) as pods,
    ):
        for number in range(workload.runs):
            manifest = workload.run_manifest(number)
            name = manifest["metadata"]["name"]
            await bench.api.request("POST", workload.path("benchmarkruns"), manifest)
            pod = await _first(pods, lambda pod, run=name: _runs_for(pod, run))
            await asyncio.sleep(REST_SECONDS)
            await ender.end_one(pod)
            await _first(runs, lambda run, name=name: run["metadata"]["name"] == name and ended(run))
            await asyncio.sleep(REST_SECONDS)
    await bench.wait_quiet(bench.audit.mark())
    return latencies_of(
        applied=accepted(bench.audit.calls_since(mark, bench.api.user), "create benchmarkruns"),
        ended=accepted(bench.audit.calls_since(mark, bench.ender_api.user), "patch pods/status"),
        answers=bench.operator_calls(mark),
    )


def latencies_of(applied: Iterable[Call], ended: Iterable[Call], answers: Sequence[Call]) -> list[Latency]:
    """Return the latencies of runs of one shard from the calls about them."""
    jobs = {_run_of(call.name): call.answered for call in accepted(answers, "create jobs")}
    # A status that has ended is never written again: the last write is the one that ended the run.
    statuses = {call.name: call.answered for call in answers if call.is_status and call.code < 300}
    ends = {_run_of(call.name): call.received for call in ended}
    return [
        Latency(
            (jobs[call.name] - call.received).total_seconds(), (statuses[call.name] - ends[call.name]).total_seconds()
        )
        for call in applied
    ]


def latency_figures(latencies: Sequence[Latency]) -> dict[str, Any]:
    """Return the percentiles in milliseconds."""
    return {
        "runs": len(latencies),
        "applyToJobMilliseconds": percentiles([entry.apply_to_job * 1000 for entry in latencies]),
        "podEndToStatusMilliseconds": percentiles([entry.end_to_status * 1000 for entry in latencies]),
    }


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return values that were seen (nearest rank), so that nothing is made up between them."""
    ordered = sorted(values)
    return {
        "p50": round(ordered[math.ceil(len(ordered) * 0.50) - 1], 1),
        "p99": round(ordered[math.ceil(len(ordered) * 0.99) - 1], 1),
        "max": round(ordered[-1], 1),
    }


def _run_of(name: str) -> str:
    """Return the run of a Job (`run-cell-shard-attempt`) or of its pod (with five more characters)."""
    return "-".join(name.split("-")[:2])


def _runs_for(pod: Manifest, run: str) -> bool:
    return bool(pod["metadata"]["labels"].get(LABEL_RUN) == run and is_running(pod))


async def _first(events: AsyncIterator[tuple[str, Manifest]], wanted: Callable[[Manifest], bool]) -> Manifest:
    async with asyncio.timeout(60):
        async for _, item in events:
            if wanted(item):
                return item
    raise AssertionError("the watch ended")

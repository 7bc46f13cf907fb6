"""20 runs x 10 cells, again and again: the same Jobs created raw and by the operator, on one cluster that is idle otherwise."""

from __future__ import annotations

from bench.audit import seconds_of
from bench.figures import Restart, Round
from bench.ledger import check_ledger
from bench.pod_ender import PodEnder
from bench.scenario import Bench, accepted
from bench.workload import Workload


async def measure_raw(bench: Bench, workload: Workload) -> float:
    """Create the Jobs of all runs without an operator, and remove them; return the seconds that creation took."""
    await bench.prepare(workload)
    seconds = await bench.create_raw(workload, workload.run_manifests())
    await bench.remove(workload)
    return seconds


async def measure_operator(bench: Bench, workload: Workload, raw_seconds: float, end_seconds: float) -> Round:
    """Start an operator, apply all runs, let them end, check every result, stop the operator."""
    await bench.prepare(workload)
    await bench.start_operator()
    before, passes_before = bench.operator.figures(), await bench.operator.passes()
    mark = bench.audit.mark()
    await bench.apply(workload, workload.run_manifests(), workload.shards)
    created_at = bench.operator.figures()
    ender = PodEnder(bench.ender_api, workload.path("pods"))
    await bench.end_all(workload, ender, end_seconds)
    await bench.wait_quiet(mark)
    calls = bench.operator_calls(mark)
    after, passes = bench.operator.figures(), await bench.operator.passes() - passes_before
    await bench.operator.stop()
    applied = accepted(bench.audit.calls_since(mark, bench.api.user), "create benchmarkruns")
    created = accepted(calls, "create jobs")
    await check_ledger(bench.api, workload, ender.verdicts, created)
    await bench.remove(workload)
    return Round(
        raw_seconds=raw_seconds,
        operator_seconds=seconds_of([*applied, *created]),
        finished_seconds=seconds_of([*applied, *(call for call in calls if call.is_status)]),
        calls=tuple(calls),
        passes=passes,
        idle_mebibytes=before.resident_mebibytes,
        peak_mebibytes=after.peak_mebibytes,
        end_mebibytes=after.resident_mebibytes,
        start_cpu_seconds=before.cpu_seconds,
        creation_cpu_seconds=created_at.cpu_seconds - before.cpu_seconds,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
    )


async def measure_restarts(bench: Bench, workload: Workload, end_seconds: float) -> tuple[Restart, Restart]:
    """Restart the operator while every shard runs, and again after every run has ended."""
    await bench.prepare(workload)
    await bench.start_operator()
    await bench.apply(workload, workload.run_manifests(), workload.shards)
    await bench.wait_running(workload, workload.shards)
    while_running = await bench.restart(workload.shards)
    await bench.end_all(workload, PodEnder(bench.ender_api, workload.path("pods")), end_seconds)
    after_end = await bench.restart(0)
    await bench.operator.stop()
    await bench.remove(workload)
    return while_running, after_end

"""A hundred runs of a hundred cells: everything at once on a thousand nodes, in two halves, with restarts.

Creation is done in two halves, raw and by the operator alike, so that the operator's memory can be read at rest with
half of the shards live.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from bench.audit import Call, seconds_of
from bench.continuity import attempt_of_job, attempts_of_results, attempts_of_statuses, continuity_figures
from bench.figures import Restart, call_figures, restart_figures
from bench.ledger import check_results, check_runs
from bench.pod_ender import PodEnder
from bench.process_figures import ProcessFigures
from bench.scenario import Bench, accepted
from bench.workload import Manifest, Workload

ENDS_A_SECOND = 60
"""So many simulated runners end in a second: evenly, so that every run ends a shard in every second or two."""

COMPLAINT_CHARACTERS = 2000


@dataclass(frozen=True)
class Life:
    """One life of all runs under the operator."""

    creation_seconds: tuple[float, ...]
    """Of each half: from the first POST of a run to the answer to the last POST of a Job."""

    ending_seconds: float
    """From the first end of a pod to the last status write."""

    calls: tuple[Call, ...]
    passes: int
    rest: ProcessFigures
    half_live: ProcessFigures
    all_live: ProcessFigures
    end: ProcessFigures
    cpu_seconds: float
    """Of both processes, their starts not counted."""

    at_peak: Restart
    after_end: Restart
    continuity: dict[str, int]
    complaint: str | None
    """What a run or a result says that it should not; None if all is as the verdicts said."""


async def measure_raw(bench: Bench, workload: Workload) -> tuple[float, ...]:
    """Create the Jobs of both halves without an operator; return the seconds of each."""
    await bench.prepare(workload)
    seconds, created = [], 0
    for half in _halves(workload):
        seconds.append(await bench.create_raw(workload, half))
        created += len(half) * workload.shape.cells
        await bench.wait_running(workload, created)
    return tuple(seconds)


async def measure_life(bench: Bench, workload: Workload) -> Life:
    """Let all runs live and end under an operator that runs and is at rest."""
    await bench.prepare(workload)
    first_mark = bench.audit.mark()
    rest, passes_before = bench.operator.figures(), await bench.operator.passes()
    creation, live = await _create(bench, workload)
    passes = await bench.operator.passes() - passes_before
    at_peak = await bench.restart(workload.shards)
    ending_mark = bench.audit.mark()
    ender = PodEnder(bench.ender_api, workload.path("pods"))
    # What is stuck is counted, not waited for beyond the limit.
    with contextlib.suppress(AssertionError):
        await bench.end_all(workload, ender, workload.shards / ENDS_A_SECOND)
    await bench.wait_quiet(ending_mark)
    calls = bench.operator_calls(first_mark)
    passes += await bench.operator.passes()
    end = bench.operator.figures()
    continuity, complaint = await _compare(bench, workload, ender, accepted(calls, "create jobs"))
    after_end = await bench.restart(0)
    ends = accepted(bench.audit.calls_since(ending_mark, bench.ender_api.user), "patch pods/status")
    statuses = [call for call in calls if call.is_status]
    return Life(
        creation_seconds=creation,
        ending_seconds=seconds_of([*ends, statuses[-1]]),
        calls=tuple(calls),
        passes=passes,
        rest=rest,
        half_live=live[0],
        all_live=live[-1],
        end=end,
        cpu_seconds=live[-1].cpu_seconds - rest.cpu_seconds + end.cpu_seconds - at_peak.process.cpu_seconds,
        at_peak=at_peak,
        after_end=after_end,
        continuity=continuity,
        complaint=complaint,
    )


async def _create(bench: Bench, workload: Workload) -> tuple[tuple[float, ...], list[ProcessFigures]]:
    """Apply both halves; return the seconds of each, and the process at rest after each."""
    seconds, live, expected = [], [], 0
    for half in _halves(workload):
        mark = bench.audit.mark()
        expected += len(half) * workload.shape.cells
        await bench.apply(workload, half, expected)
        await bench.wait_running(workload, expected)
        await bench.wait_quiet(mark)
        applied = accepted(bench.audit.calls_since(mark, bench.api.user), "create benchmarkruns")
        created = accepted(bench.operator_calls(mark), "create jobs")
        seconds.append(seconds_of([*applied, *created]))
        live.append(bench.operator.figures())
    return tuple(seconds), live


async def _compare(
    bench: Bench, workload: Workload, ender: PodEnder, created: list[Call]
) -> tuple[dict[str, int], str | None]:
    """Compare what was seen of every shard; return how many went astray, and what is wrong with those that did not."""
    runs = await bench.api.list_items(workload.path("benchmarkruns"))
    results = await bench.api.list_items(workload.path("benchmarkresults"))
    figures = continuity_figures(
        expected=workload.shards,
        created=[attempt_of_job(call.name) for call in created],
        ended=ender.attempts,
        recorded=attempts_of_results(results),
        reported=attempts_of_statuses(runs),
    )
    try:
        check_runs(runs, workload.shape.cells)
        check_results(runs, results, ender.verdicts)
    except AssertionError as error:
        return figures, str(error)[:COMPLAINT_CHARACTERS]
    return figures, None


def life_figures(life: Life, raw_seconds: tuple[float, ...], shards: int) -> dict[str, Any]:
    """Return the figures of the report."""
    return {
        "continuity": life.continuity,
        "creation": {
            "rawSeconds": round(sum(raw_seconds), 2),
            "operatorSeconds": round(sum(life.creation_seconds), 2),
            "ratio": round(sum(life.creation_seconds) / sum(raw_seconds), 3),
            "halves": [
                {"rawSeconds": round(raw, 2), "operatorSeconds": round(mine, 2), "ratio": round(mine / raw, 3)}
                for raw, mine in zip(raw_seconds, life.creation_seconds, strict=True)
            ],
            "endingSeconds": round(life.ending_seconds, 1),
        },
        "calls": call_figures(life.calls, life.passes, shards),
        "operator": {
            "restMebibytes": life.rest.resident_mebibytes,
            "halfLiveMebibytes": life.half_live.resident_mebibytes,
            "allLiveMebibytes": life.all_live.resident_mebibytes,
            "endMebibytes": life.end.resident_mebibytes,
            "peakMebibytes": max(life.all_live.peak_mebibytes, life.end.peak_mebibytes),
            "cpuSeconds": round(life.cpu_seconds, 1),
            "creationCpuSeconds": round(life.all_live.cpu_seconds - life.rest.cpu_seconds, 1),
            "cpuMillisecondsPerShard": round(life.cpu_seconds / shards * 1000, 1),
        },
        "restartAtPeak": restart_figures(life.at_peak),
        "restartAfterEnd": restart_figures(life.after_end),
    }


def _halves(workload: Workload) -> tuple[list[Manifest], list[Manifest]]:
    manifests = workload.run_manifests()
    middle = (len(manifests) + 1) // 2
    return manifests[:middle], manifests[middle:]

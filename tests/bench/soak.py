"""Churn: runs are applied, end, and are removed by their time to live, for as long as wanted, while the operator is sampled."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.async_api import ApiError
from bench.continuity import attempts_of_results
from bench.figures import spread_of
from bench.pod_ender import Pod, PodEnder, is_running
from bench.process_figures import Handles, ProcessFigures
from bench.scenario import Bench, wait_until
from bench.trend import fit
from bench.workload import Workload

SAMPLE_SECONDS = 5.0
BLOCK_SECONDS = 60.0
DROPPED_SHARE = 0.25
"""Of the churn's time, at its beginning: pools fill, and the time to live is not yet over for any run."""

RUN_SECONDS = (1.0, 4.0)
"""How long a simulated runner runs."""

_HOUR = 3600.0
_MINUTE = 60.0


@dataclass(frozen=True)
class Sample:
    """One look at the operator."""

    seconds: float
    """Since the churn began."""

    process: ProcessFigures
    handles: Handles
    main_tasks: int
    watch_tasks: int


@dataclass(frozen=True)
class Churn:
    """What happened."""

    runs: int
    runs_left: int
    shards_ended: int
    lost: int
    """Shards whose pod left a verdict, and that are not in the ledger."""

    passes: int
    samples: tuple[Sample, ...]
    afterwards: Sample
    """At rest, when all runs were gone."""


class Soak:
    """One churn on a cluster whose operator runs."""

    def __init__(self, bench: Bench, workload: Workload, runs_a_second: float) -> None:
        self._bench = bench
        self._workload = workload
        self._pause = 1.0 / runs_a_second
        self._ender = PodEnder(bench.ender_api, workload.path("pods"))
        self._chance = random.Random(0)
        self._begun = time.monotonic()
        self._applied = 0

    async def run(self, seconds: float) -> Churn:
        """Churn for so long, then wait until everything is gone."""
        await self._bench.prepare(self._workload)
        passes = await self._bench.operator.passes()
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(self._end_pods())
            sampling = tasks.create_task(self._sample_for(seconds))
            await self._apply_for(seconds)
            samples = await sampling
            await wait_until(self._is_empty, "until all runs are gone", pause=2.0)
            ending.cancel()
        await self._bench.wait_quiet(self._bench.audit.mark())
        results = await self._bench.api.list_items(self._workload.path("benchmarkresults"))
        return Churn(
            runs=self._applied,
            runs_left=await self._bench.api.count(self._workload.path("benchmarkruns")),
            shards_ended=len(self._ender.attempts),
            lost=len(set(self._ender.attempts) - set(attempts_of_results(results))),
            passes=await self._bench.operator.passes() - passes,
            samples=tuple(samples),
            afterwards=await self._sample(),
        )

    async def _apply_for(self, seconds: float) -> None:
        while time.monotonic() < self._begun + seconds:
            await asyncio.sleep(max(0.0, self._begun + self._applied * self._pause - time.monotonic()))
            path, manifest = self._workload.path("benchmarkruns"), self._workload.run_manifest(self._applied)
            await self._bench.api.request("POST", path, manifest)
            self._applied += 1

    async def _end_pods(self) -> None:
        """End every pod a while after it was seen to run."""
        seen: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            async for kind, pod in self._bench.ender_api.watch(self._workload.path("pods")):
                uid = pod["metadata"]["uid"]
                if kind == "DELETED":
                    seen.discard(uid)
                elif uid not in seen and is_running(pod):
                    seen.add(uid)
                    tasks.create_task(self._end_pod(pod))

    async def _end_pod(self, pod: Pod) -> None:
        await asyncio.sleep(self._chance.uniform(*RUN_SECONDS))
        try:
            await self._ender.end_one(pod)
        except ApiError as error:
            if error.status != 404:
                raise

    async def _sample_for(self, seconds: float) -> list[Sample]:
        samples: list[Sample] = []
        while time.monotonic() < self._begun + seconds:
            samples.append(await self._sample())
            await asyncio.sleep(max(0.0, self._begun + len(samples) * SAMPLE_SECONDS - time.monotonic()))
        return samples

    async def _sample(self) -> Sample:
        operator = self._bench.operator
        tasks = await operator.tasks()
        return Sample(
            seconds=time.monotonic() - self._begun,
            process=operator.figures(),
            handles=operator.handles(),
            main_tasks=tasks["main"],
            watch_tasks=tasks["watches"],
        )

    async def _is_empty(self) -> bool:
        return not await self._bench.api.count(self._workload.path("benchmarkruns"))


def soak_figures(churn: Churn) -> dict[str, Any]:
    """Return the figures of the report; the first part of the churn is dropped from all but the counts."""
    begin = churn.samples[-1].seconds * DROPPED_SHARE
    kept = [sample for sample in churn.samples if sample.seconds >= begin]
    times = [sample.seconds for sample in kept]
    first, last = kept[0], kept[-1]
    cpu = last.process.cpu_seconds - first.process.cpu_seconds
    return {
        "churn": {
            "runs": churn.runs,
            "runsLeft": churn.runs_left,
            "shards": churn.shards_ended,
            "lost": churn.lost,
            "passes": churn.passes,
            "cpuShare": round(cpu / (last.seconds - first.seconds), 3),
        },
        "memory": {
            "mebibytes": spread_of((sample.process.resident_mebibytes for sample in kept), 1),
            "peakMebibytes": churn.afterwards.process.peak_mebibytes,
            "afterwardsMebibytes": churn.afterwards.process.resident_mebibytes,
            **_slope("mebibytes", times, [sample.process.resident_mebibytes for sample in kept]),
            "byMinute": _by_minute(churn.samples),
        },
        "threads": _held(times, [sample.handles.threads for sample in kept], churn.afterwards.handles.threads),
        "fileDescriptors": _held(
            times, [sample.handles.file_descriptors for sample in kept], churn.afterwards.handles.file_descriptors
        ),
        "sockets": _held(times, [sample.handles.sockets for sample in kept], churn.afterwards.handles.sockets),
        "mainTasks": _held(times, [sample.main_tasks for sample in kept], churn.afterwards.main_tasks),
        "watchTasks": _held(times, [sample.watch_tasks for sample in kept], churn.afterwards.watch_tasks),
    }


def _by_minute(samples: Sequence[Sample]) -> list[float]:
    """Return the median resident MiB of each minute from the beginning on: a leak climbs, a step does not."""
    minutes: dict[int, list[float]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.seconds // _MINUTE), []).append(sample.process.resident_mebibytes)
    return [round(statistics.median(values), 1) for _, values in sorted(minutes.items())]


def _held(times: Sequence[float], values: Sequence[int], afterwards: int) -> dict[str, Any]:
    return {"number": spread_of(values, 1), "afterwards": afterwards, **_slope("slope", times, values)}


def _slope(name: str, times: Sequence[float], values: Sequence[float]) -> dict[str, float | None]:
    """Return the change an hour and its standard error; None where there are too few blocks to tell."""
    trend = fit(times, values, BLOCK_SECONDS)
    error = trend.standard_error if trend is not None else None
    return {
        f"{name}PerHour": None if trend is None else round(trend.slope * _HOUR, 2),
        f"{name}PerHourError": None if error is None else round(error * _HOUR, 2),
    }

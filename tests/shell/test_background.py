"""Tasks that are kept alive, lists that are repeated, and what the probes say of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from localcluster import ports
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.ports import Refused, RunKey, Unavailable
from vidbench_operator.shell.children import ChildStore
from vidbench_operator.shell.probes import find_problem, serve_probes
from vidbench_operator.shell.resync import Resync
from vidbench_operator.shell.supervision import keep_alive

KEY = RunKey("team", "nightly")
JOB = ObservedJob("nightly-0123abcd-1-1", "job-1", "run-1", "0123abcd", 1, 1, 0.0)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


@in_virtual_time
async def test_task_that_dies_is_started_again_within_a_second() -> None:
    moments: list[float] = []
    restarted: list[str] = []
    loop = asyncio.get_running_loop()

    async def task() -> None:
        moments.append(loop.time())
        if len(moments) < 4:
            raise RuntimeError("died")
        await asyncio.Event().wait()

    keeper = asyncio.create_task(keep_alive("task", task, restarted=restarted.append, jitter=lambda: 0.0))
    await asyncio.sleep(20)
    keeper.cancel()
    assert moments == pytest.approx([0.0, 0.5, 1.5, 3.5])
    assert restarted == ["task"] * 3


@in_virtual_time
async def test_task_that_ends_is_started_again() -> None:
    lives = 0

    async def task() -> None:
        nonlocal lives
        lives += 1

    keeper = asyncio.create_task(keep_alive("task", task, jitter=lambda: 0.0))
    await asyncio.sleep(1.6)
    keeper.cancel()
    assert lives == 3


@in_virtual_time
async def test_restarts_are_spread_never_late_and_never_end() -> None:
    gaps: list[float] = []
    loop = asyncio.get_running_loop()
    latest = loop.time()

    async def task() -> None:
        nonlocal latest
        gaps.append(loop.time() - latest)
        latest = loop.time()
        raise RuntimeError("died")

    keeper = asyncio.create_task(keep_alive("task", task))
    await asyncio.sleep(600)
    keeper.cancel()
    assert 0.25 <= gaps[1] <= 0.5
    assert all(1.0 <= gap <= 2.0 for gap in gaps[4:])
    assert len(gaps) > 300
    assert len({round(gap, 3) for gap in gaps[4:]}) > 100


@in_virtual_time
async def test_task_that_was_steady_is_started_again_fast() -> None:
    lives: list[float] = []
    loop = asyncio.get_running_loop()

    async def task() -> None:
        lives.append(loop.time())
        await asyncio.sleep(0.0 if len(lives) < 6 else 100.0)
        raise RuntimeError("died")

    keeper = asyncio.create_task(keep_alive("task", task, jitter=lambda: 0.0))
    await asyncio.sleep(210)
    keeper.cancel()
    assert lives[5] - lives[4] == pytest.approx(2.0)
    assert lives[6] - (lives[5] + 100.0) == pytest.approx(0.5)


class FakeSource:
    """What a resync reads."""

    def __init__(self) -> None:
        self.lists = 0
        self.jobs: list[tuple[RunKey, ObservedJob]] = []
        self.nodes_visible = True
        self.error: Exception | None = None

    async def list_run_keys(self) -> list[RunKey]:
        self.lists += 1
        if self.error is not None:
            raise self.error
        return [KEY]

    async def list_all_jobs(self) -> list[tuple[RunKey, ObservedJob]]:
        return self.jobs

    async def list_all_pods(self) -> list[tuple[RunKey, ObservedPod]]:
        return []

    async def list_nodes(self) -> dict[str, ObservedNode]:
        if not self.nodes_visible:
            raise Refused("nodes is forbidden")
        return {}


class FakeQueue:
    """Remembers what was added."""

    def __init__(self) -> None:
        self.added: list[RunKey] = []

    def add(self, key: RunKey) -> None:
        self.added.append(key)


class Bench:
    """A resync with all that it touches."""

    def __init__(self) -> None:
        self.source, self.store, self.queue = FakeSource(), ChildStore(), FakeQueue()
        self.done = 0
        self.restarts = 0
        self.resync = Resync(
            self.source,
            self.store,
            self.queue,
            period_seconds=300,
            done=self._count_done,
            restart_watches=self._count_restart,
        )

    def _count_done(self) -> None:
        self.done += 1

    def _count_restart(self) -> None:
        self.restarts += 1


@in_virtual_time
async def test_resync_lists_at_start_and_every_period() -> None:
    bench = Bench()
    assert bench.resync.seconds_since_success == float("inf")
    task = asyncio.create_task(bench.resync.run())
    await asyncio.sleep(1)
    assert (bench.source.lists, bench.queue.added, bench.done) == (1, [KEY], 1)
    await asyncio.sleep(1000)
    assert bench.source.lists == 4
    assert bench.resync.seconds_since_success < 310
    task.cancel()


@in_virtual_time
async def test_resync_makes_one_list_of_a_watch_that_begins_anew() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.resync.run())
    await asyncio.sleep(100)
    for _ in range(50):
        bench.resync.ask()
        await asyncio.sleep(0.01)
    await asyncio.sleep(10)
    assert bench.source.lists == 2
    task.cancel()


@in_virtual_time
async def test_resync_that_fails_shows_and_is_tried_again() -> None:
    bench = Bench()
    bench.source.error = Unavailable("connection refused")
    task = asyncio.create_task(keep_alive("resync", bench.resync.run))
    await asyncio.sleep(60)
    assert bench.source.lists >= 25
    assert bench.done == 0
    bench.source.error = None
    await asyncio.sleep(2.1)
    assert bench.done == 1
    task.cancel()


@in_virtual_time
async def test_resync_begins_watches_anew_that_stay_silent_twice() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.resync.run())
    await asyncio.sleep(100)
    bench.source.jobs = [(KEY, JOB)]
    await asyncio.sleep(230)
    assert bench.restarts == 0, "once may be an old gap"
    bench.source.jobs = []
    await asyncio.sleep(20)
    assert bench.restarts == 1
    task.cancel()


@in_virtual_time
async def test_resync_does_not_blame_watches_that_are_only_slow() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.resync.run())
    for number in range(5):
        await asyncio.sleep(250)
        job = ObservedJob(f"nightly-0123abcd-1-{number}", f"job-{number}", "run-1", "0123abcd", 1, number, 0.0)
        bench.source.jobs = [*bench.source.jobs, (KEY, job)]
        await asyncio.sleep(52)
        bench.store.put_job(KEY, job)
    assert bench.restarts == 0
    task.cancel()


@in_virtual_time
async def test_resync_gets_on_without_nodes() -> None:
    bench = Bench()
    bench.source.nodes_visible = False
    await bench.resync.sweep()
    assert bench.done == 1
    assert bench.store.nodes() is None


GOOD = {
    "beat_seconds": 0.5,
    "lease_seconds": 1.0,
    "pass_seconds": 3.0,
    "resync_seconds": 200.0,
    "uptime_seconds": 9000.0,
}


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param({}, None, id="all is well"),
        pytest.param({"beat_seconds": 60.0}, "work queue", id="the queue's loop is dead"),
        pytest.param({"lease_seconds": 90.0}, "Lease", id="the loop of the Lease is dead"),
        pytest.param({"pass_seconds": 400.0}, "a pass hangs", id="a pass hangs"),
        pytest.param({"resync_seconds": 1000.0}, "was not listed", id="the cluster was not listed for long"),
        pytest.param({"resync_seconds": float("inf"), "uptime_seconds": 100.0}, None, id="it has just started"),
        pytest.param({"resync_seconds": float("inf")}, "was not listed", id="it has never got to the cluster"),
    ],
)
def test_liveness_is_progress(change: dict[str, float], want: str | None) -> None:
    problem = find_problem(**(GOOD | change), period_seconds=300.0)
    assert (want in problem) if want and problem else problem == want


async def test_probes_answer_over_http() -> None:
    health, figures = ports.pick_free(2)
    state: dict[str, Any] = {"problem": None, "ready": False}
    metrics = Metrics()
    metrics.attempt_ended("NodeLost")
    metrics.api_call("POST", "jobs", 201)
    metrics.set_runs({"Running": 3})
    async with (
        serve_probes(health, figures, lambda: state["problem"], lambda: state["ready"], metrics),
        aiohttp.ClientSession() as session,
    ):

        async def get(port: int, path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()

        assert await get(health, "/healthz") == (200, "ok")
        assert (await get(health, "/readyz"))[0] == 503
        state.update(problem="the loop is dead", ready=True)
        assert await get(health, "/healthz") == (500, "the loop is dead")
        assert (await get(health, "/readyz"))[0] == 200
        status, text = await get(figures, "/metrics")
    assert status == 200
    assert 'vidbench_attempts_ended_total{reason="NodeLost"} 1.0' in text
    assert 'vidbench_api_calls_total{code="201",resource="jobs",verb="POST"} 1.0' in text
    assert 'vidbench_runs{phase="Running"} 3.0' in text
    assert "vidbench_build_info{version=" in text

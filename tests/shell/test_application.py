"""The operator as a whole, on a cluster that is played: who leads passes, who follows does none, and how both end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.adapters.kube import KubeCluster
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.core.observed import ObservedPod
from vidbench_operator.ports import RunKey
from vidbench_operator.settings import Settings
from vidbench_operator.shell.application import Operator

KEYS = [RunKey("team", "a"), RunKey("team", "b")]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


class PlayedCluster:
    """Two runs; reading one takes as long as the test says. The kinds are not served, so that nothing is watched."""

    def __init__(self, story: list[str], pass_seconds: float) -> None:
        self.story = story
        self.pass_seconds = pass_seconds
        self.read: list[RunKey] = []

    async def is_served(self) -> bool:
        return False

    async def get_run(self, key: RunKey) -> None:
        self.read.append(key)
        await asyncio.sleep(self.pass_seconds)
        self.story.append(f"passed {key.name}")

    async def list_run_keys(self) -> list[RunKey]:
        return KEYS

    async def count_runs(self) -> int:
        return len(KEYS)

    async def list_all_jobs(self) -> list[Any]:
        return []

    async def list_all_pods(self) -> list[Any]:
        return []

    async def list_nodes(self) -> dict[str, Any]:
        return {}


class PlayedLeader:
    """Leads when it is told to."""

    identity = "pod-1"
    seconds_since_beat = 0.0

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.leads = False
        self.begin = asyncio.Event()

    def is_leading(self) -> bool:
        return self.leads

    async def run(self, took_over: Callable[[], None]) -> None:
        await self.begin.wait()
        self.leads = True
        took_over()
        await asyncio.Event().wait()

    async def release(self) -> None:
        self.story.append("released")


class HearingMetrics(Metrics):
    """Counts how often each kind was heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()

    def heard(self, kind: str) -> None:
        self.times[kind] += 1
        super().heard(kind)


class Scene:
    """One operator that runs."""

    def __init__(self, pass_seconds: float = 0.1) -> None:
        self.metrics = HearingMetrics()
        self.story: list[str] = []
        self.cluster = PlayedCluster(self.story, pass_seconds)
        self.leader = PlayedLeader(self.story)
        settings = Settings(resync_seconds=300)
        self.operator = Operator(settings, cast("KubeCluster", self.cluster), self.metrics, self.leader)
        self.task = asyncio.create_task(self.operator.run())

    async def stop(self) -> float:
        """Ask it to end; returns the seconds that it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.task.cancel()
        await asyncio.wait([self.task])
        return loop.time() - started


@in_virtual_time
async def test_follower_is_ready_and_does_no_pass_until_it_leads() -> None:
    scene = Scene()
    await asyncio.sleep(700)
    assert scene.cluster.read == []
    assert scene.operator.is_ready()
    assert scene.operator.find_problem() is None
    scene.leader.begin.set()
    await asyncio.sleep(5)
    assert sorted(set(scene.cluster.read)) == KEYS
    await scene.stop()


@in_virtual_time
async def test_list_speaks_for_the_watch_of_a_kind_only_if_that_had_told_all() -> None:
    """Nothing is watched here, which is as deaf as a watch can be; what happens, happens to pods."""
    scene = Scene()
    for key in KEYS:
        scene.operator._store.put_run(key, RunHead("u", 1, deleting=False, accepted=True, phase="Running"))
    phases = itertools.cycle(("Pending", "Running"))

    async def changed_pods() -> list[Any]:
        return [(KEYS[0], ObservedPod("a-1", "pod-1", "job-1", next(phases), 0.0))]

    scene.cluster.list_all_pods = changed_pods  # type: ignore[method-assign]
    await asyncio.sleep(1_000)
    times = scene.metrics.times
    assert times["pods"] == 0
    assert times["jobs"] == times["benchmarkruns"] == times["nodes"] > 3, "a quiet kind is no deaf one"
    await scene.stop()


@in_virtual_time
async def test_leader_that_lost_the_lease_does_no_further_pass() -> None:
    scene = Scene()
    scene.leader.begin.set()
    await asyncio.sleep(10)
    scene.leader.leads = False
    before = len(scene.cluster.read)
    await asyncio.sleep(700)
    assert len(scene.cluster.read) == before > 0
    await scene.stop()


@in_virtual_time
async def test_follower_lets_go_of_last_words_that_are_settled() -> None:
    """The run is gone here, so that only its being looked at can be seen; what is dropped is for the reconciler's tests."""
    scene = Scene()
    pod = ObservedPod("a-1", "pod-1", "job-1", "Succeeded", 0.0, exit_code=0, message="verdict")
    scene.operator._store.put_pod(KEYS[0], pod)
    await asyncio.sleep(130)
    assert scene.cluster.read == [KEYS[0], KEYS[0]]
    await scene.stop()


@in_virtual_time
async def test_pass_in_hand_is_finished_before_the_lease_is_released() -> None:
    scene = Scene(pass_seconds=3.0)
    scene.leader.begin.set()
    await asyncio.sleep(1)
    seconds = await scene.stop()
    assert scene.story == ["passed a", "passed b", "released"] or scene.story == ["passed b", "passed a", "released"]
    assert 2.0 <= seconds < 4.0


@in_virtual_time
async def test_pass_that_hangs_holds_the_end_up_for_seconds_only() -> None:
    scene = Scene(pass_seconds=100.0)
    scene.leader.begin.set()
    await asyncio.sleep(1)
    seconds = await scene.stop()
    assert scene.story == ["released"]
    assert 7.0 <= seconds <= 9.0

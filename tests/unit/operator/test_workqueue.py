"""The work queue: once each, never twice at the same time, and no key in another's way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.ports import Unavailable
from vidbench_operator.shell.workqueue import QueuePolicy, WorkQueue

FAST = QueuePolicy(workers=2, first_delay=0.02, last_delay=0.1, spacing=0.0)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


@asynccontextmanager
async def running(
    work: Callable[[str], Awaitable[float | None]], policy: QueuePolicy = FAST
) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(work, policy, jitter=lambda: 1.0)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


@in_virtual_time
async def test_queue_works_on_a_key_once_however_often_it_is_added() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)

    queue = WorkQueue(work, FAST)
    for _ in range(100):
        queue.add("a")
    assert queue.depth == 1
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.05)
    task.cancel()
    assert seen == ["a"]


@in_virtual_time
async def test_queue_never_works_on_a_key_twice_at_the_same_time() -> None:
    busy = 0
    passes = 0

    async def work(key: str) -> None:
        nonlocal busy, passes
        busy += 1
        passes += 1
        assert busy == 1
        await asyncio.sleep(0.01)
        busy -= 1

    async with running(work) as queue:
        for _ in range(20):
            queue.add("a")
            await asyncio.sleep(0.004)
        await asyncio.sleep(0.05)
    assert passes == 9


@in_virtual_time
async def test_queue_works_again_on_a_key_that_was_added_during_its_pass() -> None:
    passes = 0
    first_pass = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal passes
        passes += 1
        first_pass.set()
        await asyncio.sleep(0.01)

    async with running(work) as queue:
        queue.add("a")
        await first_pass.wait()
        queue.add("a")
        await asyncio.sleep(0.05)
    assert passes == 2


@in_virtual_time
async def test_queue_takes_the_earlier_of_two_times() -> None:
    moments: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(key: str) -> None:
        moments.append(loop.time())

    async with running(work) as queue:
        started = loop.time()
        queue.add_after("a", 5.0)
        queue.add_after("a", 0.02)
        queue.add_after("a", 9.0)
        await asyncio.sleep(0.1)
    assert moments == pytest.approx([started + 0.02])


@in_virtual_time
async def test_queue_adds_a_key_again_after_what_its_pass_returns() -> None:
    passes = 0

    async def work(key: str) -> float | None:
        nonlocal passes
        passes += 1
        return 0.01 if passes < 3 else None

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(0.1)
    assert passes == 3


@in_virtual_time
async def test_queue_tries_a_failed_key_again_ever_later() -> None:
    moments: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(key: str) -> None:
        moments.append(loop.time())
        raise ValueError("broken object")

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(0.4)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == pytest.approx([0.02, 0.04, 0.08, 0.1, 0.1])


@in_virtual_time
async def test_queue_shows_a_traceback_of_what_nobody_expected() -> None:
    async def work(key: str) -> None:
        raise {"outage": Unavailable("away"), "bug": KeyError("bug")}[key]

    with capture_logs() as entries:
        queue = WorkQueue(work, FAST, expected=(Unavailable,))
        task = asyncio.create_task(queue.run())
        queue.add("outage")
        queue.add("bug")
        await asyncio.sleep(0.01)
        task.cancel()
    assert {entry["key"]: entry["exc_info"] is not None for entry in entries} == {"outage": False, "bug": True}


@in_virtual_time
async def test_queue_waits_as_long_as_the_server_said() -> None:
    passes = 0

    async def work(key: str) -> None:
        nonlocal passes
        passes += 1
        raise Unavailable("too many requests", retry_after=5.0)

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(0.15)
    assert passes == 1


@in_virtual_time
async def test_queue_is_not_held_up_by_a_key_that_fails_or_hangs() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        if key == "broken":
            raise RuntimeError("broken object")
        if key == "hangs":
            await asyncio.sleep(60)
        seen.append(key)

    async with running(work, QueuePolicy(workers=2, first_delay=0.02, spacing=0.0, pass_limit=0.1)) as queue:
        for key in ("broken", "hangs", "a", "b", "c"):
            queue.add(key)
        await asyncio.sleep(0.05)
        assert seen == ["a", "b", "c"]
        assert queue.longest_pass_seconds == pytest.approx(0.05)
        await asyncio.sleep(0.051)
        assert queue.longest_pass_seconds == 0.0


@in_virtual_time
async def test_queue_works_on_no_more_keys_at_once_than_it_has_workers() -> None:
    busy = 0
    most = 0

    async def work(key: str) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.005)
        busy -= 1

    async with running(work) as queue:
        for number in range(20):
            queue.add(str(number))
        await asyncio.sleep(0.2)
    assert most == 2


@in_virtual_time
async def test_queue_remembers_no_times_that_were_replaced() -> None:
    """Each pass asks for another one in a day, and an event comes long before."""
    passes = 0

    async def work(key: str) -> float:
        nonlocal passes
        passes += 1
        return 86_400.0

    async with running(work) as queue:
        for number in range(5000):
            queue.add(str(number % 10))
            await asyncio.sleep(0.001)
        assert passes > 1000
        assert len(queue._heap) <= 2 * queue.depth + 64
        assert queue.depth == 10


@in_virtual_time
async def test_queue_makes_one_pass_of_a_burst() -> None:
    passes = 0

    async def work(key: str) -> None:
        nonlocal passes
        passes += 1

    async with running(work, QueuePolicy(spacing=0.1)) as queue:
        for _ in range(10):
            queue.add("a")
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
    assert passes == 2, "one at once, and one for all the rest"


@in_virtual_time
async def test_queue_wakes_a_resting_key_before_what_is_due_later() -> None:
    moments: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(key: str) -> float | None:
        moments.append(loop.time())
        return 0.0 if len(moments) < 3 else None

    async with running(work, QueuePolicy(spacing=0.1)) as queue:
        queue.add_after("later", 3600.0)
        queue.add("a")
        await asyncio.sleep(5)
    assert moments == pytest.approx([0.0, 0.1, 0.2])


@in_virtual_time
async def test_queue_finishes_the_pass_in_hand_when_it_is_told_to_end() -> None:
    finished = False
    started = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal finished
        started.set()
        await asyncio.sleep(0.05)
        finished = True

    async with running(work) as queue:
        queue.add("a")
        await started.wait()
    assert finished


@in_virtual_time
async def test_queue_beats_while_it_has_nothing_to_do() -> None:
    async def work(key: str) -> None:
        return None

    async with running(work) as queue:
        await asyncio.sleep(60)
        assert queue.seconds_since_beat <= 1.0
    assert WorkQueue(work).seconds_since_beat == float("inf")


async def test_queue_asks_how_long_a_key_is_to_rest_after_each_pass() -> None:
    starts: list[float] = []
    rests = iter([0.0, 0.15, 0.0])
    loop = asyncio.get_running_loop()

    async def work(key: str) -> None:
        starts.append(loop.time())

    queue = WorkQueue(work, FAST, rest=lambda: next(rests))
    task = asyncio.create_task(queue.run())
    for number in range(1, 4):
        queue.add("a")
        async with asyncio.timeout(5):
            while len(starts) < number:  # noqa: ASYNC110 - the passes happen in the queue's tasks
                await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.wait([task])
    assert starts[2] - starts[1] >= 0.15

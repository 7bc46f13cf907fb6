"""A queue of keys: each key at most once in it, and never worked on twice at the same time.

A failed key comes back after a growing, jittered delay; what fails delays no other key. Knows nothing of what a key is.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

Key = TypeVar("Key", bound=Hashable)

_log = structlog.get_logger("vidbench.queue")
_STALE_ENTRIES: Final = 64


@dataclass(frozen=True)
class QueuePolicy:
    """How a queue behaves. Durations are seconds."""

    workers: int = 8
    first_delay: float = 0.2
    """Delay after the first failure of a key; doubled with each further one."""

    last_delay: float = 60.0
    spacing: float = 0.05
    """Rest of a key after a pass, in which a burst of events becomes one pass; a queue with a `rest` asks that instead."""

    pass_limit: float = 120.0
    """A pass that takes longer is cancelled and counts as failed."""


class WorkQueue(Generic[Key]):
    """Calls `work(key)` for every key that was added; a number that it returns adds the key again so much later.

    `work` may raise anything: the failure is logged, with a traceback unless it is `expected`, and the key comes back.
    After a pass a key rests for `rest()` seconds.
    Use from one event loop only.
    """

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        policy: QueuePolicy = QueuePolicy(),
        jitter: Callable[[], float] = random.random,
        expected: tuple[type[Exception], ...] = (),
        rest: Callable[[], float] | None = None,
    ) -> None:
        self._work = work
        self._policy = policy
        self._jitter = jitter
        self._expected = expected
        self._rest_seconds = rest or (lambda: policy.spacing)
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._running: dict[Key, tuple[asyncio.Task[None], float]] = {}
        self._rests_until: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._beat = float("-inf")

    @property
    def depth(self) -> int:
        """How many keys wait."""
        return len(self._due)

    @property
    def seconds_since_beat(self) -> float:
        """How long ago the queue last looked for work; it does so at least once a second."""
        return asyncio.get_running_loop().time() - self._beat

    @property
    def longest_pass_seconds(self) -> float:
        """How long the oldest pass that is under way has taken."""
        now = asyncio.get_running_loop().time()
        return max((now - started for _, started in self._running.values()), default=0.0)

    def add(self, key: Key) -> None:
        """Ask for a pass as soon as possible."""
        self.add_after(key, 0.0)

    def add_after(self, key: Key, seconds: float) -> None:
        """Ask for a pass in so many seconds; an earlier one that is asked for already stays."""
        due = asyncio.get_running_loop().time() + max(0.0, seconds)
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._numbers), key))
        self._drop_stale()
        self._wake.set()

    def _drop_stale(self) -> None:
        """Forget entries that an earlier time has replaced, once they are the most: some were due in a day only."""
        if len(self._heap) > 2 * len(self._due) + _STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Work until cancelled; passes that are under way are finished first."""
        try:
            while True:
                self._beat = asyncio.get_running_loop().time()
                self._wake.clear()
                delay = self._start_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(delay, 1.0)):
                        await self._wake.wait()
        finally:
            await self._finish_running()

    def _start_due(self) -> float:
        """Start what is due while there are workers; return seconds until the next key may be."""
        now = asyncio.get_running_loop().time()
        held_back: list[tuple[float, int, Key]] = []
        delay = float("inf")
        while self._heap and len(self._running) < self._policy.workers:
            due, number, key = self._heap[0]
            if due > now:
                delay = min(delay, due - now)
                break
            heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue
            rest = self._rests_until.get(key, 0.0) - now
            if key in self._running or rest > 0:
                held_back.append((due, number, key))
                delay = min(delay, rest) if rest > 0 else delay
                continue
            self._start(key, now)
        for entry in held_back:
            heapq.heappush(self._heap, entry)
        return delay

    def _start(self, key: Key, now: float) -> None:
        del self._due[key]
        self._rests_until.pop(key, None)
        task = asyncio.create_task(self._run_pass(key), name=f"pass of {key}")
        self._running[key] = (task, now)

    async def _run_pass(self, key: Key) -> None:
        try:
            async with asyncio.timeout(self._policy.pass_limit):
                again = await self._work(key)
        except Exception as error:  # noqa: BLE001 - whatever a pass meets must not reach the other keys
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add_after(key, again)
        finally:
            del self._running[key]
            self._rest(key)
            self._wake.set()

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._policy.last_delay, self._policy.first_delay * 2 ** min(failures, 30))
        delay *= 0.5 + self._jitter() / 2
        said = getattr(error, "retry_after", None)
        delay = max(delay, said) if isinstance(said, int | float) else delay
        _log.warning(
            "a pass failed",
            key=str(key),
            error=repr(error),
            failures=failures + 1,
            retry_seconds=round(delay, 2),
            exc_info=None if isinstance(error, self._expected) else error,
        )
        self.add_after(key, delay)

    def _rest(self, key: Key) -> None:
        """Let the key rest; forget rests that are over, so that keys of the past take no memory."""
        now = asyncio.get_running_loop().time()
        self._rests_until = {entry: until for entry, until in self._rests_until.items() if until > now}
        self._rests_until[key] = now + self._rest_seconds()

    async def _finish_running(self) -> None:
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._policy.pass_limit)

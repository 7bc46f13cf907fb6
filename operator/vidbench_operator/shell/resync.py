"""Lists everything from the server, at start, when a watch began anew, and every few minutes.

The list puts right what the watches missed, asks for a pass over every run, and proves to the liveness probe that the
operator still sees the cluster. If two lists in a row find changes of which no watch tells afterwards either, the
watches are blind, and are begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.ports import Refused, RunKey

from .children import ChildStore, Listed
from .intake import Queue

_log = structlog.get_logger("vidbench.resync")
_SETTLE_SECONDS: Final = 1.0
_CONFIRM_SECONDS: Final = 5.0
_CHECK_AGAIN_SECONDS: Final = 30.0


class Source(Protocol):
    """What a resync reads."""

    async def list_run_keys(self) -> list[RunKey]:
        """Return the keys of all runs."""
        ...

    async def list_all_jobs(self) -> list[tuple[RunKey, ObservedJob]]:
        """Return the Jobs of all runs."""
        ...

    async def list_all_pods(self) -> list[tuple[RunKey, ObservedPod]]:
        """Return the pods of all runs."""
        ...

    async def list_nodes(self) -> dict[str, ObservedNode]:
        """Return the nodes; raises Refused if they are not visible."""
        ...


class Resync:
    """`done` is told of every list that went through; `restart_watches` begins them anew."""

    def __init__(
        self,
        source: Source,
        store: ChildStore,
        queue: Queue,
        *,
        period_seconds: float,
        done: Callable[[], None],
        restart_watches: Callable[[], None],
    ) -> None:
        self._source = source
        self._store = store
        self._queue = queue
        self._period_seconds = period_seconds
        self._done = done
        self._restart_watches = restart_watches
        self._asked = asyncio.Event()
        self._at_once = False
        self._succeeded_at: float | None = None

    @property
    def seconds_since_success(self) -> float:
        """How long ago the latest list went through; infinite before the first one."""
        if self._succeeded_at is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._succeeded_at

    @property
    def has_listed(self) -> bool:
        """Whether a list has gone through since the process began."""
        return self._succeeded_at is not None

    def ask(self, *, at_once: bool = False) -> None:
        """Ask for a list soon, or without waiting for more to ask for one."""
        self._at_once = self._at_once or at_once
        self._asked.set()

    async def run(self) -> None:
        """List for ever; raises what a list raises."""
        blind_before = False
        while True:
            await self.sweep()
            asked = await self._wait(_CONFIRM_SECONDS)
            # Of a gap in a watch that began anew, nothing is ever told: only what stays untold twice speaks of blindness.
            blind = not asked and self._store.unconfirmed > 0
            if blind and blind_before:
                _log.warning("the watches have missed changes twice in a row: they are begun anew")
                self._restart_watches()
            blind_before = blind
            if not asked:
                await self._wait(min(_CHECK_AGAIN_SECONDS, self._period_seconds) if blind else self._period_seconds)

    async def sweep(self) -> None:
        """List once, and ask for a pass over every run."""
        mark = self._store.begin_sweep()
        runs = await self._source.list_run_keys()
        jobs = await self._source.list_all_jobs()
        pods = await self._source.list_all_pods()
        try:
            nodes = await self._source.list_nodes()
        except Refused:
            nodes = None
        changed = self._store.finish_sweep(mark, Listed(frozenset(runs), jobs, pods, nodes))
        for key in {*runs, *changed}:
            self._queue.add(key)
        self._succeeded_at = asyncio.get_running_loop().time()
        self._done()

    async def _wait(self, seconds: float) -> bool:
        """Wait for the next list; returns whether it was asked for."""
        asked = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()
                asked = True
        if asked and not self._at_once:
            # A watch that begins anew sends many events: one list for all of them.
            await asyncio.sleep(_SETTLE_SECONDS)
        self._asked.clear()
        self._at_once = False
        return asked

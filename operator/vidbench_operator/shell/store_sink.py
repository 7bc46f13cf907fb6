"""Copies each result into the results store, beside the passes: a store that is down holds nothing up and loses nothing.

Created results wait in a queue with a bound. What did not fit, what another operator created and what was waiting when a process ended is
found by reading the ledger: when this process begins to act, after an overflow, and once an hour. Writing a result again changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any, Final, Protocol

import structlog

from vidbench_operator.ports import ResultsStore, StoreUnavailable

_log = structlog.get_logger("vidbench.store")
WAITING: Final = 500
"""Results of some 10 KiB that wait at most; beyond, the ledger itself is the queue."""

BATCH: Final = 100
PERIOD_SECONDS: Final = 3600.0
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0

Document = dict[str, Any]


class Ledger(Protocol):
    """The results, as the server holds them."""

    def read_results(self) -> AsyncIterator[Document]:
        """Yield all results, whole, few of them in memory at a time."""
        ...


class Gauges(Protocol):
    """Who is told how it goes."""

    def set_store(self, *, up: bool, waiting: int, complete: bool) -> None:
        """Say whether the last write succeeded, how many results wait, and whether none is missing that this process knows of."""
        ...

    def results_stored(self, added: int, known: int, unreadable: int) -> None:
        """Count what was written."""
        ...


class StoreSink:
    """Offer results to it from the loop; `run` writes them for as long as `may_act` says so, whatever fails."""

    def __init__(
        self,
        store: ResultsStore,
        ledger: Ledger,
        gauges: Gauges,
        *,
        may_act: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._gauges = gauges
        self._may_act = may_act
        self._jitter = jitter
        self._waiting: deque[Document] = deque()
        self._wake = asyncio.Event()
        self._missing = 1
        """Counted up whenever the ledger may hold what the store does not; what was read up to a number is in it."""
        self._read = 0
        self._read_at = 0.0
        """When the ledger was last read to its end, on the loop's clock."""
        self._up: bool | None = None
        """None before the first write."""
        self._tell()

    @property
    def is_complete(self) -> bool:
        """Whether all is in the store that this process knows of."""
        return self._missing == self._read and not self._waiting

    def offer(self, document: Document) -> None:
        """Take a result that was just created. Never waits."""
        if len(self._waiting) < WAITING:
            self._waiting.append(document)
        else:
            self._missing += 1
        self._wake.set()
        self._tell()

    def catch_up(self) -> None:
        """Read the ledger: there may be results in it that nobody offered."""
        self._missing += 1
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            await self._write_for_ever()
        finally:
            self._store.close()

    async def _write_for_ever(self) -> None:
        retry = _FIRST_RETRY_SECONDS
        while True:
            await self._wait_for_work()
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - the ledger may be out of reach too; all of it comes again
                if isinstance(error, StoreUnavailable):
                    self._say_down(error)
                else:
                    _log.warning("results are not copied into the store", error=repr(error), retry_seconds=retry)
                # Half of the wait is by chance, so that operators of many clusters do not come back at once.
                await asyncio.sleep(retry * (1.0 - self._jitter() / 2))
                retry = min(_LONGEST_RETRY_SECONDS, retry * 2)
            else:
                self._say_up()
                retry = _FIRST_RETRY_SECONDS
            finally:
                self._tell()

    async def _wait_for_work(self) -> None:
        while not self._may_act() or self.is_complete:
            self._wake.clear()
            acting = self._may_act()
            # From the last reading, not from the last result: on a busy operator that would put it off for ever.
            due = max(0.0, self._read_at + PERIOD_SECONDS - asyncio.get_running_loop().time())
            try:
                async with asyncio.timeout(due if acting else _FIRST_RETRY_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                if acting:
                    self._missing += 1

    async def _work(self) -> None:
        while self._waiting:
            # Taken out only when stored: an error keeps them, in their order.
            batch = list(islice(self._waiting, BATCH))
            await self._write(batch)
            for _ in batch:
                self._waiting.popleft()
            self._tell()
        if self._missing != self._read:
            await self._read_ledger()

    async def _read_ledger(self) -> None:
        missing, batch, listed = self._missing, [], 0
        async for document in self._ledger.read_results():
            batch.append(document)
            if len(batch) == BATCH:
                await self._write(batch)
                listed += len(batch)
                batch = []
        if batch or not listed:
            # With an empty ledger too: otherwise nobody would have asked whether the store is there.
            await self._write(batch)
        self._read, self._read_at = missing, asyncio.get_running_loop().time()
        _log.info("the store has the whole ledger", results=listed + len(batch))

    async def _write(self, batch: list[Document]) -> None:
        written = await self._store.write(batch)
        self._gauges.results_stored(written.added, written.known, len(written.unreadable))
        for problem in written.unreadable:
            _log.warning("a result cannot be stored", problem=problem)

    def _say_down(self, error: StoreUnavailable) -> None:
        if self._up is not False:
            _log.warning("the results store cannot be written: results wait in the ledger", error=str(error))
        self._up = False

    def _say_up(self) -> None:
        if self._up is False:
            _log.info("the results store can be written again")
        self._up = True

    def _tell(self) -> None:
        self._gauges.set_store(up=bool(self._up), waiting=len(self._waiting), complete=self.is_complete)

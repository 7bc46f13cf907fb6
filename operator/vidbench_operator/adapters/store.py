"""The `ResultsStore` port on `vidbench_store`: each write in a thread of its own, so that no database holds up the event loop.

The threads are daemons: a database that hangs does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from vidbench_operator.ports import ResultsWritten, StoreUnavailable
from vidbench_store.location import Location, StoreError
from vidbench_store.store import Store

_STATEMENT_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 120.0
"""For all statements of a write: a server that was frozen keeps no limit of its own."""

_Answer = TypeVar("_Answer")


class SqlStore:
    """Writes into one store, which is opened when it is first needed and anew after an error."""

    def __init__(self, location: Location, cluster: str) -> None:
        self._location = location
        self._cluster = cluster
        self._store: Store | None = None

    async def write(self, documents: Sequence[Mapping[str, Any]]) -> ResultsWritten:
        """Store objects; raises StoreUnavailable. One call at a time."""
        store, self._store = self._store, None
        left = threading.Event()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                self._store, written = await in_thread(lambda: self._write(store, documents, left))
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {_ANSWER_SECONDS:g} s from {self._location.text}") from None
        finally:
            left.set()
        return written

    def close(self) -> None:
        """Close the connections; the next write opens them again."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _write(
        self, store: Store | None, documents: Sequence[Mapping[str, Any]], left: threading.Event
    ) -> tuple[Store, ResultsWritten]:
        """Return the store with the answer; it is closed after an error, and when nobody waits any more."""
        try:
            if store is None:
                store = Store.open(self._location, statement_seconds=_STATEMENT_SECONDS)
            written = store.write(self._cluster, documents)
        except BaseException as error:
            if store is not None:
                store.close()
            if isinstance(error, StoreError):
                raise StoreUnavailable(str(error)) from None
            raise
        if left.is_set():
            store.close()
        return store, ResultsWritten(
            added=written.added,
            known=written.updated + written.unchanged + written.refused,
            unreadable=tuple(f"{entry.name}: {entry.problem}" for entry in written.unreadable),
        )


async def in_thread(work: Callable[[], _Answer]) -> _Answer:
    """Run work in a daemon thread; whoever is cancelled leaves it behind."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Answer] = loop.create_future()

    def settle(value: _Answer | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]  # the work's own answer

    def run() -> None:
        value, problem = None, None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            problem = error
        # The loop may have ended meanwhile, and with it whoever waited.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=run, name="vidbench-store", daemon=True).start()
    return await answer

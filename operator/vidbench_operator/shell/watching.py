"""Runs Kopf in a thread with an event loop of its own.

Kopf cancels every task that it did not find when it started, takes over signals, and ends on ordinary faults of the
API. In its own loop it harms nothing of ours, and a new one can be started at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from vidbench_api.names import FIELD_MANAGER

_STOP_SECONDS = 3.0


class NoMemories(ResourceMemories):
    """Remembers nothing of any object: Kopf keeps kilobytes of each for handlers of other kinds than ours."""

    async def recall(
        self,
        raw_body: kopf.RawBody,
        *,
        memobase: Any = None,
        noticed_by_listing: bool = False,
        ephemeral: bool = True,  # noqa: ARG002 - Kopf's signature
    ) -> ResourceMemory:
        """Return a new memory, which is gone after the event."""
        return await super().recall(raw_body, memobase=memobase, noticed_by_listing=noticed_by_listing, ephemeral=True)


class WatchesEndedError(Exception):
    """Kopf ended, or died. Start it again."""


class Watches:
    """One life of Kopf."""

    def __init__(self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, namespaces: Sequence[str]):
        self._registry = registry
        self._settings = settings
        self._namespaces = tuple(namespaces)
        self._stop: Callable[[], object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def tasks(self) -> int:
        """How many tasks Kopf has now; it makes one for each object that something was heard of lately."""
        return 0 if self._loop is None else len(asyncio.all_tasks(self._loop))

    async def run(self) -> None:
        """Watch until cancelled; raises WatchesEndedError when Kopf ends by itself."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = loop.create_future()

        def report(error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result(error)

        def tell(error: BaseException | None) -> None:
            # The loop is closed if the process is on its way out.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(report, error)

        def live() -> None:
            try:
                asyncio.run(self._operate(tell))
            except BaseException as error:  # noqa: BLE001 - it is handed to the supervising loop
                tell(error)
            tell(None)

        threading.Thread(target=live, name="watches", daemon=True).start()
        try:
            error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            await self._end(ended)
            raise
        raise WatchesEndedError(f"the watches ended: {error!r}") from error

    async def _operate(self, tell: Callable[[BaseException | None], None]) -> None:
        """Run in the thread's loop until a task of Kopf's ends, and say so at once.

        Kopf itself would first wait five seconds for streams that do not end by themselves.
        """
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop = loop
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=self._settings,
            memories=NoMemories(),
            standalone=True,
            # Without one, Kopf makes it from the name of the user, and a container's arbitrary uid has none. The type is
            # a str by another name, which Kopf does not export.
            identity=FIELD_MANAGER,  # type: ignore[arg-type]
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tell(next((error for task in done if not task.cancelled() and (error := task.exception())), None))

    async def _end(self, ended: asyncio.Future[BaseException | None]) -> None:
        """Ask Kopf to stop and wait a little; its thread never keeps the process."""
        if self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._stop()
            await asyncio.wait([ended], timeout=_STOP_SECONDS)

"""An event loop in a thread of its own, for what has to go on while a test waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

Answer = TypeVar("Answer")
_SECONDS = 30.0
_LINGER_SECONDS = 0.1


class BackgroundLoop:
    """Use as a context manager."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=_SECONDS)
        self.loop.close()

    def call(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine in the loop and return its answer."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=_SECONDS)

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        # Transports that were closed or aborted just now end in the loop's next rounds.
        await asyncio.sleep(_LINGER_SECONDS)

"""An event loop that is driven by hand: no selector, no real time, and ready callbacks in an order that a seed decides.

The real reconciler awaits real tasks, futures and semaphores on it. Which of two passes goes on at which call is the
seed's choice, so that interleavings are explored and can be repeated.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any


class SeededLoop(asyncio.AbstractEventLoop):  # what it leaves out, nothing that it runs may need
    """Runs what is ready until nothing is; `now` is the clock that coroutines see as the loop's."""

    def __init__(self, chance: Random, now: Callable[[], float]) -> None:
        self._chance = chance
        self._now = now
        self._ready: list[asyncio.Handle] = []
        self._driving = False
        self.errors: list[BaseException] = []
        """What callbacks raised: never expected."""

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def time(self) -> float:
        return self._now()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        return asyncio.Task(coroutine, loop=self, **options)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._driving

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            self.errors.append(error)

    @property
    def driving(self) -> bool:
        """Whether something that the loop runs is what asks."""
        return self._driving

    def drive(self) -> None:
        """Run callbacks until none is ready. From within a callback it does nothing: the outer call goes on."""
        if self._driving or not self._ready:
            return
        self._driving = True
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                position = self._chance.randrange(len(self._ready)) if len(self._ready) > 1 else 0
                handle = self._ready.pop(position)
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(outer)
            self._driving = False


class Turn:
    """Awaiting it lets others go on first."""

    def __await__(self) -> Any:
        yield

"""Runs a coroutine on an event loop whose clock jumps to the next timer when there is nothing to do.

Tests of durations are exact this way, and fast, however busy the machine is.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

Parameters = ParamSpec("Parameters")


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait: it turns the clock by the time that it was to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own. Only for coroutines that do no I/O and use no threads."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual clock."""
        return self._jumping.now


def in_virtual_time(
    test: Callable[Parameters, Awaitable[None]],
) -> Callable[Parameters, None]:
    """Make an async test a plain one that runs in virtual time."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(_started(test, *args, **kwargs))

    return run


async def _started(test: Callable[..., Awaitable[None]], *args: Any, **kwargs: Any) -> None:
    await test(*args, **kwargs)

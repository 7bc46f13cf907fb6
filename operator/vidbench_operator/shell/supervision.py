"""Keeps background tasks alive: one that ends, however it ends, is started again within a second."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

_log = structlog.get_logger("vidbench.supervision")
RESTART_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 2.0
_STEADY_SECONDS: Final = 30.0


async def keep_alive(
    name: str,
    task: Callable[[], Awaitable[None]],
    *,
    restarted: Callable[[str], None] = lambda _name: None,
    restart_seconds: float = RESTART_SECONDS,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Run a task for ever. The first restart comes within `restart_seconds`; ones in a row wait up to two seconds.

    Each wait is cut at random by up to a half, so that operators which an outage felled together do not come back so.
    """
    loop = asyncio.get_running_loop()
    longest = restart_seconds
    while True:
        started = loop.time()
        problem = "it ended"
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - whatever it was, the task has to run
            problem = repr(error)
        if loop.time() - started > _STEADY_SECONDS:
            longest = restart_seconds
        delay = longest * (1.0 - jitter() / 2)
        _log.warning("a background task died", task=name, error=problem, restart_seconds=round(delay, 2))
        restarted(name)
        await asyncio.sleep(delay)
        longest = min(_LONGEST_SECONDS, longest * 2)

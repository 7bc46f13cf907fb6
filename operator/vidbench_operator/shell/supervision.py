"""Keeps background tasks alive: one that ends, however it ends, is started again within a second."""

from __future__ import annotations

import asyncio
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
) -> None:
    """Run a task for ever. The first restart comes after `restart_seconds`; ones in a row wait up to two."""
    delay = restart_seconds
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - whatever it was, the task has to run
            _log.warning("a background task died", task=name, error=repr(error), restart_seconds=delay)
        else:
            _log.warning("a background task ended", task=name, restart_seconds=delay)
        restarted(name)
        await asyncio.sleep(delay)
        steady = asyncio.get_running_loop().time() - started > _STEADY_SECONDS
        delay = restart_seconds if steady else min(_LONGEST_SECONDS, delay * 2)

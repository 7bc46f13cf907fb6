"""Takes the API server's pulse: one tiny list a second, so that half-open connections cost seconds and not minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from vidbench_operator.core.pulse import Beat, Finding, Pulse, judge
from vidbench_operator.ports import Gone, Unavailable

_log = structlog.get_logger("vidbench.heartbeat")
ANSWER_SECONDS: Final = 1.5
_UNEASY_SECONDS: Final = 0.3


class Heartbeat:
    """`count` asks the server how many runs there are, `known` says how many the watches know.

    `answered` says how many calls of others the server has answered so far. `look` asks for a list of everything; `begin_anew` is for watches and calls that wait on dead connections.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[int]],
        known: Callable[[], int],
        *,
        period_seconds: float,
        look: Callable[[], None],
        begin_anew: Callable[[], None],
        answered: Callable[[], int] = lambda: 0,
    ) -> None:
        self._count = count
        self._known = known
        self._period_seconds = period_seconds
        self._look = look
        self._begin_anew = begin_anew
        self._answered = answered
        self._heard = 0
        self._pulse = Pulse()

    def hear(self) -> None:
        """Note that a watch has told of a run. May be called from the watching thread."""
        self._heard += 1

    async def run(self) -> None:
        """Take the pulse for ever."""
        while True:
            self._pulse, finding = judge(self._pulse, await self._beat())
            self._act(finding)
            await asyncio.sleep(_UNEASY_SECONDS if self._pulse.is_uneasy else self._period_seconds)

    async def _beat(self) -> Beat:
        runs, hung = None, False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                runs = await self._count()
        except TimeoutError:
            hung = True
        except (Unavailable, Gone):
            hung = False
        return Beat(asyncio.get_running_loop().time(), runs, self._known(), self._heard, hung, self._answered())

    def _act(self, finding: Finding) -> None:
        if finding in (Finding.BACK, Finding.THAWED, Finding.DEAF):
            _log.warning("the API server is heard again", finding=finding.value)
            self._look()
        if finding in (Finding.THAWED, Finding.DEAF):
            self._begin_anew()

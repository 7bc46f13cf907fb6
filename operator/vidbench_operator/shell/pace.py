"""How long a key rests after a pass: hardly at all while there is little to do, longer while the process works hard.

What happens while a key rests becomes one pass. So an idle operator answers at once, and one that has ten thousand pods
to follow makes fewer and larger passes instead of taking the processor from the API server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHORTEST: Final = 0.05
LONGEST: Final = 2.0
SHARE: Final = 0.5
"""Of one processor, that the process may use before rests get longer."""

_LOOK_SECONDS: Final = 0.5


class Pace:
    """`cpu` and `now` are the processor time of the process and a clock, in seconds."""

    def __init__(self, cpu: Callable[[], float] = time.process_time, now: Callable[[], float] = time.monotonic) -> None:
        self._cpu = cpu
        self._now = now
        self._looked = now(), cpu()
        self._rest = SHORTEST

    def rest(self) -> float:
        """Return how long a key is to rest now."""
        now, cpu = self._now(), self._cpu()
        since, used = now - self._looked[0], cpu - self._looked[1]
        if since >= _LOOK_SECONDS:
            self._looked = now, cpu
            self._rest = next_rest(self._rest, used / since)
        return self._rest


def next_rest(rest: float, share: float) -> float:
    """Return the next rest after one in which the process used that share of a processor: half to twice as long."""
    return min(LONGEST, max(SHORTEST, rest * min(2.0, max(0.5, share / SHARE))))

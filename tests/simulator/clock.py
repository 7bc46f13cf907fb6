"""The time of a simulated cluster: one clock that never jumps, by which things happen, and the one that the API shows."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from support.builders import NOW


class Clock:
    """Timers in the order in which they fall due."""

    def __init__(self) -> None:
        self.monotonic = 0.0
        self._offset = NOW
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def api(self) -> float:
        """API time in seconds since the epoch."""
        return self._offset + self.monotonic

    @property
    def stamp(self) -> float:
        """API time as Kubernetes writes it: whole seconds."""
        return float(int(self.api))

    def jump(self, seconds: float) -> None:
        """Let the API server's clock be set."""
        self._offset += seconds

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something so much later."""
        heapq.heappush(self._timers, (self.monotonic + max(0.0, seconds), next(self._numbers), call))

    def next_due(self) -> float | None:
        """When the next timer falls due, on the clock that never jumps."""
        return self._timers[0][0] if self._timers else None

    def pop_due(self, until: float) -> Callable[[], None] | None:
        """Turn the clock to the next timer that falls due until then; None if there is none."""
        if not self._timers or self._timers[0][0] > until:
            return None
        due, _, call = heapq.heappop(self._timers)
        self.monotonic = max(self.monotonic, due)
        return call

"""API time on a monotonic clock: the server's `Date` headers say how far the two are apart.

Each answer gives an interval: the server's clock, cut to the second, read between sending and receiving. The
intersection of all intervals narrows to a few milliseconds; an empty one means that a clock was set, and starts anew.
The local wall clock is used only until the first answer.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable


class ApiClock:
    """Seconds since the epoch, as the API server counts them. Goes backward only if a clock was set."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall_offset = wall() - monotonic()
        self._bounds: tuple[float, float] | None = None
        self._latest = float("-inf")

    def reading(self) -> float:
        """Return the monotonic clock, to be given to `learn` as the time of sending."""
        return self._monotonic()

    def learn(self, date: str | None, sent: float) -> None:
        """Take in the Date header of an answer that has just come; `sent` is the reading before the request."""
        server = _parse_date(date)
        if server is None:
            return
        low, high = server - self._monotonic(), server + 1.0 - sent
        if self._bounds is not None:
            narrowed = (max(self._bounds[0], low), min(self._bounds[1], high))
            if narrowed[0] <= narrowed[1]:
                self._bounds = narrowed
                return
            self._latest = float("-inf")
        self._bounds = (low, high)

    def now(self) -> float:
        """Return API time in seconds since the epoch."""
        offset = self._wall_offset if self._bounds is None else sum(self._bounds) / 2
        moment = self._monotonic() + offset
        if self._bounds is not None:
            moment = self._latest = max(moment, self._latest)
        return moment


def _parse_date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError):
        return None

"""Hands messages from the watching thread over to the event loop's thread: at most one waits for each subject.

While the loop is held up, a newer message about an object takes the place of an older one, so that what waits is
bounded by the number of objects. A final message (the object is gone) is never replaced. Knows not what is told.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Final

import structlog

_log = structlog.get_logger("vidbench.mailbox")

BATCH: Final = 500
"""Messages that are delivered in one go; others in the loop get their turn in between."""

Deliver = Callable[[], None]


class Mailbox:
    """`post` runs a function in the event loop's thread, soon. `put` may be called from any thread."""

    def __init__(self, post: Callable[[Deliver], object]) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, tuple[Deliver, bool]] = {}
        self._is_posted = False

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def put(self, subject: Hashable, deliver: Deliver, *, final: bool = False) -> None:
        """Have `deliver` run in the loop's thread, after what waits about other subjects."""
        with self._lock:
            _, kept = self._waiting.get(subject, (deliver, False))
            if kept:
                return
            # Out and in again: what was caused by something else is told after it.
            self._waiting.pop(subject, None)
            self._waiting[subject] = (deliver, final)
            posted, self._is_posted = self._is_posted, True
        if not posted:
            self._post(self._drain)

    def _drain(self) -> None:
        with self._lock:
            subjects = list(itertools.islice(self._waiting, BATCH))
            batch = [self._waiting.pop(subject)[0] for subject in subjects]
            self._is_posted = bool(self._waiting)
        if self._is_posted:
            self._post(self._drain)
        for deliver in batch:
            try:
                deliver()
            except Exception:  # noqa: BLE001 - whatever it was, the others are to be delivered
                _log.exception("a message from the watches could not be taken in")

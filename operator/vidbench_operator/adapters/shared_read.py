"""One read for all who ask for the same within a few seconds: a hundred runs of a namespace need not each list its Events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass
class _Slot(Generic[Value]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: tuple[float, Value] | None = None
    """When the read began, and what it gave."""


class SharedRead(Generic[Key, Value]):
    """Calls `read(key)` at most once in `seconds` for each key; who asks meanwhile waits for it, or gets what it gave.

    An answer is never older than `seconds` at the time of asking. A read that fails is the failure of its caller alone.
    """

    def __init__(
        self, read: Callable[[Key], Awaitable[Value]], seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._now = now
        self._slots: dict[Key, _Slot[Value]] = {}

    async def get(self, key: Key) -> Value:
        """Return the value, read now or lately; raises what reading raises."""
        slot = self._slots.setdefault(key, _Slot())
        async with slot.lock:
            if slot.read is None or self._is_old(slot):
                began = self._now()
                slot.read = began, await self._read(key)
            value = slot.read[1]
        self._forget_old()
        return value

    def _is_old(self, slot: _Slot[Value]) -> bool:
        return slot.read is None or self._now() - slot.read[0] > self._seconds

    def _forget_old(self) -> None:
        """Let go of keys that nobody asks for any more."""
        idle = [key for key, slot in self._slots.items() if not slot.lock.locked() and self._is_old(slot)]
        for key in idle:
            del self._slots[key]

"""Tells glibc to give memory back: an operator reads lists of thousands of objects now and then, and is small in between.

By default each thread has a heap of its own, and what is free in the middle of one is kept. Knows nothing of what
the memory is for. Another C library has no such setting, and needs none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""M_... of malloc.h."""

_SETTINGS: Final = (
    (_ARENA_MAX, 1),
    # Set once, they no longer grow with the largest block that was ever freed.
    (_TRIM_THRESHOLD, 128 * 1024),
    (_MMAP_THRESHOLD, 64 * 1024),
)

Setter = Callable[[int, int], int]


def find_setter() -> Setter | None:
    """Return glibc's `mallopt`; None where there is none."""
    try:
        setter: Setter = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return None
    return setter


def keep_heap_small(setter: Setter | None) -> bool:
    """Set it up, before any other thread starts; returns whether all of it was taken."""
    taken = [setter is not None and setter(name, value) == 1 for name, value in _SETTINGS]
    return all(taken)

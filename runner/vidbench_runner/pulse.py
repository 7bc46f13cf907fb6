"""The worker's pulse: a page of memory that worker and supervisor share, for heartbeats that cost no system call.

A heartbeat happens inside a sample, between two clock readings: it is three small stores. As memory outlives the process
that wrote it, the supervisor can tell after a kill what the worker was doing at that very moment.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

from vidbench_api.verdict import LoadPhase, Phase, Stage

_PAGE = 4096
_COUNT = struct.Struct("<Q")
_WORD = struct.Struct("<B47p")
_STAGES = tuple(Stage)
_PHASES = frozenset(phase.value for phase in (*Phase, *LoadPhase))


@dataclass(frozen=True)
class Beat:
    """What the last heartbeat said. `count` changes with each one."""

    count: int
    stage: Stage
    word: str

    @property
    def phase(self) -> str | None:
        """Return the phase of a load or a sample that the word names, or None."""
        first = self.word.partition(" ")[0]
        return first if first in _PHASES else None


class Pulse:
    """One end of the page. One process writes, one reads."""

    def __init__(self, descriptor: int) -> None:
        """Map the page behind a file descriptor, which stays the caller's."""
        self._page = mmap.mmap(descriptor, _PAGE)
        self._stage = _STAGES.index(Stage.STARTING)
        self._count = 0

    def beat(self, stage: Stage, word: str) -> None:
        """Say what was reached; later `progress` calls belong to the same stage."""
        self._stage = _STAGES.index(stage)
        self.progress(word)

    def progress(self, word: str) -> None:
        """Say what was reached within the stage."""
        _WORD.pack_into(self._page, _COUNT.size, self._stage, word.encode()[:46])
        self._count += 1
        _COUNT.pack_into(self._page, 0, self._count)

    def read(self) -> Beat:
        """Return the last heartbeat; before the first one it is number 0 in stage STARTING."""
        count: int = _COUNT.unpack_from(self._page)[0]
        stage, word = _WORD.unpack_from(self._page, _COUNT.size)
        return Beat(count, _STAGES[stage % len(_STAGES)], word.decode(errors="replace"))


def new_page() -> int:
    """Return the descriptor of a fresh page, for this process and one that inherits it."""
    descriptor = os.memfd_create("vidbench-pulse", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _PAGE)
    return descriptor

"""The trace: a page of memory in which one process writes readings of the device and another one looks them up.

A ring of fixed records behind a header. The writer fills a record in and then counts it; the reader takes what is
counted. Looking something up costs the reader no system call and the writer nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

from vidbench_runner.ports import DeviceSample

CAPACITY = 65_536
"""Readings that are kept: an hour and 49 minutes at ten a second. A sample that takes longer has lost its first ones."""

_HEADER = struct.Struct("<QQQ192p")
_RECORD = struct.Struct("<qiiiiq")
_OFFSET = 4096
_NONE = -(2**31)
_MILLION = 1_000_000


def new_trace() -> int:
    """Return the descriptor of a fresh trace, for this process and one that inherits it. Only what is written takes memory."""
    descriptor = os.memfd_create("vidbench-trace", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _OFFSET + CAPACITY * _RECORD.size)
    return descriptor


class TraceWriter:
    """The end of the process that reads the device."""

    def __init__(self, descriptor: int) -> None:
        """Map the trace behind a descriptor, which stays the caller's."""
        self._page = mmap.mmap(descriptor, _OFFSET + CAPACITY * _RECORD.size)
        self._count = 0
        self._spent = self._since = 0

    def refuse(self, reason: str) -> None:
        """Say why there will be no readings."""
        _HEADER.pack_into(self._page, 0, 0, 0, 0, reason.encode()[:190])

    def add(self, sample: DeviceSample, spent_nanoseconds: int, since_nanoseconds: int) -> None:
        """Add a reading; the processor time of all readings so far, and the time in which it was spent, go along."""
        figures = (
            sample.power_milliwatts, sample.sm_clock_megahertz, sample.memory_clock_megahertz, sample.temperature_celsius,
            sample.clock_reasons,
        )  # fmt: skip
        place = _OFFSET + self._count % CAPACITY * _RECORD.size
        known = (_NONE if figure is None else figure for figure in figures)
        _RECORD.pack_into(self._page, place, sample.nanoseconds, *known)
        self._count += 1
        _HEADER.pack_into(self._page, 0, self._count, spent_nanoseconds, since_nanoseconds, b"")


class TraceWatch:
    """The end of the process that works: a `DeviceWatch`."""

    def __init__(self, descriptor: int) -> None:
        """Map the trace behind a descriptor, which stays the caller's."""
        self._page = mmap.mmap(descriptor, _OFFSET + CAPACITY * _RECORD.size, prot=mmap.PROT_READ)

    @property
    def reason(self) -> str | None:
        """Return why there are no readings; None where there are."""
        count, _, _, reason = _HEADER.unpack_from(self._page, 0)
        return None if count else reason.decode(errors="replace") or "no readings: the device has not answered yet"

    def between(self, start: int, end: int) -> tuple[DeviceSample, ...]:
        """Return the readings between two moments, in order."""
        count = _HEADER.unpack_from(self._page, 0)[0]
        found: list[DeviceSample] = []
        # One record is spared: the writer may be about to overwrite the oldest.
        for number in range(count - 1, max(-1, count - CAPACITY), -1):
            sample = self._read(number)
            if sample.nanoseconds < start:
                break
            if sample.nanoseconds <= end:
                found.append(sample)
        return tuple(reversed(found))

    def cost_ppm(self) -> int | None:
        """Return the processor time that the readings take, in millionths of one processor."""
        count, spent, since, _ = _HEADER.unpack_from(self._page, 0)
        return round(_MILLION * spent / since) if count > 1 and since else None

    def rest(self, nanoseconds: int) -> None:
        """Do nothing for so long."""
        time.sleep(nanoseconds / 1e9)

    def _read(self, number: int) -> DeviceSample:
        place = _OFFSET + number % CAPACITY * _RECORD.size
        nanoseconds, *figures = _RECORD.unpack_from(self._page, place)
        return DeviceSample(nanoseconds, *(None if figure == _NONE else figure for figure in figures))

"""Keeps, takes or waits for the Lease, step by step as `core/leadership.py` says, and answers whether we may act.

The answer is by the clock, not by what the loop last did: a process that was frozen finds its Lease too old when it
wakes, before its loop has run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from vidbench_operator.adapters.leases import StoredLease
from vidbench_operator.core.leadership import (
    Follow,
    Lead,
    LeaseRecord,
    Limits,
    Seen,
    claim,
    confirm,
    may_act,
    next_step,
    notice,
    release,
    step_down,
)
from vidbench_operator.ports import Conflict, Refused, Unavailable

_log = structlog.get_logger("vidbench.leadership")
_RELEASE_SECONDS: Final = 2.0


class Leases(Protocol):
    """Where the Lease is."""

    name: str

    def moment(self) -> str:
        """Return API time as a Lease writes it."""
        ...

    async def read(self) -> StoredLease | None:
        """Read the Lease; None if there is none."""
        ...

    async def write(self, record: LeaseRecord, stored: StoredLease | None) -> StoredLease:
        """Write the Lease if it is still as it was stored; raises Conflict."""
        ...

    async def announce(self, stored: StoredLease, identity: str) -> None:
        """Tell people of a new holder."""
        ...


class Leader(Protocol):
    """Who may act, as the rest of the shell sees it."""

    identity: str

    def is_leading(self) -> bool:
        """Whether a mutating call may be made now."""
        ...

    @property
    def seconds_since_beat(self) -> float:
        """How long ago it was last seen to that."""
        ...

    async def run(self, took_over: Callable[[], None]) -> None:
        """Take part until cancelled; `took_over` is called each time that we begin to lead."""
        ...

    async def release(self) -> None:
        """Let the next one begin."""
        ...


class SoleLeader:
    """Leads always: the only operator there is, by its owner's word."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.seconds_since_beat = 0.0

    def is_leading(self) -> bool:
        """Return True."""
        return True

    async def run(self, took_over: Callable[[], None]) -> None:
        """Take over, once."""
        took_over()
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Nobody waits for it."""


class Leadership:
    """One operator's part in the election."""

    def __init__(
        self,
        leases: Leases,
        identity: str,
        limits: Limits,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._leases = leases
        self.identity = identity
        self._limits = limits
        self._clock = clock or boot_clock
        self._seen = Seen()
        self._stored: StoredLease | None = None
        self._has_read = False
        self._led = False
        self._complaint = ""
        self._beat = self._clock()

    def is_leading(self) -> bool:
        """Whether a mutating call may be made now. Costs a reading of a clock."""
        return may_act(self._seen, self._clock(), self._limits)

    @property
    def seconds_since_beat(self) -> float:
        """How long ago the loop last decided something."""
        return self._clock() - self._beat

    async def run(self, took_over: Callable[[], None]) -> None:
        """Take part until cancelled; `took_over` is called each time that we begin to lead."""
        while True:
            rest = await self.step(took_over)
            await asyncio.sleep(rest)

    async def step(self, took_over: Callable[[], None]) -> float:
        """Do the next thing about the Lease; returns seconds until the one after it."""
        self._beat = self._clock()
        # Passes that came due while we did not lead were dropped: a Lease that lapsed and is renewed at once begins anew.
        self._notice_loss()
        try:
            rest = await self._advance(took_over)
            self._complaint = ""
        except Conflict:
            # Somebody was faster, or an answer of ours was lost: the server knows.
            self._has_read = False
            rest = self._limits.watch_period / 10
        except (Unavailable, Refused) as error:
            if self._complaint != str(error):
                _log.warning("the Lease could not be read or written", lease=self._leases.name, error=str(error))
            self._complaint = str(error)
            self._has_read = False
            rest = self._limits.watch_period
        self._notice_loss()
        return rest

    async def release(self) -> None:
        """Give the Lease up if it is ours, so that the next one need not wait for it to run out."""
        self._seen = step_down(self._seen)
        self._led = False
        with contextlib.suppress(Conflict, Unavailable, Refused, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                # Read first: the renewal that was cut off by the end may have gone through.
                stored = await self._leases.read()
                if stored is not None and stored.record.holder == self.identity:
                    await self._leases.write(release(stored.record), stored)
                    _log.info("leadership released", lease=self._leases.name, identity=self.identity)

    async def _advance(self, took_over: Callable[[], None]) -> float:
        if not self._has_read:
            await self._read()
        step = next_step(self._seen, self.identity, self._clock(), self._limits)
        if isinstance(step, Follow):
            self._has_read = False
            return step.seconds
        if isinstance(step, Lead):
            return step.seconds
        await self._write(took_over)
        return 0.0

    async def _read(self) -> None:
        self._stored = await self._leases.read()
        self._has_read = True
        record = self._stored.record if self._stored else None
        before = self._seen.record.holder if self._seen.record else ""
        self._seen = notice(self._seen, record, self.identity, self._clock())
        if record is not None and record.holder not in ("", self.identity, before):
            _log.info("following", lease=self._leases.name, leader=record.holder)

    async def _write(self, took_over: Callable[[], None]) -> None:
        sent = self._clock()
        record = claim(self._seen.record, self.identity, self._leases.moment(), self._limits)
        self._stored = await self._leases.write(record, self._stored)
        self._notice_loss()
        self._seen = confirm(record, sent)
        if not self._led and self.is_leading():
            self._led = True
            _log.info("leading", lease=self._leases.name, identity=self.identity, transitions=record.transitions)
            took_over()
            await self._leases.announce(self._stored, self.identity)

    def _notice_loss(self) -> None:
        if self._led and not self.is_leading():
            self._led = False
            _log.warning(
                "leadership lost: nothing is written any more", lease=self._leases.name, identity=self.identity
            )


def boot_clock() -> float:
    """Return a monotonic clock that goes on while the machine sleeps, where there is one."""
    number = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if number is None else time.clock_gettime(number)


def make_identity(name: str) -> str:
    """Return the name of this process in a Lease: the given one, else one that no other process has."""
    return name or f"{socket.gethostname()}_{os.urandom(4).hex()}"

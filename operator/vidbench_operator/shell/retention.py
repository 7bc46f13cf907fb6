"""Holds the ledger to its limits: lists what it holds, without bodies, and deletes what `core/retention.py` says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from vidbench_operator.core.retention import LedgerEntry, RetentionLimits, find_expired

_log = structlog.get_logger("vidbench.retention")
DELETIONS_A_SWEEP: Final = 500
"""The rest follows in the next sweep: a limit that is set for the first time must not flood the API server."""


class Ledger(Protocol):
    """The results, as the server holds them."""

    async def list_ledger(self) -> list[LedgerEntry]:
        """Return all results."""
        ...

    async def list_run_uids(self) -> frozenset[str]:
        """Return the UIDs of the runs that exist."""
        ...

    async def delete_result(self, entry: LedgerEntry) -> None:
        """Delete a result as it was listed; one that was changed since stays."""
        ...

    def now(self) -> float:
        """Return API time."""
        ...


class Retention:
    """Sweeps every period, if a limit is set and `may_act` says so. `ended_runs` are known to have ended, by UID."""

    def __init__(
        self,
        ledger: Ledger,
        limits: RetentionLimits,
        *,
        may_act: Callable[[], bool],
        ended_runs: Callable[[], frozenset[str]],
        period_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._may_act = may_act
        self._ended_runs = ended_runs
        self._period_seconds = period_seconds

    async def run(self) -> None:
        """Sweep until cancelled; raises what a call raises."""
        while self._limits.are_set:
            await asyncio.sleep(self._period_seconds)
            if self._may_act():
                await self.sweep()
        await asyncio.Event().wait()

    async def sweep(self) -> int:
        """Delete what is beyond the limits; returns how many that was."""
        entries = await self._ledger.list_ledger()
        now = self._ledger.now()
        if not find_expired(entries, frozenset(), now, self._limits):
            return 0
        # Read after the results: whose run is not among these has none any more.
        unfinished = await self._ledger.list_run_uids() - self._ended_runs()
        expired = find_expired(entries, unfinished, now, self._limits)[:DELETIONS_A_SWEEP]
        for each in expired:
            with structlog.contextvars.bound_contextvars(why=each.why):
                await self._ledger.delete_result(each.entry)
        if expired:
            _log.info("results were deleted from the ledger", count=len(expired))
        return len(expired)

"""Which results leave the ledger: those beyond an age, and the oldest beyond a number in each namespace. Pure.

Never one that somebody keeps by label, never one of a run that exists and has not ended, never one that does not say
whose it is. Such results count towards the number all the same: the limit is for what a namespace holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LedgerEntry:
    """A result, as its metadata shows it."""

    namespace: str
    name: str
    uid: str
    version: str
    """Its resourceVersion: a label that is put on it meanwhile must count."""

    created_at: float
    run_uid: str | None
    """UID of the run that measured it; None: the label that says so is missing."""

    kept: bool = False
    """Whether it has a label that keeps it: `keep`, or a baseline's name."""


@dataclass(frozen=True)
class RetentionLimits:
    """How much the ledger may hold; None: no limit."""

    max_age_seconds: float | None = None
    max_per_namespace: int | None = None

    @property
    def are_set(self) -> bool:
        """Whether there is anything to do at all."""
        return self.max_age_seconds is not None or self.max_per_namespace is not None


@dataclass(frozen=True)
class Expired:
    """A result that is to go, and why."""

    entry: LedgerEntry
    why: str


def find_expired(
    entries: Iterable[LedgerEntry], unfinished_runs: frozenset[str], now: float, limits: RetentionLimits
) -> tuple[Expired, ...]:
    """Return the results to delete, the oldest of each namespace first.

    `unfinished_runs` are the UIDs of the runs that exist and are not known to have ended, read after the entries.
    """
    namespaces: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        namespaces.setdefault(entry.namespace, []).append(entry)
    expired: list[Expired] = []
    for _, held in sorted(namespaces.items()):
        expired += _expired_of(sorted(held, key=_age_order), unfinished_runs, now, limits)
    return tuple(expired)


def _expired_of(
    held: list[LedgerEntry], unfinished_runs: frozenset[str], now: float, limits: RetentionLimits
) -> list[Expired]:
    expired: list[Expired] = []
    surplus = 0 if limits.max_per_namespace is None else len(held) - limits.max_per_namespace
    for entry in held:
        if entry.kept or entry.run_uid is None or entry.run_uid in unfinished_runs:
            continue
        why = _why_too_old(entry, now, limits)
        if why is None and len(expired) < surplus:
            why = (
                f"the namespace holds {len(held)} results, {surplus} more than the limit of {limits.max_per_namespace}"
            )
        if why is not None:
            expired.append(Expired(entry, why))
    return expired


def _why_too_old(entry: LedgerEntry, now: float, limits: RetentionLimits) -> str | None:
    age = now - entry.created_at
    if limits.max_age_seconds is None or age <= limits.max_age_seconds:
        return None
    return f"it is {age:.0f} s old, more than the limit of {limits.max_age_seconds:.0f} s"


def _age_order(entry: LedgerEntry) -> tuple[float, str]:
    return entry.created_at, entry.name

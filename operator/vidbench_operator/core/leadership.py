"""Who of several operators acts: decides from a Lease's record and local clock readings. Values in, values out.

Two rules keep two operators from acting at once. A leader acts only for `renew_deadline` seconds after it *sent* the
write that last confirmed it; others take a Lease only after they have seen it unchanged for the whole of its duration,
which is longer. Both are measured on each one's own monotonic clock, so that no clocks are compared. Nothing that is
correct rests on leadership: it only keeps two operators from doing the same work twice.

Must not know how a Lease is stored, nor read a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LONGEST_DURATION_SECONDS: Final = 300.0
"""No Lease is waited for longer, whatever its record says: a nonsense duration must not keep everybody from leading."""


@dataclass(frozen=True)
class Limits:
    """Seconds of a Lease's life. `renew_deadline` < `duration`, or two could act at once."""

    duration: float = 12.0
    """How long others wait for a holder that is silent."""

    renew_deadline: float = 8.0
    """How long after its last confirmation a leader acts; the rest of `duration` is for calls that are under way."""

    renew_period: float = 2.0
    """How often a leader renews."""

    watch_period: float = 1.0
    """How often a follower looks, and how soon after a failed call anybody tries again."""

    def __post_init__(self) -> None:
        if not 0 < self.renew_period < self.renew_deadline < self.duration <= LONGEST_DURATION_SECONDS:
            raise ValueError(
                f"a Lease needs renew period < renew deadline < duration <= {LONGEST_DURATION_SECONDS:.0f} s, "
                f"not {self.renew_period} s, {self.renew_deadline} s, {self.duration} s"
            )


@dataclass(frozen=True)
class LeaseRecord:
    """What a Lease says."""

    holder: str = ""
    """Who leads; empty: it was released."""

    duration: float | None = None
    renewed: str = ""
    """The text of its latest renewal. Only whether it changes matters: it is by another machine's clock."""

    transitions: int = 0
    """How often the holder has changed."""


@dataclass(frozen=True)
class Seen:
    """What one operator knows of the Lease."""

    record: LeaseRecord | None = None
    """As read or written last; None: there is no Lease."""

    changed_at: float = 0.0
    """When the record was first seen to be as it is."""

    confirmed_at: float | None = None
    """When the write that last made, or kept, us the holder was sent; None: we are not known to hold it."""


@dataclass(frozen=True)
class Follow:
    """Somebody else leads: look again in so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Lead:
    """We lead, and renew in so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Renew:
    """Write the Lease now, as its holder."""


@dataclass(frozen=True)
class TryToTake:
    """Write the Lease now, as its next holder; whoever writes first has it."""


Step = Follow | Lead | Renew | TryToTake


def notice(seen: Seen, record: LeaseRecord | None, identity: str, now: float) -> Seen:
    """Take in a record that was just read."""
    ours = record is not None and record.holder == identity
    return Seen(
        record=record,
        changed_at=seen.changed_at if record == seen.record else now,
        confirmed_at=seen.confirmed_at if ours else None,
    )


def confirm(record: LeaseRecord, sent: float) -> Seen:
    """Take in that a write went through which made, or kept, us the holder; `sent` is when it was sent."""
    return Seen(record=record, changed_at=sent, confirmed_at=sent)


def step_down(seen: Seen) -> Seen:
    """Act no more as the holder, from now on."""
    return replace(seen, confirmed_at=None)


def may_act(seen: Seen, now: float, limits: Limits) -> bool:
    """Whether a mutating call may be made at this moment."""
    return seen.confirmed_at is not None and now - seen.confirmed_at < limits.renew_deadline


def next_step(seen: Seen, identity: str, now: float, limits: Limits) -> Step:
    """Return what to do about the Lease."""
    record = seen.record
    if record is None or not record.holder:
        return TryToTake()
    if record.holder == identity:
        if seen.confirmed_at is None:
            # A write of ours whose answer was lost, or of our life before a restart: made sure of before acting on it.
            return Renew()
        rest = seen.confirmed_at + limits.renew_period - now
        return Lead(rest) if rest > 0 else Renew()
    rest = seen.changed_at + _duration_of(record, limits) - now
    return Follow(min(rest, limits.watch_period)) if rest > 0 else TryToTake()


def claim(record: LeaseRecord | None, identity: str, renewed: str, limits: Limits) -> LeaseRecord:
    """Return the record that makes, or keeps, somebody the holder."""
    if record is None:
        return LeaseRecord(identity, limits.duration, renewed)
    changes = record.holder != identity
    return LeaseRecord(identity, limits.duration, renewed, record.transitions + (1 if changes else 0))


def release(record: LeaseRecord) -> LeaseRecord:
    """Return the record of a Lease that nobody holds, so that the next one need not wait."""
    return replace(record, holder="")


def _duration_of(record: LeaseRecord, limits: Limits) -> float:
    """Return how long the holder may be silent: what it said itself, as it may have been set up otherwise."""
    if record.duration is None or record.duration <= 0:
        return limits.duration
    return min(record.duration, LONGEST_DURATION_SECONDS)

"""Judges from a series of small looks at the API server whether it is away, is back, or whether the watches are deaf.

A connection that is half open says nothing, which is what a quiet one says too. So the number of runs is asked for now
and then: a server that does not answer is away, and watches that know another number and hear nothing are deaf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MISSED_BEATS: Final = 2
"""Looks in a row without an answer after which the server was away."""

DIFFERING_BEATS: Final = 3
"""Looks in a row that differ from what the watches know, nothing heard meanwhile, after which they are deaf."""

REST_SECONDS: Final = 30.0
"""From one new beginning of the watches to the next: it costs a list of everything, which a slow server must not meet often."""


@dataclass(frozen=True)
class Beat:
    """One look."""

    at: float
    """Seconds on a monotonic clock."""

    runs: int | None
    """How many runs the server says there are; None: it did not answer."""

    known: int
    """How many the watches have told of."""

    heard: int = 0
    """How often they have told of any."""

    hung: bool = False
    """Whether the server kept silent, rather than refuse the connection."""

    answered: int = 0
    """How many calls of others it has answered so far."""


class Finding(StrEnum):
    """What a look says."""

    WELL = "Well"
    AWAY = "Away"
    BACK = "Back"
    """It answers again: look at everything."""

    THAWED = "Thawed"
    """It answers again after silence: whatever still waits on old connections waits in vain."""

    DEAF = "Deaf"
    """It answers, and the watches do not hear what happens."""


@dataclass(frozen=True)
class Pulse:
    """What is remembered of the looks so far."""

    latest: Beat | None = None
    missed: int = 0
    hung: int = 0
    differing: int = 0
    in_step: bool = False
    """Whether the watches have known the right number since they began."""

    begun_at: float = float("-inf")
    """When the watches were last begun anew for what was found here."""

    @property
    def is_uneasy(self) -> bool:
        """Whether the next look should come soon."""
        return self.missed > 0 or self.differing > 0


def judge(pulse: Pulse, beat: Beat) -> tuple[Pulse, Finding]:
    """Return what is remembered after a look, and what it says."""
    if beat.runs is None and pulse.latest is not None and beat.answered != pulse.latest.answered:
        # It answers others: it is slow. To list everything anew would make it slower.
        return replace(pulse, latest=beat, missed=0, hung=0), Finding.WELL
    if beat.runs is None:
        missed = replace(pulse, latest=beat, missed=pulse.missed + 1, hung=pulse.hung + beat.hung, differing=0)
        return missed, Finding.AWAY
    after = replace(pulse, latest=beat, missed=0, hung=0, differing=_differing(pulse, beat))
    after = replace(after, in_step=pulse.in_step or beat.runs == beat.known)
    rested = beat.at - pulse.begun_at >= REST_SECONDS
    if pulse.hung >= MISSED_BEATS and rested:
        return _begin_anew(after, beat), Finding.THAWED
    if pulse.missed >= MISSED_BEATS:
        return after, Finding.BACK
    if after.differing >= DIFFERING_BEATS and rested and after.in_step:
        return _begin_anew(after, beat), Finding.DEAF
    return after, Finding.WELL


def _differing(pulse: Pulse, beat: Beat) -> int:
    if beat.runs == beat.known:
        return 0
    before = pulse.latest
    stirred = before is None or (before.known, before.heard) != (beat.known, beat.heard)
    return 1 if stirred else pulse.differing + 1


def _begin_anew(pulse: Pulse, beat: Beat) -> Pulse:
    return replace(pulse, differing=0, in_step=False, begun_at=beat.at)

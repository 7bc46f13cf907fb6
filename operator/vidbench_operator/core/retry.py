"""A reason to what follows: another attempt and when, or the end of the shard. Values in, values out.

Each class of failures has a budget of its own. The wait grows with the failures of the class, up to a cap, and is
spread by a hash of the attempt's identity, so that shards which failed together do not come back together; nothing is
random, so that every process that looks decides the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidbench_api.identity import digest_of
from vidbench_api.run_spec import FailurePolicy
from vidbench_api.run_status import AttemptFailure, ShardStatus

from .evidence import AttemptEnd
from .failures import CLASS_OF_REASON, FailureClass, class_of
from .policy import Policy
from .timestamps import format_time

_MOST_KEPT = 8
"""Failed attempts that a shard remembers, as the schema has it."""

_LEAST_KEPT = 3
_KEPT_BY_RUN = 1_800
"""Failed attempts that all shards of a run may remember: with names of nodes, they are most of a large status."""

_MAX_COUNT = 2_147_483_647


@dataclass(frozen=True)
class Retry:
    """The shard gets another attempt; the counters are those to write down."""

    delay_seconds: float
    disruptions: int
    retries: int
    lost_results: int
    unknown_failures: int


def next_attempt(
    end: AttemptEnd, shard: ShardStatus, failure: FailurePolicy, policy: Policy, identity: str
) -> Retry | None:
    """Return what to count and how long to wait for another attempt, or None if this end is the shard's.

    `identity` names run, cell and shard, so that no two of them wait equally long.
    """
    if end.reason is None:
        return None
    failure_class = CLASS_OF_REASON[end.reason]
    budgets: dict[FailureClass, tuple[int, int]] = {
        FailureClass.DISRUPTION: (shard.disruptions, _MAX_COUNT),
        FailureClass.INFRASTRUCTURE: (shard.retries, failure.infrastructure_retries),
        FailureClass.LOST: (shard.lost_results, min(policy.lost_result_retries, failure.infrastructure_retries)),
        FailureClass.UNKNOWN: (shard.unknown_failures, failure.unknown_retries),
        FailureClass.INVALID: (len(shard.superseded), policy.invalid_retries),
    }
    used, budget = budgets.get(failure_class, (0, 0))
    if used >= budget:
        return None
    disrupted = failure_class is FailureClass.DISRUPTION
    failures = shard.disruptions if disrupted else charged_attempts(shard)
    return Retry(
        delay_seconds=back_off_seconds(failures, f"{identity}/{shard.attempt}", policy),
        disruptions=shard.disruptions + disrupted,
        retries=shard.retries + (failure_class is FailureClass.INFRASTRUCTURE),
        lost_results=shard.lost_results + (failure_class is FailureClass.LOST),
        unknown_failures=shard.unknown_failures + (failure_class is FailureClass.UNKNOWN),
    )


def charged_attempts(shard: ShardStatus) -> int:
    """Return how many attempts were charged to one of the shard's budgets; disruptions are charged to none."""
    return shard.retries + shard.lost_results + shard.unknown_failures + len(shard.superseded)


def back_off_seconds(failures_before: int, identity: str, policy: Policy) -> float:
    """Return the wait before the next attempt: none after the first failure, then doubling up to the cap.

    Spread evenly between half of that and all of it.
    """
    if failures_before == 0:
        return 0.0
    full = min(policy.retry_cap_seconds, policy.retry_base_seconds * 2.0 ** min(failures_before - 1, 32))
    return full * (0.5 + 0.5 * int(digest_of(identity)[:8], 16) / 0xFFFFFFFF)


def failures_kept(shards: int) -> int:
    """Return how many failed attempts each shard of a run of so many remembers, so that its status stays below 1 MiB."""
    return max(_LEAST_KEPT, min(_MOST_KEPT, _KEPT_BY_RUN // max(1, shards)))


def remember_failure(
    failures: tuple[AttemptFailure, ...], end: AttemptEnd, node: str | None, most: int = _MOST_KEPT
) -> tuple[AttemptFailure, ...]:
    """Return a shard's failures with this one, `most` of them. Where there are more, disruptions are forgotten first.

    They say nothing about a node; those that do are what the next attempt keeps away from. A finding is no failure.
    """
    if end.reason is None or CLASS_OF_REASON[end.reason] is FailureClass.FINDING or end.attempt == 0:
        return failures
    entry = AttemptFailure(attempt=end.attempt, reason=end.reason.value, node=node, ended_at=format_time(end.ended_at))
    kept = [*failures, entry]
    while len(kept) > most:
        disruption = next((old for old in kept if class_of(old.reason) is FailureClass.DISRUPTION), kept[0])
        kept.remove(disruption)
    return tuple(kept)

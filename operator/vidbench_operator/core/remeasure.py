"""An Invalid measurement: whether it is made again, where it is kept, and when it counts after all. Pure.

A shard has one name in the ledger, and one result under it, for ever. So an Invalid measurement that is made again stands
under its attempt's name, marked superseded, and what the next attempt brings takes the shard's. Where that brings no
figures at all, the measurement that was kept is the shard's result: having tried again never makes things worse.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidbench_api.identity import attempt_name
from vidbench_api.names import Outcome, Reason, Validity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import ValidityPolicy
from vidbench_api.run_status import ShardStatus
from vidbench_api.validity import is_worth_another_attempt

from .evidence import AttemptEnd
from .observed import Observed
from .policy import Policy

_MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Superseded:
    """The result of an Invalid attempt, and the name under which it is kept."""

    name: str
    spec: BenchmarkResultSpec


def superseded(
    spec: BenchmarkResultSpec, shard: ShardStatus, validity: ValidityPolicy, policy: Policy
) -> Superseded | None:
    """Return what is kept of a measurement that is made again; None where this is the shard's result."""
    again = (
        spec.outcome is Outcome.SUCCEEDED
        and spec.validity.state is Validity.INVALID
        and validity.on_invalid == "Retry"
        and len(shard.superseded) < policy.invalid_retries
        and is_worth_another_attempt(spec.validity.reasons)
    )
    if not again:
        return None
    name = attempt_name(spec.run.name, spec.cell.id, spec.shard, spec.origin.attempt)
    return Superseded(name, spec.model_copy(update={"superseded": True}))


def invalid_end(end: AttemptEnd, kept: Superseded) -> AttemptEnd:
    """Return the end of an attempt as one that another follows."""
    reasons = ", ".join(kept.spec.validity.reasons)
    return AttemptEnd(
        outcome=Outcome.FAILED,
        ended_at=end.ended_at,
        reason=Reason.MEASUREMENT_INVALID,
        message=f"the measurement is Invalid ({reasons}); it is kept as BenchmarkResult {kept.name}",
        verdict=end.verdict,
        pod=end.pod,
        exit_code=end.exit_code,
        job=end.job,
        attempt=end.attempt,
    )


def needs_kept(end: AttemptEnd, shard: ShardStatus, observed: Observed) -> bool:
    """Whether a shard that ends without figures has some in the ledger that were not looked for."""
    unseen = bool(shard.superseded) and shard.superseded[-1] not in observed.results
    return end.outcome is not Outcome.SUCCEEDED and unseen and not observed.live


def stand_in(end: AttemptEnd, shard: ShardStatus, observed: Observed, run_uid: str) -> BenchmarkResultSpec | None:
    """Return the result of a shard whose further attempts brought no figures: the last Invalid one that was kept.

    None where the last attempt brought figures, nothing was kept, or what is there is not this run's.
    """
    if end.outcome is Outcome.SUCCEEDED or not shard.superseded:
        return None
    name = shard.superseded[-1]
    kept = observed.results.get(name)
    if kept is None or kept.run.uid != run_uid:
        return None
    text = f"BenchmarkResult {name} stands: the shard was measured again, and that ended as {end.reason}: {end.message}"
    return kept.model_copy(
        update={"superseded": False, "attempts": shard.attempt, "message": text[:_MAX_MESSAGE]},
    )

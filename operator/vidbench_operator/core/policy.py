"""What the operator's owner decides for all runs, as one frozen value. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """Limits that no run can set."""

    lost_result_retries: int = 1
    """Further attempts of a shard after one that ended without a readable verdict."""

    invalid_retries: int = 1
    """Further attempts of a shard after one whose measurement is Invalid."""

    late_pod_seconds: float = 5.0
    """How long after the end of a Job the last event of its pod may come, which may be all that is left of a verdict."""

    node_lost_seconds: float = 60.0
    """How long a pod may be Terminating or Unknown on a node that is not ready, before its attempt is given up."""

    refusal_check_seconds: float = 5.0
    """How long a Job may be without a pod before its Events are read, and how often they are read then."""

    capacity_cooldown_seconds: float = 180.0
    """How long Jobs of a hardware entry find no node before fewer of them may wait: longer than a node takes to appear."""

    shard_grace_seconds: float = 120.0
    """How long after shardSeconds the operator itself ends an attempt whose pod did not end."""

    retry_base_seconds: float = 10.0
    """Longest wait before a shard's second retry; the first one waits for nothing, each further one twice as long."""

    retry_cap_seconds: float = 300.0
    """Longest wait before any retry."""

    harvest_seconds: float = 2400.0
    """How long a look into an attempt's artifacts may take, the pull of its image and a full node included."""

    node_breaker_failures: int = 2
    """Failed attempts in a row on a node, not by the model's fault, after which the run leaves it alone."""

    node_breaker_seconds: float = 300.0
    """How long, before one attempt may probe it; twice as long after each probe that failed."""

    model_breaker_failures: int = 3
    """Shards of a model that failed in a row, after which the run starts no other one."""

    model_breaker_seconds: float = 60.0
    """How long, before one shard may probe it; twice as long after each probe that failed."""

    model_breaker_probes: int = 2
    """Failed probes after which the remaining shards of the model end without being tried."""

    breaker_cap_seconds: float = 3600.0
    """Longest cool-down."""

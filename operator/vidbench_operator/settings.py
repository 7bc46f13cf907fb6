"""What can be set about an operator process, by environment variables that start with VIDBENCH_OPERATOR_."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vidbench_api.names import FIELD_MANAGER

from .core.leadership import LONGEST_DURATION_SECONDS, Limits
from .core.policy import Policy
from .core.retention import RetentionLimits

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The operator's settings. An unknown value ends the process with a message that names the variable."""

    model_config = SettingsConfigDict(env_prefix="VIDBENCH_OPERATOR_", frozen=True, use_attribute_docstrings=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged. INFO has one audit line for every mutating call."""

    log_format: Literal["json", "console"] = "json"
    """`json` for log collectors, `console` for people."""

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Namespaces whose runs are served, separated by commas. Empty: all."""

    health_port: Port = 8080
    """Port of /healthz and /readyz; 0 takes a free one."""

    metrics_port: Port = 8081
    """Port of /metrics; 0 takes a free one."""

    resync_seconds: Annotated[float, Field(ge=1, le=3600)] = 300
    """How often everything is listed from the API server, to find what the watches missed."""

    pulse_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1
    """How often the number of runs is asked for, to notice half-open connections, which say nothing."""

    workers: Annotated[int, Field(ge=1, le=256)] = 8
    """Runs that are worked on at the same time."""

    node_lost_seconds: Annotated[float, Field(ge=1, le=3600)] = Policy.node_lost_seconds
    """How long a pod may be unreachable on a node that is not ready before its attempt is given up."""

    refusal_check_seconds: Annotated[float, Field(ge=0.1, le=3600)] = Policy.refusal_check_seconds
    """How long a Job may be without a pod before its Events are read for the reason."""

    capacity_cooldown_seconds: Annotated[float, Field(ge=1, le=86400)] = Policy.capacity_cooldown_seconds
    """How long Jobs of a hardware entry find no node before half as many may wait; longer than a new node takes."""

    node_breaker_failures: Annotated[int, Field(ge=1, le=100)] = Policy.node_breaker_failures
    """Failed attempts in a row on a node after which a run leaves it alone."""

    node_breaker_seconds: Annotated[float, Field(ge=1, le=86_400)] = Policy.node_breaker_seconds
    """How long a run leaves a node alone before it probes it; doubled by each probe that fails."""

    model_breaker_failures: Annotated[int, Field(ge=1, le=1000)] = Policy.model_breaker_failures
    """Failed shards in a row after which a run starts no other shard of the model."""

    model_breaker_seconds: Annotated[float, Field(ge=1, le=86_400)] = Policy.model_breaker_seconds
    """How long, before it probes the model; doubled by each probe that fails."""

    ledger_max_age_seconds: Annotated[float, Field(ge=1)] | None = None
    """Age at which results are deleted. Unset: never. Needs the verb delete on benchmarkresults."""

    ledger_max_per_namespace: Annotated[int, Field(ge=1)] | None = None
    """Results that a namespace may hold; the oldest beyond it are deleted. Unset: any number."""

    store_url: SecretStr | None = None
    """Results store that each result is copied to: postgresql://USER:PASSWORD@HOST/DATABASE, from a Secret. Unset: none."""

    store_cluster: Annotated[str, Field(min_length=1, max_length=256)] = "in-cluster"
    """What the store calls this cluster."""

    leader_election: bool = False
    """Whether several operators may run, of which the holder of a Lease acts. Needs `lease_namespace`."""

    lease_namespace: str = ""
    """Namespace of the Lease: the operator's own."""

    lease_name: Annotated[str, Field(min_length=1, max_length=253)] = FIELD_MANAGER
    """Name of the Lease, one for all operators that serve the same namespaces."""

    lease_duration_seconds: Annotated[int, Field(ge=1, le=int(LONGEST_DURATION_SECONDS))] = 12
    """How long a leader that is silent is waited for."""

    renew_deadline_seconds: Annotated[float, Field(gt=0)] = 8
    """How long a leader that cannot renew goes on acting; below the duration."""

    renew_period_seconds: Annotated[float, Field(gt=0)] = 2
    """How often a leader renews; below the deadline."""

    identity: str = ""
    """Name of this process in the Lease, which no other has at the same time, e.g. its pod's. Empty: host and chance."""

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def split_at_commas(cls, value: object) -> object:
        """Take `a,b` for two namespaces."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def check_leadership(self) -> Self:
        """Refuse limits with which two operators could act at once, and an election without a place."""
        self.to_limits()
        if self.leader_election and not self.lease_namespace:
            raise ValueError("VIDBENCH_OPERATOR_LEADER_ELECTION needs VIDBENCH_OPERATOR_LEASE_NAMESPACE")
        return self

    @field_validator("store_url")
    @classmethod
    def check_store(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse what is no store, before anything runs; its text stays out of the message."""
        if value is not None:
            # SQLAlchemy takes memory and time: only who has a store loads it.
            from vidbench_store.location import StoreError, parse_location

            try:
                parse_location(value.get_secret_value())
            except StoreError as error:
                raise ValueError(str(error)) from None
        return value

    def to_limits(self) -> Limits:
        """Return the life of a Lease."""
        return Limits(
            duration=self.lease_duration_seconds,
            renew_deadline=self.renew_deadline_seconds,
            renew_period=self.renew_period_seconds,
        )

    def to_retention(self) -> RetentionLimits:
        """Return how much the ledger may hold."""
        return RetentionLimits(self.ledger_max_age_seconds, self.ledger_max_per_namespace)

    def to_policy(self) -> Policy:
        """Return what the core is to be told."""
        return Policy(
            **{entry.name: getattr(self, entry.name) for entry in fields(Policy) if hasattr(self, entry.name)}
        )

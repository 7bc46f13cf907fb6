"""What can be set about an operator process, by environment variables that start with VIDBENCH_OPERATOR_."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .core.policy import Policy

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

    workers: Annotated[int, Field(ge=1, le=256)] = 8
    """Runs that are worked on at the same time."""

    node_lost_seconds: Annotated[float, Field(ge=1, le=3600)] = Policy.node_lost_seconds
    """How long a pod may be unreachable on a node that is not ready before its attempt is given up."""

    refusal_check_seconds: Annotated[float, Field(ge=0.1, le=3600)] = Policy.refusal_check_seconds
    """How long a Job may be without a pod before its Events are read for the reason."""

    unschedulable_probe: Annotated[int, Field(ge=1, le=1000)] = Policy.unschedulable_probe
    """Jobs of one hardware entry that may wait for a node at the same time; more would only wait as well."""

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def split_at_commas(cls, value: object) -> object:
        """Take `a,b` for two namespaces."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    def to_policy(self) -> Policy:
        """Return what the core is to be told."""
        return Policy(
            node_lost_seconds=self.node_lost_seconds,
            refusal_check_seconds=self.refusal_check_seconds,
            unschedulable_probe=self.unschedulable_probe,
        )

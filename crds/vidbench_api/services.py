"""Where clips come from that no pipeline of ours makes: a `/v1/videos` server, or a mock; and what kind of result that gives.

Results of a service time a server that we do not see into; results of a mock time a sleep. Neither is comparable with what
was measured on a device of this cluster, and each is marked for ever.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from .base import ApiModel, Rule, rules
from .names import Comparability

Endpoint = Annotated[
    str,
    Field(
        min_length=8,
        max_length=512,
        pattern=r"^https?://[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[a-zA-Z0-9_][a-zA-Z0-9._-]*)*$",
    ),
]
"""Scheme, host, port and path: no user, no query, no trailing slash, so that two spellings of one endpoint are rare."""

Amount = Annotated[str, Field(max_length=13, pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$")]
"""A sum of money, as text: floats lose cents."""

SERVICE_SECRET_PREFIX: Final = "vidbench-service-"  # noqa: S105 - the beginning of a name, no secret
"""Of the names of Secrets that pods may get: the admission policy of the chart lets no other one through."""

API_KEY: Final = "api-key"
"""The key within the Secret of a service."""


class HttpSource(ApiModel):
    """A model behind a `/v1/videos` server: jobs are submitted, polled and downloaded, one at a time."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "!has(self.maxCostPerAttempt) || has(self.pricePerVideo)",
                "maxCostPerAttempt needs pricePerVideo: without a price nothing can be added up",
                ".maxCostPerAttempt",
            ),
            Rule(
                "has(self.pricePerVideo) == has(self.currency)",
                "pricePerVideo and currency are given together",
                ".currency",
            ),
        )
    }
    endpoint: Endpoint = Field(
        description="Address that `/videos` is appended to, e.g. http://wan.lab.svc:30000/v1. The runner class must allow it."
    )
    model: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="The model, as the server calls it.")
    encoding: Literal["Json", "Form"] = Field(
        default="Json",
        description="How a job is submitted: SGLang takes JSON, vLLM-Omni takes form fields (multipart/form-data).",
    )
    poll_milliseconds: Annotated[int, Field(ge=50, le=60_000)] = Field(
        default=1_000,
        description="Time between two looks at a job: the resolution of the latencies, published with them.",
    )
    clip_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=1_800, description="A job that is not finished so long after it was accepted ends the attempt."
    )
    price_per_video: Amount | None = Field(default=None, description="What one accepted job costs.")
    currency: Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")] | None = None
    max_cost_per_attempt: Amount | None = Field(
        default=None,
        description="An attempt ends, Partial, before the job that would make it cost more. Warm-ups count; each attempt"
        " starts from nothing.",
    )


class MockSource(ApiModel):
    """No model at all: sleeps as long as stated and draws a moving pattern. For dry runs; its results are marked."""

    load_milliseconds: Annotated[int, Field(ge=0, le=600_000)] = 100
    clip_milliseconds: Annotated[int, Field(ge=1, le=600_000)] = 200


class ServiceAccess(ApiModel):
    """An endpoint that runs of this class may use, and the Secret of the run's namespace with its API key.

    The admin ties key and endpoint together, so that no run can send a key to a server of its own.
    """

    endpoint: Endpoint
    api_key_secret: (
        Annotated[
            str,
            Field(max_length=253, pattern=rf"^{SERVICE_SECRET_PREFIX}[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        ]
        | None
    ) = Field(
        default=None,
        description=f"Secret whose key `{API_KEY}` the kubelet gives to pods of this endpoint alone; the operator never reads it."
        " Absent: the server asks for none.",
    )


Backend = Literal["diffusers", "tiny", "random", "http", "mock"]

_COMPARABILITY: Final[dict[str, Comparability]] = {"http": Comparability.SERVICE, "mock": Comparability.MOCK}


def comparability_of(backend: Backend) -> Comparability:
    """Return what results of a backend may be compared with: results of the same kind."""
    return _COMPARABILITY.get(backend, Comparability.DEVICE)


class ServiceFacts(ApiModel):
    """What a result of a service says beside its figures."""

    endpoint: Annotated[str, Field(max_length=512)]
    model: Annotated[str, Field(max_length=200)]
    resolution_microseconds: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] = Field(
        description="The poll interval: a latency may be too long by as much."
    )
    seed_honoured: Literal["Yes", "No", "Unknown"] = Field(
        description="Yes: the same prompt and seed, asked twice, gave the same frames, and other seeds gave others."
    )
    videos: Annotated[int, Field(ge=0, le=2_147_483_647)] = Field(
        description="Jobs that the server accepted, warm-ups included."
    )
    cost: Amount | None = Field(default=None, description="Jobs x pricePerVideo, whatever became of them.")
    currency: Annotated[str, Field(max_length=3)] | None = None
    last_request: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="The server's id of the last job."
    )

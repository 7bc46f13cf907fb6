"""What Kopf is told: watch these kinds, call these functions, write nothing.

Only `on.event` handlers: any other kind would put annotations or finalizers on users' objects. What a handler raises
is logged and dropped by Kopf, so handlers only hand on what they get.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

import kopf

from vidbench_api.kinds import BENCHMARK_RUN, RUNNER_CLASS, VIDEO_MODEL
from vidbench_api.names import GROUP, LABEL_RUN, VERSION

from .intake import Intake

LIST_CHUNK: Final = 100
"""Objects that are in memory as JSON at the same time; a thousand pods of them are 50 MiB."""

_SERVER_SECONDS: Final = 300
_CLIENT_SECONDS: Final = 310
_CONNECT_SECONDS: Final = 10
_LIST_SECONDS: Final = 60


def make_registry(intake: Intake, *, nodes: bool) -> kopf.OperatorRegistry:
    """Return the handlers; `nodes` says whether nodes are visible, as Kopf retries a watch that is forbidden for ever."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, BENCHMARK_RUN.plural, id="run", registry=registry)
    async def on_run(event: kopf.RawEvent, **_: Any) -> None:
        intake.run(event["type"], event["object"])

    @kopf.on.event("batch", "v1", "jobs", id="job", registry=registry)
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        intake.job(event["type"], event["object"])

    @kopf.on.event("", "v1", "pods", id="pod", registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        intake.pod(event["type"], event["object"])

    @kopf.on.event(GROUP, VERSION, VIDEO_MODEL.plural, id="model", registry=registry)
    async def on_model(namespace: str | None, **_: Any) -> None:
        intake.reference(VIDEO_MODEL.plural, namespace)

    @kopf.on.event(GROUP, VERSION, RUNNER_CLASS.plural, id="class", registry=registry)
    async def on_class(**_: Any) -> None:
        intake.reference(RUNNER_CLASS.plural, None)

    if nodes:

        @kopf.on.event("", "v1", "nodes", id="node", registry=registry)
        async def on_node(event: kopf.RawEvent, **_: Any) -> None:
            intake.node(event["type"], event["object"])

    @kopf.on.login(id="login", registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**kwargs)
        return at_address(in_cluster, os.environ) if in_cluster else kopf.login_with_kubeconfig(**kwargs)

    return registry


def at_address(connection: kopf.ConnectionInfo, environment: Mapping[str, str]) -> kopf.ConnectionInfo:
    """Return the connection to the address that the kubelet names, as every client of Kubernetes makes it.

    Kopf takes the API server's name instead, which needs a DNS of the cluster that works.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return connection
    return dataclasses.replace(connection, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")


def make_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings for watching only."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = LIST_CHUNK
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _CLIENT_SECONDS
    settings.watching.connect_timeout = _CONNECT_SECONDS
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_RUN
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_RUN
    settings.networking.connect_timeout = _CONNECT_SECONDS
    settings.networking.request_timeout = _LIST_SECONDS
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    # Until then, the worker of an object holds its last event as JSON.
    settings.queueing.idle_timeout = 0.1
    settings.queueing.exit_timeout = 0.5
    # Kopf would kill the process that it does not own.
    settings.process.ultimate_exiting_timeout = None
    return settings


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no former state of an object: for handlers of events it is not used, and building it copies every object."""

    def build(self, **_: Any) -> Any:
        """Return an empty essence."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Find nothing."""

    def store(self, **_: Any) -> None:
        """Write nothing on users' objects."""


class NoProgress(kopf.ProgressStorage):
    """Remembers no progress of handlers."""

    def fetch(self, **_: Any) -> None:
        """Find nothing."""

    def store(self, **_: Any) -> None:
        """Write nothing on users' objects."""

    def purge(self, **_: Any) -> None:
        """Have nothing to remove."""

    def touch(self, **_: Any) -> None:
        """Write nothing on users' objects."""

    def clear(self, *, essence: Any) -> Any:
        """Return the essence as it is, without a copy."""
        return essence


class EndlessBackoffs:
    """Delays in seconds between tries, short, jittered, without end: an API server that is away must not end Kopf."""

    def __iter__(self) -> Iterator[float]:
        """Start with tenths of a second, then stay below two seconds."""
        for base in itertools.chain((0.1, 0.2, 0.5), itertools.repeat(1.0)):
            yield base * (1.0 + random.random())  # noqa: S311 - spreads load, guards nothing

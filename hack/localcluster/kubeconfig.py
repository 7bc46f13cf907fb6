"""Renders kubeconfig files that hold everything they need, so that they can be moved and mounted. Pure apart from reading keys."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import yaml

from .certificates import KeyPair


@dataclass(frozen=True)
class Endpoint:
    """Where an API server is and whose signature it shows."""

    server: str
    ca_certificate: Path
    tls_server_name: str | None = None
    """The name to check in the server's certificate, when it is not the host in `server`."""


def with_certificate(endpoint: Endpoint, user: str, pair: KeyPair, *, namespace: str = "default") -> str:
    """Return a kubeconfig that proves who one is by a client certificate."""
    credentials = {
        "client-certificate-data": _encoded(pair.certificate),
        "client-key-data": _encoded(pair.key),
    }
    return _render(endpoint, user, credentials, namespace)


def with_token(endpoint: Endpoint, user: str, token: str, *, namespace: str = "default") -> str:
    """Return a kubeconfig that proves who one is by a bearer token."""
    return _render(endpoint, user, {"token": token}, namespace)


def _render(endpoint: Endpoint, user: str, credentials: dict[str, str], namespace: str) -> str:
    cluster = {"server": endpoint.server, "certificate-authority-data": _encoded(endpoint.ca_certificate)}
    if endpoint.tls_server_name:
        cluster["tls-server-name"] = endpoint.tls_server_name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "vidbench-local", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [
            {"name": "vidbench-local", "context": {"cluster": "vidbench-local", "user": user, "namespace": namespace}}
        ],
        "current-context": "vidbench-local",
    }
    return yaml.safe_dump(document, sort_keys=False)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

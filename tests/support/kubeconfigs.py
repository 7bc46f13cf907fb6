"""Kubeconfigs for tests of the command line."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import yaml


def write_kubeconfig(path: Path, server: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """Write a kubeconfig with one context, `only`, in namespace `lab`; returns its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "only",
        "clusters": [{"name": "only", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": user or {}}],
        "contexts": [{"name": "only", "context": {"cluster": "only", "user": "me", "namespace": "lab"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

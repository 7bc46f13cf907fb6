"""Which version of what is used, and where built things are cached. Pure apart from reading environment variables."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path

KUBERNETES = "1.35.4"
ETCD = "3.6.5"
KWOK = "0.8.0"
HELM = "3.19.5"
KIND = "0.33.0"

MINIMUM_GO = (1, 26)
"""Highest `go` directive among the modules that are built."""


def cache_root() -> Path:
    """Directory for everything that is slow to make and safe to keep; outside of every checkout."""
    chosen = os.environ.get("VIDBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "vidbench"


def target() -> str:
    """Operating system and architecture as Go spells them, e.g. `linux-amd64`."""
    machine = platform.machine().lower()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{platform.system().lower()}-{architecture}"


def fingerprint(parts: Iterable[bytes]) -> str:
    """Twelve hex digits that change when any part changes, or moves."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:12]


def cache_key(group: str, version: str, inputs: Iterable[bytes]) -> str:
    """Name of a cache directory: readable first, exact at the end."""
    return f"{group}-{version}-{target()}-{fingerprint(inputs)}"

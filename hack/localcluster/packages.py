"""Installs what the node needs from the distribution's packages, or says what is missing. Debian and Ubuntu, root only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .console import run, say, succeeds
from .errors import MissingPrerequisite
from .layout import CNI_PLUGIN_DIRECTORIES

NODE_PROGRAMS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "mount": "mount",
}
"""Program to Debian package."""
IMAGE_PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap"}


def ensure_programs(programs: dict[str, str], *, needs_network_plugins: bool = False) -> None:
    """Install the packages of those programs that are not on PATH."""
    missing = sorted({package for program, package in programs.items() if _find(program) is None})
    if needs_network_plugins and find_network_plugins() is None:
        missing.append("containernetworking-plugins")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise MissingPrerequisite(
            f"not installed: {', '.join(missing)} (names of Debian packages), and there is no apt-get here to install them; "
            "install them by this distribution's own means"
        )
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            f"not installed: {', '.join(missing)}; run as root: apt-get install {' '.join(missing)}"
        )
    say(f"installing packages: {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # One unreachable source of many fails this step; whether it mattered, the next step shows.
    succeeds(["apt-get", "update", "-q"], timeout_seconds=300)
    run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing],
        doing=f"installing {', '.join(missing)}",
        environment=environment,
    )


def find_network_plugins() -> Path | None:
    """The directory that holds the bridge network plugin; None if it is not installed."""
    return next((directory for directory in CNI_PLUGIN_DIRECTORIES if (directory / "bridge").exists()), None)


def _find(program: str) -> str | None:
    # A user's PATH often lacks the directories of system programs.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")

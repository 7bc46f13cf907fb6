"""Makes a stand-in for the official Python image out of distribution packages, for machines that reach no image registry.

Cached as an archive. Knows nothing of what is built upon it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from . import packages, sweep, versions
from .archive import write_image
from .console import run, say
from .errors import MissingPrerequisite
from .locking import file_lock

REFERENCE = "localhost/python:3.11-slim"
OFFICIAL = "docker.io/library/python:3.11-slim"
_SUITE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
_REVISION = "1"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNWANTED = ("usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists", "var/cache/apt", "var/log")
"""Made by the installation, of no use in an image; the directories themselves stay."""


def ensure_archive() -> Path:
    """Return an archive of the base image; make it on first use (about a minute, root only)."""
    directory = versions.cache_root() / "images"
    key = versions.fingerprint([_SUITE.encode(), *(name.encode() for name in _PACKAGES), _REVISION.encode()])
    archive = directory / f"python-3.11-slim-{versions.target()}-{key}.tar"
    with file_lock(directory / "python.lock"):
        if not archive.exists():
            _build(archive)
    return archive


def _build(archive: Path) -> None:
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            f"the base image {OFFICIAL} cannot be fetched, and making one from distribution packages needs root; "
            "run as root, or give --build-arg BASE=IMAGE with an image that this machine has"
        )
    packages.ensure_programs({"debootstrap": "debootstrap"})
    say(f"making {REFERENCE} from Debian packages, because no image registry answers (about a minute, once)")
    started = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix=".python-", dir=archive.parent))
    try:
        root, layer = temporary / "root", temporary / "layer.tar"
        command: list[str | Path] = [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(_PACKAGES)}",
            _SUITE,
            root,
        ]
        run([*command, *_mirror()], doing="making the base image with debootstrap", timeout_seconds=900)
        _make_it_look_official(root)
        run(["tar", "--numeric-owner", "--sort=name", "-C", root, "-cf", layer, "."], doing="packing the base image")
        packed = temporary / "image.tar"
        write_image(packed, REFERENCE, layer, command=["python3"], environment={"PATH": _PATH, "LANG": "C.UTF-8"})
        packed.rename(archive)
    finally:
        sweep.unmount_below(temporary)
        sweep.remove_tree(temporary)
    say(f"made {REFERENCE} in {time.monotonic() - started:.0f} s")


def _make_it_look_official(root: Path) -> None:
    """Give the image what Dockerfiles for the official one rely on: `python`, and a pip that may install."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for name in _UNWANTED:
        for entry in (root / name).iterdir() if (root / name).is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _mirror() -> list[str]:
    """The package mirror that this machine itself uses, if it is a Debian; else debootstrap's own choice."""
    release = Path("/etc/os-release")
    if not release.exists() or "\nID=debian\n" not in f"\n{release.read_text()}\n":
        return []
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    found = debian_mirror("\n".join(source.read_text() for source in sources if source.is_file()))
    return [found] if found else []


def debian_mirror(sources: str) -> str | None:
    """Find the main Debian archive in the text of apt's source lists, in either of their two formats."""
    uri = ""
    for line in sources.splitlines():
        words = line.split()
        if line.startswith("URIs:"):
            uri = words[1]
        elif line.startswith("Suites:"):
            suites = words[1:]
            if uri and any(f"{suite}-updates" in suites for suite in suites):
                return uri
        elif words[:1] == ["deb"]:
            plain = [word for word in words[1:] if not word.startswith("[") and not word.endswith("]")]
            if len(plain) > 2 and plain[0].rstrip("/").endswith("/debian") and "main" in plain:
                return plain[0]
    return None

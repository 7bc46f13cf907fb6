"""Builds an image from a Dockerfile, unless the one that is there was built from the very same inputs."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from . import base_image, versions
from .builders import Builder, BuildRequest
from .console import run, say
from .errors import LocalClusterError

INPUTS_LABEL = "vidbench.io/inputs"
_BASE_ARGUMENT = "BASE"
_MACHINE_ARGUMENTS = (
    "SSL_CERT_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
)
"""How to reach package indexes from here: passed to a Dockerfile that declares them as ARG, and no part of the image."""


def ensure_image(
    builder: Builder,
    name: str,
    tag: str,
    *,
    dockerfile: Path,
    context: Path,
    inputs: Sequence[Path] = (),
    arguments: Mapping[str, str] | None = None,
) -> bool:
    """Build the image if its inputs changed; say whether that was needed.

    `name` is for messages and the log file. `inputs` are the files and directories that the Dockerfile copies; without them everything in the context counts that
    git does not ignore.
    """
    if not dockerfile.is_file():
        raise LocalClusterError(f"there is no Dockerfile at {dockerfile}")
    text = dockerfile.read_text()
    given = {**(arguments or {})}
    if _BASE_ARGUMENT in declared_arguments(text) and _BASE_ARGUMENT not in given:
        given |= _base_argument(builder)
    wanted = inputs_hash(text, files_of(context, inputs), context, {**given, "base-id": _base_id(builder, given) or ""})
    if builder.label(tag, INPUTS_LABEL) == wanted:
        say(f"{name} ({tag}) is up to date")
        return False
    passed = {**given, **machine_arguments(text, given, os.environ)}
    log = versions.cache_root() / "logs" / f"build-{name}.log"
    say(f"building {name} ({tag}) with {builder.program}; log: {log}")
    started = time.monotonic()
    superseded = builder.image_id(tag)
    builder.build(BuildRequest(tag, dockerfile, context, passed, {INPUTS_LABEL: wanted}, log))
    if superseded is not None:
        builder.remove_if_unnamed(superseded)
    say(f"built {name} in {time.monotonic() - started:.0f} s")
    return True


def declared_arguments(dockerfile: str) -> set[str]:
    """Names that a Dockerfile declares as ARG."""
    return set(re.findall(r"^\s*ARG\s+(\w+)", dockerfile, re.MULTILINE | re.IGNORECASE))


def machine_arguments(dockerfile: str, given: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of this machine that a Dockerfile asks for and nobody gave."""
    asked = declared_arguments(dockerfile) - set(given)
    return {name: environment[name] for name in _MACHINE_ARGUMENTS if name in asked and environment.get(name)}


def files_of(context: Path, inputs: Sequence[Path]) -> list[Path]:
    """Every file that counts as an input, in a fixed order."""
    if not inputs:
        listed = run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            doing=f"listing the files in {context} (or name the inputs with --input)",
            directory=context,
        )
        return sorted(context / name for name in listed.split("\0") if name and (context / name).is_file())
    found: set[Path] = set()
    for path in (context / given for given in inputs):
        if not path.exists():
            raise LocalClusterError(f"the input {path} does not exist")
        candidates = path.rglob("*") if path.is_dir() else [path]
        found |= {file for file in candidates if file.is_file() and "__pycache__" not in file.parts}
    return sorted(found)


def inputs_hash(dockerfile: str, files: Iterable[Path], context: Path, arguments: Mapping[str, str]) -> str:
    """A hash that changes when the result of a build may change."""
    digest = hashlib.sha256(dockerfile.encode())
    for name, value in sorted(arguments.items()):
        digest.update(f"\0{name}={value}".encode())
    for file in files:
        executable = os.access(file, os.X_OK)
        digest.update(f"\0{file.relative_to(context)}\0{executable}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _base_argument(builder: Builder) -> dict[str, str]:
    """Leave the Dockerfile its own base where that can be had; otherwise name one that is made here."""
    if builder.image_id(base_image.OFFICIAL) is not None:
        return {}
    if builder.image_id(base_image.REFERENCE) is None:
        say(f"fetching {base_image.OFFICIAL}")
        if builder.pull(base_image.OFFICIAL):
            return {}
        builder.load(base_image.ensure_archive())
    return {_BASE_ARGUMENT: base_image.REFERENCE}


def _base_id(builder: Builder, given: Mapping[str, str]) -> str | None:
    return builder.image_id(given.get(_BASE_ARGUMENT, base_image.OFFICIAL))

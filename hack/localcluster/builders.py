"""The image builders that may be on a machine, behind one face: docker, podman, buildah. Knows nothing of what is built."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import packages, versions
from .console import run, succeeds
from .errors import LocalClusterError, MissingPrerequisite

_CERTIFICATES = Path("/etc/ssl/certs")
_TRIES = 3
_PASSING_FAILURE = "sealing memfd copy"
"""What buildah says when the kernel still writes the copy of itself that it wants to seal: seen on a busy machine, and gone a
second later. The steps that were built stay."""


@dataclass(frozen=True)
class BuildRequest:
    """One image to build."""

    tag: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    log: Path = Path("/dev/stderr")
    """Where the builder's output goes."""


class Engine:
    """Docker or podman: both take the same words."""

    def __init__(self, program: str) -> None:
        self.program = program

    def build(self, request: BuildRequest) -> None:
        """Build; an error holds the end of what the builder said."""
        volumes = _machine_volumes() if self.program == "podman" else []
        formats = ["--format", "docker"] if self.program == "podman" else []
        _run_build([self.program, "build", "--network", "host", *formats, *volumes, *_request_words(request)], request)

    def image_id(self, reference: str) -> str | None:
        """The id of an image that is there; None if it is not."""
        return self._inspect(reference, "{{.Id}}")

    def label(self, reference: str, name: str) -> str | None:
        """A label of an image; None if either is missing."""
        return self._inspect(reference, f'{{{{index .Config.Labels "{name}"}}}}')

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False if nobody answers in time."""
        return succeeds([self.program, "pull", "--quiet", reference], timeout_seconds=300)

    def load(self, archive: Path) -> None:
        """Take an image out of an archive."""
        run([self.program, "load", "--input", archive], doing=f"loading {archive} into {self.program}")

    def export_command(self, reference: str) -> list[str]:
        """A command that writes the image to its stdout as an archive."""
        return [self.program, "save", reference]

    def remove_if_unnamed(self, image_id: str) -> None:
        """Remove an image that lost its name to a newer one; it stays where another name, image or container needs it."""
        _remove_if_unnamed(self.program, image_id)

    def prune(self) -> None:
        """Remove images that nothing names: what earlier builds left, and the cache of their steps."""
        run([self.program, "image", "prune", "--force"], doing="removing unnamed images")

    def _inspect(self, reference: str, template: str) -> str | None:
        command = [self.program, "image", "inspect", "--format", template, reference]
        return _normal_id(_output_or_none(command))


class Buildah:
    """Buildah as root, without any service: steps run in a chroot on this machine's network."""

    program = "buildah"

    def build(self, request: BuildRequest) -> None:
        """Build; an error holds the end of what the builder said."""
        how = ["--isolation", "chroot", "--network", "host", "--format", "docker", "--layers", "--pull=false"]
        _run_build(["buildah", "bud", *how, *_machine_volumes(), *_request_words(request)], request)

    def image_id(self, reference: str) -> str | None:
        """The id of an image that is there; None if it is not."""
        return _normal_id(self._inspect(reference, "{{.FromImageID}}"))

    def label(self, reference: str, name: str) -> str | None:
        """A label of an image; None if either is missing."""
        return self._inspect(reference, f'{{{{index .Docker.Config.Labels "{name}"}}}}')

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False if nobody answers in time."""
        return succeeds(["buildah", "pull", "--quiet", "--retry", "0", reference], timeout_seconds=300)

    def load(self, archive: Path) -> None:
        """Take an image out of an archive."""
        run(["buildah", "pull", "--quiet", f"docker-archive:{archive}"], doing=f"loading {archive} into buildah")

    def export_command(self, reference: str) -> list[str]:
        """A command that writes the image to its stdout as an archive."""
        return ["buildah", "push", "--quiet", reference, f"docker-archive:/dev/stdout:{reference}"]

    def remove_if_unnamed(self, image_id: str) -> None:
        """Remove an image that lost its name to a newer one; it stays where another name, image or container needs it."""
        _remove_if_unnamed("buildah", image_id)

    def prune(self) -> None:
        """Remove images that nothing names: what earlier builds left, and the cache of their steps."""
        run(["buildah", "rmi", "--prune"], doing="removing unnamed images")

    def _inspect(self, reference: str, template: str) -> str | None:
        return _output_or_none(["buildah", "inspect", "--type", "image", "--format", template, reference])


Builder = Engine | Buildah


def find_builder() -> Builder:
    """Return the first builder that answers; install buildah where nothing does and that is possible."""
    for program in ("docker", "podman"):
        if shutil.which(program) and succeeds([program, "info"], timeout_seconds=15):
            return Engine(program)
    try:
        packages.ensure_programs({"buildah": "buildah"})
    except MissingPrerequisite as error:
        raise MissingPrerequisite(
            f"no image builder: neither docker nor podman answers, and for buildah: {error}"
        ) from error
    return Buildah()


def _machine_volumes() -> list[str]:
    """What a build step borrows from this machine: its certificates, pip's settings, and a cache for uv's downloads."""
    volumes = []
    if _CERTIFICATES.is_dir():
        volumes.append(f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
    if Path("/etc/pip.conf").exists():
        volumes.append("/etc/pip.conf:/etc/pip.conf:ro")
    volumes.append(f"{_uv_cache()}:/root/.cache/uv")
    return [word for volume in volumes for word in ("--volume", volume)]


def _uv_cache() -> Path:
    """The person's own uv cache, which often holds gigabytes that the build wants; else one for builds alone."""
    own = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv").absolute()
    # Under sudo it may be someone else's, who could then no longer write what the build has put there.
    if own.is_dir() and own.stat().st_uid == os.geteuid():
        return own
    cache = versions.cache_root() / "uv"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _request_words(request: BuildRequest) -> list[str]:
    words = ["--tag", request.tag, "--file", str(request.dockerfile)]
    words += [word for name, value in request.arguments.items() for word in ("--build-arg", f"{name}={value}")]
    words += [word for name, value in request.labels.items() for word in ("--label", f"{name}={value}")]
    return [*words, str(request.context)]


def _run_build(command: Sequence[str], request: BuildRequest) -> None:
    for _ in range(_TRIES):
        code, said = _try_build(command, request)
        if code == 0:
            return
        if not any(_PASSING_FAILURE in line for line in said):
            break
    raise LocalClusterError(
        "\n".join([f"building {request.tag} failed with exit code {code}; the whole log: {request.log}", *said[-40:]])
    )


def _try_build(command: Sequence[str], request: BuildRequest) -> tuple[int, list[str]]:
    request.log.parent.mkdir(parents=True, exist_ok=True)
    with request.log.open("wb") as log:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    said = request.log.read_text(errors="replace").splitlines() if request.log.is_file() else []
    return done.returncode, said


def _remove_if_unnamed(program: str, image_id: str) -> None:
    # By its id an image goes with its last name, which may be one that somebody else gave it.
    unnamed = _output_or_none([program, "images", "--quiet", "--no-trunc", "--filter", "dangling=true"]) or ""
    if image_id in map(_normal_id, unnamed.split()):
        succeeds([program, "rmi", image_id.removeprefix("sha256:")], timeout_seconds=300)


def _output_or_none(command: Sequence[str]) -> str | None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    text = done.stdout.strip()
    return text if done.returncode == 0 and text and text != "<no value>" else None


def _normal_id(image_id: str | None) -> str | None:
    """Builders differ in whether an id starts with the name of its hash."""
    if image_id is None or image_id.startswith("sha256:"):
        return image_id
    return f"sha256:{image_id}"

"""Writes image archives that docker, podman, buildah and containerd all load, from a tree of files or a ready tar. No builder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import versions


def write_image(
    archive: Path, tag: str, layer: Path, *, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Write an image of one uncompressed layer. The same inputs give the same image id."""
    digest = _sha256(layer)
    config = json.dumps(
        {
            "architecture": versions.target().partition("-")[2],
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Cmd": list(command), "Env": [f"{key}={value}" for key, value in environment.items()]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "vidbench localcluster"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(archive, "w") as image:
        _add_bytes(image, config_name, config)
        image.add(layer, f"{digest}.tar", filter=_anonymous)
        _add_bytes(image, "manifest.json", json.dumps(manifest).encode())


def image_id_in(archive: Path) -> str | None:
    """The image id (digest of its configuration) in an archive; None if the archive holds no docker-style manifest."""
    with tarfile.open(archive) as image:
        try:
            member = image.extractfile("manifest.json")
        except KeyError:
            return None
        if member is None:
            return None
        config = str(json.load(member)[0]["Config"])
    return f"sha256:{Path(config).stem}"


def write_layer(
    layer: Path, files: Mapping[str, bytes], links: Mapping[str, str], directories: Mapping[str, int]
) -> None:
    """Write a layer of programs (mode 755), symbolic links and directories with their modes."""
    with tarfile.open(layer, "w") as tree:
        for name, mode in directories.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tree.addfile(entry)
        for name, content in files.items():
            _add_bytes(tree, name, content, mode=0o755)
        for name, destination in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, destination
            tree.addfile(entry)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

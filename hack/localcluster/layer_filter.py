"""Turns a stream in docker's archive format into one in OCI layout, leaving out layers that the receiver already has.

A runner image is gigabytes of libraries under a few kilobytes of code: only what changed should travel. Knows nothing of
processes, only of two streams.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Collection
from typing import IO, Any

_BLOCK = 1 << 20
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def pass_on(source: IO[bytes], destination: IO[bytes], *, reference: str, present: Collection[str]) -> None:
    """Copy the image called `reference`; blobs whose digests are in `present` are only referred to.

    Raises ValueError if the source is not an archive whose layers are named by their digests.
    """
    layer_sizes: dict[str, int] = {}
    documents: dict[str, bytes] = {}
    with (
        tarfile.open(fileobj=source, mode="r|", bufsize=_BLOCK) as archive,
        tarfile.open(fileobj=destination, mode="w|", bufsize=_BLOCK, format=tarfile.GNU_FORMAT) as layout,
    ):
        layout.copybufsize = _BLOCK  # type: ignore[attr-defined]  # a documented parameter of open() that typeshed lacks here
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if layer := re.fullmatch(r"([0-9a-f]{64})\.tar", member.name):
                digest = f"sha256:{layer[1]}"
                layer_sizes[digest] = member.size
                if digest not in present:
                    _add(layout, _blob_name(digest), member.size, content)
            elif member.name.endswith(".json") and "/" not in member.name:
                documents[member.name] = content.read()
        _add_documents(layout, documents, layer_sizes, reference)


def _add_documents(
    layout: tarfile.TarFile, documents: dict[str, bytes], layer_sizes: dict[str, int], reference: str
) -> None:
    try:
        description: dict[str, Any] = json.loads(documents["manifest.json"])[0]
        config = documents[description["Config"]]
        digests = [f"sha256:{name.removesuffix('.tar')}" for name in description["Layers"]]
        layers = [_descriptor(_LAYER_TYPE, digest, layer_sizes[digest]) for digest in digests]
    except (KeyError, IndexError) as error:
        raise ValueError(f"an image archive of an unknown kind: no {error}") from error
    config_digest = _digest(config)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, config_digest, len(config)),
            "layers": layers,
        }
    ).encode()
    entry = _descriptor(_MANIFEST_TYPE, _digest(manifest), len(manifest))
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {"io.containerd.image.name": reference}}]}
    files = {
        _blob_name(config_digest): config,
        _blob_name(_digest(manifest)): manifest,
        "index.json": json.dumps(index).encode(),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }
    for name, content in files.items():
        _add(layout, name, len(content), io.BytesIO(content))


def _add(layout: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    layout.addfile(entry, content)


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"

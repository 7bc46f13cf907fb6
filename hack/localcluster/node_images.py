"""Images in the node's containerd: which are there, and loading one. Knows nothing of how images are built."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .console import run
from .errors import LocalClusterError
from .layer_filter import pass_on
from .layout import Layout


class NodeImages:
    """The images that pods on the node can use."""

    def __init__(self, places: Layout) -> None:
        self._ctr = ["ctr", f"--address={places.containerd_socket}", "--namespace=k8s.io"]

    def ids(self) -> dict[str, str]:
        """Image references and their ids (digests of their configurations)."""
        listed = run([*self._ctr, "images", "list"], doing="listing the node's images")
        found = {}
        for line in listed.splitlines()[1:]:
            words = line.split()
            if len(words) > 2 and not words[0].startswith("sha256:"):  # name, type, digest
                found[words[0]] = self._config_digest(words[2])
        return found

    def load(self, archive: Path) -> None:
        """Import an archive (docker-style or OCI)."""
        run([*self._ctr, "images", "import", archive], doing=f"loading {archive} into the node")

    def load_stream(self, produce: list[str], reference: str) -> None:
        """Import what a command writes to its stdout: nothing lies on disk in between, and known layers do not travel."""
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(produce, stdout=subprocess.PIPE, stderr=complaints) as producer,
            subprocess.Popen(
                [*self._ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=complaints, stderr=complaints
            ) as importer,
        ):
            problem = _connect(producer, importer, reference, self._known_blobs())
            importer.wait()
            producer.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-3000:]
        if problem or producer.returncode or importer.returncode:
            raise LocalClusterError(f"loading {reference} into the node failed: {problem or 'see below'}\n{said}")

    def drop_unnamed(self) -> None:
        """Let go of images whose name went to a newer one: containerd keeps them under their ids for ever."""
        named = set(self.ids().values())
        listed = run([*self._ctr, "images", "list", "--quiet"], doing="listing the node's images").split()
        unnamed = [reference for reference in listed if reference.startswith("sha256:") and reference not in named]
        if unnamed:
            run([*self._ctr, "images", "remove", *unnamed], doing="removing images without a name")

    def discard_containers(self) -> bool:
        """Remove containers that an earlier cluster left in containerd's books; say whether there were any."""
        names = run([*self._ctr, "containers", "list", "--quiet"], doing="listing old containers").split()
        if names:
            run([*self._ctr, "containers", "delete", *names], doing="removing old containers")
        return bool(names)

    def _known_blobs(self) -> set[str]:
        return set(run([*self._ctr, "content", "list", "--quiet"], doing="listing the node's layers").split())

    def _config_digest(self, digest: str) -> str:
        manifest = json.loads(run([*self._ctr, "content", "get", digest], doing="reading an image's manifest"))
        if "manifests" in manifest:
            return self._config_digest(manifest["manifests"][0]["digest"])
        return str(manifest["config"]["digest"])


def _connect(
    producer: subprocess.Popen[bytes], importer: subprocess.Popen[bytes], reference: str, present: set[str]
) -> str | None:
    """Pass the image from one program to the other; return what went wrong. Both get to see the end of the stream."""
    if producer.stdout is None or importer.stdin is None:
        raise AssertionError("both programs were started with pipes")
    try:
        pass_on(producer.stdout, importer.stdin, reference=reference, present=present)
    except (OSError, ValueError, tarfile.TarError) as error:
        return str(error)
    finally:
        producer.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            importer.stdin.close()
    return None

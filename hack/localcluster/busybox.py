"""Makes the small image that holds pods' networks and runs test pods, from one static program. Cached as an archive."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from . import layout, versions
from .archive import write_image, write_layer
from .console import run, succeeds
from .errors import LocalClusterError, MissingPrerequisite
from .locking import file_lock

_FOREVER = "2147483647"
_REVISION = "1"
_DIRECTORIES = {"bin": 0o755, "etc": 0o755, "tmp": 0o1777, "dev": 0o755, "proc": 0o755, "sys": 0o755}
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


def ensure_archive() -> Path:
    """Return an image archive of busybox; make it on first use."""
    directory = versions.cache_root() / "images"
    archive = directory / f"busybox-{_REVISION}-{versions.target()}.tar"
    with file_lock(directory / "busybox.lock"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix=".busybox-", dir=directory) as temporary:
                built = _build(Path(temporary))
                built.rename(archive)
    return archive


def _build(temporary: Path) -> Path:
    program = _static_program(temporary)
    applets = run([program, "--list"], doing="asking busybox for its commands").split()
    layer, archive = temporary / "layer.tar", temporary / "image.tar"
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    write_layer(layer, {"bin/busybox": program.read_bytes(), **_ACCOUNTS}, links, _DIRECTORIES)
    write_image(archive, layout.BUSYBOX_IMAGE, layer, command=["/bin/sleep", _FOREVER], environment={"PATH": "/bin"})
    return archive


def _static_program(temporary: Path) -> Path:
    """Find a busybox that needs no libraries; else take it out of the distribution's package, without installing that."""
    installed = shutil.which("busybox")
    if installed is not None and _is_static(Path(installed)):
        return Path(installed)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise MissingPrerequisite(
            "no static busybox is installed, and there is no apt-get to fetch one; install busybox-static"
        )
    download = temporary / "package"
    download.mkdir()
    fetch = ["apt-get", "download", "busybox-static"]
    try:
        run(fetch, doing="fetching busybox", directory=download)
    except LocalClusterError:
        # Lists that are missing or too old name a package that is no longer there.
        succeeds(["apt-get", "update", "-q"], timeout_seconds=300)
        run(fetch, doing="fetching busybox", directory=download)
    package = next(download.glob("*.deb"))
    run(["dpkg-deb", "-x", package, temporary / "tree"], doing="unpacking busybox")
    return temporary / "tree" / "bin" / "busybox"


def _is_static(program: Path) -> bool:
    return not succeeds(["ldd", program])

"""Builds the pinned programs from Go modules, once per version, into the cache. Knows nothing of how they are run."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import versions
from .console import run, say
from .errors import LocalClusterError, MissingPrerequisite
from .locking import file_lock

KUBERNETES_MODULE = Path(__file__).resolve().parent.parent / "tools" / "kubernetes"
ASSETS = ("etcd", "kube-apiserver", "kubectl")
"""What KUBEBUILDER_ASSETS may provide in place of our own builds."""

_VERSION_PACKAGE = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = versions.KUBERNETES.split(".")
_KUBERNETES_LINK_FLAGS = (
    f"-s -w -X {_VERSION_PACKAGE}.gitVersion=v{versions.KUBERNETES}"
    f" -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} -X {_VERSION_PACKAGE}.gitMinor={_MINOR}"
    f" -X {_VERSION_PACKAGE}.gitTreeState=clean"
)


@dataclass(frozen=True)
class Group:
    """Programs that are built and cached together."""

    name: str
    version: str
    packages: dict[str, str]
    """Program name to Go package."""
    link_flags: str
    in_kubernetes_module: bool
    expected_minutes: int
    """Of a cold build on two cores, for the progress line."""


def _kubernetes(*programs: str) -> dict[str, str]:
    return {program: f"k8s.io/kubernetes/cmd/{program}" for program in programs}


GROUPS = {
    group.name: group
    for group in (
        Group(
            "control-plane",
            f"{versions.KUBERNETES}-etcd-{versions.ETCD}",
            {
                "etcd": "go.etcd.io/etcd/server/v3",
                **_kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
            },
            _KUBERNETES_LINK_FLAGS,
            in_kubernetes_module=True,
            expected_minutes=6,
        ),
        Group(
            "node",
            versions.KUBERNETES,
            _kubernetes("kubelet", "kube-proxy"),
            _KUBERNETES_LINK_FLAGS,
            in_kubernetes_module=True,
            expected_minutes=1,
        ),
        Group(
            "kwok",
            versions.KWOK,
            {"kwok": f"sigs.k8s.io/kwok/cmd/kwok@v{versions.KWOK}"},
            f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=v{versions.KWOK}",
            in_kubernetes_module=False,
            expected_minutes=2,
        ),
        Group(
            "helm",
            versions.HELM,
            {"helm": f"helm.sh/helm/v3/cmd/helm@v{versions.HELM}"},
            # Without a cluster, helm renders charts for the Kubernetes version that was linked in.
            f"-s -w -X helm.sh/helm/v3/internal/version.version=v{versions.HELM}"
            f" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={_MAJOR}"
            f" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={_MINOR}",
            in_kubernetes_module=False,
            expected_minutes=2,
        ),
        Group(
            "kind",
            versions.KIND,
            {"kind": f"sigs.k8s.io/kind@v{versions.KIND}"},
            "-s -w",
            in_kubernetes_module=False,
            expected_minutes=1,
        ),
    )
}


def ensure(group_name: str) -> Path:
    """Return the directory that holds the programs of a group; build them first if this machine has none yet."""
    group = _group(group_name)
    assets = _assets_directory() if group_name == "control-plane" else None
    directory = _directory(group, assets)
    if directory.is_dir():
        return directory
    with file_lock(directory.parent / f"{group.name}.lock"):
        if not directory.is_dir():
            _build_into(directory, group, assets)
    return directory


def is_cached(group_name: str) -> bool:
    """Whether the programs of a group are there without a build."""
    assets = _assets_directory() if group_name == "control-plane" else None
    return _directory(_group(group_name), assets).is_dir()


def _group(name: str) -> Group:
    if name not in GROUPS:
        raise LocalClusterError(f"no group of programs called {name!r}; there are: {', '.join(GROUPS)}")
    return GROUPS[name]


def _directory(group: Group, assets: Path | None) -> Path:
    return versions.cache_root() / "bin" / _key(group, assets)


def _key(group: Group, assets: Path | None) -> str:
    inputs = [group.link_flags.encode(), *(package.encode() for package in group.packages.values())]
    if group.in_kubernetes_module:
        inputs += [(KUBERNETES_MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
    if assets is not None:
        inputs.append(str(assets).encode())
    return versions.cache_key(group.name, group.version, inputs)


def _build_into(directory: Path, group: Group, assets: Path | None) -> None:
    """Build beside the final place and rename, so that nobody ever sees half a set of programs."""
    packages = {name: package for name, package in group.packages.items() if assets is None or name not in ASSETS}
    _require_go()
    say(f"building {', '.join(packages)} {group.version} (a first build takes about {group.expected_minutes} min)")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f".{group.name}-", dir=directory.parent) as temporary:
        building = Path(temporary) / "bin"
        building.mkdir(mode=0o755)
        if group.in_kubernetes_module:
            _go_build(building, packages, group.link_flags)
        else:
            _go_install(building, packages, group.link_flags)
        if assets is not None:
            for name in ASSETS:
                (building / name).symlink_to(assets / name)
        missing = [name for name in group.packages if not (building / name).exists()]
        if missing:
            raise LocalClusterError(f"the Go build of {group.name} left no {', '.join(missing)} in {building}")
        building.rename(directory)
    say(f"built {group.name} in {time.monotonic() - started:.0f} s: {directory}")


def _go_build(building: Path, packages: dict[str, str], link_flags: str) -> None:
    arguments: list[str | Path] = ["go", "build", "-trimpath", "-ldflags", link_flags, "-o", f"{building}/"]
    run(
        [*arguments, *packages.values()],
        doing=f"building in {KUBERNETES_MODULE}",
        environment=_go_environment(),
        directory=KUBERNETES_MODULE,
    )
    for name, package in packages.items():
        # Go names a program after the last path element that is no version: etcd's is called "server".
        produced = building / [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)][-1]
        if produced.name != name and produced.exists():
            produced.rename(building / name)


def _go_install(building: Path, packages: dict[str, str], link_flags: str) -> None:
    run(
        ["go", "install", "-trimpath", "-ldflags", link_flags, *packages.values()],
        doing=f"installing {', '.join(packages.values())}",
        environment={**_go_environment(), "GOBIN": str(building)},
        directory=building,
    )


def _go_environment() -> dict[str, str]:
    # Static programs run on every distribution, and need no C compiler here.
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def _require_go() -> None:
    needed = ".".join(str(number) for number in versions.MINIMUM_GO)
    if shutil.which("go") is None:
        raise MissingPrerequisite(f"Go is not installed (no `go` on PATH); install Go {needed} or newer")
    found = run(["go", "env", "GOVERSION"], doing="asking Go for its version").strip()
    if go_version(found) < versions.MINIMUM_GO:
        raise MissingPrerequisite(f"Go is too old: {found} at {shutil.which('go')}; install Go {needed} or newer")


def go_version(text: str) -> tuple[int, int]:
    """Major and minor number out of `go1.26.8`, `go1.27rc1`; (0, 0) for what is not understood."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _assets_directory() -> Path | None:
    """Return KUBEBUILDER_ASSETS if set, after checking that what it holds fits the other programs."""
    value = os.environ.get("KUBEBUILDER_ASSETS")
    if not value:
        return None
    directory = Path(value)
    missing = [name for name in ASSETS if not os.access(directory / name, os.X_OK)]
    if missing:
        raise LocalClusterError(f"KUBEBUILDER_ASSETS={value} lacks {', '.join(missing)}; complete it or unset it")
    said = run([directory / "kube-apiserver", "--version"], doing="asking KUBEBUILDER_ASSETS for its version")
    if not said.strip().startswith(f"Kubernetes v{_MAJOR}.{_MINOR}."):
        raise LocalClusterError(
            f"KUBEBUILDER_ASSETS={value} holds {said.strip()}, but the controller manager and the scheduler are built "
            f"at {versions.KUBERNETES}; provide {_MAJOR}.{_MINOR} or unset it"
        )
    return directory.resolve()

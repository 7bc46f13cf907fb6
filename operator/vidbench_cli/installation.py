"""What of vidbench is installed where: this command, the CRDs, the operator with its Lease and metrics. Asks, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any, Final

from vidbench_api.crdgen import root_schema
from vidbench_api.kinds import KINDS, Kind
from vidbench_api.names import VERSION

from .cluster import CRDS, Cluster
from .cluster_answers import INSTALL, Resource
from .errors import ClusterAwayError, ClusterError, NotFoundError
from .texts import _

DEPLOYMENTS: Final = Resource("deployments", "Deployment", "apps")
LEASES: Final = Resource("leases", "Lease", "coordination.k8s.io")
USUAL_NAMESPACE: Final = "vidbench-system"
_LABELS: Final = "app.kubernetes.io/name=vidbench"
UPGRADE: Final = "helm show crds charts/vidbench | kubectl apply --server-side -f -"

Object = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One part and its version; None: not there or not known, and `note` says why."""

    name: str
    version: str | None
    note: str = ""


@dataclass(frozen=True)
class CrdState:
    """A CRD as it is installed. `fits`: whether its schema is this version's; None where it may not be read."""

    kind: str
    fits: bool | None
    detail: str = ""


@dataclass(frozen=True)
class OperatorState:
    """An operator's Deployment. `holder` and `renewed` are of its Lease."""

    name: str
    namespace: str
    version: str | None
    image: str
    wanted: int
    ready: int
    holder: str | None = None
    renewed: str | None = None
    lease_note: str = ""


def client_version() -> str | None:
    """Return the version of this distribution; None where it was not installed as one."""
    try:
        return package_version("vidbench")
    except PackageNotFoundError:
        return None


def client_part() -> Part:
    """Return this command's part."""
    return Part("vidbench", client_version(), _("this command"))


def cluster_parts(cluster: Cluster) -> list[Part]:
    """Return what there is in a cluster; raises ClusterError if it does not answer."""
    parts = [Part("Kubernetes", cluster.read_version(), cluster.server)]
    try:
        found = find_operators(cluster)
        parts += [
            Part(
                "operator",
                entry.version,
                f"{entry.namespace}/{entry.name}: {entry.image}, {entry.ready}/{entry.wanted} {_('ready')}",
            )
            for entry in found
        ] or [Part("operator", None, _("none was found; {install}").format(install=INSTALL))]
    except ClusterAwayError:
        raise
    except ClusterError as error:
        parts.append(Part("operator", None, f"{error.message}; {error.remedy}"))
    return [*parts, *(_crd_part(state) for state in read_crds(cluster))]


def _crd_part(state: CrdState) -> Part:
    return Part(f"CRD {state.kind}", VERSION if state.fits is not None else None, state.detail)


def read_crds(cluster: Cluster) -> list[CrdState]:
    """Return the state of each CRD; raises ClusterAwayError alone."""
    return [_read_crd(cluster, kind) for kind in KINDS]


def _read_crd(cluster: Cluster, kind: Kind) -> CrdState:
    try:
        body = cluster.get(CRDS, kind.crd_name)
    except NotFoundError:
        return CrdState(kind.kind, False, _("is not installed; {install}").format(install=INSTALL))
    except ClusterAwayError:
        raise
    except ClusterError as error:
        return CrdState(kind.kind, None, error.message)
    different = differences(body, kind)
    if not different:
        return CrdState(kind.kind, True, _("this version's"))
    more = f" +{len(different) - 3}" if len(different) > 3 else ""
    text = _("is another version's, e.g. {paths}; {upgrade}")
    return CrdState(kind.kind, False, text.format(paths=", ".join(different[:3]) + more, upgrade=UPGRADE))


def differences(crd: Mapping[str, Any], kind: Kind) -> list[str]:
    """Return where an installed CRD's schema differs from this version's: `+path` it lacks, `-path` it has more, `~path` says else."""
    versions = {entry["name"]: entry for entry in crd["spec"]["versions"] if entry.get("served")}
    if VERSION not in versions:
        return [f"+{VERSION}"]
    theirs = dict(_flat(versions[VERSION]["schema"]["openAPIV3Schema"], ""))
    ours = dict(_flat(root_schema(kind), ""))
    return [
        *(f"+{path}" for path in sorted(ours.keys() - theirs.keys())),
        *(f"-{path}" for path in sorted(theirs.keys() - ours.keys())),
        *(f"~{path}" for path in sorted(ours.keys() & theirs.keys()) if ours[path] != theirs[path]),
    ]


def _flat(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each field with what is said of it; descriptions say nothing that decides."""
    inner = ("properties", "items", "additionalProperties", "description")
    yield path or ".", {key: value for key, value in schema.items() if key not in inner}
    for name, child in schema.get("properties", {}).items():
        yield from _flat(child, f"{path}.{name}".removeprefix("."))
    for key, end in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), Mapping):
            yield from _flat(schema[key], f"{path}{end}")


def find_operators(cluster: Cluster) -> list[OperatorState]:
    """Return the operators' Deployments, of all namespaces or, where those may not be read, of the usual one and this one."""
    try:
        bodies = cluster.find(DEPLOYMENTS, everywhere=True, labels=_LABELS)
    except ClusterAwayError:
        raise
    except ClusterError:
        bodies = cluster.find(DEPLOYMENTS, namespace=USUAL_NAMESPACE, labels=_LABELS)
    return [_operator(cluster, body) for body in bodies]


def _operator(cluster: Cluster, body: Object) -> OperatorState:
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    containers = spec["template"]["spec"]["containers"]
    holder, renewed, note = _lease(cluster, metadata["namespace"], metadata["name"])
    return OperatorState(
        name=metadata["name"],
        namespace=metadata["namespace"],
        version=(metadata.get("labels") or {}).get("app.kubernetes.io/version"),
        image=str(containers[0].get("image", "")),
        wanted=int(spec.get("replicas", 1)),
        ready=int(status.get("readyReplicas") or 0),
        holder=holder,
        renewed=renewed,
        lease_note=note,
    )


def _lease(cluster: Cluster, namespace: str, name: str) -> tuple[str | None, str | None, str]:
    try:
        spec = cluster.get(LEASES, name, namespace=namespace).get("spec") or {}
    except ClusterAwayError:
        raise
    except ClusterError as error:
        return None, None, error.message
    return spec.get("holderIdentity"), spec.get("renewTime"), ""

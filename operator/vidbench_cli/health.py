"""What is well and what is not, from what was seen of a cluster: every check that is not OK has a remedy. Pure.

OK; Warning: runs may be hindered; Failed: no run can be measured; Unknown: it may not be looked at, which a user of one namespace is used to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidbench_api.kinds import RunnerClassSpec
from vidbench_operator.core.observed import ObservedNode
from vidbench_operator.core.preflight import MEMORY_LABEL
from vidbench_operator.core.quantities import parse_quantity
from vidbench_operator.core.timestamps import parse_time

from .cluster_answers import INSTALL
from .installation import CrdState, OperatorState
from .texts import _, ngettext

State = Literal["OK", "Warning", "Failed", "Unknown"]
OLDEST_KUBERNETES = (1, 32)
LEASE_SECONDS = 60.0
NEARLY = 0.95
_PRODUCT = "nvidia.com/gpu.product"


@dataclass(frozen=True)
class Check:
    """One finding."""

    part: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Right:
    """One thing that a user of vidbench does, in the words of RBAC, and what it is for."""

    verb: str
    resource: str
    purpose: str
    needed: bool = True
    """Whether nothing can be measured without it."""


def check_kubernetes(version: str, server: str) -> Check:
    """Say whether the API server is new enough; `version` as v1.34.2."""
    numbers = tuple(
        int(part) for part in version.lstrip("v").split("+")[0].split("-")[0].split(".")[:2] if part.isdecimal()
    )
    if numbers < OLDEST_KUBERNETES:
        text = _("{version} at {server} is older than 1.32")
        return Check("cluster", "Failed", text.format(version=version, server=server), _("upgrade the cluster"))
    return Check("cluster", "OK", f"{version}, {server}")


def check_crds(states: Iterable[CrdState]) -> list[Check]:
    """Say whether each CRD is installed and this version's."""
    checks: list[Check] = []
    for entry in states:
        part = f"CRD {entry.kind}"
        if entry.fits is None:
            checks.append(
                Check(
                    part,
                    "Unknown",
                    entry.detail,
                    _("an admin may look; a run that is refused for its fields would tell as well"),
                )
            )
        else:
            detail, _separator, remedy = entry.detail.partition("; ")
            checks.append(Check(part, "OK" if entry.fits else "Failed", detail, remedy))
    return checks


def check_operators(operators: Sequence[OperatorState], client: str | None, now: float) -> list[Check]:
    """Say whether an operator runs, which version, and whether one of its replicas leads."""
    if not operators:
        return [Check("operator", "Failed", _("no Deployment of vidbench was found"), INSTALL)]
    return [check for entry in operators for check in _check_operator(entry, client, now)]


def _check_operator(entry: OperatorState, client: str | None, now: float) -> list[Check]:
    place = f"{entry.namespace}/{entry.name}"
    look = f"kubectl -n {entry.namespace} describe deployment {entry.name}; kubectl -n {entry.namespace} logs deployment/{entry.name}"
    start = f"kubectl -n {entry.namespace} scale deployment {entry.name} --replicas=1"
    state: State = "OK" if entry.ready >= entry.wanted > 0 else "Warning" if entry.ready else "Failed"
    checks = [
        Check(
            "operator",
            state,
            _("{place}: {ready} of {wanted} replicas ready").format(
                place=place, ready=entry.ready, wanted=entry.wanted
            ),
            "" if state == "OK" else look if entry.wanted else start,
        )
    ]
    if entry.version and entry.version == client:
        checks.append(Check("operator version", "OK", _("{version}, as this command").format(version=client)))
    elif entry.version and client:
        checks.append(
            Check(
                "operator version",
                "Warning",
                _("operator {theirs}, this command {ours}").format(theirs=entry.version, ours=client),
                _("use the same: helm upgrade, or install the vidbench of the operator's version"),
            )
        )
    if entry.lease_note:
        checks.append(
            Check("leader", "Unknown", entry.lease_note, f"kubectl auth can-i get leases -n {entry.namespace}")
        )
        return checks
    age = None if entry.renewed is None else now - (parse_time(entry.renewed) or 0.0)
    if not entry.holder or age is None:
        checks.append(Check("leader", "Failed", _("no replica leads"), look if entry.wanted else start))
    elif age > LEASE_SECONDS:
        checks.append(
            Check(
                "leader",
                "Failed",
                _("{holder} has not renewed its Lease for {age:.0f} s").format(holder=entry.holder, age=age),
                look,
            )
        )
    else:
        text = _("{holder}, Lease renewed {age:.0f} s ago").format(holder=entry.holder, age=max(0.0, age))
        checks.append(Check("leader", "OK", text))
    return checks


def check_metrics(text: str | None, why: str, remedy: str) -> Check:
    """Say what the operator tells of itself; `text` is its /metrics, None where that may not be read."""
    if text is None:
        return Check("metrics", "Unknown", why, remedy)
    age = _metric(text, "vidbench_last_success_age_seconds")
    if age is None:
        return Check(
            "metrics",
            "Warning",
            _("/metrics is served and lacks vidbench_last_success_age_seconds"),
            _("is it of another version?"),
        )
    if age > 900:
        return Check(
            "metrics",
            "Failed",
            _("nothing succeeded for {age:.0f} s").format(age=age),
            _("see the operator's log; docs/reliability.md"),
        )
    return Check("metrics", "OK", _("last success {age:.0f} s ago").format(age=age))


def _metric(text: str, name: str) -> float | None:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].split("{")[0] == name:
            try:
                return float(words[1])
            except ValueError:
                return None
    return None


def check_rights(answers: Iterable[tuple[Right, bool]], namespace: str) -> list[Check]:
    """Say what this user may not do; one line for all that is allowed."""
    checks: list[Check] = []
    allowed = 0
    for right, may in answers:
        if may:
            allowed += 1
            continue
        text = _("you may not {verb} {resource} in {namespace!r}: {purpose}")
        checks.append(
            Check(
                "rights",
                "Failed" if right.needed else "Warning",
                text.format(verb=right.verb, resource=right.resource, namespace=namespace, purpose=right.purpose),
                _(
                    "an admin binds the role edit (or view) of the namespace, which the chart extends (rbac.aggregateToUsers): kubectl create rolebinding NAME --clusterrole edit --user YOU -n {namespace}"
                ).format(namespace=namespace),
            )
        )
    if allowed:
        checks.insert(
            0,
            Check(
                "rights",
                "OK",
                _("{count} of {all} rights in {namespace!r}").format(
                    count=allowed, all=allowed + len(checks), namespace=namespace
                ),
            ),
        )
    return checks


def check_quotas(quotas: Iterable[Mapping[str, Any]]) -> list[Check]:
    """Say which quotas are (nearly) used up; without any, nothing limits the namespace."""
    checks: list[Check] = []
    count = 0
    for quota in quotas:
        count += 1
        status = quota.get("status") or {}
        for name, hard in (status.get("hard") or {}).items():
            most, used = parse_quantity(str(hard)), parse_quantity(str((status.get("used") or {}).get(name, "0")))
            if most is None or used is None or used < NEARLY * most:
                continue
            checks.append(
                Check(
                    "quota",
                    "Warning",
                    _("{quota}: {name} is {used} of {hard}").format(
                        quota=quota["metadata"]["name"],
                        name=name,
                        used=(status.get("used") or {}).get(name, "0"),
                        hard=hard,
                    ),
                    _(
                        "delete what is done with, lower spec.parallelism, or ask for more; a run waits (LIMITED-BY Quota)"
                    ),
                )
            )
    if not checks:
        checks.append(
            Check(
                "quota",
                "OK",
                ngettext("{count} quota, not used up", "{count} quotas, none used up", count).format(count=count)
                if count
                else _("no quota"),
            )
        )
    return checks


def check_nodes(nodes: Mapping[str, ObservedNode], resource: str = "nvidia.com/gpu") -> list[Check]:
    """Say how many nodes and GPUs there are, and what is not known of them."""
    ready = [node for node in nodes.values() if node.ready and not node.unschedulable]
    state: State = "OK" if len(ready) == len(nodes) and nodes else "Warning" if ready else "Failed"
    checks = [
        Check(
            "nodes",
            state,
            _("{ready} of {all} nodes take pods").format(ready=len(ready), all=len(nodes)),
            "" if state == "OK" else "kubectl get nodes; kubectl describe node NAME",
        )
    ]
    gpus = {node.name: int(parse_quantity(node.allocatable.get(resource)) or 0) for node in ready}
    holders = [node for node in ready if gpus[node.name]]
    if not holders:
        checks.append(
            Check(
                "GPUs",
                "Warning",
                _("no ready node offers {resource}: only hardware with gpus: 0 can be measured now").format(
                    resource=resource
                ),
                _(
                    "nodes of an autoscaler come when they are asked for; else: is the NVIDIA device plugin running? kubectl describe node NAME | grep {resource}"
                ).format(resource=resource),
            )
        )
        return checks
    products = sorted({node.labels.get(_PRODUCT, "?") for node in holders})
    checks.append(
        Check(
            "GPUs",
            "OK",
            ngettext(
                "{count} on {nodes} node: {products}", "{count} on {nodes} nodes: {products}", len(holders)
            ).format(count=sum(gpus.values()), nodes=len(holders), products=", ".join(products)),
        )
    )
    return [*checks, *_check_labels(holders)]


def _check_labels(holders: Sequence[ObservedNode]) -> list[Check]:
    """Say which labels nodes with GPUs lack, and what cannot be done without each."""
    lacking = (
        (_PRODUCT, _("no entry can select them by product, and no result of theirs is reused")),
        (MEMORY_LABEL, _("no check of memory ahead")),
    )
    bare = ((label, why, [node.name for node in holders if label not in node.labels]) for label, why in lacking)
    return [
        Check(
            "GPU labels",
            "Warning",
            _("nodes without the label {label}: {count}, e.g. {name}: {why}").format(
                label=label, count=len(names), name=names[0], why=why
            ),
            _("install GPU feature discovery (part of the NVIDIA GPU operator)"),
        )
        for label, why, names in bare
        if names
    ]


def check_classes(
    classes: Mapping[str, RunnerClassSpec | str], claims: Mapping[str, str] | None, namespace: str
) -> list[Check]:
    """Say whether there are runner classes for the namespace, and whether their claims are bound; `claims` are phases by name."""
    if not classes:
        remedy = _("an admin makes one; the chart has two: runnerClasses in values.yaml, helm upgrade")
        return [Check("runner classes", "Failed", _("there is none"), remedy)]
    each = [check for name, spec in sorted(classes.items()) for check in _check_class(name, spec, claims, namespace)]
    usable = [name for name, spec in sorted(classes.items()) if not isinstance(spec, str) and _allows(spec, namespace)]
    if not usable:
        text = _("none allows namespace {namespace!r}").format(namespace=namespace)
        return [*each, Check("runner classes", "Failed", text, _("an admin adds it to allowedNamespaces of a class"))]
    if "default" in classes:
        return [Check("runner classes", "OK", ", ".join(usable)), *each]
    remedy = _("there is none called `default`: runs name theirs in spec.runnerClassName")
    return [Check("runner classes", "Warning", ", ".join(usable), remedy), *each]


def _allows(spec: RunnerClassSpec, namespace: str) -> bool:
    return "*" in spec.allowed_namespaces or namespace in spec.allowed_namespaces


def _check_class(
    name: str, spec: RunnerClassSpec | str, claims: Mapping[str, str] | None, namespace: str
) -> list[Check]:
    part = f"runner class {name}"
    if isinstance(spec, str):
        return [Check(part, "Failed", _("cannot be read: {why}").format(why=spec), f"kubectl edit rcl {name}")]
    if not _allows(spec, namespace):
        return []
    checks = _check_claims(name, spec, claims, namespace)
    if "@sha256:" not in spec.image:
        text = _("its image {image} is not pinned by digest: results of other weeks may be of another image")
        remedy = "helm upgrade --set runnerImage.digest=sha256:..."
        checks.append(Check(part, "Warning", text.format(image=spec.image), remedy))
    return checks


def _check_claims(name: str, spec: RunnerClassSpec, claims: Mapping[str, str] | None, namespace: str) -> list[Check]:
    checks: list[Check] = []
    for claim in spec.claims:
        part = f"claim {claim.claim_name}"
        if claims is None:
            checks.append(
                Check(
                    part,
                    "Unknown",
                    _("claims of the namespace may not be read"),
                    f"kubectl auth can-i list persistentvolumeclaims -n {namespace}",
                )
            )
        elif claim.claim_name not in claims:
            checks.append(
                Check(
                    part,
                    "Failed",
                    _("runner class {name} mounts it, and namespace {namespace!r} has none of that name").format(
                        name=name, namespace=namespace
                    ),
                    _("make a PersistentVolumeClaim {claim} there, or use another class").format(
                        claim=claim.claim_name
                    ),
                )
            )
        elif claims[claim.claim_name] == "Lost":
            checks.append(
                Check(
                    part, "Failed", _("its volume is lost"), f"kubectl -n {namespace} describe pvc {claim.claim_name}"
                )
            )
        elif claims[claim.claim_name] != "Bound":
            checks.append(
                Check(
                    part,
                    "Warning",
                    _("is {phase}; some are bound by their first pod").format(phase=claims[claim.claim_name]),
                    f"kubectl -n {namespace} describe pvc {claim.claim_name}",
                )
            )
        else:
            checks.append(Check(part, "OK", _("bound, for runner class {name}").format(name=name)))
    return checks


def check_store(where: str, count: int | None, why: str = "") -> Check:
    """Say whether the results store of this user can be read; `why` it cannot, empty where there is none yet."""
    if count is not None:
        said = ngettext("{where}: {count} result", "{where}: {count} results", count).format(where=where, count=count)
        return Check("store", "OK", said)
    if not why:
        return Check(
            "store",
            "OK",
            _("none yet at {where}: results are in the cluster alone; vidbench init-db makes one").format(where=where),
        )
    return Check(
        "store", "Warning", why, _("VIDBENCH_STORE_URL says where it is; vidbench init-db makes or upgrades its tables")
    )


def worst(checks: Iterable[Check]) -> State:
    """Return the state of the whole; what is unknown does not make it worse."""
    states = {check.state for check in checks}
    return "Failed" if "Failed" in states else "Warning" if "Warning" in states else "OK"

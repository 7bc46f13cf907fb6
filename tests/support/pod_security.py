"""Kubernetes' "restricted" Pod Security Standard, as far as it can be read off a pod's spec: written from its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

ALLOWED_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def violations_of_restricted(spec: Spec) -> list[str]:
    """Return what the profile would refuse about a pod."""
    return [*_of_pod(spec), *(text for container in spec["containers"] for text in _of_container(spec, container))]


def _of_pod(spec: Spec) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= ALLOWED_VOLUMES:
            yield f"volume {volume['name']} is of kind {kinds}"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "sysctls are set"


def _of_container(spec: Spec, container: Spec) -> Iterator[str]:
    of_pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    name = container["name"]
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may escalate privileges"
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{name} may run as root"
    if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
        yield f"{name} runs as root"
    if own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name} has no seccomp profile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name} keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{name} adds capabilities"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name} takes ports of the node"
    if own.get("procMount", "Default") != "Default":
        yield f"{name} has another procMount"

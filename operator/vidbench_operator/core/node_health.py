"""What a node's conditions and taints say about its health: whether new attempts should keep away, and why.

GPU faults are told by word, as the tools that find them (NVSentinel, node-problem-detector, cloud agents) agree on
no list: a condition whose type names a GPU, or a taint whose key names a GPU *and* a fault. `nvidia.com/gpu` alone is
how GPU nodes keep other pods away, and no fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from .observed import ObservedNode

_PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")
_DEVICE = re.compile(r"gpu|xid|nvidia|nvlink|nvswitch|dcgm|nvsentinel", re.IGNORECASE)
_GOOD_WHEN_TRUE = re.compile(r"(ready|healthy|health|available|ok|succeeded)$", re.IGNORECASE)
_FAULT = re.compile(
    r"xid|ecc|fault|err(or)?s?\b|fail|fatal|unhealthy|degraded|quarantin|nvsentinel|fallen|lost|watch", re.IGNORECASE
)
_SILENT_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/out-of-service")


@lru_cache(maxsize=1024)
def _names_device(text: str) -> bool:
    return _DEVICE.search(text) is not None


def device_fault(node: ObservedNode | None) -> str | None:
    """Return the condition or taint that says that a GPU of the node is faulty, in words; None if nothing does."""
    if node is None:
        return None
    for condition in node.conditions:
        if _names_device(condition.type):
            bad = "False" if _GOOD_WHEN_TRUE.search(condition.type) else "True"
            if condition.status == bad:
                return f"condition {condition.type}={condition.status}"
    for taint in node.taints:
        if _names_device(taint.key) and (_FAULT.search(taint.key) or _FAULT.search(taint.value)):
            return f"taint {taint.key}" + (f"={taint.value}" if taint.value else "")
    return None


def ailment(node: ObservedNode) -> str | None:
    """Return why new attempts should keep away from the node; None if nothing speaks against it.

    A cordoned node is not ill: the scheduler keeps away from it, and it may be meant to come back.
    """
    if not node.ready:
        return "NotReady"
    for condition in node.conditions:
        if condition.type in _PRESSURES and condition.status == "True":
            return f"condition {condition.type}=True"
    silent = next((taint for taint in node.taints if taint.key in _SILENT_TAINTS), None)
    return f"taint {silent.key}" if silent is not None else device_fault(node)


def unhealthy_nodes(nodes: Mapping[str, ObservedNode] | None) -> frozenset[str]:
    """Return the names of the nodes that ail; none where nodes are not visible."""
    return frozenset(name for name, node in (nodes or {}).items() if ailment(node) is not None)

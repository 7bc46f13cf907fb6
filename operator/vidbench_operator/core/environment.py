"""What of a node decides how long a video takes, as far as the node shows it before a pod runs there.

GPU feature discovery and cloud providers put it into labels. What no label shows (power limit, ECC mode) is recorded in
results by the runner and cannot be compared ahead. Decides nothing: see `reuse.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidbench_api.identity import canonical_json, digest_of
from vidbench_api.run_spec import Hardware

from .observed import ObservedNode

_PRODUCT = "nvidia.com/gpu.product"
_DRIVERS = ("nvidia.com/cuda.driver-version.full", "nvidia.com/cuda.driver.major")
_GPU_LABELS = (
    _PRODUCT,
    *_DRIVERS,
    "nvidia.com/cuda.driver.minor",
    "nvidia.com/cuda.driver.rev",
    "nvidia.com/gpu.count",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.sharing-strategy",
    "nvidia.com/mig.config",
    "nvidia.com/mig.strategy",
    "node.kubernetes.io/instance-type",
)
_CPU_LABELS = (
    "node.kubernetes.io/instance-type",
    "feature.node.kubernetes.io/cpu-model.vendor_id",
    "feature.node.kubernetes.io/cpu-model.family",
    "feature.node.kubernetes.io/cpu-model.id",
)


@dataclass(frozen=True)
class Environment:
    """The identity of a place to measure on; without `digest`, `why` says what is not shown."""

    digest: str | None
    why: str = ""


def matching_nodes(nodes: Mapping[str, ObservedNode], hardware: Hardware) -> tuple[ObservedNode, ...]:
    """Return the nodes that a hardware entry's selector matches, ready or not, by name."""
    wanted = hardware.node_selector.items()
    return tuple(node for _, node in sorted(nodes.items()) if wanted <= node.labels.items())


def environment_of(node: ObservedNode, hardware: Hardware, image: str) -> Environment:
    """Return the identity of a shard's environment on this node."""
    shown = _gpu_facts(node) if hardware.gpus else _cpu_facts(node)
    if isinstance(shown, str):
        return Environment(None, f"node {node.name}: {shown}")
    facts = {
        **shown,
        "image": image,
        "gpus": str(hardware.gpus),
        "resource": hardware.resource_name if hardware.gpus else "",
        "architecture": node.system.get("architecture", ""),
        "kernel": node.system.get("kernelVersion", ""),
    }
    return Environment(digest_of(canonical_json(facts)))


def common_environment(nodes: Mapping[str, ObservedNode] | None, hardware: Hardware, image: str) -> Environment:
    """Return the environment that all nodes of a hardware entry share; none if they differ, hide it, or are not visible."""
    if nodes is None:
        return Environment(None, "nodes are not visible to the operator")
    matching = matching_nodes(nodes, hardware)
    if not matching:
        return Environment(None, f"no node matches hardware {hardware.name!r}")
    found = [environment_of(node, hardware, image) for node in matching]
    hidden = next((entry for entry in found if entry.digest is None), None)
    if hidden is not None:
        return hidden
    if len({entry.digest for entry in found}) > 1:
        return Environment(None, f"the {len(matching)} nodes of hardware {hardware.name!r} are not all the same")
    return found[0]


def _gpu_facts(node: ObservedNode) -> dict[str, str] | str:
    if _PRODUCT not in node.labels:
        return f"no label {_PRODUCT} shows its GPU (GPU feature discovery sets it)"
    if not any(label in node.labels for label in _DRIVERS):
        return f"no label {_DRIVERS[0]} shows its driver (GPU feature discovery sets it)"
    return {label: node.labels[label] for label in _GPU_LABELS if label in node.labels}


def _cpu_facts(node: ObservedNode) -> dict[str, str] | str:
    """Return the labels that show the processor; without any, the machine itself, which is like itself alone."""
    shown = {label: node.labels[label] for label in _CPU_LABELS if label in node.labels}
    if not shown:
        machine = node.system.get("machineID", "")
        if not machine:
            return f"neither a label such as {_CPU_LABELS[0]} nor a machine id shows its processor"
        shown = {"machine": machine}
    return shown | {"cpus": node.allocatable.get("cpu", "")}

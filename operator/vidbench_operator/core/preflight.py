"""What can be known to go wrong before a GPU is taken: too few GPUs on a node, too little memory, no such queue.

Looks at nodes that exist. Where none matches, nodes may still come (an autoscaler brings them): that is no refusal.
"""

from __future__ import annotations

from collections.abc import Mapping

from vidbench_api.names import ConditionReason
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.run_spec import BenchmarkRunSpec, Hardware

from .environment import matching_nodes
from .expand import Refusal, Waiting
from .observed import ObservedNode

MEMORY_LABEL = "nvidia.com/gpu.memory"
"""Memory of one GPU in MiB, as GPU feature discovery writes it."""


PREFLIGHT_REASONS = frozenset({ConditionReason.GPUS_PER_NODE, ConditionReason.QUEUE_NOT_FOUND})
"""What is waited for, and may come to be without a word."""


def check_before_start(
    spec: BenchmarkRunSpec,
    document: RequestDocument,
    nodes: Mapping[str, ObservedNode] | None,
    queue_exists: bool | None,
) -> Waiting | Refusal | None:
    """Return what is in the way of measuring, or None. `queue_exists` is None where queues are not visible or not asked for."""
    queue = spec.scheduling.queue_name
    if queue and queue_exists is False:
        message = f"spec.scheduling.queueName: there is no LocalQueue {queue!r} in namespace {document.run.namespace!r}"
        return Waiting(ConditionReason.QUEUE_NOT_FOUND, message)
    if nodes is None:
        return None
    for hardware in document.hardware:
        found = _too_few_gpus(hardware, nodes)
        if found is not None:
            return found
    if spec.failure_policy.out_of_memory == "Fallback":
        return None
    refusals = (_too_little_memory(cell, document.find_hardware(cell.hardware), nodes) for cell in document.cells)
    return next((refusal for refusal in refusals if refusal is not None), None)


def _too_few_gpus(hardware: Hardware, nodes: Mapping[str, ObservedNode]) -> Waiting | None:
    matching = matching_nodes(nodes, hardware)
    if not hardware.gpus or not matching:
        return None
    most = max(_count(node.allocatable.get(hardware.resource_name)) for node in matching)
    if most >= hardware.gpus:
        return None
    message = (
        f"spec.hardware[{hardware.name}].gpus: {hardware.gpus} x {hardware.resource_name} are asked for, and none of the"
        f" {len(matching)} nodes that match has more than {most}"
    )
    return Waiting(ConditionReason.GPUS_PER_NODE, message)


def _too_little_memory(cell: Cell, hardware: Hardware, nodes: Mapping[str, ObservedNode]) -> Refusal | None:
    """Refuse a cell whose estimate no GPU that is there can hold. With offload, less is needed than the estimate says."""
    estimate = cell.estimated_memory_mebibytes
    if estimate is None or not hardware.gpus or cell.offload != "None":
        return None
    labels = [node.labels.get(MEMORY_LABEL) for node in matching_nodes(nodes, hardware)]
    if not labels or any(_count(label) == 0 for label in labels):
        return None
    most = max(_count(label) for label in labels) * hardware.gpus
    if estimate <= most:
        return None
    message = (
        f"{cell.model}/{cell.hardware}/{cell.variant}: it is expected to take at least {estimate} MiB"
        f" (the model's estimatedMemoryMebibytes, or its weights alone), the GPUs have {most} MiB (node label {MEMORY_LABEL}): exclude the cell"
        " by spec.matrix.exclude, set an offload in the variant, or failurePolicy.outOfMemory: Fallback"
    )
    return Refusal(ConditionReason.MEMORY_ESTIMATE, message)


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0

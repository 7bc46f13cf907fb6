"""What a node's conditions and taints say about its health."""

from __future__ import annotations

from typing import Any

import pytest

from vidbench_operator.core.node_health import ailment, device_fault, unhealthy_nodes
from vidbench_operator.core.observed import NodeCondition, NodeTaint, ObservedNode


def node(*marks: NodeCondition | NodeTaint, ready: bool = True, **changes: Any) -> ObservedNode:
    conditions = tuple(mark for mark in marks if isinstance(mark, NodeCondition))
    taints = tuple(mark for mark in marks if isinstance(mark, NodeTaint))
    return ObservedNode("node-1", {}, ready=ready, conditions=conditions, taints=taints, **changes)


DEVICES: list[Any] = [
    pytest.param(NodeCondition("GpuMemWatch", "True"), "condition GpuMemWatch=True", id="NVSentinel: a check that failed"),
    pytest.param(NodeCondition("GpuMemWatch", "False"), None, id="NVSentinel: a check that passed"),
    pytest.param(NodeCondition("GpuNvlinkWatch", "Unknown"), None, id="a check that says nothing"),
    pytest.param(NodeCondition("SysLogsXIDError", "True"), "condition SysLogsXIDError=True", id="an Xid in the kernel's log"),
    pytest.param(NodeCondition("NvidiaDriverHealthy", "False"), "condition NvidiaDriverHealthy=False", id="a good condition that is false"),
    pytest.param(NodeCondition("GPUReady", "True"), None, id="a good condition that is true"),
    pytest.param(NodeCondition("KernelDeadlock", "True"), None, id="a condition of something else"),
    pytest.param(NodeTaint("nvidia.com/gpu-xid-error", "NoSchedule"), "taint nvidia.com/gpu-xid-error", id="a taint of an Xid"),
    pytest.param(NodeTaint("nvidia.com/gpu-nvlink-error", "NoExecute", "true"), "taint nvidia.com/gpu-nvlink-error=true", id="a taint of a link"),
    pytest.param(NodeTaint("UnhealthyGPU", "NoSchedule"), "taint UnhealthyGPU", id="a cloud's taint"),
    pytest.param(NodeTaint("example.com/gpu", "NoSchedule", "unhealthy"), "taint example.com/gpu=unhealthy", id="the fault stands in the value"),
    pytest.param(NodeTaint("nvidia.com/gpu", "NoSchedule", "present"), None, id="the taint of every GPU node"),
    pytest.param(NodeTaint("nvidia.com/gpu", "NoSchedule", "true"), None, id="the same by another cloud"),
    pytest.param(NodeTaint("dedicated", "NoSchedule", "failing-tests"), None, id="a taint that names no GPU"),
]  # fmt: skip


@pytest.mark.parametrize(("mark", "fault"), DEVICES)
def test_a_gpu_fault_is_told_by_condition_or_taint(mark: Any, fault: str | None) -> None:
    assert device_fault(node(mark)) == fault
    assert ailment(node(mark)) == fault


def test_a_node_that_is_not_visible_says_nothing() -> None:
    assert device_fault(None) is None
    assert unhealthy_nodes(None) == frozenset()


AILMENTS: list[Any] = [
    pytest.param(node(), None, id="well"),
    pytest.param(node(unschedulable=True), None, id="cordoned"),
    pytest.param(node(ready=False), "NotReady", id="not ready"),
    pytest.param(node(NodeCondition("DiskPressure", "True")), "condition DiskPressure=True", id="disk"),
    pytest.param(node(NodeCondition("MemoryPressure", "True")), "condition MemoryPressure=True", id="memory"),
    pytest.param(node(NodeCondition("PIDPressure", "True")), "condition PIDPressure=True", id="processes"),
    pytest.param(node(NodeCondition("NetworkUnavailable", "True")), "condition NetworkUnavailable=True", id="network"),
    pytest.param(node(NodeCondition("DiskPressure", "False")), None, id="no pressure"),
    pytest.param(
        node(NodeTaint("node.kubernetes.io/out-of-service", "NoExecute", "nodeshutdown")),
        "taint node.kubernetes.io/out-of-service",
        id="out of service",
    ),
]


@pytest.mark.parametrize(("entry", "why"), AILMENTS)
def test_new_attempts_keep_away_from_a_node_that_ails(entry: ObservedNode, why: str | None) -> None:
    assert ailment(entry) == why
    assert unhealthy_nodes({"node-1": entry}) == (frozenset({"node-1"}) if why else frozenset())

"""A control plane of the bench's own, with nodes that do not exist and the chart's account for the operator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bench.workload import runner_class_manifest
from localcluster import binaries
from localcluster.components import ControlPlaneOptions
from localcluster.console import run
from localcluster.controlplane import ControlPlane
from localcluster.kwok import create_fake_nodes, start_kwok
from vidbench_api.kinds import KINDS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OPERATOR_NAMESPACE = "vidbench-system"
NOT_INSTALLED = frozenset({"Deployment", "RunnerClass"})
"""What the bench takes from elsewhere: a process beside pytest, and a class of its own."""

GPUS_PER_NODE = 8
NODES = 30
"""240 GPUs: room for every Job of 20 runs x 10 cells at once."""

CONTROLLER_MANAGER_QPS, CONTROLLER_MANAGER_BURST = 200, 400


@dataclass(frozen=True)
class ScaleCluster:
    """The cluster, and who the operator is in it."""

    control_plane: ControlPlane
    operator_kubeconfig: Path
    operator_user: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here is a bench, and may take its time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.bench)


@pytest.fixture(scope="session")
def scale_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScaleCluster]:
    """A control plane with an audit log, CRDs, kwok and its nodes."""
    if sys.platform != "linux":
        pytest.skip("the bench reads /proc")
    options = ControlPlaneOptions(
        controller_manager_qps=CONTROLLER_MANAGER_QPS, controller_manager_burst=CONTROLLER_MANAGER_BURST, audit_log=True
    )
    with ControlPlane(tmp_path_factory.mktemp("scale"), options) as control_plane:
        control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        names = [f"crd/{kind.crd_name}" for kind in KINDS]
        control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        control_plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump(runner_class_manifest()))
        kwok = start_kwok(control_plane)
        try:
            create_fake_nodes(control_plane, NODES, GPUS_PER_NODE)
            kubeconfig, user = _install_account(control_plane)
            yield ScaleCluster(control_plane, kubeconfig, user)
        finally:
            kwok.stop()


def _install_account(control_plane: ControlPlane) -> tuple[Path, str]:
    """Give the operator the chart's account, rights and admission policies: all that its calls meet in a real cluster."""
    helm, chart = binaries.ensure("helm") / "helm", ROOT / "charts" / "vidbench"
    rendered = run(
        [helm, "template", "vidbench", chart, "--namespace", OPERATOR_NAMESPACE], doing="rendering the chart"
    )
    objects = [entry for entry in yaml.safe_load_all(rendered) if entry and entry["kind"] not in NOT_INSTALLED]
    account = next(entry for entry in objects if entry["kind"] == "ServiceAccount")["metadata"]["name"]
    control_plane.kubectl("create", "namespace", OPERATOR_NAMESPACE)
    document = yaml.safe_dump_all(objects)
    control_plane.kubectl("apply", "--namespace", OPERATOR_NAMESPACE, "-f", "-", stdin=document)
    kubeconfig = control_plane.kubeconfig_for_service_account(OPERATOR_NAMESPACE, account, duration_seconds=7200)
    return kubeconfig, f"system:serviceaccount:{OPERATOR_NAMESPACE}:{account}"

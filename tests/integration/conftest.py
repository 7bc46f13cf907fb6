"""A real control plane for every integration test: etcd, API server, controllers, scheduler, with the CRDs installed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.kube_api import KubeApi, collection, wait_for

from localcluster.components import ControlPlaneOptions
from localcluster.controlplane import ControlPlane
from vidbench_api.kinds import KINDS

CRDS = Path(__file__).resolve().parent.parent.parent / "crds"
HERE = Path(__file__).resolve().parent

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here is an integration test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


def install_crds(control_plane: ControlPlane) -> None:
    """Apply the committed CRDs and wait until they are served: for a moment after they are said to be, lists are refused."""
    control_plane.kubectl("apply", "--server-side", "-f", str(CRDS))
    names = [f"crd/{kind.crd_name}" for kind in KINDS]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    client = KubeApi(control_plane.admin_kubeconfig)
    for path in (collection(kind.kind, None) for kind in KINDS):
        wait_for(partial(client.request, "GET", path), accepted=True)
    client.close()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that all tests share: each works in a namespace of its own."""
    options = ControlPlaneOptions(controller_manager_qps=200, controller_manager_burst=400, audit_log=True)
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), options) as running:
        install_crds(running)
        yield running


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Callable[..., str]:
    """Kubectl as admin: returns stdout; raises LocalClusterError with kubectl's words."""
    return control_plane.kubectl


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> Iterator[KubeApi]:
    """The API as admin, as plain JSON."""
    client = KubeApi(control_plane.admin_kubeconfig)
    yield client
    client.close()


@pytest.fixture
def namespace(api: KubeApi) -> Iterator[str]:
    """A fresh namespace; its deletion is asked for, not waited for."""
    name = f"test-{next(_numbers)}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    assert api.create(manifest).accepted
    yield name
    api.delete(manifest)

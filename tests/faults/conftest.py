"""A control plane, a proxy in front of it, and an operator behind the proxy that may be killed at any call."""

from __future__ import annotations

import contextlib
import itertools
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.audit import AuditLog
from bench.suite_figures import Figures
from faults.forked_operator import Nursery
from faults.proxy import FaultProxy, Upstream
from faults.scene import Plane, Scene
from integration.live_runs import create_class
from support.chart_account import install_account
from support.kube_api import KubeApi
from support.played_kubelet import Script

from localcluster import ports
from localcluster.components import APISERVER, ETCD, ControlPlaneOptions
from localcluster.controlplane import ControlPlane
from vidbench_api.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent.parent

_numbers = itertools.count(1)

OpenScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane with the chart's account for the operator, reached through the proxy."""
    options = ControlPlaneOptions(controller_manager_qps=200, controller_manager_burst=400, audit_log=True)
    control_plane = ControlPlane(tmp_path_factory.mktemp("faults"), options)
    with contextlib.ExitStack() as stack:
        stack.callback(control_plane.stop)
        # The garbage collector looks for new kinds every 30 s only: it has to find ours when it starts.
        control_plane.start(ETCD, APISERVER)
        control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        names = [f"crd/{kind.crd_name}" for kind in KINDS]
        control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        control_plane.start()
        account = install_account(control_plane)
        pair = control_plane.issue_certificate("fault-proxy", "fault-proxy", ("127.0.0.1", "localhost"))
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(pair.certificate, pair.key)
        upstream = Upstream(control_plane.url, control_plane.ca.certificate)
        proxy = stack.enter_context(FaultProxy(upstream, ports.pick_free(1)[0], serving, kill=lambda: None))
        api = KubeApi(control_plane.admin_kubeconfig)
        stack.callback(api.close)
        create_class(api)
        yield Plane(
            api=api,
            admin_kubeconfig=control_plane.admin_kubeconfig,
            url=control_plane.url,
            context=_admin_context(control_plane),
            audit=AuditLog(control_plane.audit_log),
            proxy=proxy,
            operator_user=account.user,
            nursery=stack.enter_context(Nursery(account.kubeconfig(server=proxy.url))),
        )


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    """What the suites find, written and printed at the end."""
    found = Figures("faults")
    yield found
    found.publish()


@pytest.fixture
def open_scene(plane: Plane, tmp_path: Path) -> Iterator[OpenScene]:
    """Opens a namespace with a played kubelet, a recorder, and an operator behind the proxy."""
    with contextlib.ExitStack() as stack:

        def enter(script: Script, *, start: bool = True, **settings: str) -> Scene:
            scene = Scene(plane, f"faults-{next(_numbers)}", tmp_path, script, settings)
            stack.enter_context(scene)
            if start:
                scene.operator.start(wait=True)
            return scene

        yield enter


def _admin_context(control_plane: ControlPlane) -> ssl.SSLContext:
    pair = control_plane.issue_certificate("recorder", "recorder", organizations=("system:masters",))
    context = ssl.create_default_context(cafile=str(control_plane.ca.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    return context

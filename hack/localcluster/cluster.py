"""The cluster of this machine, made of its own control plane and one real node: up, status, down. Root on Linux only."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import binaries, layout, network, ports, sweep, versions
from .archive import image_id_in
from .builders import find_builder
from .components import APISERVER, ControlPlaneOptions
from .console import run, say
from .controlplane import ControlPlane
from .errors import LocalClusterError, MissingPrerequisite
from .layout import Layout
from .locking import file_lock
from .node import Node

_OPTIONS = ControlPlaneOptions(
    ports=layout.PORTS,
    bind_address=layout.NODE_ADDRESS,
    advertise_address=layout.NODE_ADDRESS,
    service_cidr=layout.SERVICE_CIDR,
    audit_log=True,
    # A person waits for this one: its controllers may ask faster than the default of Kubernetes.
    controller_manager_qps=200,
    controller_manager_burst=400,
    # It may run for weeks.
    extra_arguments={APISERVER: ["--audit-log-maxsize=200", "--audit-log-maxbackup=1"]},
    die_with_parent=False,
)


@dataclass(frozen=True)
class ComponentStatus:
    """One line of `status`."""

    name: str
    state: str
    version: str


class SingleNodeCluster:
    """The whole cluster under one directory."""

    def __init__(self, places: Layout | None = None) -> None:
        self.places = places or Layout()
        self.control_plane = ControlPlane(self.places.control_plane, _OPTIONS)
        self.node = Node(self.places, self.control_plane)

    @property
    def exists(self) -> bool:
        """Whether there is a cluster, running or broken."""
        return self.places.root.exists()

    def up(self) -> Path:
        """Make the cluster, or what is missing of it, and return the administrator's kubeconfig."""
        require_own_node()
        with file_lock(layout.lock_path()):
            for group in ("control-plane", "node"):
                binaries.ensure(group)
            if self.is_healthy():
                say("the cluster is up")
            else:
                self._refuse_taken_ports()
                self.node.prepare_machine()
                self.control_plane.start()
                self.node.start_containerd()
                self.node.start()
            return self._write_kubeconfig()

    def down(self, *, images: bool = False) -> None:
        """Stop everything and leave nothing behind but caches; with `images`, not even the node's images."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise MissingPrerequisite("removing the node needs root: run `down` as root")
        with file_lock(layout.lock_path()):
            self.node.remove()
            if self.exists:
                self.control_plane.stop()
            sweep.remove_tree(self.places.root)
            if images:
                sweep.remove_tree(self.places.containerd_root)
            layout.kubeconfig_path().unlink(missing_ok=True)
        left = self.node.leftovers()
        if left:
            raise LocalClusterError("the cluster is down, but this is left: " + "; ".join(left))

    def load_image(self, reference: str, archive: Path | None = None) -> bool:
        """Put an image into the node, from the builder that has it or from an archive; say whether that was needed."""
        images = self.node.images
        if not self.node.containerd.is_running:
            raise LocalClusterError("there is no cluster to load an image into; run `up` first")
        builder = find_builder() if archive is None else None
        image_id = builder.image_id(reference) if builder else image_id_in(archive) if archive else None
        if builder and image_id is None:
            raise LocalClusterError(f"{builder.program} has no image {reference}; build it first (`images build`)")
        if image_id is not None and images.ids().get(reference) == image_id:
            say(f"the node has {reference}")
            return False
        started = time.monotonic()
        if builder:
            images.load_stream(builder.export_command(reference), reference)
        elif archive:
            images.load(archive)
        if reference not in images.ids():
            raise LocalClusterError(
                f"{archive} holds no image called {reference}; the node now has: {', '.join(images.ids())}"
            )
        images.drop_unnamed()
        say(f"loaded {reference} into the node in {time.monotonic() - started:.0f} s")
        return True

    def is_healthy(self) -> bool:
        """Whether every program runs and is ready, and the node has its GPUs."""
        if not self.exists or not all(self.control_plane.is_ready(name) for name in _OPTIONS.components):
            return False
        daemons = (self.node.containerd, self.node.kubelet, self.node.kube_proxy)
        return (
            all(daemon.is_running for daemon in daemons)
            and network.is_set_up()
            and self.node.proxy_is_ready()
            and self.node.is_ready()
            and layout.BUSYBOX_IMAGE in self.node.images.ids()
        )

    def components(self) -> list[ComponentStatus]:
        """The state of every program."""
        control_plane, node = self.control_plane, self.node
        states = [
            ComponentStatus(
                name,
                _state(running=control_plane.is_running(name), ready=control_plane.is_ready(name)),
                versions.ETCD if name == "etcd" else versions.KUBERNETES,
            )
            for name in _OPTIONS.components
        ]
        runs_containers = node.containerd.is_running
        kubelet_ready = control_plane.is_ready("kube-apiserver") and node.is_ready()
        return [
            *states,
            ComponentStatus(
                "containerd", _state(running=runs_containers, ready=runs_containers), _containerd_version()
            ),
            ComponentStatus(
                "kubelet", _state(running=node.kubelet.is_running, ready=kubelet_ready), versions.KUBERNETES
            ),
            ComponentStatus(
                "kube-proxy",
                _state(running=node.kube_proxy.is_running, ready=node.proxy_is_ready()),
                versions.KUBERNETES,
            ),
        ]

    def _write_kubeconfig(self) -> Path:
        path = layout.kubeconfig_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        content = self.control_plane.admin_kubeconfig.read_text()
        if path.read_text() != content:
            path.write_text(content)
        return path

    def _refuse_taken_ports(self) -> None:
        wanted = {
            "kube-apiserver": layout.PORTS.apiserver,
            "etcd": layout.PORTS.etcd,
            "kube-controller-manager": layout.PORTS.controller_manager,
            "kube-scheduler": layout.PORTS.scheduler,
        }
        for name, port in wanted.items():
            address = layout.NODE_ADDRESS if name == "kube-apiserver" else "127.0.0.1"
            if not self.control_plane.is_running(name) and not ports.is_free(port, address):
                raise LocalClusterError(
                    f"port {port}, which {name} needs, is taken by another program on this machine "
                    f"(`ss -ltnp 'sport = :{port}'` names it); stop that program"
                )
        node_ports = {layout.KUBELET_HEALTH_PORT: self.node.kubelet, layout.PROXY_HEALTH_PORT: self.node.kube_proxy}
        for port, daemon in node_ports.items():
            if not daemon.is_running and not ports.is_free(port):
                raise LocalClusterError(
                    f"port {port}, which our {daemon.name} needs, is taken: does this machine run another Kubernetes node? "
                    "Stop it, or use a machine without one"
                )


def missing_for_own_node() -> list[str]:
    """Say what keeps this machine from running its own node; empty if nothing does."""
    missing = []
    if sys.platform != "linux":
        missing.append(f"Linux (this is {sys.platform})")
    elif os.geteuid() != 0:
        missing.append("root (run as root, e.g. with sudo -E)")
    if shutil.which("go") is None and not _binaries_are_cached():
        missing.append(f"Go {'.'.join(map(str, versions.MINIMUM_GO))} or newer, to build Kubernetes")
    return missing


def require_own_node() -> None:
    """Stop with everything that is missing, not only the first of it."""
    missing = missing_for_own_node()
    if missing:
        raise MissingPrerequisite("missing for a node of its own on this machine: " + "; ".join(missing))


def _binaries_are_cached() -> bool:
    return all(binaries.is_cached(group) for group in ("control-plane", "node"))


def _containerd_version() -> str:
    words = run(["containerd", "--version"], doing="asking containerd for its version").split()
    return words[2] if len(words) > 2 else "unknown"  # program, module, version


def _state(*, running: bool, ready: bool) -> str:
    if not running:
        return "not running"
    return "ready" if ready else "not ready"

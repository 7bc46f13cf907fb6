"""One real node on this machine: containerd, kubelet, kube-proxy. Knows where the control plane is, not how it runs."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import binaries, busybox, kubeconfig, layout, machine, network, node_config, packages, sweep
from .certificates import KeyPair
from .console import say, succeeds
from .controlplane import ControlPlane
from .errors import LocalClusterError, MissingPrerequisite
from .layout import Layout
from .node_images import NodeImages
from .process import Daemon
from .readiness import http_status

_READY_SECONDS = 60


class Node:
    """Starts and stops the node's programs, registers it, pretends its GPUs, removes every trace."""

    def __init__(self, places: Layout, control_plane: ControlPlane) -> None:
        self._places = places
        self._control_plane = control_plane
        self.images = NodeImages(places)
        self.containerd = Daemon("containerd", places.run)
        self.kubelet = Daemon("kubelet", places.run)
        self.kube_proxy = Daemon("kube-proxy", places.run)

    def prepare_machine(self) -> None:
        """Note what the machine is like, then make the network. Comes before the control plane, which uses the address."""
        packages.ensure_programs(packages.NODE_PROGRAMS, needs_network_plugins=True)
        _, restarted = machine.remember(self._places.machine_state)
        if restarted:
            # Sockets, mounts and namespaces in there died with the machine; containerd would look for them.
            shutil.rmtree(self._places.containerd_state, ignore_errors=True)
        network.set_up()

    def start_containerd(self) -> None:
        """Start containerd and give it the image that holds pods' networks."""
        if not self.containerd.is_running:
            self._write_containerd_config()
            fresh = not self._places.kubelet.exists()
            self._launch_containerd()
            if fresh and self.images.discard_containers():
                # Its books outlived the last cluster on purpose, for the images; the memory of old pods must not.
                self.containerd.stop(grace_seconds=5)
                self._launch_containerd()
        if layout.BUSYBOX_IMAGE not in self.images.ids():
            self.images.load(busybox.ensure_archive())

    def start(self) -> None:
        """Start kubelet and kube-proxy, wait for the node, label it and pretend its GPUs."""
        if not self.kube_proxy.is_running:
            proxy_kubeconfig = self._kubeconfig("kube-proxy", "system:kube-proxy", ())
            self._write_config("kube-proxy.yaml", node_config.kube_proxy_config(proxy_kubeconfig))
            self.kube_proxy.start(
                [binaries.ensure("node") / "kube-proxy", f"--config={self._places.config / 'kube-proxy.yaml'}"]
            )
        if self.kubelet.is_running and not self._is_registered():
            say("the node's object is gone; the kubelet makes it anew when it starts")
            self.stop_kubelet()
        self.start_kubelet()
        self._wait(self.proxy_is_ready, "ready", self.kube_proxy)

    def start_kubelet(self) -> None:
        """Start the kubelet unless it runs, wait until the node is ready, and put labels and GPUs back."""
        if not self.kubelet.is_running:
            client = self._kubeconfig("kubelet", f"system:node:{layout.NODE_NAME}", ("system:nodes",))
            serving = self._control_plane.issue_certificate(
                "kubelet-serving", layout.NODE_NAME, (layout.NODE_NAME, layout.NODE_ADDRESS)
            )
            self._write_kubelet_config(serving)
            self.kubelet.start(
                [binaries.ensure("node") / "kubelet", *node_config.kubelet_arguments(self._places, client)]
            )
        self._wait(
            lambda: http_status(layout.KUBELET_HEALTH_PORT, "/healthz") == http.client.OK, "healthy", self.kubelet
        )
        self._wait(self._is_registered, "registered", self.kubelet)
        # A kubelet that starts sets what it does not manage itself to zero: the GPUs come after it.
        self._pretend_gpus()
        self._wait(self.is_ready, "ready", self.kubelet)

    def stop_kubelet(self, number: int = signal.SIGTERM) -> None:
        """Stop the kubelet; containers go on, and the control plane finds out by the node's silence."""
        self.kubelet.send(number)
        self.kubelet.stop(grace_seconds=0 if number == signal.SIGKILL else 10)

    def is_ready(self) -> bool:
        """Whether the node is ready and has its GPUs."""
        node = self.describe()
        conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", ())}
        gpus = node.get("status", {}).get("allocatable", {}).get(layout.GPU_RESOURCE)
        return conditions.get("Ready") == "True" and gpus == str(layout.GPU_COUNT)

    def capacity_line(self) -> str:
        """Version and resources of the node in one line."""
        status = self.describe().get("status", {})
        resources = status.get("allocatable", {})
        named = [f"{name} {resources.get(name, '-')}" for name in ("cpu", "memory", layout.GPU_RESOURCE)]
        return " ".join([str(status.get("nodeInfo", {}).get("kubeletVersion", "-")), *named])

    def describe(self) -> dict[str, Any]:
        """The node's object as the API server has it; empty if there is none."""
        shown = self._control_plane.kubectl("get", "node", layout.NODE_NAME, "--ignore-not-found", "-o", "json")
        return dict(json.loads(shown)) if shown.strip() else {}

    def remove(self) -> None:
        """Stop everything on the node and remove every trace, images excepted. Works from any half-made state."""
        self.kubelet.stop(grace_seconds=5)
        self.kube_proxy.stop(grace_seconds=2)
        sweep.kill_containers(self._places.containerd_socket)
        if self.containerd.is_running:
            self.images.discard_containers()
        self.containerd.stop(grace_seconds=5)
        sweep.unmount_below(self._places.root)
        sweep.unmount_below(self._places.containerd_root)
        sweep.remove_cgroups()
        network.tear_down()
        sweep.remove_links_into(self._places.pod_logs, Path("/var/log/containers"))
        machine.restore(self._places.machine_state)

    def leftovers(self) -> list[str]:
        """Name what is still there of a node that was removed."""
        return [
            *(f"process {pid} of a pod" for pid in sweep.pod_processes()),
            *(f"containerd shim {pid}" for pid in sweep.shims(self._places.containerd_socket)),
            *(f"mount {point}" for point in sweep.mounts_below(self._places.root)),
            *(f"mount {point}" for point in sweep.mounts_below(self._places.containerd_root)),
            *(f"cgroup {group}" for group in sweep.pod_cgroups()),
            *network.leftovers(),
        ]

    def proxy_is_ready(self) -> bool:
        """Whether kube-proxy has written its rules."""
        return http_status(layout.PROXY_HEALTH_PORT, "/healthz") == http.client.OK

    def _write_containerd_config(self) -> None:
        plugins = packages.find_network_plugins()
        if plugins is None:
            raise MissingPrerequisite("the CNI network plugins are gone; install containernetworking-plugins")
        restricted = node_config.lacks_sys_resource(Path("/proc/self/status").read_text())
        config = node_config.containerd_config(self._places, plugins, restrict_oom_score=restricted)
        self._write_config("containerd.toml", config)
        network_directory = self._places.cni / "net.d"
        network_directory.mkdir(parents=True, exist_ok=True)
        (network_directory / "10-vidbench.conflist").write_text(node_config.cni_config(self._places))

    def _launch_containerd(self) -> None:
        self.containerd.start(["containerd", "--config", self._places.config / "containerd.toml"])
        probe = ["ctr", f"--address={self._places.containerd_socket}", "version"]
        self._wait(lambda: succeeds(probe, timeout_seconds=5), "answering", self.containerd)

    def _write_kubelet_config(self, serving: KeyPair) -> None:
        resolved = Path("/run/systemd/resolve/resolv.conf")
        source = resolved if resolved.exists() else Path("/etc/resolv.conf")
        nameservers = node_config.pod_nameservers(source.read_text() if source.exists() else "")
        config = node_config.kubelet_config(self._places, self._control_plane.ca.certificate, serving, nameservers)
        self._write_config("kubelet.yaml", config)

    def _write_config(self, name: str, content: str) -> None:
        self._places.config.mkdir(parents=True, exist_ok=True)
        (self._places.config / name).write_text(content)

    def _kubeconfig(self, name: str, user: str, groups: tuple[str, ...]) -> Path:
        pair = self._control_plane.issue_certificate(name, user, organizations=groups)
        self._write_config(
            f"{name}.kubeconfig", kubeconfig.with_certificate(self._control_plane.endpoint(), user, pair)
        )
        path = self._places.config / f"{name}.kubeconfig"
        path.chmod(0o600)
        return path

    def _is_registered(self) -> bool:
        return bool(self.describe())

    def _pretend_gpus(self) -> None:
        pointer = layout.GPU_RESOURCE.replace("/", "~1")
        patch = [
            {"op": "add", "path": f"/status/{field}/{pointer}", "value": str(layout.GPU_COUNT)}
            for field in ("capacity", "allocatable")
        ]
        self._control_plane.kubectl(
            "patch", "node", layout.NODE_NAME, "--subresource=status", "--type=json", "-p", json.dumps(patch)
        )
        labels = [f"{key}={value}" for key, value in layout.NODE_LABELS.items()]
        self._control_plane.kubectl("label", "node", layout.NODE_NAME, "--overwrite", *labels)

    def _wait(self, condition: Callable[[], bool], state: str, daemon: Daemon) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not condition():
            late = time.monotonic() > deadline
            if late or not daemon.is_running:
                what = f"is not {state} after {_READY_SECONDS} s" if late else "has ended"
                raise LocalClusterError(f"{daemon.name} {what}; see {daemon.log_path}:\n{daemon.last_words()}")
            time.sleep(0.2)

"""Where the single-node cluster keeps things, and the names, addresses and ports it uses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import versions
from .components import Ports

NODE_NAME = "vidbench-local"
BRIDGE = "vidbench0"
NODE_ADDRESS = "10.244.0.1"
"""Of the bridge, so that pods reach the API server and the kubelet without leaving the machine."""
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
PORTS = Ports(apiserver=16443, etcd=12379, etcd_peer=12380, controller_manager=10257, scheduler=10259)
KUBELET_PORT = 10250
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
PROXY_METRICS_PORT = 10249

GPU_RESOURCE = "nvidia.com/gpu"
GPU_COUNT = 2
NODE_LABELS = {"nvidia.com/gpu.product": "Pretended-GPU", "vidbench.io/local": "true"}

BUSYBOX_IMAGE = "localhost/vidbench-busybox:1"
"""Holds every pod's network (it only sleeps), and serves small test pods as a shell."""

CNI_PLUGIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


@dataclass(frozen=True)
class Layout:
    """All paths. Everything under `root` goes on `down`; what is in the cache stays."""

    root: Path = Path("/var/lib/vidbench-cluster")

    @property
    def control_plane(self) -> Path:
        """Certificates, etcd's data, logs of the control plane."""
        return self.root / "control-plane"

    @property
    def run(self) -> Path:
        """Pid and log files of the node's programs."""
        return self.root / "run"

    @property
    def containerd_state(self) -> Path:
        """What dies with the machine: mounts, sockets, network namespaces."""
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Where our own containerd listens; another one on the machine is not touched."""
        return self.containerd_state / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Images and their unpacked layers. In the cache: loading a big image anew takes minutes."""
        return versions.cache_root() / "containerd"

    @property
    def kubelet(self) -> Path:
        """Pods' volumes."""
        return self.root / "kubelet"

    @property
    def pod_logs(self) -> Path:
        """What containers write."""
        return self.root / "pod-logs"

    @property
    def cni(self) -> Path:
        """Network configuration and given-out addresses."""
        return self.root / "cni"

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.root / "config"

    @property
    def machine_state(self) -> Path:
        """What the machine was like before, so that `down` can put it back."""
        return self.root / "machine.json"


def kubeconfig_path() -> Path:
    """The administrator's kubeconfig for people and scripts."""
    return versions.cache_root() / "cluster" / "kubeconfig"


def lock_path() -> Path:
    """Held by `up` and `down`."""
    return versions.cache_root() / "cluster" / "lock"

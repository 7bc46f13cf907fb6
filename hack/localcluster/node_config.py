"""Configuration of containerd, the bridge network, kubelet and kube-proxy. Pure: values in, text out."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from . import layout
from .certificates import KeyPair
from .layout import Layout

_CAP_SYS_RESOURCE = 24


def containerd_config(places: Layout, plugin_directory: Path, *, restrict_oom_score: bool) -> str:
    """Containerd with a root, a state directory and a socket of its own."""
    return f"""\
version = 2
root = {_quoted(places.containerd_root)}
state = {_quoted(places.containerd_state)}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
  address = {_quoted(places.containerd_socket)}

[plugins."io.containerd.internal.v1.opt"]
  path = {_quoted(places.containerd_state / "opt")}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{layout.BUSYBOX_IMAGE}"
  # Without CAP_SYS_RESOURCE runc may not make a process less likely to be killed, and fails each sandbox over it.
  restrict_oom_score_adj = {str(restrict_oom_score).lower()}
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = {_quoted(plugin_directory)}
  conf_dir = {_quoted(places.cni / "net.d")}

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = {_quoted(places.containerd_state / "runc")}
  SystemdCgroup = false
"""


def cni_config(places: Layout) -> str:
    """One bridge for all pods. Masquerading is not left to the plugin: its rules would have to be hunted down later."""
    bridge = {
        "type": "bridge",
        "bridge": layout.BRIDGE,
        "isGateway": True,
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": layout.POD_CIDR, "gateway": layout.NODE_ADDRESS}]],
            "dataDir": str(places.cni / "addresses"),
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "vidbench", "plugins": [bridge, {"type": "loopback"}]}, indent=2)


def kubelet_config(places: Layout, ca_certificate: Path, serving: KeyPair, nameservers: Sequence[str]) -> str:
    """A kubelet that authenticates and authorises, on cgroup v1 or v2, and never throws away an image or a pod for space."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": layout.NODE_ADDRESS,
            "port": layout.KUBELET_PORT,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": layout.KUBELET_HEALTH_PORT,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(ca_certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDomain": "cluster.local",
            "clusterDNS": list(nameservers),
            "podLogsDir": str(places.pod_logs),
            "volumePluginDir": str(places.kubelet / "volume-plugins"),
            # No chains of its own in the machine's packet filter: kube-proxy in nftables mode needs none.
            "makeIPTablesUtilChains": False,
            # There is no registry to fetch a removed image from again.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
        },
        sort_keys=False,
    )


def kube_proxy_config(kubeconfig: Path) -> str:
    """Services by nftables; the machine's connection tracking limits stay as they are."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "hostnameOverride": layout.NODE_NAME,
            "clusterCIDR": layout.POD_CIDR,
            "healthzBindAddress": f"127.0.0.1:{layout.PROXY_HEALTH_PORT}",
            "metricsBindAddress": f"127.0.0.1:{layout.PROXY_METRICS_PORT}",
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        },
        sort_keys=False,
    )


def kubelet_arguments(places: Layout, kubeconfig: Path) -> list[str]:
    """The few settings that have no place in the kubelet's configuration file."""
    labels = ",".join(f"{key}={value}" for key, value in layout.NODE_LABELS.items())
    return [
        f"--config={places.config / 'kubelet.yaml'}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={places.kubelet}",
        f"--cert-dir={places.kubelet / 'pki'}",
        f"--hostname-override={layout.NODE_NAME}",
        f"--node-ip={layout.NODE_ADDRESS}",
        f"--node-labels={labels}",
    ]


def pod_nameservers(resolv_conf: str) -> list[str]:
    """Name servers that pods can use: the machine's own, save those that only the machine can reach.

    There is no cluster DNS. With none left pods are sent to the bridge, where nobody listens: they fail at once
    instead of waiting, and the kubelet does not warn about each pod.
    """
    words = (line.split() for line in resolv_conf.splitlines())
    named = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    usable = [address for address in named if _is_reachable_from_pods(address)]
    return usable[:3] or [layout.NODE_ADDRESS]


def lacks_sys_resource(process_status: str) -> bool:
    """Say from the text of /proc/self/status whether CAP_SYS_RESOURCE is missing."""
    for line in process_status.splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1
    return True


def _is_reachable_from_pods(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.version == 4 and not parsed.is_loopback  # IPv4: pods have no IPv6 here


def _quoted(path: Path) -> str:
    return json.dumps(str(path))

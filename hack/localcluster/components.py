"""Command lines of the control plane's programs. Pure: values in, words out; starts nothing and makes no file."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .certificates import KeyPair

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
ALL = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER)
"""In the order in which they are started."""

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Ports:
    """Where each program listens, all on one address."""

    apiserver: int
    etcd: int
    etcd_peer: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True)
class ControlPlaneOptions:
    """What may differ between control planes."""

    components: tuple[str, ...] = ALL
    """Which programs run. Without the controller manager there are no ServiceAccounts, so that admission does not ask for
    them; without the scheduler no pod gets a node."""
    ports: Ports | None = None
    """None: free ones are picked once and kept for the directory."""
    bind_address: str = "127.0.0.1"
    """Where the API server listens; pods need an address of a bridge."""
    advertise_address: str = "127.0.0.1"
    """The address under which clients and pods reach the API server. Pods cannot reach a loopback address."""
    service_cidr: str = "10.96.0.0/16"
    audit_log: bool = False
    """Write one JSON line for each finished request (level Metadata) to `ControlPlane.audit_log`."""
    audit_users: tuple[str, ...] = ()
    """Whose requests the audit log holds; empty: everybody's. At scale the cluster's own programs would fill the disk."""
    controller_manager_qps: int = 20
    """Requests a second that each controller may make; 20 is the default of Kubernetes. Say which one a figure had. With
    200 (and a burst of 400) the controller manager is ready about four seconds sooner."""
    controller_manager_burst: int = 30
    extra_arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """More arguments by program name; a later one overrides an earlier one."""
    die_with_parent: bool = True
    """End the programs when this Python process ends, however it ends. Off for a cluster that stays."""


@dataclass(frozen=True)
class Files:
    """The files that the programs read and write."""

    directory: Path
    ca: KeyPair
    serving: KeyPair
    kubelet_client: KeyPair
    service_account_key: Path
    service_account_public_key: Path

    @property
    def etcd_data(self) -> Path:
        """Everything the API server keeps."""
        return self.directory / "etcd"

    @property
    def audit_policy(self) -> Path:
        """What the audit log holds."""
        return self.directory / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        """One JSON line for each request."""
        return self.directory / "audit.log"

    def kubeconfig(self, name: str) -> Path:
        """The credentials of a program or user."""
        return self.directory / f"{name}.kubeconfig"


def audit_policy(options: ControlPlaneOptions) -> str:
    """What the audit log holds: who did what to which object, without bodies, once a request is answered."""
    users = f"    users: {json.dumps(options.audit_users)}\n" if options.audit_users else ""
    return (
        "apiVersion: audit.k8s.io/v1\n"
        "kind: Policy\n"
        "omitStages: [RequestReceived, ResponseStarted]\n"
        f"rules:\n  - level: Metadata\n{users}"
    )


def etcd_arguments(files: Files, ports: Ports) -> list[str]:
    """Etcd on loopback, without waiting for the disk: what it holds may be lost with the machine."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        "--name=local",
        f"--data-dir={files.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=local={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_arguments(files: Files, ports: Ports, options: ControlPlaneOptions) -> list[str]:
    """The API server with everything on that a real one has: RBAC, the Node authorizer, default admission."""
    arguments = [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--bind-address={options.bind_address}",
        f"--advertise-address={options.advertise_address}",
        f"--secure-port={ports.apiserver}",
        f"--service-cluster-ip-range={options.service_cidr}",
        f"--client-ca-file={files.ca.certificate}",
        # Nothing aggregates APIs here, but controllers complain twice a second while this is not set.
        f"--requestheader-client-ca-file={files.ca.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        f"--tls-cert-file={files.serving.certificate}",
        f"--tls-private-key-file={files.serving.key}",
        f"--kubelet-certificate-authority={files.ca.certificate}",
        f"--kubelet-client-certificate={files.kubelet_client.certificate}",
        f"--kubelet-client-key={files.kubelet_client.key}",
        # The node's name resolves nowhere; its address does not need to.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={files.service_account_public_key}",
        f"--service-account-signing-key-file={files.service_account_key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]
    if ipaddress.ip_address(options.advertise_address).is_loopback:
        # A loopback address is refused as the endpoint of the `kubernetes` service, again and again.
        arguments.append("--endpoint-reconciler-type=none")
    if CONTROLLER_MANAGER not in options.components:
        arguments.append("--disable-admission-plugins=ServiceAccount")
    if options.audit_log:
        arguments += [
            f"--audit-policy-file={files.audit_policy}",
            f"--audit-log-path={files.audit_log}",
            # By default it is put aside at 100 MB, and whoever reads it from a mark on finds nothing behind it.
            "--audit-log-maxsize=10000",
        ]
    return [*arguments, *options.extra_arguments.get(APISERVER, ())]


def controller_manager_arguments(files: Files, ports: Ports, options: ControlPlaneOptions) -> list[str]:
    """Every default controller, each with its own account, without waiting for a leader's lease."""
    kubeconfig = files.kubeconfig(CONTROLLER_MANAGER)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        f"--tls-cert-file={files.serving.certificate}",
        f"--tls-private-key-file={files.serving.key}",
        f"--root-ca-file={files.ca.certificate}",
        f"--service-account-private-key-file={files.service_account_key}",
        f"--cluster-signing-cert-file={files.ca.certificate}",
        f"--cluster-signing-key-file={files.ca.key}",
        f"--service-cluster-ip-range={options.service_cidr}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--kube-api-qps={options.controller_manager_qps}",
        f"--kube-api-burst={options.controller_manager_burst}",
        *options.extra_arguments.get(CONTROLLER_MANAGER, ()),
    ]


def scheduler_arguments(files: Files, ports: Ports, options: ControlPlaneOptions) -> list[str]:
    """The default scheduler, without waiting for a leader's lease."""
    kubeconfig = files.kubeconfig(SCHEDULER)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.scheduler}",
        f"--tls-cert-file={files.serving.certificate}",
        f"--tls-private-key-file={files.serving.key}",
        "--leader-elect=false",
        *options.extra_arguments.get(SCHEDULER, ()),
    ]


def arguments_of(component: str, files: Files, ports: Ports, options: ControlPlaneOptions) -> list[str]:
    """The command line of one program, without its name."""
    if component == ETCD:
        return [*etcd_arguments(files, ports), *options.extra_arguments.get(ETCD, ())]
    if component == APISERVER:
        return apiserver_arguments(files, ports, options)
    if component == CONTROLLER_MANAGER:
        return controller_manager_arguments(files, ports, options)
    if component == SCHEDULER:
        return scheduler_arguments(files, ports, options)
    raise ValueError(f"no component called {component!r}; there are: {', '.join(ALL)}")


def serving_names(options: ControlPlaneOptions) -> list[str]:
    """Every name under which a client may call the API server."""
    first_service_address = next(ipaddress.ip_network(options.service_cidr).hosts())
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names.append("kubernetes.default.svc.cluster.local")
    addresses = ["127.0.0.1", str(first_service_address), options.advertise_address]
    return [*names, *dict.fromkeys(addresses)]

"""A control plane in a directory: etcd, API server, controller manager, scheduler, each of them optional.

Several may run side by side. Knows nothing of nodes and containers.

    with ControlPlane(directory) as control_plane:
        control_plane.kubectl("create", "namespace", "demo")
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from . import binaries, kubeconfig, ports
from .certificates import CertificateAuthority, KeyPair, create_private_key, create_public_key
from .components import (
    ALL,
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD,
    SCHEDULER,
    ControlPlaneOptions,
    Files,
    Ports,
    arguments_of,
    audit_policy,
    serving_names,
)
from .console import run
from .errors import LocalClusterError
from .process import Daemon
from .readiness import http_status, https_status
from .versions import fingerprint

_ADMIN_GROUP = "system:masters"
_USERS = {
    "admin": "kubernetes-admin",
    CONTROLLER_MANAGER: f"system:{CONTROLLER_MANAGER}",
    SCHEDULER: f"system:{SCHEDULER}",
}


class ControlPlane:
    """Starts, stops, kills and watches the programs of one control plane; hands out credentials for it."""

    def __init__(self, directory: Path, options: ControlPlaneOptions | None = None) -> None:
        self.directory = directory.absolute()
        self.options = options or ControlPlaneOptions()
        self._authority = CertificateAuthority(self.directory / "pki")
        pki = self.directory / "pki"
        self.files = Files(
            directory=self.directory,
            ca=self._authority.own,
            serving=self._authority.pair("serving"),
            kubelet_client=self._authority.pair("kubelet-client"),
            service_account_key=pki / "service-account.key",
            service_account_public_key=pki / "service-account.pub",
        )
        self._daemons = {
            name: Daemon(name, self.directory / "run", die_with_parent=self.options.die_with_parent)
            for name in self.options.components
        }

    def __enter__(self) -> Self:
        """Start everything and wait until it is ready."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything and drop what etcd held; logs and credentials stay for whoever looks for a cause."""
        self.stop()
        shutil.rmtree(self.files.etcd_data, ignore_errors=True)

    @property
    def ports(self) -> Ports:
        """Where the programs listen: as given, or picked when first asked and then kept in the directory."""
        if self.options.ports is not None:
            return self.options.ports
        kept = self.directory / "ports.json"
        if not kept.exists():
            names = [field.name for field in dataclasses.fields(Ports)]
            picked = dict(zip(names, ports.pick_free(len(names)), strict=True))
            self.directory.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(picked))
        return Ports(**json.loads(kept.read_text()))

    @property
    def url(self) -> str:
        """Address of the API server for clients on this machine."""
        return f"https://{self._api_address}:{self.ports.apiserver}"

    @property
    def ca(self) -> KeyPair:
        """The authority that signed every certificate here; with its key a test can build a faulty TLS proxy."""
        return self.files.ca

    @property
    def admin_kubeconfig(self) -> Path:
        """Credentials that may do everything."""
        return self.files.kubeconfig("admin")

    @property
    def audit_log(self) -> Path:
        """One JSON line (audit.k8s.io/v1 Event) for each finished request, if the option is on."""
        return self.files.audit_log

    def log_path(self, component: str) -> Path:
        """What a program has written."""
        return self._daemon(component).log_path

    def is_running(self, component: str) -> bool:
        """Whether the process is there; says nothing about its health."""
        return self._daemon(component).is_running

    def prepare(self) -> None:
        """Make certificates and configuration files; what exists is kept."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._authority.create()
        self._authority.issue("serving", "kube-apiserver", alternative_names=serving_names(self.options))
        self._authority.issue("kubelet-client", "kube-apiserver-kubelet-client", [_ADMIN_GROUP])
        if not self.files.service_account_public_key.exists():
            create_private_key(self.files.service_account_key)
            create_public_key(self.files.service_account_key, self.files.service_account_public_key)
        for name, user in _USERS.items():
            pair = self._authority.issue(name, user, [_ADMIN_GROUP] if name == "admin" else [])
            self._write_secret(self.files.kubeconfig(name), kubeconfig.with_certificate(self.endpoint(), user, pair))
        self.files.audit_policy.write_text(audit_policy(self.options))

    def start(self, *components: str, wait: bool = True, timeout_seconds: float = 60) -> None:
        """Start the named programs (none named: all), those that run excepted, and wait until they are ready."""
        self.prepare()
        chosen = components or self.options.components
        for component in (name for name in ALL if name in chosen):
            if component in {CONTROLLER_MANAGER, SCHEDULER} and wait:
                # They give up when no API server answers for ten seconds.
                self.wait_ready(APISERVER, timeout_seconds=timeout_seconds)
            program = binaries.ensure("control-plane") / component
            arguments = arguments_of(component, self.files, self.ports, self.options)
            self._daemon(component).start([program, *arguments], directory=self.directory)
        if wait:
            self.wait_ready(*chosen, timeout_seconds=timeout_seconds)

    def stop(self, *components: str) -> None:
        """Kill the named programs (none named: all), clients first. What etcd holds stays on disk."""
        for component in reversed(components or self.options.components):
            self._daemon(component).stop()

    def kill(self, component: str, number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL wait until the process is gone. SIGSTOP and SIGCONT freeze and thaw."""
        daemon = self._daemon(component)
        daemon.send(number)
        if number == signal.SIGKILL:
            daemon.stop()

    def wait_ready(self, *components: str, timeout_seconds: float = 60) -> None:
        """Wait until the named programs (none named: all) are ready; say which one is not, with the end of its log."""
        deadline = time.monotonic() + timeout_seconds
        for component in components or self.options.components:
            while not self.is_ready(component):
                daemon = self._daemon(component)
                if not daemon.is_running:
                    raise LocalClusterError(
                        f"{component} has ended while starting; see {daemon.log_path}:\n{daemon.last_words()}"
                    )
                if time.monotonic() > deadline:
                    raise LocalClusterError(
                        f"{component} is not ready after {timeout_seconds:g} s; see {daemon.log_path}:\n{daemon.last_words()}"
                    )
                time.sleep(0.1)

    def is_ready(self, component: str) -> bool:
        """Whether a program says of itself that it is ready."""
        probes: dict[str, Callable[[], bool]] = {
            ETCD: lambda: http_status(self.ports.etcd, "/health") == http.client.OK,
            APISERVER: lambda: self._api_answers("/readyz"),
            # Pods are refused until the controller manager has made the namespace's account.
            CONTROLLER_MANAGER: lambda: (
                self._answers(self.ports.controller_manager, "/healthz")
                and self._api_answers("/api/v1/namespaces/default/serviceaccounts/default")
            ),
            SCHEDULER: lambda: self._answers(self.ports.scheduler, "/readyz"),
        }
        return self.is_running(component) and probes[component]()

    def endpoint(self, server: str | None = None, tls_server_name: str | None = None) -> kubeconfig.Endpoint:
        """Where clients connect; another server (a proxy) may stand in, under a name of its own."""
        return kubeconfig.Endpoint(server or self.url, self.ca.certificate, tls_server_name)

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = (), *, server: str | None = None) -> Path:
        """Return a new kubeconfig file for any user in any groups, by a client certificate."""
        name = _file_name("user", user, *groups)
        pair = self._authority.issue(name, user, groups)
        path = self.files.kubeconfig(name if server is None else _file_name(name, server))
        self._write_secret(path, kubeconfig.with_certificate(self.endpoint(server), user, pair))
        return path

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, *, duration_seconds: int = 3600, server: str | None = None
    ) -> Path:
        """Return a new kubeconfig file for a ServiceAccount, with a token as a pod would get it."""
        token = self.kubectl("create", "token", name, "-n", namespace, f"--duration={duration_seconds}s").strip()
        path = self.files.kubeconfig(_file_name("service-account", namespace, name, server or "direct"))
        content = kubeconfig.with_token(self.endpoint(server), f"{namespace}-{name}", token, namespace=namespace)
        self._write_secret(path, content)
        return path

    def issue_certificate(
        self,
        name: str,
        common_name: str,
        alternative_names: tuple[str, ...] = (),
        organizations: tuple[str, ...] = (),
    ) -> KeyPair:
        """Return a certificate that clients and servers of this control plane trust."""
        return self._authority.issue(name, common_name, organizations, alternative_names)

    def kubectl(self, *arguments: str, stdin: str | None = None, as_kubeconfig: Path | None = None) -> str:
        """Run kubectl, as admin unless another kubeconfig is given, and return its stdout."""
        program = binaries.ensure("control-plane") / "kubectl"
        return run(
            [program, f"--kubeconfig={as_kubeconfig or self.admin_kubeconfig}", *arguments],
            doing=f"kubectl {' '.join(arguments[:2])}",
            stdin=stdin,
        )

    @property
    def _api_address(self) -> str:
        return "127.0.0.1" if self.options.bind_address == "0.0.0.0" else self.options.bind_address

    def _api_answers(self, path: str) -> bool:
        return self._answers(self.ports.apiserver, path, address=self._api_address)

    def _answers(self, port: int, path: str, *, address: str = "127.0.0.1") -> bool:
        admin = self._authority.pair("admin")
        status = https_status(port, path, ca_certificate=self.ca.certificate, client=admin, address=address)
        return status == http.client.OK

    def _daemon(self, component: str) -> Daemon:
        try:
            return self._daemons[component]
        except KeyError:
            raise LocalClusterError(
                f"this control plane has no {component!r}; it has: {', '.join(self.options.components)}"
            ) from None

    def _write_secret(self, path: Path, content: str) -> None:
        path.touch(mode=0o600)
        path.write_text(content)


def _file_name(*parts: str) -> str:
    """Something readable that two different sets of parts do not share."""
    readable = "-".join("".join(c if c.isalnum() or c in ".-" else "-" for c in part) for part in parts)
    return f"{readable[:80]}-{fingerprint(part.encode() for part in parts)}"

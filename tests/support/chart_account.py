"""Gives an operator outside the cluster what the chart gives one inside: account, rights and admission policies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from localcluster import binaries
from localcluster.console import run
from localcluster.controlplane import ControlPlane

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATOR_NAMESPACE = "vidbench-system"
NOT_INSTALLED = frozenset({"Deployment", "RunnerClass"})
"""What tests take from elsewhere: a process beside pytest, and classes of their own."""


@dataclass(frozen=True)
class Account:
    """The chart's ServiceAccount on one control plane."""

    control_plane: ControlPlane
    name: str

    @property
    def user(self) -> str:
        """What the API server calls it."""
        return f"system:serviceaccount:{OPERATOR_NAMESPACE}:{self.name}"

    def kubeconfig(self, *, server: str | None = None) -> Path:
        """Return a kubeconfig with a token; another server (a proxy) may stand in."""
        return self.control_plane.kubeconfig_for_service_account(
            OPERATOR_NAMESPACE, self.name, duration_seconds=14400, server=server
        )


def install_account(control_plane: ControlPlane) -> Account:
    """Apply all of the chart but the operator's pod and its classes."""
    helm, chart = binaries.ensure("helm") / "helm", ROOT / "charts" / "vidbench"
    rendered = run(
        [helm, "template", "vidbench", chart, "--namespace", OPERATOR_NAMESPACE], doing="rendering the chart"
    )
    objects = [entry for entry in yaml.safe_load_all(rendered) if entry and entry["kind"] not in NOT_INSTALLED]
    account = next(entry for entry in objects if entry["kind"] == "ServiceAccount")["metadata"]["name"]
    control_plane.kubectl("create", "namespace", OPERATOR_NAMESPACE)
    document = yaml.safe_dump_all(objects)
    control_plane.kubectl("apply", "--namespace", OPERATOR_NAMESPACE, "-f", "-", stdin=document)
    return Account(control_plane, account)

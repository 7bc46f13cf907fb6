"""Runs the pinned helm on the chart of this checkout, with its caches in a folder of the test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localcluster import binaries
from localcluster.console import run

CHART = Path(__file__).resolve().parent.parent.parent / "charts" / "vidbench"
RELEASE = "vidbench"
RELEASE_NAMESPACE = "vidbench-system"
OPERATOR_ACCOUNT = "vidbench-operator"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """One helm with one set of credentials, or none."""

    home: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run helm and return its stdout; raises LocalClusterError with helm's words."""
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "HELM_CACHE_HOME": str(self.home / "cache"),
            "HELM_CONFIG_HOME": str(self.home / "config"),
            "HELM_DATA_HOME": str(self.home / "data"),
        }
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        program = binaries.ensure("helm") / "helm"
        return run([program, *arguments], doing=f"helm {arguments[0]}", stdin=stdin, environment=environment)

    def render(self, values: Manifest | None = None, *arguments: str) -> list[Manifest]:
        """Return the objects that the chart makes of values."""
        text = self(
            "template", RELEASE, str(CHART), "-n", RELEASE_NAMESPACE, "-f", "-", *arguments, stdin=_values(values)
        )  # fmt: skip
        return [document for document in yaml.safe_load_all(text) if document]

    def install(self, values: Manifest | None = None, *arguments: str) -> str:
        """Install the chart, or upgrade it to other values."""
        return self(
            "upgrade", "--install", RELEASE, str(CHART), "-n", RELEASE_NAMESPACE, "--create-namespace", "--reset-values", "-f", "-",
            *arguments, stdin=_values(values),
        )  # fmt: skip


def _values(values: Manifest | None) -> str:
    return yaml.safe_dump(values or {})


def only(documents: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the one object of a kind (and name)."""
    found = [
        document
        for document in documents
        if document["kind"] == kind and (name is None or document["metadata"]["name"] == name)
    ]
    assert len(found) == 1, [document["metadata"]["name"] for document in found]
    return found[0]

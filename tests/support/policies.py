"""An admission policy that lets no result into a namespace, from when it holds until it is taken back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.kube_api import KubeApi
from support.measured_results import measured_result
from vidbench_api.names import API_VERSION, GROUP, VERSION

MESSAGE = "no results today"
_SECONDS = 60.0
_PATH = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def results_refused(api: KubeApi, namespace: str) -> Iterator[None]:
    """Refuse every BenchmarkResult of a namespace meanwhile."""
    name = f"no-results-{namespace}"
    for kind, spec in {"Policy": _policy(namespace), "PolicyBinding": _binding(name)}.items():
        body = {"metadata": {"name": name}, "spec": spec}
        answer = api.request("POST", f"{_PATH}/{_plural(kind)}", body)
        assert answer.accepted, answer.message
    try:
        _wait_until_it_holds(api, namespace)
        yield
    finally:
        for kind in ("PolicyBinding", "Policy"):
            api.request("DELETE", f"{_PATH}/{_plural(kind)}/{name}")


def _plural(kind: str) -> str:
    return {"Policy": "validatingadmissionpolicies", "PolicyBinding": "validatingadmissionpolicybindings"}[kind]


def _policy(namespace: str) -> dict[str, Any]:
    rule = {"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE"], "resources": ["benchmarkresults"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": "false", "message": MESSAGE}],
    }


def _binding(name: str) -> dict[str, Any]:
    return {"policyName": name, "validationActions": ["Deny"]}


def _wait_until_it_holds(api: KubeApi, namespace: str) -> None:
    probe = {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkResult",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": measured_result(1.0).to_wire(),
    }
    deadline = time.monotonic() + _SECONDS
    while MESSAGE not in (answer := api.create(probe, dry_run=True)).message:
        assert time.monotonic() < deadline, f"the policy does not hold: {answer}"
        time.sleep(0.1)

"""Stores a run that no operator can read, as one of another version's schema may be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from support.kube_api import KubeApi

Manifest = dict[str, Any]
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/benchmarkruns.vidbench.io"
_ENUM = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/phase/enum"


@contextlib.contextmanager
def without_phase_enum(api: KubeApi) -> Iterator[None]:
    """Let the schema take any phase for a while, as that of another version may have."""
    strict = api.request("GET", _CRD).body
    schema = strict["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    enum = schema["properties"]["status"]["properties"]["phase"]["enum"]
    _patch(api, {"op": "remove", "path": _ENUM})
    try:
        yield
    finally:
        _patch(api, {"op": "add", "path": _ENUM, "value": enum})


def _patch(api: KubeApi, operation: Manifest) -> None:
    """Change the definition, whatever the API server writes into its status meanwhile."""
    answer = api.request("PATCH", _CRD, [operation], content_type="application/json-patch+json")
    assert answer.accepted, answer.message


def put_phase(api: KubeApi, run: Manifest, phase: str) -> bool:
    """Write a phase past the operator; returns whether the server took it."""
    metadata = run["metadata"]
    path = f"/apis/vidbench.io/v1alpha1/namespaces/{metadata['namespace']}/benchmarkruns/{metadata['name']}/status"
    patch = {"status": {"phase": phase}}
    return api.request("PATCH", path, patch, content_type="application/merge-patch+json").accepted

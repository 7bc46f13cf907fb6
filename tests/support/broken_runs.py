"""Stores a run that no operator can read, as one of another version's schema may be."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from support.kube_api import KubeApi

Manifest = dict[str, Any]


@contextlib.contextmanager
def without_phase_enum(api: KubeApi) -> Iterator[None]:
    """Let the schema take any phase for a while, as that of another version may have."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/benchmarkruns.vidbench.io"
    strict = api.request("GET", path).body
    loose = copy.deepcopy(strict)
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["phase"].pop("enum")
    assert api.request("PUT", path, loose).accepted
    try:
        yield
    finally:
        current = api.request("GET", path).body
        current["spec"] = strict["spec"]
        assert api.request("PUT", path, current).accepted


def put_phase(api: KubeApi, run: Manifest, phase: str) -> bool:
    """Write a phase past the operator; returns whether the server took it."""
    metadata = run["metadata"]
    path = f"/apis/vidbench.io/v1alpha1/namespaces/{metadata['namespace']}/benchmarkruns/{metadata['name']}/status"
    patch = {"status": {"phase": phase}}
    return api.request("PATCH", path, patch, content_type="application/merge-patch+json").accepted

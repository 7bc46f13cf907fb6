"""A plain JSON client of a Kubernetes API for tests: it shows status codes and causes where clients raise or hide them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

PLURALS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Pod": ("/api/v1", "pods", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "PersistentVolume": ("/api/v1", "persistentvolumes", False),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "Node": ("/api/v1", "nodes", False),
    "Job": ("/apis/batch/v1", "jobs", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "BenchmarkRun": ("/apis/vidbench.io/v1alpha1", "benchmarkruns", True),
    "VideoModel": ("/apis/vidbench.io/v1alpha1", "videomodels", True),
    "RunnerClass": ("/apis/vidbench.io/v1alpha1", "runnerclasses", False),
    "BenchmarkResult": ("/apis/vidbench.io/v1alpha1", "benchmarkresults", True),
}
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    """What the server said to one request."""

    status: int
    body: dict[str, Any] = field(repr=False)
    message: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the request was carried out (or would be, in a dry run)."""
        return self.status < 300

    @property
    def causes(self) -> dict[str, str]:
        """What is wrong, by field path."""
        entries = self.body.get("details", {}).get("causes", [])
        return {entry.get("field", ""): entry.get("message", "") for entry in entries}


class KubeApi:
    """Sends JSON to one API server as the user of a kubeconfig, or as somebody whom that user impersonates."""

    def __init__(self, kubeconfig: Path, *, user: str | None = None, groups: tuple[str, ...] = ()) -> None:
        self._kubeconfig = kubeconfig
        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        self._host = configuration.host
        headers = urllib3.HTTPHeaderDict()
        token = configuration.get_api_key_with_prefix("authorization")
        if token:
            headers.add("Authorization", token)
        if user:
            headers.add("Impersonate-User", user)
        for group in groups:
            headers.add("Impersonate-Group", group)
        self._headers = headers
        self._pool = urllib3.PoolManager(
            ca_certs=configuration.ssl_ca_cert, cert_file=configuration.cert_file, key_file=configuration.key_file
        )

    def impersonate(self, user: str, *groups: str) -> KubeApi:
        """Return a client that acts as another user."""
        return KubeApi(self._kubeconfig, user=user, groups=(*groups, "system:authenticated"))

    def impersonate_service_account(self, namespace: str, name: str) -> KubeApi:
        """Return a client that acts as a ServiceAccount."""
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return self.impersonate(f"system:serviceaccount:{namespace}:{name}", *groups)

    def close(self) -> None:
        """Close the connections, which would be reported as leaks otherwise."""
        self._pool.clear()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Send one request and return the answer, whatever it is."""
        headers = self._headers.copy()
        headers["Content-Type"] = content_type
        headers["Accept"] = "application/json"
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        encoded = None if body is None else json.dumps(body).encode()
        response = self._pool.request(method, url, body=encoded, headers=headers, retries=False, timeout=30.0)
        content = _content(response.data)
        return Answer(response.status, content, content.get("message", "") if response.status >= 300 else "")

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False, strict: bool = True) -> Answer:
        """POST an object."""
        metadata = manifest["metadata"]
        query = _query(dry_run) | ({"fieldValidation": "Strict"} if strict else {"fieldValidation": "Ignore"})
        return self.request("POST", collection(manifest["kind"], metadata.get("namespace")), manifest, query=query)

    def replace(self, manifest: dict[str, Any], subresource: str = "", *, dry_run: bool = False) -> Answer:
        """PUT an object, or a subresource of it."""
        return self.request("PUT", path_of(manifest, subresource), manifest, query=_query(dry_run))

    def apply(self, manifest: dict[str, Any], *, dry_run: bool = False) -> Answer:
        """Server-side apply an object."""
        query = _query(dry_run) | {"fieldManager": "test"}
        return self.request("PATCH", path_of(manifest), manifest, query=query, content_type=APPLY_PATCH)

    def merge_patch(self, manifest: dict[str, Any], patch: dict[str, Any], *, dry_run: bool = False) -> Answer:
        """Merge a patch into an object."""
        return self.request("PATCH", path_of(manifest), patch, query=_query(dry_run), content_type=MERGE_PATCH)

    def get(self, manifest: dict[str, Any]) -> Answer:
        """GET the object of a manifest's kind and name."""
        return self.request("GET", path_of(manifest))

    def delete(self, manifest: dict[str, Any]) -> Answer:
        """DELETE the object of a manifest's kind and name, dependants in the background."""
        return self.request("DELETE", path_of(manifest), {"propagationPolicy": "Background"})


def collection(kind: str, namespace: str | None) -> str:
    """Return the URL path of the objects of a kind."""
    prefix, plural, namespaced = PLURALS[kind]
    return f"{prefix}/namespaces/{namespace or 'default'}/{plural}" if namespaced else f"{prefix}/{plural}"


def path_of(manifest: dict[str, Any], subresource: str = "") -> str:
    """Return the URL path of an object, or of a subresource of it."""
    metadata = manifest["metadata"]
    path = f"{collection(manifest['kind'], metadata.get('namespace'))}/{metadata['name']}"
    return f"{path}/{subresource}" if subresource else path


def _query(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def assert_refused(answer: Answer, field: str, words: str = "") -> None:
    """Assert that the server would not have an object, and points at a field in these words."""
    assert answer.status == 422, f"{answer.status} {answer.message}"
    assert field in answer.causes, answer.causes
    assert words in answer.message


def wait_for(send: Callable[[], Answer], *, accepted: bool, seconds: float = 60) -> Answer:
    """Send until the server, which takes a moment to hear of policies and classes, answers as it should."""
    deadline = time.monotonic() + seconds
    while (answer := send()).accepted is not accepted:
        assert time.monotonic() < deadline, f"still {answer.status} after {seconds:g} s: {answer.message}"
        time.sleep(0.1)
    return answer


def _content(data: bytes) -> Any:
    """Return the JSON of an answer; what is none (a path that is not served yet is answered in plain text) as a message."""
    try:
        return json.loads(data) if data else {}
    except ValueError:
        return {"message": data.decode(errors="replace")}

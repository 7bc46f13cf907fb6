"""One cluster, through kubeconfig, context and namespace as kubectl takes them: JSON in, JSON out, errors for people.

Every method raises a ClusterError (`cluster_answers.py` decides its words); a ClusterAwayError may go away when asked again.
Retries nothing and decides nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from kubernetes import client, config
from urllib3.exceptions import HTTPError, MaxRetryError
from yaml import YAMLError

from vidbench_api.names import GROUP, VERSION

from .cluster_answers import INSTALL, Ask, Resource, explain_refusal, explain_silence, no_namespace, not_found_near
from .errors import ClusterAwayError, ClusterError, NotFoundError, NotServedError, UsageError
from .texts import _

RUNS: Final = Resource("benchmarkruns", "BenchmarkRun", GROUP, VERSION)
RESULTS: Final = Resource("benchmarkresults", "BenchmarkResult", GROUP, VERSION)
MODELS: Final = Resource("videomodels", "VideoModel", GROUP, VERSION)
CLASSES: Final = Resource("runnerclasses", "RunnerClass", GROUP, VERSION, namespaced=False)
JOBS: Final = Resource("jobs", "Job", "batch")
PODS: Final = Resource("pods", "Pod")
EVENTS: Final = Resource("events", "Event")
CONFIGMAPS: Final = Resource("configmaps", "ConfigMap")
NAMESPACES: Final = Resource("namespaces", "Namespace", namespaced=False)
NODES: Final = Resource("nodes", "Node", namespaced=False)
CRDS: Final = Resource(
    "customresourcedefinitions", "CustomResourceDefinition", "apiextensions.k8s.io", namespaced=False
)

FIELD_MANAGER: Final = "vidbench-cli"
TIMEOUT_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 60.0
_CHUNK: Final = 200
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"

Object = dict[str, Any]
T = TypeVar("T")
UNUSABLE: Final = (
    config.ConfigException,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    YAMLError,
)
"""What the client raises for a kubeconfig that is none: it looks at no types."""


@dataclass(frozen=True)
class Where:
    """Which cluster and namespace: what the options say; None is what kubectl would take."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


def list_contexts(kubeconfig: str | None = None) -> list[str]:
    """Return the names of the contexts of a kubeconfig; raises ClusterError."""
    try:
        contexts, _active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
    except UNUSABLE as error:
        raise _no_kubeconfig(error) from error
    return [str(entry["name"]) for entry in contexts]


class Cluster:
    """Asks one API server. `namespace` is the option's, else the context's, else `default`."""

    def __init__(self, where: Where, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.context = where.context
        self._timeout = timeout_seconds
        self._api, own_namespace = _connect(where)
        self.namespace: str = where.namespace or own_namespace or "default"

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return str(self._api.configuration.host)

    def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> Object:
        """Read an object; raises NotFoundError with names near it."""
        ask = self._ask("get", resource, namespace, name)
        try:
            return self._json("GET", ask)
        except NotFoundError as error:
            raise self._near(ask) from error

    def find(
        self, resource: Resource, *, namespace: str | None = None, everywhere: bool = False, labels: str = "",
        fields: str = "",
    ) -> list[Object]:  # fmt: skip
        """Read all objects of a namespace, or of all, in chunks; `labels` and `fields` are selectors."""
        ask = self._ask("list", resource, namespace, everywhere=everywhere)
        query = {"limit": str(_CHUNK), "labelSelector": labels, "fieldSelector": fields}
        items: list[Object] = []
        while True:
            answer = self._json("GET", ask, query=query)
            items += answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return items
            query["continue"] = token

    def read_chunk(
        self, resource: Resource, limit: int, token: str = "", *, namespace: str | None = None, everywhere: bool = False
    ) -> Object:
        """Read a part of a list as the API gives it; `metadata.continue` of one part is the token of the next.

        Raises ListExpiredError if the server does not know the token any more.
        """
        query = {"limit": str(limit), "continue": token}
        return self._json("GET", self._ask("list", resource, namespace, everywhere=everywhere), query=query)

    def require_namespace(self, name: str) -> None:
        """Raise ClusterError where there is no such namespace; who may not look at it is not held up."""
        try:
            self.get(NAMESPACES, name)
        except ClusterAwayError:
            raise
        except NotFoundError as error:
            raise no_namespace(name, error.remedy) from error
        except ClusterError:
            return

    def names(self, resource: Resource, *, namespace: str | None = None) -> list[str]:
        """Return the names of all objects of a namespace."""
        return [str(item["metadata"]["name"]) for item in self.find(resource, namespace=namespace)]

    def create(
        self, resource: Resource, body: Object, *, namespace: str | None = None, dry_run: bool = False
    ) -> Object:
        """Store a new object; unknown fields are refused. Raises UsageError with the fields that are wrong."""
        ask = self._ask("create", resource, namespace, str(body.get("metadata", {}).get("name", "")))
        query = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        return self._json("POST", ask, query=query, body=body)

    def apply(
        self, resource: Resource, body: Object, *, namespace: str | None = None, force: bool = False,
        dry_run: bool = False,
    ) -> Object:  # fmt: skip
        """Server-side apply an object; raises UsageError with the fields that are wrong."""
        ask = self._ask("patch", resource, namespace, str(body["metadata"]["name"]))
        query = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        query["force"] = "true" if force else ""
        return self._json("PATCH", ask, query=query, body=body, content_type=_APPLY)

    def patch(self, resource: Resource, name: str, patch: Object, *, namespace: str | None = None) -> Object:
        """Merge a patch into an object; raises NotFoundError with names near it."""
        ask = self._ask("patch", resource, namespace, name)
        try:
            return self._json("PATCH", ask, query={"fieldManager": FIELD_MANAGER}, body=patch, content_type=_MERGE)
        except NotFoundError as error:
            raise self._near(ask) from error

    def delete(self, resource: Resource, name: str, *, namespace: str | None = None, uid: str = "") -> Object:
        """Delete an object, its dependants in the background; with a UID only if it is still that one."""
        options: Object = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        return self._json("DELETE", self._ask("delete", resource, namespace, name), body=options)

    def discover(self, api_version: str, kind: str) -> Resource:
        """Return what the server serves of a kind; raises UsageError where it serves none of that name."""
        group, _slash, version = api_version.rpartition("/")
        probe = Resource("", kind, group, version or api_version, namespaced=False)
        root = f"/apis/{api_version}" if group else f"/api/{api_version}"
        try:
            served = json.loads(self._send("GET", root, Ask("get", probe, None, context=self.context)).data)[
                "resources"
            ]
        except NotServedError as error:
            text = _("this cluster does not serve {api_version}, which {kind} is of")
            raise NotServedError(text.format(api_version=api_version, kind=kind), INSTALL) from error
        for entry in served:
            if entry["kind"] == kind and "/" not in entry["name"]:
                return Resource(entry["name"], kind, group, probe.version, bool(entry["namespaced"]))
        near = ", ".join(sorted({entry["kind"] for entry in served if "/" not in entry["name"]}))
        raise UsageError(
            _("{api_version} has no kind {kind!r}").format(api_version=api_version, kind=kind),
            _("it has: {kinds}").format(kinds=near),
        )

    def review_access(
        self, verb: str, resource: Resource, *, namespace: str | None = None, subresource: str = ""
    ) -> bool:
        """Return whether this user may; everybody may ask that."""
        attributes = {"verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource}
        if resource.namespaced:
            attributes["namespace"] = namespace or self.namespace
        reviews = Resource(
            "selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io", namespaced=False
        )
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": reviews.kind,
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._json("POST", self._ask("create", reviews, None), body=body)
        return bool(answer.get("status", {}).get("allowed"))

    def read_version(self) -> str:
        """Return the version of the API server, as v1.34.2."""
        answer = self._object(self._send("GET", "/version", self._ask("get", NAMESPACES, None)).data)
        return str(answer.get("gitVersion"))

    def read_from_pod(self, pod: str, port: int, path: str, *, namespace: str | None = None) -> str:
        """Return what a pod serves at a port, through the API server: needs the right to get pods/proxy."""
        ask = self._ask("get", PODS, namespace, f"{pod}:{port}", subresource="proxy")
        target = f"{PODS.path(ask.namespace, quote(ask.name, safe=''), 'proxy')}/{path}"
        return str(self._send("GET", target, ask).data.decode(errors="replace"))

    def stream_log(
        self, pod: str, *, namespace: str | None = None, query: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Yield pieces of a pod's log as they come; `query` as the API takes it (container, follow, tailLines, ...)."""
        ask = self._ask("get", PODS, namespace, pod, subresource="log")
        path = PODS.path(ask.namespace, quote(pod), "log") + _query(query or {})
        response = self._send("GET", path, ask, stream=True)
        try:
            yield from response.stream(amt=None)
        except (OSError, HTTPError) as error:
            raise explain_silence(self.server, str(error), self.context) from error
        finally:
            response.release_conn()

    def _ask(
        self, verb: str, resource: Resource, namespace: str | None, name: str = "", *, subresource: str = "",
        everywhere: bool = False,
    ) -> Ask:  # fmt: skip
        scope = None if everywhere or not resource.namespaced else namespace or self.namespace
        return Ask(verb, resource, scope, name, subresource, self.context)

    def _json(
        self, method: str, ask: Ask, *, query: Mapping[str, str] | None = None, body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:  # fmt: skip
        name = "" if method == "POST" else quote(ask.name, safe="")
        path = ask.resource.path(ask.namespace, name, ask.subresource) + _query(query or {})
        return self._object(self._send(method, path, ask, body=body, content_type=content_type).data)

    def _object(self, content: bytes) -> Object:
        answer = _parsed(content)
        if answer is None:
            raise ClusterError(
                _("what answers at {server} is no Kubernetes API server").format(server=self.server),
                _("a proxy or login page may stand in between: kubectl cluster-info; kubectl config view --minify"),
            )
        return answer

    def _send(
        self, method: str, path: str, ask: Ask, *, body: Object | None = None, content_type: str = "application/json",
        stream: bool = False,
    ) -> Any:  # fmt: skip
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        encoded = None if body is None else json.dumps(body).encode()
        pool = self._api.rest_client.pool_manager
        try:
            response = pool.request(
                method, self.server + path, body=encoded, headers=headers, retries=False,
                timeout=None if stream else self._timeout, preload_content=not stream,
            )  # fmt: skip
        except (OSError, HTTPError, config.ConfigException) as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise explain_silence(self.server, str(cause), self.context) from error
        if response.status < 300:
            return response
        content = response.read() if stream else response.data
        raise explain_refusal(ask, response.status, _status_body(content))

    def _near(self, ask: Ask) -> ClusterError:
        try:
            here = self.names(ask.resource, namespace=ask.namespace)
        except ClusterError:
            return explain_refusal(ask, 404, {"details": {"name": ask.name}})  # type: ignore[return-value]
        elsewhere: list[Object] = []
        if ask.resource.namespaced:
            try:
                elsewhere = self.find(ask.resource, everywhere=True, fields=f"metadata.name={ask.name}")
            except ClusterError:
                elsewhere = []
        return not_found_near(ask, here, [item["metadata"]["namespace"] for item in elsewhere])


def ask_patiently(ask: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Ask until there is an answer: a server that is away for a moment ends no watch of hours. Raises ClusterError."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return ask()
        except ClusterAwayError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)


def _connect(where: Where) -> tuple[Any, str | None]:
    try:
        contexts, active = config.list_kube_config_contexts(config_file=where.kubeconfig)  # type: ignore[no-untyped-call]
    except UNUSABLE as error:
        if where.kubeconfig or where.context or "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise _no_kubeconfig(error) from error
        return _connect_from_pod()
    names = [str(entry["name"]) for entry in contexts]
    if where.context and where.context not in names:
        raise ClusterError(
            _("the kubeconfig has no context {name!r}").format(name=where.context),
            _("it has: {names}").format(names=", ".join(names) or "-"),
        )
    chosen = next((entry for entry in contexts if entry["name"] == where.context), active)
    try:
        api = config.new_client_from_config(config_file=where.kubeconfig, context=where.context)  # type: ignore[no-untyped-call]
    except UNUSABLE as error:
        raise _no_kubeconfig(error) from error
    return api, chosen["context"].get("namespace")


def _connect_from_pod() -> tuple[Any, str | None]:
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise _no_kubeconfig(error) from error
    return client.ApiClient(), None


def _no_kubeconfig(error: Exception) -> ClusterError:
    return ClusterError(
        _("there is no usable kubeconfig: {error}").format(error=error),
        _("name one with --kubeconfig or KUBECONFIG; without any cluster: vidbench benchmark --local -f FILE"),
    )


def _query(entries: Mapping[str, str]) -> str:
    given = {key: value for key, value in entries.items() if value}
    return f"?{urlencode(given)}" if given else ""


def _status_body(content: bytes) -> Object:
    body = _parsed(content)
    return {"message": content.decode(errors="replace")[:500]} if body is None else body


def _parsed(content: bytes) -> Object | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None

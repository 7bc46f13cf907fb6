"""Talks JSON over HTTP with the API server: time limits, errors as the ports' exceptions, audit lines, counts, API time.

Plain dictionaries instead of the client's models: those cost several times the time and memory. Knows no kind.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from vidbench_api.names import FIELD_MANAGER
from vidbench_operator.ports import AlreadyExists, Conflict, Gone, NotLeading, Refused, Unavailable

from .clock import ApiClock
from .metrics import Metrics

CALL_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 16
"""Open at the same time: each holds some 300 KiB of buffers, and calls take a few milliseconds each."""

CHUNK: Final = 100
"""Objects that are in memory as JSON at the same time; a thousand pods of them are 50 MiB."""

MERGE_PATCH: Final = "application/merge-patch+json"
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_MUTATING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TEXT_CHARACTERS: Final = 1024

# The generated client has no types; what it gives is checked where it is used.
_config: Any = config

_audit = structlog.get_logger("vidbench.audit")


async def load_client() -> ApiClient:
    """Return a client for the cluster that this process runs in, else for the current context of the kubeconfig."""
    configuration = Configuration()
    try:
        _config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await _config.load_kube_config(client_configuration=configuration)
    # Else every call looks for proxies and a ~/.netrc, in a thread: a tenth of the operator's processor time.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or find_proxy(configuration.host)
    configuration.connection_pool_maxsize = CONNECTIONS
    return ApiClient(configuration)


def find_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL; None: there is none, or no_proxy names the host."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


class Api:
    """One API server, as one user.

    `may_write` is asked right before each mutating call. `writer` is the operator's name in audit lines. Calls that are
    `routine` (renewals of a Lease, every two seconds) have theirs at level DEBUG.
    """

    def __init__(
        self,
        client: ApiClient,
        clock: ApiClock,
        metrics: Metrics,
        *,
        may_write: Callable[[], bool] = lambda: True,
        writer: str = FIELD_MANAGER,
        routine: bool = False,
    ) -> None:
        self._client: Any = client
        self._clock = clock
        self._metrics = metrics
        self._may_write = may_write
        self._writer = writer
        self._log = _audit.debug if routine else _audit.info
        self._limits: set[asyncio.Timeout] = set()
        self.answered = 0
        """How many calls were answered, whatever the answer."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def abandon_calls(self) -> None:
        """Give up every call that is under way, as Unavailable: its connection is not trusted any more."""
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "application/json") -> Any:
        """GET an object or a list; raises Gone if there is none."""
        return await self._call("GET", path, query=query, accept=accept)

    async def create(self, path: str, body: Mapping[str, Any], *, accept: str = "application/json") -> Any:
        """POST an object; raises AlreadyExists, Gone (no such namespace) or Refused."""
        return await self._call("POST", path, body, query={"fieldManager": FIELD_MANAGER}, accept=accept)

    async def replace(self, path: str, body: Mapping[str, Any], *, accept: str = "application/json") -> Any:
        """PUT an object or a subresource; raises Conflict, Gone or Refused."""
        return await self._call("PUT", path, body, query={"fieldManager": FIELD_MANAGER}, accept=accept)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> Any:
        """PATCH by merging; raises Gone, Conflict, or Refused (also for another UID in the patch than the object's)."""
        return await self._call(
            "PATCH",
            path,
            patch,
            query={"fieldManager": FIELD_MANAGER},
            content_type=MERGE_PATCH,
            accept=METADATA_ONLY,
        )

    async def delete(self, path: str, uid: str, version: str | None = None) -> None:
        """DELETE in the background if the object still has that UID (and version); gone or changed already is success."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, **({"resourceVersion": version} if version else {})},
        }
        try:
            await self._call("DELETE", path, options)
        except Gone:
            return
        except Conflict as error:
            if version is None and await self.has_uid(path, uid):
                raise Unavailable(str(error)) from error

    async def has_uid(self, path: str, uid: str) -> bool:
        """Whether the object still has that UID. A conflict about one that has it was about something that passes."""
        return await self.uid_of(path) == uid

    async def uid_of(self, path: str) -> str | None:
        """GET an object's UID; None if there is no such object."""
        try:
            raw = await self.get(path, accept=METADATA_ONLY)
        except Gone:
            return None
        uid: str | None = raw["metadata"].get("uid")
        return uid

    async def items(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "application/json", chunk: int = CHUNK
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the entries of a list that is read in chunks, so that no list is in memory as a whole."""
        following = ""
        while True:
            page = {**(query or {}), "limit": str(chunk), **({"continue": following} if following else {})}
            answer = await self._call("GET", path, query=page, accept=accept)
            for item in answer.get("items") or ():
                yield item
            following = (answer.get("metadata") or {}).get("continue") or ""
            if not following:
                return

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Any:
        started = time.monotonic()
        code: int | str = "unreachable"
        message = ""
        try:
            code, answer, headers = await self._send(method, path, body, query, accept, content_type)
            if code < 300:
                return answer
            message = str(answer.get("message") or answer.get("reason") or "no reason given")[:_TEXT_CHARACTERS]
            raise _to_exception(method, path, code, answer, message, headers)
        except NotLeading:
            code = "withheld"
            raise
        finally:
            self._metrics.api_call(method, _resource_of(path), code)
            if method in _MUTATING:
                self._log(
                    "mutation",
                    writer=self._writer,
                    verb=method,
                    path=path,
                    name=_name_of(body) or None,
                    code=code,
                    milliseconds=round((time.monotonic() - started) * 1000, 1),
                    **({"message": message} if message else {}),
                )

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        accept: str,
        content_type: str,
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = self._clock.reading()
        try:
            await self._client.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
            if method in _MUTATING and not self._may_write():
                raise NotLeading(f"{method} {path}: not sent, as another operator may lead by now")
            async with asyncio.timeout(CALL_SECONDS) as limit:
                self._limits.add(limit)
                try:
                    response = await self._client.call_api(
                        method, url, headers, body, _request_timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
                    )
                    content = await response.read()
                finally:
                    self._limits.discard(limit)
        except (aiohttp.ClientError, TimeoutError, OSError, config.ConfigException) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        self.answered += 1
        self._clock.learn(response.headers.get("Date"), sent)
        return response.status, _decode(content), response.headers


def _decode(content: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; other text, as proxies give it, becomes the message of an error."""
    try:
        value = json.loads(content) if content else {}
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"message": content[:_TEXT_CHARACTERS].decode(errors="replace")}


def _to_exception(
    method: str, path: str, code: int, answer: Mapping[str, Any], message: str, headers: Mapping[str, str]
) -> Exception:
    text = f"{method} {path}: HTTP {code}: {message}"
    if code == 404 or _is_terminating(answer):
        return Gone(text)
    if code == 409 and method == "POST":
        # A quota that others draw on answers a creation with a conflict: that passes.
        return AlreadyExists(text) if answer.get("reason") == "AlreadyExists" else Unavailable(text)
    if code == 409:
        return Conflict(text)
    if code in {401, 408, 410, 425, 429} or code >= 500:
        return Unavailable(text, _retry_after(headers))
    return Refused(message)


def _is_terminating(answer: Mapping[str, Any]) -> bool:
    """Whether a creation failed because its namespace is being deleted (HTTP 403)."""
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    return any(isinstance(cause, Mapping) and cause.get("reason") == "NamespaceTerminating" for cause in causes or ())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After")
    return float(text) if text and text.isdigit() else None


def _resource_of(path: str) -> str:
    """Return the resource of a URL path, e.g. jobs or benchmarkruns/status, never a name."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if len(rest) >= 3 and rest[0] == "namespaces":
        rest = rest[2:]
    if not rest:
        return "discovery"
    return "/".join([rest[0], *rest[2:3]])


def _name_of(body: Mapping[str, Any] | None) -> str | None:
    metadata = body.get("metadata") if body else None
    return metadata.get("name") if isinstance(metadata, Mapping) else None

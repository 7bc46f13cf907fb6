"""A plain async JSON client of an API server: the cheapest one that Python offers, so that raw creation is a fair bar.

Shows status codes; knows no retries, no types and no cache.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from localcluster.controlplane import ControlPlane

CHUNK = 500
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class ApiError(Exception):
    """An answer that is not 2xx, with the server's words."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status}: {message}")
        self.status = status


class AsyncApi:
    """Sends JSON to one API server as one user; use it with `async with`."""

    def __init__(self, control_plane: ControlPlane, user: str, *, in_flight: int) -> None:
        pair = control_plane.issue_certificate(user, user, organizations=("system:masters",))
        context = ssl.create_default_context(cafile=str(control_plane.ca.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        self.user = user
        self._context = context
        self._url = control_plane.url
        self._gate = asyncio.Semaphore(in_flight)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open_session.close()
        # aiohttp closes TLS connections in the next turn of the loop; without it they are reported as leaks.
        await asyncio.sleep(0.1)

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("AsyncApi is used outside of its `async with`")
        return self._session

    async def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Send one request, at most `in_flight` at a time, and return the answer. Raises ApiError."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        async with (
            self._gate,
            self._open_session.request(
                method, f"{self._url}{path}", data=data, headers={"Content-Type": content_type}
            ) as response,
        ):
            answer = json.loads(await response.read() or b"{}")
        if response.status >= 300:
            raise ApiError(method, path, response.status, answer.get("message", ""))
        return dict(answer)

    async def post_all(self, path: str, bodies: Iterable[Any]) -> list[dict[str, Any]]:
        """POST every body, `in_flight` at a time; the first refusal is raised."""
        return list(await asyncio.gather(*(self.request("POST", path, body) for body in bodies)))

    async def items(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all objects of a collection, read in chunks; the path has no query yet."""
        following = ""
        while True:
            page = await self.request("GET", f"{path}?limit={CHUNK}{following}")
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue")
            if not token:
                return
            following = f"&continue={quote(token)}"

    async def list_items(self, path: str) -> list[dict[str, Any]]:
        """Return all objects of a collection."""
        return [item async for item in self.items(path)]

    async def watch(self, path: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield type and object of every change from now on, what is there already first; until cancelled.

        The server ends a watch whose reader is slow. It is begun anew then, and what is there comes again.
        """
        while True:
            async with self._open_session.get(f"{self._url}{path}?watch=true") as response:
                if response.status != HTTPStatus.OK:
                    raise ApiError("WATCH", path, response.status, await response.text())
                rest = b""
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        yield event["type"], event["object"]

    async def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        try:
            await self.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def count(self, path: str) -> int:
        """Return the number of objects of a collection without reading them."""
        page = await self.request("GET", f"{path}?limit=1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

"""Listens to a namespace on its own connection, past every fault, and makes a recording of it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from bench.audit import AuditLog
from faults.background_loop import BackgroundLoop
from faults.recording import Observation, Recording
from support.kube_api import collection

KINDS = ("BenchmarkRun", "BenchmarkResult", "Job", "Pod", "ConfigMap")
_HEARD_SECONDS = 60.0
_LIST_SECONDS = 20.0
_BUSY = 429
_EXPIRED = 410


class Recorder:
    """Records from entering to leaving. `url` and `context` are the API server's own, with an admin's certificate."""

    def __init__(self, url: str, context: ssl.SSLContext, namespace: str, audit: AuditLog, operator_user: str) -> None:
        self._url = url
        self._context = context
        self._namespace = namespace
        self._audit = audit
        self._operator_user = operator_user
        self._mark = audit.mark()
        self._background = BackgroundLoop(f"recorder-{namespace}")
        self._observations: list[Observation] = []
        self._quiet: list[tuple[datetime, datetime]] = []
        self._errors: list[str] = []
        self._versions: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        """Of each kind, the last recorded version of each object that is there."""
        self._tasks: list[asyncio.Task[None]] = []
        self.broken: set[str] = set()

    def __enter__(self) -> Self:
        self._background.__enter__()
        self._background.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.call(self._stop())
        self._background.__exit__(kind, error, trace)

    def rest(self, seconds: float) -> None:
        """Let time pass in which the operator has nothing to do, and say so in the recording."""
        start = datetime.now(UTC)
        time.sleep(seconds)
        self._quiet.append((start, datetime.now(UTC)))

    def recording(self) -> Recording:
        """Return what was recorded, once every watch has told of all that the server has by now."""
        deadline = time.monotonic() + _HEARD_SECONDS
        while not self._errors and not self._background.call(self._has_heard_all()):
            assert time.monotonic() < deadline, "the recorder's watches lag"
            time.sleep(0.1)
        assert not self._errors, self._errors
        calls = self._audit.calls_since(self._mark, self._operator_user)
        return Recording.of(
            list(self._observations),
            calls=tuple(call for call in calls if call.namespace == self._namespace),
            quiet=tuple(self._quiet),
            broken=frozenset(self.broken),
            ended_at=time.monotonic(),
        )

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._context)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        for kind in KINDS:
            items, version = await self._list(kind)
            for item in items:
                self._note(kind, "ADDED", item)
            self._tasks.append(asyncio.create_task(self._watch(kind, version)))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _list(self, kind: str) -> tuple[list[dict[str, Any]], str]:
        deadline = time.monotonic() + _LIST_SECONDS
        while True:
            async with self._session.get(f"{self._url}{collection(kind, self._namespace)}") as response:
                body = await response.json()
            if response.status == 200:
                break
            # A server that has just been told of a kind needs a moment to list it.
            assert time.monotonic() < deadline, body
            await asyncio.sleep(0.2)
        return body["items"], str(body["metadata"]["resourceVersion"])

    async def _has_heard_all(self) -> bool:
        """Whether of each kind the last recorded versions are those that the server lists."""
        for kind in KINDS:
            items, _ = await self._list(kind)
            versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
            if self._versions[kind] != versions:
                return False
        return True

    async def _catch_up(self, kind: str) -> str:
        """Record from a list what changed since the last event; returns its version. An object that vanished is an error.

        Only a test that changes a definition gets here: its cache is filled anew, and a version in between may be missed.
        """
        items, version = await self._list(kind)
        known = dict(self._versions[kind])
        for item in items:
            before = known.pop(item["metadata"]["name"], None)
            if before != item["metadata"]["resourceVersion"]:
                self._note(kind, "ADDED" if before is None else "MODIFIED", item)
        if known:
            raise RuntimeError(f"objects vanished unseen: {sorted(known)}")
        return version

    async def _watch(self, kind: str, version: str) -> None:
        """Watch from one version to the next; a gap makes the recording worth less and is an error where it can be."""
        try:
            while True:
                query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
                url = f"{self._url}{collection(kind, self._namespace)}"
                async with self._session.get(url, params=query) as response:
                    if response.status == _BUSY:
                        # A kind whose definition was changed is not served for a moment; nothing is missed meanwhile.
                        await asyncio.sleep(0.2)
                        continue
                    assert response.status == 200, await response.text()
                    rest = b""
                    while content := await response.content.readany():
                        *lines, rest = (rest + content).split(b"\n")
                        for line in lines:
                            version = self._take(kind, json.loads(line)) or await self._catch_up(kind)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - told to the test that reads the recording
            self._errors.append(f"the recorder's watch of {kind} ended: {error!r}")

    def _take(self, kind: str, event: dict[str, Any]) -> str | None:
        """Record an event; returns its version, None if the server forgot what came after the last one.

        It does so when a definition was changed and its cache is filled anew.
        """
        body = event["object"]
        if event["type"] == "ERROR":
            if body.get("code") == _EXPIRED:
                return None
            raise RuntimeError(f"watch: {body}")
        if event["type"] != "BOOKMARK":
            self._note(kind, event["type"], body)
        return str(body["metadata"]["resourceVersion"])

    def _note(self, kind: str, type_: str, body: dict[str, Any]) -> None:
        body["kind"] = kind
        body["metadata"].pop("managedFields", None)
        if kind == "ConfigMap":
            body.pop("data", None)
        metadata = body["metadata"]
        if type_ == "DELETED":
            self._versions[kind].pop(metadata["name"], None)
        else:
            self._versions[kind][metadata["name"]] = metadata["resourceVersion"]
        self._observations.append(Observation(time.monotonic(), type_, body))

"""Passes one watch on, line by line, and does to its events what rules say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from aiohttp import web
from faults.rules import (
    EVENT,
    Call,
    Cut,
    EventFault,
    Fail,
    Hold,
    Lose,
    Postpone,
    Repeat,
    Replay,
    Silence,
    Strike,
)

_KEPT_LINES = 50
_POSTPONED_SECONDS = 1.0
_HALF_A_LINE = b'{"type":"MODIFIED","object":{"apiVersion":"v1","metada'


class ByteStream(Protocol):
    """Where the watch comes from."""

    async def readany(self) -> bytes:
        """Return what has come; nothing at the end."""
        ...


class Downstream:
    """Where the watch goes to."""

    def __init__(self, response: web.StreamResponse, abort: Callable[[], None]) -> None:
        self._response = response
        self.abort = abort

    async def write(self, content: bytes) -> None:
        """Send bytes at once."""
        await self._response.write(content)


class _EndedError(Exception):
    """The stream ends here, by a fault."""


class WatchRelay:
    """One open watch. `meet` tells which rule strikes at an event."""

    def __init__(self, path: str, call: Call, downstream: Downstream, meet: Callable[[Call], Strike | None]) -> None:
        self.target = call.target
        self._path = path
        self._client = call.client
        self._downstream = downstream
        self._meet = meet
        self._sent: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._postponed: list[bytes] = []
        self._struck: asyncio.Queue[EventFault] = asyncio.Queue()

    def has_target(self, pattern: str) -> bool:
        """Whether the watch is one of those meant."""
        return re.search(pattern, self.target) is not None

    def strike(self, fault: EventFault) -> None:
        """Do this now, without waiting for an event."""
        self._struck.put_nowait(fault)

    async def run(self, upstream: ByteStream) -> None:
        """Pass on until the watch ends, by itself or by a fault."""
        with contextlib.suppress(_EndedError, ConnectionError):
            async for line in self._lines(upstream):
                await self._pass(line)
            await self._flush()

    async def _lines(self, upstream: ByteStream) -> AsyncIterator[bytes]:
        """Yield whole lines; carry out what is struck, and send what was postponed too long, in between."""
        rest = b""
        reading = asyncio.ensure_future(upstream.readany())
        striking = asyncio.ensure_future(self._struck.get())
        try:
            while True:
                limit = _POSTPONED_SECONDS if self._postponed else None
                done, _ = await asyncio.wait({reading, striking}, timeout=limit, return_when="FIRST_COMPLETED")
                if not done:
                    await self._flush()
                if striking in done:
                    await self._commit(striking.result(), _HALF_A_LINE * 2)
                    striking = asyncio.ensure_future(self._struck.get())
                if reading in done:
                    content = reading.result()
                    if not content:
                        return
                    *lines, rest = (rest + content).split(b"\n")
                    for line in lines:
                        yield line + b"\n"
                    reading = asyncio.ensure_future(upstream.readany())
        finally:
            for task in (reading, striking):
                task.cancel()
            await asyncio.gather(reading, striking, return_exceptions=True)

    async def _pass(self, line: bytes) -> None:
        strike = self._meet(Call(EVENT, f"{self._path}#{describe(line)}", self._client))
        if strike is None:
            await self._send(line)
            await self._flush()
            return
        fault = strike.rule.fault
        if isinstance(fault, Postpone):
            self._postponed.append(line)
        elif isinstance(fault, Repeat):
            for _ in range(1 + fault.times):
                await self._send(line)
        elif isinstance(fault, Replay):
            for earlier in list(self._sent)[-fault.events :]:
                await self._send(earlier)
            await self._send(line)
        elif isinstance(fault, Hold):
            await asyncio.sleep(fault.seconds)
            await self._send(line)
        elif not isinstance(fault, Lose):
            await self._commit(fault, line)

    async def _commit(self, fault: object, line: bytes) -> None:
        """Carry out a fault that ends the stream."""
        if isinstance(fault, Cut):
            await self._downstream.write(line[: len(line) // 2])
            if not fault.clean:
                self._downstream.abort()
        elif isinstance(fault, Fail):
            await self._downstream.write(error_event(fault.code))
        elif isinstance(fault, Silence):
            # The client's end of the connection cancels this.
            await asyncio.Event().wait()
        else:
            raise TypeError(f"{fault} cannot happen to a watch without an event")
        raise _EndedError

    async def _flush(self) -> None:
        late, self._postponed = self._postponed, []
        for line in late:
            await self._send(line)

    async def _send(self, line: bytes) -> None:
        self._sent.append(line)
        await self._downstream.write(line)


def describe(line: bytes) -> str:
    """Return `NAMESPACE/NAME TYPE` of an event, as rules see it."""
    try:
        event = json.loads(line)
        metadata = event["object"].get("metadata") or {}
        return f"{metadata.get('namespace', '')}/{metadata.get('name', '')} {event['type']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "unreadable"


def error_event(code: int) -> bytes:
    """Return an ERROR event as the API server writes it."""
    reason = {410: "Expired", 500: "InternalError"}.get(code, "")
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"a fault on purpose: {code}",
        "reason": reason,
        "code": code,
    }
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"

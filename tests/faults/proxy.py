"""A proxy that ends TLS between one client and a Kubernetes API server, and does to calls and watches what its rules say.

It knows URLs and the shape of watch streams, nothing of who uses them. Credentials are passed on, so the client must show
a token: a client certificate ends here. Rules may be changed at any time, from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from faults.background_loop import BackgroundLoop
from faults.rules import (
    MUTATING,
    WATCH,
    Call,
    Delay,
    Drop,
    EventFault,
    Hang,
    Kill,
    Moment,
    Outdated,
    Refuse,
    Rule,
    RuleBook,
    Strike,
    verb_of,
)
from faults.snapshots import Snapshots
from faults.watch_relay import Downstream, WatchRelay
from multidict import CIMultiDict

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"})


@dataclass(frozen=True)
class Seen:
    """A call that came by, and what its client was told; None: it was told nothing."""

    call: Call
    code: int | None


@dataclass(frozen=True)
class Upstream:
    """Where the API server is, and whose signature it shows."""

    url: str
    ca_certificate: Path | None


class FaultProxy:
    """Listens on a port of loopback from entering to leaving. `kill` is called when a Kill rule strikes."""

    def __init__(self, upstream: Upstream, port: int, serving: ssl.SSLContext | None, kill: Callable[[], None]) -> None:
        self._upstream = upstream
        self._port = port
        self._serving = serving
        self.kill = kill
        self._lock = threading.Lock()
        self._book = RuleBook()
        self._seen: list[Seen] = []
        self._strikes: list[Strike] = []
        self._relays: set[WatchRelay] = set()
        self._snapshots = Snapshots()
        self._background = BackgroundLoop("fault-proxy")
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """Where the client is to be sent."""
        return f"{'https' if self._serving else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._background.__enter__()
        self._background.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.call(self._stop())
        self._background.__exit__(kind, error, trace)

    # What tests say

    def obey(self, *rules: Rule) -> None:
        """Follow these rules from now on, and no others; what was seen and struck is forgotten."""
        with self._lock:
            self._book = RuleBook.of(rules)
            self._strikes = []
            self._seen = []

    @property
    def strikes(self) -> list[Strike]:
        """Every time that a rule has struck, in order."""
        with self._lock:
            return list(self._strikes)

    @property
    def seen(self) -> list[Seen]:
        """Every call since the rules were last changed."""
        with self._lock:
            return list(self._seen)

    @property
    def open_watches(self) -> list[str]:
        """The targets of the watches that are under way."""
        return sorted(relay.target for relay in list(self._relays))

    def strike_watches(self, fault: EventFault, target: str = "") -> int:
        """Do this to every open watch whose target has the pattern, now; returns how many there were."""
        return self._background.call(self._strike_watches(fault, target))

    def refuse_connections(self) -> None:
        """Stop listening and reset every connection."""
        self._background.call(self._stop_listening())

    def accept_connections(self) -> None:
        """Listen again."""
        self._background.call(self._listen())

    # Inside the loop

    async def _start(self) -> None:
        context: ssl.SSLContext | bool = True
        if self._upstream.ca_certificate is not None:
            context = ssl.create_default_context(cafile=str(self._upstream.ca_certificate))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        # Long watches must not be cut by this side, and bodies pass through as they are.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        await self._listen()

    async def _listen(self) -> None:
        # A new one each time: one that was stopped has closed its server for good.
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)  # type: ignore[arg-type]
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._serving, reuse_address=True)
        await self._site.start()

    async def _stop_listening(self) -> None:
        assert self._site is not None
        assert self._runner is not None
        await self._site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()
        self._site = self._runner = None

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._stop_listening()
        assert self._session is not None
        await self._session.close()

    async def _strike_watches(self, fault: EventFault, target: str) -> int:
        chosen = [relay for relay in self._relays if relay.has_target(target)]
        for relay in chosen:
            relay.strike(fault)
        return len(chosen)

    def _meet(self, call: Call) -> Strike | None:
        with self._lock:
            self._book, strike = self._book.meet(call)
            if strike is not None:
                self._strikes.append(strike)
            return strike

    def _note(self, call: Call, code: int | None) -> None:
        with self._lock:
            self._seen.append(Seen(call, code))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await call_of(request)
        strike = self._meet(call)
        fault = strike.rule.fault if strike else None
        moment = strike.rule.moment if strike else Moment.BEFORE
        if fault is not None and moment is Moment.BEFORE:
            answer = await self._commit(request, call, fault)
            if answer is not None:
                return answer
        if call.verb == WATCH:
            return await self._relay(request, call)
        outdated = isinstance(fault, Outdated)
        code, headers, body = await self._forward(request, call, outdated=outdated)
        if fault is not None and moment is Moment.AFTER:
            answer = await self._commit(request, call, fault)
            if answer is not None:
                return answer
        self._note(call, code)
        return web.Response(status=code, headers=headers, body=body)

    async def _commit(self, request: web.BaseRequest, call: Call, fault: object) -> web.Response | None:
        """Carry out a fault; None: go on as if there were none."""
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
            return None
        if isinstance(fault, Outdated):
            return None
        if isinstance(fault, Refuse):
            self._note(call, fault.code)
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
            return web.json_response(status_body(fault), status=fault.code, headers=headers)
        self._note(call, None)
        if isinstance(fault, Kill):
            self.kill()
        elif isinstance(fault, Drop):
            _abort(request)
        elif not isinstance(fault, Hang):
            raise TypeError(f"{fault} cannot happen to a call")
        # The client's end of the connection cancels this handler.
        await asyncio.Event().wait()
        raise AssertionError

    async def _forward(
        self, request: web.BaseRequest, call: Call, *, outdated: bool
    ) -> tuple[int, CIMultiDict[str], bytes]:
        assert self._session is not None
        body = await request.read()
        url = self._url_of(request)
        if outdated:
            url += self._snapshots.query_for(request.path)
        async with self._session.request(
            request.method, url, headers=_passed_on(request.headers), data=body or None, allow_redirects=False
        ) as response:
            content = await response.read()
            headers = _passed_on(response.headers)
            if request.method == "GET":
                self._snapshots.learn(request.path, content)
            return response.status, headers, content

    async def _relay(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Pass a watch on, line by line."""
        assert self._session is not None
        async with self._session.get(self._url_of(request), headers=_passed_on(request.headers)) as upstream:
            response = web.StreamResponse(status=upstream.status, headers=_passed_on(upstream.headers))
            response.enable_chunked_encoding()
            await response.prepare(request)
            self._note(call, upstream.status)
            downstream = Downstream(response, lambda: _abort(request))
            relay = WatchRelay(request.path, call, downstream, self._meet)
            self._relays.add(relay)
            try:
                await relay.run(upstream.content)
            finally:
                self._relays.discard(relay)
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
            return response

    def _url_of(self, request: web.BaseRequest) -> str:
        return f"{self._upstream.url}{request.raw_path}"


async def call_of(request: web.BaseRequest) -> Call:
    """Return what rules see of a request."""
    query = unquote(request.query_string)
    # The field manager is on every write and says nothing about it.
    shown = "&".join(part for part in query.split("&") if part and not part.startswith("fieldManager="))
    target = f"{request.path}?{shown}" if shown else request.path
    if request.method == "POST":
        target += f"#{_name_in(await request.read())}"
    return Call(verb_of(request.method, query), target, request.headers.get("User-Agent", ""))


def _name_in(body: bytes) -> str:
    """Return the name of the object that is to be created; empty if there is none."""
    try:
        return str(json.loads(body)["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        return ""


def status_body(fault: Refuse) -> dict[str, object]:
    """Return a Status object as the API server writes it."""
    body: dict[str, object] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"a fault on purpose: {fault.code} {fault.reason}".strip(),
        "reason": fault.reason,
        "code": fault.code,
    }
    if fault.retry_after is not None:
        body["details"] = {"retryAfterSeconds": fault.retry_after}
    return body


def mutating(seen: Iterable[Seen]) -> list[Seen]:
    """Return the calls that asked for a change."""
    return [entry for entry in seen if entry.call.verb in MUTATING.split("|")]


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _passed_on(headers: object) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)  # type: ignore[arg-type]
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept

"""The proxy between a plain client and a small server of the test's own: what each fault is on the wire."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from faults.proxy import FaultProxy, Upstream, mutating
from faults.rules import (
    EVENT,
    WATCH,
    Cut,
    Delay,
    Drop,
    EventFault,
    Fail,
    Hang,
    Hold,
    Kill,
    Lose,
    Moment,
    Outdated,
    Postpone,
    Refuse,
    Repeat,
    Replay,
    Rule,
    Silence,
    always,
)
from faults.snapshots import Snapshots
from faults.watch_relay import describe

from localcluster import ports

THINGS = "/api/v1/namespaces/a/things"
SECONDS = 30.0
STAY_SECONDS = 10.0


class Server:
    """Counts what it is asked to make, and tells watches of as many things as they ask for."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.queries: list[str] = []

    async def make(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.made.append(body["metadata"]["name"])
        return web.json_response(body, status=201)

    async def get(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            self.queries.append(request.query_string)
            return web.json_response({"kind": "ThingList", "metadata": {"resourceVersion": "7"}, "items": []})
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(1, int(request.query["things"]) + 1):
            await response.write(event(number))
            await asyncio.sleep(0.01)
        await asyncio.sleep(float(request.query.get("stay", "0")))
        return response


def event(number: int) -> bytes:
    thing = {"metadata": {"namespace": "a", "name": f"thing-{number}", "resourceVersion": str(number)}}
    return json.dumps({"type": "ADDED", "object": thing}).encode() + b"\n"


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    port = ports.pick_free(1)[0]
    told, application = Server(), web.Application()
    application.add_routes([web.post(THINGS, told.make), web.get(THINGS, told.get)])
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield told, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
def killed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def proxy(server: tuple[Server, str], killed: threading.Event) -> Iterator[FaultProxy]:
    with FaultProxy(Upstream(server[1], None), ports.pick_free(1)[0], None, kill=killed.set) as running:
        yield running


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=proxy.url, timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        yield session
    await asyncio.sleep(0.05)


async def make(client: aiohttp.ClientSession, name: str = "one") -> int:
    async with client.post(THINGS, json={"metadata": {"name": name}}) as response:
        await response.read()
        return response.status


async def watch(
    client: aiohttp.ClientSession, things: int = 3, stay: float = 0.0, told: list[str] | None = None
) -> list[str]:
    """Return the names of the things that a watch tells of, and how it ended; `told` has them as they come."""
    told = [] if told is None else told
    try:
        async with client.get(f"{THINGS}?watch=true&things={things}&stay={stay}") as response:
            async for line in response.content:
                try:
                    body = json.loads(line)
                except ValueError:
                    told.append("half a line")
                else:
                    told.append(body["object"].get("metadata", {}).get("name") or f"error {body['object']['code']}")
    except TimeoutError:
        return [*told, "silence"]
    except aiohttp.ClientError:
        return [*told, "abort"]
    return [*told, "end"]


async def until(holds: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_without_rules_everything_passes(
    client: aiohttp.ClientSession, server: tuple[Server, str], proxy: FaultProxy
) -> None:
    assert await make(client) == 201
    assert await watch(client) == ["thing-1", "thing-2", "thing-3", "end"]
    assert server[0].made == ["one"]
    [seen] = mutating(proxy.seen)
    assert (seen.call.verb, seen.call.target, seen.code) == ("POST", f"{THINGS}#one", 201)
    assert proxy.strikes == []


@pytest.mark.parametrize(("moment", "made"), [(Moment.BEFORE, []), (Moment.AFTER, ["one"])])
async def test_call_is_refused_before_or_after_the_server_did_it(
    client: aiohttp.ClientSession, server: tuple[Server, str], proxy: FaultProxy, moment: Moment, made: list[str]
) -> None:
    proxy.obey(Rule(Refuse(429, "TooManyRequests", retry_after=2), "POST", moment=moment))
    async with client.post(THINGS, json={"metadata": {"name": "one"}}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "2")
        assert (await response.json())["reason"] == "TooManyRequests"
    assert server[0].made == made
    assert await make(client, "two") == 201
    assert [strike.number for strike in proxy.strikes] == [1]


@pytest.mark.parametrize(("moment", "made"), [(Moment.BEFORE, []), (Moment.AFTER, ["one"])])
async def test_call_is_dropped(
    client: aiohttp.ClientSession, server: tuple[Server, str], proxy: FaultProxy, moment: Moment, made: list[str]
) -> None:
    proxy.obey(always(Drop(), "POST", moment=moment))
    with pytest.raises(aiohttp.ClientConnectionError):
        await make(client)
    assert server[0].made == made


@pytest.mark.parametrize(("moment", "made"), [(Moment.BEFORE, []), (Moment.AFTER, ["one"])])
async def test_client_is_killed_at_a_call_and_never_answered(
    client: aiohttp.ClientSession,
    server: tuple[Server, str],
    proxy: FaultProxy,
    killed: threading.Event,
    moment: Moment,
    made: list[str],
) -> None:
    proxy.obey(Rule(Kill(), "POST", moment=moment))
    call = asyncio.create_task(make(client))
    assert await asyncio.to_thread(killed.wait, SECONDS)
    assert server[0].made == made
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.5)


async def test_call_hangs_and_others_do_not(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.obey(Rule(Hang(), "POST"))
    call = asyncio.create_task(make(client))
    await until(lambda: proxy.strikes)
    assert await make(client, "two") == 201
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.5)


async def test_call_is_delayed(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.obey(Rule(Delay(0.3), "POST"))
    started = asyncio.get_running_loop().time()
    assert await make(client) == 201
    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_list_is_asked_for_as_it_was(
    client: aiohttp.ClientSession, server: tuple[Server, str], proxy: FaultProxy
) -> None:
    proxy.obey(always(Outdated(), "GET"))
    for _ in range(2):
        async with client.get(f"{THINGS}?limit=5") as response:
            assert response.status == 200
    assert server[0].queries == ["limit=5", "limit=5&resourceVersion=7&resourceVersionMatch=Exact"]


async def test_watch_is_refused(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.obey(Rule(Refuse(410, "Expired"), WATCH))
    async with client.get(f"{THINGS}?watch=true&things=1") as response:
        assert response.status == 410


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Lose(), ["thing-1", "thing-3", "end"]),
        (Repeat(2), ["thing-1", "thing-2", "thing-2", "thing-2", "thing-3", "end"]),
        (Postpone(), ["thing-1", "thing-3", "thing-2", "end"]),
        (Replay(), ["thing-1", "thing-1", "thing-2", "thing-3", "end"]),
        (Hold(0.2), ["thing-1", "thing-2", "thing-3", "end"]),
        (Cut(clean=False), ["thing-1", "half a line", "abort"]),
        (Cut(clean=True), ["thing-1", "half a line", "end"]),
        (Fail(410), ["thing-1", "error 410", "end"]),
        (Fail(500), ["thing-1", "error 500", "end"]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
async def test_event_faults(
    client: aiohttp.ClientSession, proxy: FaultProxy, fault: EventFault, told: list[str]
) -> None:
    proxy.obey(Rule(fault, EVENT, "#a/thing-2 ADDED$"))
    seen = await watch(client)
    # An abort may overtake the half of the line that was sent before it.
    assert seen == told or (fault == Cut(clean=False) and seen == ["thing-1", "abort"])
    assert len(proxy.strikes) == 1


async def test_silent_watch_stays_open(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.obey(Rule(Silence(), EVENT, first=2))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch(client), 0.7)


async def test_postponed_last_event_comes_late_but_comes(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.obey(Rule(Postpone(), EVENT, first=3))
    assert await watch(client, stay=1.5) == ["thing-1", "thing-2", "thing-3", "end"]


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Cut(clean=True), ["half a line", "end"]),
        (Fail(410), ["error 410", "end"]),
    ],
)
async def test_open_watches_are_struck_without_an_event(
    client: aiohttp.ClientSession, proxy: FaultProxy, fault: EventFault, ending: list[str]
) -> None:
    told: list[str] = []
    watching = asyncio.create_task(watch(client, things=1, stay=STAY_SECONDS, told=told))
    await until(lambda: told)
    assert await asyncio.to_thread(proxy.strike_watches, fault, "/nothing") == 0
    assert await asyncio.to_thread(proxy.strike_watches, fault, "/things") == 1
    assert await watching == ["thing-1", *ending]


async def test_connections_are_refused_and_accepted_again(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    watching = asyncio.create_task(watch(client, things=1, stay=STAY_SECONDS))
    await until(lambda: proxy.open_watches)
    await asyncio.to_thread(proxy.refuse_connections)
    assert (await watching)[-1] == "abort"
    with pytest.raises(aiohttp.ClientConnectorError):
        await make(client)
    await asyncio.to_thread(proxy.accept_connections)
    assert await make(client) == 201


def test_description_of_an_event() -> None:
    assert describe(event(4)) == "a/thing-4 ADDED"
    assert describe(b"{") == "unreadable"
    assert describe(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}') == "/ BOOKMARK"


def test_snapshots_keep_the_first_version_of_lists_only() -> None:
    snapshots = Snapshots()
    snapshots.learn("/a", b'{"kind":"PodList","metadata":{"resourceVersion":"3"}}')
    snapshots.learn("/a", b'{"kind":"PodList","metadata":{"resourceVersion":"9"}}')
    snapshots.learn("/b", b'{"kind":"Pod","metadata":{"resourceVersion":"4"}}')
    snapshots.learn("/c", b"no JSON")
    assert snapshots.query_for("/a") == "&resourceVersion=3&resourceVersionMatch=Exact"
    assert snapshots.query_for("/b") == snapshots.query_for("/c") == ""

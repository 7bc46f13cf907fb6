"""Answers over HTTP: /healthz (does the operator get on?), /readyz (has it seen the cluster?), /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from vidbench_operator.adapters.metrics import Metrics


def find_problem(
    *,
    beat_seconds: float,
    lease_seconds: float,
    pass_seconds: float,
    resync_seconds: float,
    uptime_seconds: float,
    period_seconds: float,
) -> str | None:
    """Return what is wrong: a loop that does not beat, a pass that hangs, a cluster that was not listed for long."""
    if lease_seconds > 60:
        return f"nobody has seen to the Lease for {lease_seconds:.0f} s"
    if beat_seconds > 30:
        return f"the work queue has not looked for work for {beat_seconds:.0f} s"
    if pass_seconds > 300:
        return f"a pass hangs for {pass_seconds:.0f} s"
    stale = min(resync_seconds, uptime_seconds)
    if stale > 3 * period_seconds:
        return f"the cluster was not listed for {stale:.0f} s"
    return None


@asynccontextmanager
async def serve_probes(
    health_port: int,
    metrics_port: int,
    find_health: Callable[[], str | None],
    is_ready: Callable[[], bool],
    metrics: Metrics,
) -> AsyncIterator[None]:
    """Serve until left. Port 0 takes a free one."""

    async def healthz(_: web.Request) -> web.Response:
        problem = find_health()
        return web.Response(text=problem or "ok", status=500 if problem else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = is_ready()
        return web.Response(text="ok" if ready else "the cluster was not listed yet", status=200 if ready else 503)

    async def render(_: web.Request) -> web.Response:
        body, content_type = metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    runners = []
    try:
        for port, routes in (
            (health_port, [web.get("/healthz", healthz), web.get("/readyz", readyz)]),
            (metrics_port, [web.get("/metrics", render)]),
        ):
            application = web.Application()
            application.add_routes(routes)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, None, port).start()
        yield
    finally:
        await asyncio.gather(*(runner.cleanup() for runner in runners))

"""Puts the operator together and runs it: watches, work queue, resync, probes, each kept alive on its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from kubernetes.aio.client import ApiClient

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_operator.adapters.api import Api, load_client
from vidbench_operator.adapters.clock import ApiClock
from vidbench_operator.adapters.kube import KubeCluster
from vidbench_operator.adapters.leases import LeaseStore
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.ports import Refused, RunKey, Unavailable
from vidbench_operator.reconciler import Reconciler
from vidbench_operator.settings import Settings

from .children import ChildStore
from .handlers import make_registry, make_settings
from .heartbeat import Heartbeat
from .intake import Intake
from .leadership import Leader, Leadership, SoleLeader, make_identity
from .mailbox import Mailbox
from .pace import Pace
from .probes import find_problem, serve_probes
from .resync import Resync
from .retention import Retention
from .store_sink import StoreSink
from .supervision import keep_alive
from .watching import Watches
from .workqueue import QueuePolicy, WorkQueue

_log = structlog.get_logger("vidbench.operator")
_SHUTDOWN_SECONDS = 8.0
_CRD_CHECK_SECONDS = 2.0
_GAUGE_SECONDS = 5.0
_GATHER_SECONDS = 0.01
_LETTING_GO_SECONDS = 60.0
_FIRST_LIST_SECONDS = 0.2


class Operator:
    """One operator process' worth of objects."""

    def __init__(self, settings: Settings, cluster: KubeCluster, metrics: Metrics, leader: Leader) -> None:
        self._settings = settings
        self._cluster = cluster
        self._metrics = metrics
        self._leader = leader
        metrics.set_leading(leader.is_leading)
        self._store = ChildStore()
        self._reconciler = Reconciler(
            cluster,
            self._store,
            CATALOGUE,
            settings.to_policy(),
            count_end=metrics.attempt_ended,
            count_gpu_time=metrics.gpu_time_spent,
        )
        policy = QueuePolicy(workers=settings.workers)
        self._queue: WorkQueue[RunKey] = WorkQueue(
            self._pass, policy, expected=(Unavailable, Refused), rest=Pace().rest
        )
        self._restart_watches = asyncio.Event()
        self._resync = Resync(
            cluster,
            self._store,
            self._queue,
            period_seconds=settings.resync_seconds,
            done=self._listed,
            restart_watches=self._restart_watches.set,
        )
        self._sink = _make_sink(settings, cluster, metrics, leader)
        self._retention = Retention(
            cluster,
            settings.to_retention(),
            may_act=self._may_delete,
            ended_runs=self._store.ended_uids,
            period_seconds=settings.resync_seconds,
        )
        self._watches: Watches | None = None
        self._heartbeat = Heartbeat(
            cluster.count_runs,
            lambda: len(self._store.run_keys()),
            period_seconds=settings.pulse_seconds,
            look=lambda: self._resync.ask(at_once=True),
            begin_anew=self._begin_anew,
            answered=lambda: cluster.answered,
        )
        self._started_at = time.monotonic()

    async def run(self) -> None:
        """Run until cancelled, then finish the passes that are under way, and let the next operator begin."""
        queue = asyncio.create_task(self._keep("queue", self._queue.run))
        leading = asyncio.create_task(self._keep("leadership", self._lead))
        others = [
            asyncio.create_task(self._keep("watches", self._watch)),
            asyncio.create_task(self._keep("resync", self._resync.run)),
            asyncio.create_task(self._keep("retention", self._retention.run)),
            asyncio.create_task(self._keep("letting go", self._let_go)),
            asyncio.create_task(self._keep("heartbeat", self._heartbeat.run)),
            asyncio.create_task(self._keep("gauges", self._measure)),
            *([asyncio.create_task(self._keep("store", self._sink.run))] if self._sink else []),
        ]
        try:
            # Not gathered: that would cancel all of them at once, and the passes under way with a second cancellation.
            await asyncio.wait([queue, leading, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*others, queue):
                task.cancel()
            # The Lease is renewed as long as passes may write, and is another's the moment that they do not.
            await asyncio.wait([queue], timeout=_SHUTDOWN_SECONDS)
            leading.cancel()
            await asyncio.wait([leading])
            await self._leader.release()
            await asyncio.wait(others, timeout=_SHUTDOWN_SECONDS)

    async def _lead(self) -> None:
        await self._leader.run(self._take_over)

    def _take_over(self) -> None:
        """Look at every run: those that wait for something were waited for by another operator until now."""
        for key in self._store.run_keys():
            self._queue.add(key)
        self._resync.ask()
        if self._sink is not None:
            self._sink.catch_up()

    async def _let_go(self) -> None:
        """Bound the memory of a follower: it keeps last words, and only a look at the status says which are settled."""
        while True:
            await asyncio.sleep(_LETTING_GO_SECONDS)
            for key in () if self._leader.is_leading() else self._store.remembering():
                await self._reconciler.let_go(key)

    def _may_delete(self) -> bool:
        """Whether results may go: what the store is to have and has not stays in the ledger."""
        return self._leader.is_leading() and (self._sink is None or self._sink.is_complete)

    def find_problem(self) -> str | None:
        """Return why the process should be restarted; None if it gets on."""
        return find_problem(
            beat_seconds=self._queue.seconds_since_beat,
            lease_seconds=self._leader.seconds_since_beat,
            pass_seconds=self._queue.longest_pass_seconds,
            resync_seconds=self._resync.seconds_since_success,
            uptime_seconds=time.monotonic() - self._started_at,
            period_seconds=self._settings.resync_seconds,
        )

    def is_ready(self) -> bool:
        """Whether the cluster was listed, and not too long ago."""
        return self._resync.seconds_since_success <= 3 * self._settings.resync_seconds

    async def _keep(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        await keep_alive(name, task, restarted=self._metrics.task_restarted)

    async def _pass(self, key: RunKey) -> float | None:
        """Do one pass, with the run's name in every log line of it. A follower only lets the key go."""
        if not self._leader.is_leading():
            return None
        if not self._resync.has_listed:
            # Before that it is not known which nodes there are, nor which of a run's children.
            return _FIRST_LIST_SECONDS
        started = time.monotonic()
        result = "error"
        with structlog.contextvars.bound_contextvars(run=f"{key.namespace}/{key.name}"):
            try:
                again = await self._reconciler.reconcile(key)
                result = "success"
            finally:
                self._metrics.pass_ended(result, time.monotonic() - started)
        return again

    async def _watch(self) -> None:
        """Watch, from when the kinds are served until the watches end or are to begin anew."""
        while not await self._cluster.is_served():
            _log.warning("the vidbench CustomResourceDefinitions are not installed yet: waiting for them")
            await asyncio.sleep(_CRD_CHECK_SECONDS)
        loop = asyncio.get_running_loop()
        # Waking the loop costs as much as an event does: what comes within a moment is told together.
        mailbox = Mailbox(lambda deliver: loop.call_soon_threadsafe(loop.call_later, _GATHER_SECONDS, deliver))
        intake = Intake(self._store, self._queue, mailbox, self._resync.ask, self._hear)
        registry = make_registry(intake, nodes=await self._cluster.can_list_nodes())
        watches = self._watches = Watches(registry, make_settings(), self._settings.watch_namespaces)
        self._restart_watches.clear()
        # What was deleted while nobody watched is found by a list, not by the new watches.
        self._resync.ask()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watches.run())
            tasks.create_task(self._end_on_request())

    async def _end_on_request(self) -> None:
        await self._restart_watches.wait()
        raise _WatchesStaleError("the watches missed changes")

    def _hear(self, kind: str) -> None:
        """Note, in the watching thread, that something was heard of a kind."""
        self._metrics.heard(kind)
        if kind == BENCHMARK_RUN.plural:
            self._heartbeat.hear()

    def _begin_anew(self) -> None:
        """Trust no connection that there is: give up the calls on them, and watch on others."""
        self._cluster.abandon_calls()
        self._restart_watches.set()

    def _listed(self) -> None:
        """Note a list. It speaks for the watch of a kind only if that had told all that the list has."""
        self._metrics.succeeded()
        listed = {BENCHMARK_RUN.plural, "jobs", "pods", *(("nodes",) if self._store.nodes() is not None else ())}
        for kind in listed - self._store.missed:
            self._metrics.heard(kind)

    async def _measure(self) -> None:
        while True:
            self._metrics.set_queue_depth(self._queue.depth)
            self._metrics.set_runs(self._store.phases())
            self._metrics.set_breakers(self._store.breakers())
            self._metrics.set_tasks("main", len(asyncio.all_tasks()))
            self._metrics.set_tasks("watches", self._watches.tasks if self._watches else 0)
            await asyncio.sleep(_GAUGE_SECONDS)


class _WatchesStaleError(Exception):
    """The watches are to begin anew."""


async def run_operator(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    clock, metrics = ApiClock(), Metrics()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _connected() as client:
        leader = _make_leader(settings, client, clock, metrics)
        api = Api(client, clock, metrics, may_write=leader.is_leading, writer=leader.identity)
        cluster = KubeCluster(api, clock, settings.watch_namespaces, instance=leader.identity)
        operator = Operator(settings, cluster, metrics, leader)
        async with serve_probes(
            settings.health_port, settings.metrics_port, operator.find_problem, operator.is_ready, metrics
        ):
            running = asyncio.create_task(operator.run())
            namespaces = settings.watch_namespaces or "all"
            _log.info("started", namespaces=namespaces, version=metrics.version, identity=leader.identity)
            await asyncio.wait({running, stopped := asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED")
            stopped.cancel()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    _log.info("stopped")


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[ApiClient]:
    client: Any = await load_client()
    try:
        yield client
    finally:
        await client.close()


def _make_sink(settings: Settings, cluster: KubeCluster, metrics: Metrics, leader: Leader) -> StoreSink | None:
    if settings.store_url is None:
        return None
    # SQLAlchemy takes memory and time: only who has a store loads it.
    from vidbench_operator.adapters.store import SqlStore
    from vidbench_store.location import parse_location

    location = parse_location(settings.store_url.get_secret_value())
    sink = StoreSink(SqlStore(location, settings.store_cluster), cluster, metrics, may_act=leader.is_leading)
    cluster.on_result(sink.offer)
    _log.info("results are copied to a store", store=location.text, cluster=settings.store_cluster)
    return sink


def _make_leader(settings: Settings, client: ApiClient, clock: ApiClock, metrics: Metrics) -> Leader:
    identity = make_identity(settings.identity)
    if not settings.leader_election:
        return SoleLeader(identity)
    api = Api(client, clock, metrics, writer=identity, routine=True)
    leases = LeaseStore(api, clock, settings.lease_namespace, settings.lease_name)
    return Leadership(leases, identity, settings.to_limits())

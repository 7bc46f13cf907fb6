"""What the operator tells Prometheus of itself. No label names a run: their number has no bound.

Every process has one registry; tests make their own. `docs/metrics.md` says what each figure is good for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from vidbench_api.kinds import BENCHMARK_RUN, RUNNER_CLASS, VIDEO_MODEL
from vidbench_api.names import RunPhase
from vidbench_operator.core.gpu_time import GpuTime

_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BREAKER_KINDS: Final = {"Model": "model", "Node": "node"}
WATCHED: Final = (BENCHMARK_RUN.plural, VIDEO_MODEL.plural, RUNNER_CLASS.plural, "jobs", "pods", "nodes")


@dataclass(frozen=True)
class StoreFigures:
    """Figures of the results store."""

    up: Gauge
    waiting: Gauge
    complete: Gauge
    results: Counter


class Metrics:
    """The operator's figures."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.version = version("vidbench")
        self._passes = Histogram(
            "vidbench_reconcile_seconds",
            "Duration of a reconcile pass, by how it ended.",
            ("result",),
            registry=self.registry,
            buckets=_PASS_BUCKETS,
        )
        self._calls = self._counter("vidbench_api_calls", "Calls to the API server.", "verb", "resource", "code")
        self._attempts = self._counter("vidbench_attempts_ended", "Attempts that ended, by reason.", "reason")
        self._gpu_seconds = self._counter("vidbench_gpu_seconds", "GPUs x seconds held by ended attempts.", "state")
        self._restarts = self._counter(
            "vidbench_task_restarts", "Background tasks that died and were restarted.", "task"
        )
        self._runs = self._gauge("vidbench_runs", "Runs by phase.", "phase")
        self._breakers = self._gauge("vidbench_breakers_open", "Circuit breakers that are not closed.", "kind")
        self._depth = self._gauge("vidbench_queue_depth", "Runs that wait for a pass.")
        self._tasks = self._gauge("vidbench_asyncio_tasks", "Tasks of an event loop.", "loop")
        self._leader = self._gauge("vidbench_leader", "1 while this process acts, 0 while it follows.")
        self._store: StoreFigures | None = None
        self._last_success = time.monotonic()
        self._gauge("vidbench_last_success_age_seconds", "Seconds since a pass or a resync succeeded.").set_function(
            lambda: time.monotonic() - self._last_success
        )
        self._heard = dict.fromkeys(WATCHED, time.monotonic())
        ages = self._gauge(
            "vidbench_watch_age_seconds", "Seconds since a watch last told, or had missed nothing.", "kind"
        )
        for kind in WATCHED:
            ages.labels(kind).set_function(partial(self._age_of, kind))
        self._gauge("vidbench_build_info", "Always 1.", "version").labels(self.version).set(1)
        for state in ("useful", "overhead", "idle", "wasted"):
            self._gpu_seconds.labels(state)
        self.set_runs({})
        self.set_breakers({})

    def pass_ended(self, result: str, seconds: float) -> None:
        """Count a reconcile pass; `result` is success or error."""
        self._passes.labels(result).observe(seconds)
        if result != "error":
            self.succeeded()

    def succeeded(self) -> None:
        """Note that the operator did something useful just now."""
        self._last_success = time.monotonic()

    def heard(self, kind: str) -> None:
        """Note that a watch told something of its kind, or that a list shows it to have missed nothing. From any thread."""
        self._heard[kind] = time.monotonic()

    def api_call(self, verb: str, resource: str, code: int | str) -> None:
        """Count a call; `code` is the HTTP status or the name of what went wrong before there was one."""
        self._calls.labels(verb, resource, str(code)).inc()

    def attempt_ended(self, reason: str) -> None:
        """Count an attempt."""
        self._attempts.labels(reason).inc()

    def gpu_time_spent(self, spent: GpuTime) -> None:
        """Add up what GPUs were held for."""
        self._gpu_seconds.labels("useful").inc(spent.useful)
        self._gpu_seconds.labels("overhead").inc(spent.overhead)
        self._gpu_seconds.labels("idle").inc(spent.idle)
        self._gpu_seconds.labels("wasted").inc(spent.wasted)

    def task_restarted(self, task: str) -> None:
        """Count the restart of a background task."""
        self._restarts.labels(task).inc()

    def set_runs(self, phases: Mapping[str, int]) -> None:
        """Replace the numbers of runs by phase; a phase that no run is in has 0."""
        self._runs.clear()
        for phase, count in {**{phase.value: 0 for phase in RunPhase}, **phases}.items():
            self._runs.labels(phase).set(count)

    def set_breakers(self, kinds: Mapping[str, int]) -> None:
        """Replace the numbers of breakers that are not closed, by kind as the status names it."""
        for kind, label in _BREAKER_KINDS.items():
            self._breakers.labels(label).set(kinds.get(kind, 0))

    def set_queue_depth(self, depth: int) -> None:
        """Say how many runs wait."""
        self._depth.set(depth)

    def set_tasks(self, loop: str, number: int) -> None:
        """Say how many tasks an event loop has."""
        self._tasks.labels(loop).set(number)

    def set_store(self, *, up: bool, waiting: int, complete: bool) -> None:
        """Say how the results store does; there are figures of it once this was said."""
        if self._store is None:
            self._store = StoreFigures(
                up=self._gauge("vidbench_store_up", "1 while the results store can be written, else 0."),
                waiting=self._gauge("vidbench_store_waiting", "Results that wait to be stored."),
                complete=self._gauge(
                    "vidbench_store_complete", "1 while the store has all results known here, else 0."
                ),
                results=self._counter(
                    "vidbench_store_results", "Results written to the store, by what it did.", "result"
                ),
            )
            for result in ("added", "known", "unreadable"):
                self._store.results.labels(result)
        self._store.up.set(up)
        self._store.waiting.set(waiting)
        self._store.complete.set(complete)

    def results_stored(self, added: int, known: int, unreadable: int) -> None:
        """Count what was written to the results store."""
        if self._store is not None:
            for result, number in (("added", added), ("known", known), ("unreadable", unreadable)):
                self._store.results.labels(result).inc(number)

    def set_leading(self, is_leading: Callable[[], bool]) -> None:
        """Ask this at each scrape whether this process leads."""
        self._leader.set_function(lambda: float(is_leading()))

    def render(self) -> tuple[bytes, str]:
        """Return the exposition and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _age_of(self, kind: str) -> float:
        return time.monotonic() - self._heard[kind]

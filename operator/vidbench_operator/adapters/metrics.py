"""What the operator tells Prometheus of itself. No label names a run: their number has no bound.

Every process has one registry; tests make their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The operator's figures."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._passes = Histogram(
            "vidbench_reconcile_seconds",
            "Duration of a reconcile pass, by how it ended.",
            ("result",),
            registry=self.registry,
            buckets=_PASS_BUCKETS,
        )
        self._calls = Counter(
            "vidbench_api_calls", "Calls to the API server.", ("verb", "resource", "code"), registry=self.registry
        )
        self._attempts = Counter(
            "vidbench_attempts_ended", "Attempts and shards that ended, by reason.", ("reason",), registry=self.registry
        )
        self._runs = Gauge("vidbench_runs", "Runs by phase.", ("phase",), registry=self.registry)
        self._restarts = Counter(
            "vidbench_task_restarts",
            "Background tasks that died and were restarted.",
            ("task",),
            registry=self.registry,
        )
        self._depth = Gauge("vidbench_queue_depth", "Runs that wait for a pass.", registry=self.registry)
        self._leader = Gauge(
            "vidbench_leader", "1 while this process acts, 0 while it follows.", registry=self.registry
        )
        self._last_success = time.monotonic()
        age = Gauge(
            "vidbench_last_success_age_seconds", "Seconds since a pass or a resync succeeded.", registry=self.registry
        )
        age.set_function(lambda: time.monotonic() - self._last_success)
        build = Gauge("vidbench_build_info", "Always 1.", ("version",), registry=self.registry)
        self.version = version("vidbench")
        build.labels(self.version).set(1)

    def pass_ended(self, result: str, seconds: float) -> None:
        """Count a reconcile pass; `result` is success, conflict or error."""
        self._passes.labels(result).observe(seconds)
        if result != "error":
            self.succeeded()

    def succeeded(self) -> None:
        """Note that the operator did something useful just now."""
        self._last_success = time.monotonic()

    def api_call(self, verb: str, resource: str, code: int | str) -> None:
        """Count a call; `code` is the HTTP status or the name of what went wrong before there was one."""
        self._calls.labels(verb, resource, str(code)).inc()

    def attempt_ended(self, reason: str) -> None:
        """Count an attempt."""
        self._attempts.labels(reason).inc()

    def task_restarted(self, task: str) -> None:
        """Count the restart of a background task."""
        self._restarts.labels(task).inc()

    def set_runs(self, phases: dict[str, int]) -> None:
        """Replace the numbers of runs by phase."""
        self._runs.clear()
        for phase, count in phases.items():
            self._runs.labels(phase).set(count)

    def set_queue_depth(self, depth: int) -> None:
        """Say how many runs wait."""
        self._depth.set(depth)

    def set_leading(self, is_leading: Callable[[], bool]) -> None:
        """Ask this at each scrape whether this process leads."""
        self._leader.set_function(lambda: float(is_leading()))

    def render(self) -> tuple[bytes, str]:
        """Return the exposition and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

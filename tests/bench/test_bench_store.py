"""10,000 results into SQLite and into PostgreSQL, over HTTP, twice: what changes, what queries answer, how long they take.

Times are printed and written to build/bench/bench-store.json; only what was written and what was answered can fail.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.kubeconfigs import write_kubeconfig
from support.ledger_documents import EPOCH, many
from support.ledger_server import LedgerServer, serving
from support.postgresql import PostgresServer

from bench.report import provenance, write
from vidbench_analysis.metrics import METRICS
from vidbench_cli.cluster import Cluster, Where
from vidbench_cli.ledger_source import ClusterLedger
from vidbench_store.engine import connect
from vidbench_store.location import Location, parse_location
from vidbench_store.schema import migrate
from vidbench_store.store import EVERYTHING, Filter, Place, Store
from vidbench_store.sync import Synced, sync_ledger
from vidbench_store.tables import RESULTS, SERIES
from vidbench_store.trends import Axis, find_trends

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

RESULTS_WANTED = int(os.environ.get("VIDBENCH_BENCH_RESULTS", "10000"))
_CHUNK = 250


def queries() -> dict[str, Callable[[Store], Any]]:
    """What people ask of a ledger. Answers are plain values, so that they can be compared."""
    counts = select(RESULTS.c.model, RESULTS.c.outcome, func.count()).group_by(RESULTS.c.model, RESULTS.c.outcome)
    means = (
        select(RESULTS.c.node, SERIES.c.name, func.count(), func.min(SERIES.c.min), func.max(SERIES.c.max))
        .join(SERIES, SERIES.c.result_id == RESULTS.c.id)
        .group_by(RESULTS.c.node, SERIES.c.name)
    )
    week = Filter(since=EPOCH + timedelta(days=3), until=EPOCH + timedelta(days=10))
    return {
        "count": lambda store: store.count(),
        "count of a week of a model": lambda store: store.count(replace(week, models=("model-1",))),
        "outcomes by model": lambda store: sorted(tuple(row) for row in store.rows(counts)),
        "extremes by node and column": lambda store: sorted(tuple(row) for row in store.rows(means)),
        "whole results of a run": lambda store: list(store.find_documents(Filter(run_uids=("run-7",)))),
        "trend of a model by day": lambda store: find_trends(
            store, METRICS["latency"], Axis.DAY, Filter(models=("model-1",))
        ),
        "trend of a model by driver": lambda store: find_trends(
            store, METRICS["latency"], Axis.DRIVER, Filter(models=("model-1",))
        ),
        "trend of everything by node": lambda store: find_trends(store, METRICS["latency"], Axis.NODE),
    }


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Location]]:
    """An empty place of each kind."""
    server = PostgresServer()
    try:
        server.start()
        yield {
            "sqlite": parse_location(str(tmp_path / "ledger.sqlite")),
            "postgresql": parse_location(server.make_database("bench")),
        }
    finally:
        server.stop()


def test_bench_store(places: dict[str, Location], tmp_path: Path) -> None:
    report: dict[str, Any] = {"benchmark": "bench-store", **provenance(os.getloadavg()[0]),
                              "results": RESULTS_WANTED, "sqlite": sqlite3.sqlite_version, "stores": {}}  # fmt: skip
    answers: dict[str, dict[str, Any]] = {}
    with serving(list(many(RESULTS_WANTED))) as server:
        report["bytes of a result"] = round(sum(len(json.dumps(entry)) for entry in server.documents[:100]) / 100)
        kubeconfig = write_kubeconfig(tmp_path / "config", server.url)
        for kind, location in places.items():
            report["stores"][kind], answers[kind] = measure(location, server, kubeconfig)
    differing = [name for name in answers["sqlite"] if answers["sqlite"][name] != answers["postgresql"][name]]
    report["queries with other answers"] = differing
    print(f"\n{json.dumps(report, indent=2)}\n\nwritten to {write('bench-store', report)}")
    for kind, figures in report["stores"].items():
        first, second = figures["first sync"], figures["second sync"]
        assert (first["added"], first["unreadable"]) == (RESULTS_WANTED, 0), kind
        assert (second["added"], second["updated"], second["unchanged"]) == (0, 0, RESULTS_WANTED), kind
        assert figures["rows after first"] == figures["rows after second"], kind
        assert figures["digest after first"] == figures["digest after second"], kind
    assert not differing


def measure(location: Location, server: LedgerServer, kubeconfig: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sync twice and ask every query; return the figures and the answers."""
    engine = connect(location)
    migrate(engine, location)
    engine.dispose()
    figures: dict[str, Any] = {}
    with Store.open(location) as store:
        for number in ("first", "second"):
            source = ClusterLedger(Cluster(Where(kubeconfig)), everywhere=True, limit=_CHUNK)
            started = time.perf_counter()
            done = sync_ledger(store, "bench", Place(server.url, EVERYTHING), source)
            figures[f"{number} sync"] = counts_of(done) | {"seconds": round(time.perf_counter() - started, 2)}
            figures[f"rows after {number}"] = rows_of(store)
            figures[f"digest after {number}"] = digest_of_rows(store)
        answers, seconds = {}, {}
        for name, query in queries().items():
            times = []
            for _ in range(3):
                started = time.perf_counter()
                answers[name] = plain(query(store))
                times.append(time.perf_counter() - started)
            seconds[name] = round(min(times), 4)
        figures["seconds of queries"] = seconds
    return figures, answers


def counts_of(done: Synced) -> dict[str, int]:
    written = done.written
    return {
        "listed": done.listed,
        "added": written.added,
        "updated": written.updated,
        "unchanged": written.unchanged,
        "unreadable": len(written.unreadable),
    }


def rows_of(store: Store) -> dict[str, int]:
    (results,) = store.rows(select(func.count()).select_from(RESULTS))
    (series,) = store.rows(select(func.count()).select_from(SERIES))
    return {"results": results[0], "series": series[0]}


def digest_of_rows(store: Store) -> str:
    """Return a digest of all that the rows hold, when they were stored included."""
    import hashlib

    digest = hashlib.sha256()
    for row in store.rows(select(RESULTS).order_by(RESULTS.c.uid)):
        digest.update(repr(tuple(row)).encode())
    for row in store.rows(select(SERIES).order_by(SERIES.c.result_id, SERIES.c.name)):
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


def plain(answer: Any) -> Any:
    """Return an answer as JSON has it, to the last digit."""

    def default(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, Enum):
            return value.value
        return asdict(value)

    return json.loads(json.dumps(answer, default=default, sort_keys=True))

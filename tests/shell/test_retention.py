"""Sweeps of the ledger: when, in which order of reading, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.core.retention import LedgerEntry, RetentionLimits
from vidbench_operator.shell.retention import DELETIONS_A_SWEEP, Retention

TWO = RetentionLimits(max_per_namespace=2)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


class FakeLedger:
    """Results in memory."""

    def __init__(self, count: int) -> None:
        self.entries = [
            LedgerEntry("team", f"result-{number:04}", f"uid-{number}", "1", float(number), run_uid=f"run-{number}")
            for number in range(count)
        ]
        self.runs: frozenset[str] = frozenset()
        self.calls: list[str] = []

    async def list_ledger(self) -> list[LedgerEntry]:
        self.calls.append("results")
        return list(self.entries)

    async def list_run_uids(self) -> frozenset[str]:
        self.calls.append("runs")
        return self.runs

    async def delete_result(self, entry: LedgerEntry) -> None:
        self.calls.append(f"delete {entry.name}")
        self.entries.remove(entry)

    def now(self) -> float:
        return 1000.0


class Scene:
    """A retention with all that it asks."""

    def __init__(self, count: int, limits: RetentionLimits = TWO) -> None:
        self.ledger = FakeLedger(count)
        self.leads = True
        self.ended: frozenset[str] = frozenset()
        self.retention = Retention(
            self.ledger, limits, may_act=lambda: self.leads, ended_runs=lambda: self.ended, period_seconds=300
        )


async def test_surplus_is_deleted_oldest_first_after_runs_were_read() -> None:
    scene = Scene(4)
    assert await scene.retention.sweep() == 2
    assert scene.ledger.calls == ["results", "runs", "delete result-0000", "delete result-0001"]


async def test_ledger_within_its_limits_costs_one_list() -> None:
    scene = Scene(2)
    assert await scene.retention.sweep() == 0
    assert scene.ledger.calls == ["results"]


async def test_results_of_a_run_stay_until_it_is_known_to_have_ended() -> None:
    scene = Scene(3)
    scene.ledger.runs = frozenset({"run-0", "run-1"})
    scene.ended = frozenset({"run-1"})
    await scene.retention.sweep()
    assert [entry.name for entry in scene.ledger.entries] == ["result-0000", "result-0002"]


async def test_one_sweep_deletes_so_many_and_the_next_one_the_rest() -> None:
    scene = Scene(DELETIONS_A_SWEEP + 12)
    assert await scene.retention.sweep() == DELETIONS_A_SWEEP
    assert await scene.retention.sweep() == 10


@in_virtual_time
async def test_leader_sweeps_every_period_and_a_follower_never() -> None:
    scene = Scene(3)
    scene.leads = False
    task = asyncio.create_task(scene.retention.run())
    await asyncio.sleep(1000)
    assert scene.ledger.calls == []
    scene.leads = True
    await asyncio.sleep(1000)
    assert scene.ledger.calls.count("results") == 3
    assert len(scene.ledger.entries) == 2
    task.cancel()


@in_virtual_time
async def test_without_a_limit_nothing_is_ever_read() -> None:
    scene = Scene(3, RetentionLimits())
    task = asyncio.create_task(scene.retention.run())
    await asyncio.sleep(10_000)
    assert not task.done()
    assert scene.ledger.calls == []
    task.cancel()

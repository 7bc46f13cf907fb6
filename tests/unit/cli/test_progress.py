"""What stands on standard error while a run is followed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from vidbench_cli.progress import progress_display, summary
from vidbench_cli.runs import RunView, run_view


def _view(phase: str, done: int = 0, **parallelism: Any) -> RunView:
    metadata = {"name": "nightly", "namespace": "lab", "uid": "u-1"}
    status = {
        "phase": phase,
        "cells": {"total": 4, "pending": 4 - done, "failed": done // 2},
        "shards": {"total": 8, "finished": 2 * done},
        "parallelism": {"active": 2, "running": 1, "waiting": 3, "limitedBy": "Capacity"} | parallelism,
    }
    return run_view({"metadata": metadata, "spec": {}, "status": status})


def test_summary_of_a_run_that_nobody_looked_at() -> None:
    metadata = {"name": "nightly\x1b[31m", "namespace": "lab", "uid": "u-1"}
    assert summary(run_view({"metadata": metadata})).startswith("lab/nightly\N{REPLACEMENT CHARACTER}[31m  not seen")


def test_pipe_gets_a_line_for_each_change_and_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display() as display:
        for view in (_view("Running"), _view("Running"), _view("Running", 2), _view("Succeeded", 4)):
            display.show(view)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split("  ")[1:3] for line in shown.err.splitlines()] == [
        ["Running", "0/4 cells, 0 failed, 0 out of memory"],
        ["Running", "2/4 cells, 1 failed, 0 out of memory"],
        ["Succeeded", "4/4 cells, 2 failed, 0 out of memory"],
    ]


def test_terminal_gets_bars_that_count_cells_and_shards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_display() as display:
        display.show(_view("Running", 2))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(r"cells .* 2/4 ", shown)
    assert re.search(r"shards .* 4/8 ", shown)
    assert "Limited by Capacity" in shown


def test_pipe_is_told_what_a_run_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    message = "spec.models[m0]: VideoModel 'm0' does not exist"
    condition = {
        "type": "Accepted", "status": "False", "reason": "ModelNotFound", "message": message,
        "lastTransitionTime": "2026-11-29T13:54:09Z",
    }  # fmt: skip
    metadata = {"name": "nightly", "namespace": "lab", "uid": "u-1"}
    with progress_display() as display:
        display.show(
            run_view({"metadata": metadata, "spec": {}, "status": {"phase": "Pending", "conditions": [condition]}})
        )
    assert f"Waits: ModelNotFound: {message}" in capsys.readouterr().err

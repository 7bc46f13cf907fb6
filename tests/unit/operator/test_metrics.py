"""What Prometheus is told: every figure parses, is described, and names no run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vidbench_api.names import RunPhase
from vidbench_operator.adapters import metrics as module
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.core.gpu_time import GpuTime

DOCS = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
BOUNDED_LABELS = {"result", "le", "verb", "resource", "code", "reason", "phase", "task", "version", "kind", "state"}


@pytest.fixture
def busy() -> Metrics:
    """Metrics in which every figure has been used."""
    metrics = Metrics()
    metrics.pass_ended("success", 0.1)
    metrics.attempt_ended("NodeLost")
    metrics.api_call("POST", "jobs", 201)
    metrics.gpu_time_spent(GpuTime(useful=16, overhead=24, idle=20, wasted=7))
    metrics.task_restarted("watches")
    metrics.set_runs({"Running": 3})
    metrics.set_breakers({"Node": 2})
    metrics.set_queue_depth(4)
    metrics.set_leading(lambda: True)
    metrics.heard("pods")
    metrics.set_store(up=True, waiting=5, complete=False)
    metrics.results_stored(3, 2, 1)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The exposition, parsed: name and the values of the labels."""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_figure_says_what_it_was_told(busy: Metrics) -> None:
    seen = samples(busy)
    assert seen["vidbench_reconcile_seconds_count", "success"] == 1
    assert seen["vidbench_attempts_ended_total", "NodeLost"] == 1
    assert {key: value for key, value in seen.items() if key[0] == "vidbench_gpu_seconds_total"} == {
        ("vidbench_gpu_seconds_total", "useful"): 16,
        ("vidbench_gpu_seconds_total", "overhead"): 24,
        ("vidbench_gpu_seconds_total", "idle"): 20,
        ("vidbench_gpu_seconds_total", "wasted"): 7,
    }
    assert seen["vidbench_task_restarts_total", "watches"] == 1
    assert seen["vidbench_queue_depth", ""] == 4
    assert (seen["vidbench_store_up", ""], seen["vidbench_store_waiting", ""], seen["vidbench_store_complete", ""]) == (
        1,
        5,
        0,
    )
    assert [seen["vidbench_store_results_total", result] for result in ("added", "known", "unreadable")] == [3, 2, 1]
    assert seen["vidbench_leader", ""] == 1
    assert [value for (name, _), value in seen.items() if name == "vidbench_api_calls_total"] == [1]


def test_what_is_at_zero_is_shown() -> None:
    """An alert on a figure that appears only with the first trouble never fires."""
    seen = samples(Metrics())
    assert {phase for name, phase in seen if name == "vidbench_runs"} == {phase.value for phase in RunPhase}
    assert {kind: value for (name, kind), value in seen.items() if name == "vidbench_breakers_open"} == {
        "model": 0,
        "node": 0,
    }


def test_numbers_of_runs_and_breakers_are_replaced(busy: Metrics) -> None:
    busy.set_runs({"Succeeded": 1})
    busy.set_breakers({"Model": 1})
    seen = samples(busy)
    assert (seen["vidbench_runs", "Running"], seen["vidbench_runs", "Succeeded"]) == (0, 1)
    assert (seen["vidbench_breakers_open", "node"], seen["vidbench_breakers_open", "model"]) == (0, 1)


def test_age_of_a_watch_begins_anew_when_it_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    metrics = Metrics()
    now = 130.0
    metrics.heard("pods")
    now = 140.0
    seen = samples(metrics)
    assert seen["vidbench_watch_age_seconds", "pods"] == 10
    assert seen["vidbench_watch_age_seconds", "jobs"] == 40, "never heard of: since the start"


def test_no_label_can_name_a_run(busy: Metrics) -> None:
    """A label with the names of runs would grow without bound."""
    labels = {name for family in busy.registry.collect() for sample in family.samples for name in sample.labels}
    assert labels == BOUNDED_LABELS


def test_every_figure_is_documented_and_nothing_else(busy: Metrics) -> None:
    families = text_string_to_metric_families(busy.render()[0].decode())
    shown = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if not family.name.endswith("_created")
    }
    assert "vidbench_leader" in shown
    assert set(re.findall(r"^\| `(vidbench_[a-z_]+)` \|", DOCS.read_text(), re.MULTILINE)) == shown

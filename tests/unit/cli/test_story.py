"""`vidbench describe`: what it tells of runs and cells, as values."""

from __future__ import annotations

from typing import Any

import pytest

from vidbench_api.names import LimitedBy
from vidbench_cli.output import Page, as_markdown
from vidbench_cli.progress import summary
from vidbench_cli.runs import RunView, run_view
from vidbench_cli.story_page import Surroundings, cell_story, run_story, waits_for

T0, T1, T2 = "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", "2026-01-02T03:06:05Z"
JOB = "nightly-00000001-1-2"
EVENTS = [
    {"message": "wan/h100/short shard 1 attempt 1 (pod x): NodeLost: away; another attempt follows", "type": "Warning",
     "reason": "AttemptFailed", "lastTimestamp": T1, "count": 2},
    {"message": "wan/h100/shorter shard 1: measured", "type": "Normal", "reason": "ShardFinished", "eventTime": T2},
]  # fmt: skip
POD = {
    "metadata": {"name": f"{JOB}-abcde", "creationTimestamp": T2, "ownerReferences": [{"kind": "Job", "name": JOB}]},
    "spec": {"nodeName": "node-b"},
}


def _shard(**fields: Any) -> dict[str, Any]:
    failures = [{"attempt": 1, "reason": "NodeLost", "node": "node-a", "endedAt": T1}]
    return {"index": 1, "phase": "Active", "attempt": 2, "startedAt": T2, "failures": failures} | fields


def _view(shard: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **status: Any) -> RunView:
    row = {"id": "00000001", "model": "wan", "hardware": "h100", "variant": "short", "phase": "Active"}
    rows = [row | {"shards": [shard or _shard()]} | status.pop("row", {})]
    metadata = {"name": "nightly", "namespace": "lab", "uid": "u-1", "creationTimestamp": T0, "managedFields": [1]}
    return run_view({"metadata": metadata, "spec": spec or {}, "status": {"phase": "Running", "rows": rows} | status})


def _cell(view: RunView, around: Surroundings = Surroundings(EVENTS, [POD])) -> Page:  # noqa: B008
    return cell_story(view, view.status.rows[0], around)


def _attempts(page: Page) -> list[tuple[Any, ...]]:
    return [tuple(entry[key] for key in ("attempt", "state", "node", "pod")) for entry in page.data["attempts"]]


def test_attempts_are_told_with_node_reason_and_pod() -> None:
    page = _cell(_view())
    assert _attempts(page) == [(1, "NodeLost", "node-a", None), (2, "Active", "node-b", f"{JOB}-abcde")]
    assert [event["reason"] for event in page.data["events"]] == ["AttemptFailed"]
    assert "vidbench logs nightly wan/h100/short --shard 1 -n lab" in as_markdown(page).replace("\\", "")


def test_last_failed_attempt_is_told_once() -> None:
    failures = [{"attempt": 2, "reason": "ModelLoadFailed", "node": "node-b", "endedAt": T2}]
    shard = _shard(phase="Finished", outcome="Failed", reason="ModelLoadFailed", failures=failures, endedAt=T2)
    failed = (2, "Failed (ModelLoadFailed)", "node-b", f"{JOB}-abcde")
    suspended = (1, "Ended, not counted", None, None)
    assert _attempts(_cell(_view(shard))) == [suspended, failed], "one that was not charged left no failure"


def test_attempt_that_failed_and_waits_for_the_next_is_told_once() -> None:
    shard = _shard(phase="Pending", attempt=1, notBefore=T2, reason="NodeLost")
    page = _cell(_view(shard))
    assert _attempts(page) == [(1, "NodeLost", "node-a", None)]
    assert f"Shard 1 waits until {T2} after NodeLost" in [line.text for line in page.heading]


def test_gone_pod_leads_to_what_is_left() -> None:
    spec = {"artifacts": {"storageUri": "claim://videos"}, "ttl": {"failedJobsSeconds": 60}}
    page = _cell(_view(spec=spec), Surroundings((), ()))
    [note] = [line.text for line in page.notes]
    for words in ("its pod is gone", "(60 s)", "vidbench.io/run=nightly", "claim://videos/nightly/00000001/1/2/"):
        assert words in note


def test_breakers_of_the_cell_are_told_and_not_those_of_other_models() -> None:
    breakers = [{"kind": "Model", "name": "wan", "state": "Open", "failures": 3},
                {"kind": "Model", "name": "ltx", "state": "Open", "failures": 3}]  # fmt: skip
    page = _cell(_view(breakers=breakers))
    assert [line.text for line in page.heading if "breaker" in line.text] == [
        "The circuit breaker of model wan is Open"
    ]


def test_run_tells_events_conditions_and_what_was_not_visible() -> None:
    condition = {"type": "Reconciling", "status": "True", "reason": "Running", "lastTransitionTime": T0}
    view = _view(
        conditions=[condition], spec={"suspend": True, "cancel": "Graceful"}, gpuSeconds={"used": 5, "wasted": 2}
    )
    page = run_story(view, Surroundings(EVENTS, None, ("Not shown: you may not list pods",)))
    assert [table.title.split(" ")[0] for table in page.tables] == ["Cells", "Conditions", "Events"]
    assert [row["reason"] for row in page.tables[2].records] == ["AttemptFailed", "ShardFinished"]
    lines = [line.text for line in (*page.heading, *page.notes)]
    for words in ("spec.suspend is true", "spec.cancel is Graceful", "GPU-seconds: 5 gave results, 2 did not",
                  "Not shown: you may not list pods"):  # fmt: skip
        assert words in lines
    assert "managedFields" not in page.data["run"]["metadata"]


@pytest.mark.parametrize("limit", list(LimitedBy))
def test_every_limit_is_explained(limit: LimitedBy) -> None:
    parallelism = {"active": 1, "running": 1, "waiting": 3, "queued": 0, "limitedBy": limit.value}
    said = waits_for(_view(parallelism=parallelism))
    assert said[-1].startswith("1 pods run of 1 Jobs, 3 shards wait")
    assert len(said) == (1 if limit is LimitedBy.NOTHING else 2)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": None}, "Waits for the operator"),
        ({"conditions": [{"type": "Accepted", "status": "False", "reason": "ModelNotFound", "message": "no wan",
                          "lastTransitionTime": T0}]}, "Waits: ModelNotFound: no wan"),
    ],
)  # fmt: skip
def test_what_holds_a_run_up_before_it_starts(status: dict[str, Any], words: str) -> None:
    [said] = waits_for(_view(**status))
    assert said.startswith(words)


def test_ended_run_waits_for_nothing() -> None:
    ended = {"type": "Complete", "status": "True", "reason": "AllSucceeded", "lastTransitionTime": T0}
    assert waits_for(_view(conditions=[ended], parallelism={"limitedBy": "Capacity"})) == []


def test_summary_counts_cells() -> None:
    view = _view(
        cells={"total": 6, "pending": 2, "active": 1, "failed": 1, "outOfMemory": 1}, parallelism={"active": 4}
    )
    assert summary(view) == "lab/nightly  Running  3/6 cells, 1 failed, 1 out of memory  4 Jobs active"

"""The counting itself, on lines as the API server writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.audit import AuditLog, Call, parse, seconds_of, table

ME = "system:serviceaccount:vidbench-system:vidbench-operator"


def line(verb: str, resource: str, *, user: str = ME, subresource: str = "", second: float = 0.0, **more: Any) -> bytes:
    reference = {"resource": resource, "namespace": "a", "name": "b"} | (
        {"subresource": subresource} if subresource else {}
    )
    event = {
        "stage": "ResponseComplete",
        "requestURI": f"/apis/x/{resource}",
        "verb": verb,
        "user": {"username": user},
        "objectRef": reference,
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": f"2026-01-02T03:04:{second:09.6f}Z",
        "stageTimestamp": f"2026-01-02T03:04:{second + 0.25:09.6f}Z",
        **more,
    }
    return json.dumps(event).encode() + b"\n"


def only(raw: bytes) -> Call:
    (call,) = parse([raw])
    return call


@pytest.mark.parametrize(
    ("raw", "mutates", "is_aside", "is_status", "kind"),
    [
        pytest.param(line("create", "jobs"), True, False, False, "create jobs", id="a creation"),
        pytest.param(line("get", "pods"), False, False, False, "get pods", id="a read"),
        pytest.param(
            line("update", "benchmarkruns", subresource="status"), True, False, True, "update benchmarkruns/status",
            id="the status of a run",
        ),
        pytest.param(line("update", "benchmarkruns"), True, False, False, "update benchmarkruns", id="a run itself"),
        pytest.param(
            line("patch", "pods", subresource="status"), True, False, False, "patch pods/status", id="another status"
        ),
        pytest.param(line("create", "events"), True, True, False, "create events", id="an Event"),
        pytest.param(line("update", "leases"), True, True, False, "update leases", id="a Lease"),
        pytest.param(line("deletecollection", "jobs"), True, False, False, "deletecollection jobs", id="all at once"),
        pytest.param(
            line("get", "", objectRef={}, requestURI="/readyz?verbose"), False, False, False, "get /readyz",
            id="a request about no resource",
        ),
    ],
)  # fmt: skip
def test_audit_tells_calls_apart(raw: bytes, mutates: bool, is_aside: bool, is_status: bool, kind: str) -> None:
    call = only(raw)
    assert (call.mutates, call.is_aside, call.is_status, call.kind) == (mutates, is_aside, is_status, kind)


def test_audit_leaves_out_other_stages() -> None:
    assert parse([line("create", "jobs", stage="RequestReceived")]) == []


def test_audit_log_counts_one_user_from_a_mark_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(line("create", "jobs"))
    log = AuditLog(path)
    mark = log.mark()
    impersonated = line("create", "jobs", user="admin", impersonatedUser={"username": ME})
    with path.open("ab") as file:
        file.write(
            line("create", "pods") + line("create", "jobs", user="somebody") + impersonated + line("get", "pods")
        )
        file.write(line("create", "secrets").rstrip(b"\n"))
    assert [call.kind for call in log.calls_since(mark, ME)] == ["create pods", "get pods"]


def test_seconds_run_from_the_first_arrival_to_the_last_answer() -> None:
    calls = [only(line("create", "jobs", second=second)) for second in (4.0, 1.5, 2.0)]
    assert seconds_of(calls) == pytest.approx(2.75)


def test_table_starts_with_the_most_frequent() -> None:
    calls = [only(line("create", "jobs")), *(only(line("get", "pods")) for _ in range(2))]
    assert list(table(calls).items()) == [("get pods", 2), ("create jobs", 1)]


def test_reading_goes_on_where_it_ended_and_leaves_half_a_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    whole, half = line("create", "jobs"), line("patch", "jobs")
    path.write_bytes(whole + half[:20])
    log = AuditLog(path)
    calls, mark = log.read(0, ME)
    assert ([call.kind for call in calls], mark) == (["create jobs"], len(whole))
    path.write_bytes(whole + half + line("create", "events", user="another"))
    calls, mark = log.read(mark, ME)
    assert ([call.kind for call in calls], mark) == (["patch jobs"], path.stat().st_size)

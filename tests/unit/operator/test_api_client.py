"""How the client of the API server finds its way out, and what it says, and keeps to itself, about mutating calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from vidbench_operator.adapters.api import Api, find_proxy
from vidbench_operator.adapters.clock import ApiClock
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.ports import NotLeading, Refused, Unavailable


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="no proxy is named"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128", id="a proxy for https"),
        pytest.param({"HTTP_PROXY": "http://proxy:3128"}, None, id="a proxy for another scheme"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.96.0.1"}, None, id="the API server is excepted"),
        pytest.param(
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example"}, "http://proxy:3128", id="another host is excepted"
        ),
    ],
)  # fmt: skip
def test_proxy_is_the_one_that_the_environment_names(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_proxy("https://10.96.0.1:443") == expected


JOBS = "/apis/batch/v1/namespaces/team/jobs"
JOB = {"metadata": {"name": "nightly-0123abcd-1-1"}, "spec": {"secret": "a prompt of somebody's"}}


class FakeClient:
    """Answers every call alike and remembers it."""

    def __init__(self, status: int = 201, body: Any = None) -> None:
        self.configuration = SimpleNamespace(host="https://api")
        self.status = status
        self.body = {} if body is None else body
        self.sent: list[str] = []

    async def update_params_for_auth(self, *_: Any) -> None:
        """Need no token."""

    async def call_api(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        self.sent.append(method)

        async def read() -> bytes:
            return json.dumps(self.body).encode()

        return SimpleNamespace(status=self.status, read=read, headers={})


def make_api(client: Any, **options: Any) -> Api:
    return Api(client, ApiClock(), Metrics(), **options)


async def test_mutating_call_is_withheld_from_who_may_not_write() -> None:
    client = FakeClient()
    leads = True
    api = make_api(client, may_write=lambda: leads, writer="pod-1")
    await api.create(JOBS, JOB)
    leads = False
    with capture_logs() as entries:
        for call in (
            lambda: api.create(JOBS, JOB),
            lambda: api.replace(JOBS, JOB),
            lambda: api.merge(JOBS, JOB),
            lambda: api.delete(JOBS, "uid"),
        ):
            with pytest.raises(NotLeading, match="not sent, as another operator may lead by now"):
                await call()
    assert client.sent == ["POST"]
    assert [(entry["verb"], entry["code"]) for entry in entries] == [
        (verb, "withheld") for verb in ("POST", "PUT", "PATCH", "DELETE")
    ]
    await api.get(JOBS)
    assert client.sent == ["POST", "GET"], "reading is free"


@pytest.mark.parametrize(
    ("client", "said"),
    [
        pytest.param(FakeClient(), {"code": 201}, id="done"),
        pytest.param(
            FakeClient(403, {"message": "exceeded quota: gpus"}),
            {"code": 403, "message": "exceeded quota: gpus"},
            id="refused",
        ),
    ],
)
async def test_mutating_call_leaves_one_audit_line(client: FakeClient, said: dict[str, Any]) -> None:
    with capture_logs() as entries:
        try:
            await make_api(client, writer="pod-1").create(JOBS, JOB)
        except Refused:
            assert client.status == 403
    assert len(entries) == 1
    entry: MutableMapping[str, Any] = entries[0]
    assert entry.pop("milliseconds") >= 0
    assert entry == {
        "event": "mutation",
        "log_level": "info",
        "writer": "pod-1",
        "verb": "POST",
        "path": JOBS,
        "name": JOB["metadata"]["name"],
        **said,
    }
    assert "prompt" not in json.dumps(entries)


async def test_reading_leaves_no_audit_line_and_routine_one_for_debugging() -> None:
    with capture_logs() as entries:
        await make_api(FakeClient()).get(JOBS)
        await make_api(FakeClient(), routine=True).create(JOBS, JOB)
    assert [entry["log_level"] for entry in entries] == ["debug"]


class ScriptedClient(FakeClient):
    """Answers each verb in a way of its own; a verb that it does not know is never answered."""

    def __init__(self, **answers: tuple[int, dict[str, Any]]) -> None:
        super().__init__()
        self.answers = answers

    async def call_api(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        if method not in self.answers:
            await asyncio.Event().wait()
        self.status, self.body = self.answers[method]
        return await super().call_api(method, url)


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        pytest.param((200, {"metadata": {"uid": "mine"}}), True, id="about something that passes"),
        pytest.param((200, {"metadata": {"uid": "another"}}), False, id="about the UID"),
        pytest.param((404, {}), False, id="and gone by now"),
    ],
)
async def test_conflict_on_a_delete_is_success_only_if_the_object_is_another(
    answer: tuple[int, dict[str, Any]], again: bool
) -> None:
    client = ScriptedClient(DELETE=(409, {"reason": "Conflict"}), GET=answer)
    with pytest.raises(Unavailable) if again else contextlib.nullcontext():
        await make_api(client).delete(f"{JOBS}/one", "mine")
    assert client.sent == ["DELETE", "GET"]


async def test_calls_that_are_given_up_end_at_once_as_unavailable() -> None:
    api = make_api(ScriptedClient(POST=(201, {})))
    waiting = asyncio.create_task(api.get(JOBS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    api.abandon_calls()
    api.abandon_calls()
    with pytest.raises(Unavailable, match="GET"):
        await asyncio.wait_for(waiting, 1.0)
    await api.create(JOBS, JOB)

"""How much of a large ledger is read for the expectation of how long shards take, and in how many calls."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.builders import observed_run

from vidbench_api.names import (
    ANNOTATION_SAMPLES,
    ANNOTATION_SECONDS,
    LABEL_HARDWARE,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_VARIANT,
)
from vidbench_operator.adapters.api import Api
from vidbench_operator.adapters.clock import ApiClock
from vidbench_operator.adapters.kube import KubeCluster
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.ports import MOST_LEDGER_HEADS

LABELS = {LABEL_MODEL: "wan", LABEL_HARDWARE: "h100", LABEL_VARIANT: "default", LABEL_OUTCOME: "Succeeded"}


class LedgerClient:
    """Serves a ledger in chunks, the results numbered by their seconds."""

    def __init__(self, results: int) -> None:
        self.configuration = SimpleNamespace(host="https://api")
        self.results = results
        self.asked: list[dict[str, list[str]]] = []

    async def update_params_for_auth(self, *_: Any) -> None:
        """Need no token."""

    async def call_api(self, _method: str, url: str, *_: Any, **__: Any) -> Any:
        query = parse_qs(urlsplit(url).query)
        self.asked.append(query)
        first = int(query.get("continue", ["0"])[0])
        following = min(first + int(query["limit"][0]), self.results)
        figures = [{ANNOTATION_SECONDS: str(number + 1), ANNOTATION_SAMPLES: "3"} for number in range(first, following)]
        body = {
            "metadata": {"continue": str(following) if following < self.results else ""},
            "items": [{"metadata": {"labels": LABELS, "annotations": annotations}} for annotations in figures],
        }

        async def read() -> bytes:
            return json.dumps(body).encode()

        return SimpleNamespace(status=200, read=read, headers={})


@pytest.mark.parametrize(
    ("results", "heads", "calls"),
    [(0, 0, 1), (7, 7, 1), (500, 500, 1), (501, 501, 2), (50_000, MOST_LEDGER_HEADS, 4)],
)
async def test_a_large_ledger_is_read_further_than_its_first_names_and_never_as_a_whole(
    results: int, heads: int, calls: int
) -> None:
    client: Any = LedgerClient(results)
    clock = ApiClock()
    found = await KubeCluster(Api(client, clock, Metrics()), clock).list_ledger_heads(observed_run())
    assert [head.seconds for head in found] == [float(number + 1) for number in range(heads)]
    assert len(client.asked) == calls
    assert all(
        query["labelSelector"] == [f"{LABEL_MODEL} in (wan),{LABEL_OUTCOME}=Succeeded"] for query in client.asked
    )

"""The objects of a file, in the order in which they are applied."""

from __future__ import annotations

from typing import Any

import pytest

from vidbench_cli.applying import prepare
from vidbench_cli.errors import UsageError


def _body(kind: str, **metadata: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata or {"name": "x"}}


RUN = _body("BenchmarkRun", name="nightly")


def test_run_comes_last_and_namespaces_first() -> None:
    bodies = prepare([RUN, _body("VideoModel"), _body("RunnerClass"), _body("Namespace")], None)
    assert [body["kind"] for body in bodies] == ["Namespace", "RunnerClass", "VideoModel", "BenchmarkRun"]


def test_other_name_takes_the_place_of_any() -> None:
    assert prepare([RUN], "other")[0]["metadata"] == {"name": "other"}
    assert prepare([_body("BenchmarkRun", generateName="n-")], "other")[0]["metadata"] == {"name": "other"}
    assert RUN["metadata"] == {"name": "nightly"}


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([], "0 BenchmarkRuns"),
        ([RUN, RUN], "2 BenchmarkRuns"),
        ([RUN, {"kind": "VideoModel", "metadata": {"name": "x"}}], "lacks kind, apiVersion"),
        ([RUN, {"kind": "VideoModel", "apiVersion": "v1", "metadata": "x"}], "metadata.name"),
        ([RUN, {"kind": ["x"], "apiVersion": "v1", "metadata": {"name": "x"}}], "lacks kind"),
    ],
)
def test_what_cannot_be_applied_is_said(bodies: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        prepare(bodies, None)
    assert "vidbench init" in caught.value.remedy

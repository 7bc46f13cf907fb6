"""What erasing a run means, as a value: subjects, places out of reach, and the command for a claim."""

from __future__ import annotations

import json
import shlex
from typing import Any

from support.ledger_documents import document

from vidbench_cli.erasure import Ending, mentions, out_of_reach, subjects_of

RUN: dict[str, Any] = {
    "metadata": {"name": "nightly", "namespace": "lab", "uid": "run-1"},
    "spec": {
        "workload": {"prompts": [{"id": "p1", "text": "Alice walks her Dog"}, {"id": "p2", "text": "rain"}]},
        "artifacts": {"storageUri": "claim://videos/team"},
    },
    "status": {"requestName": "nightly-request-1234", "rows": [{"id": "aaaaaaaa"}]},
}


def test_a_run_with_its_results() -> None:
    result = document(run_uid="run-1")
    (subject,) = subjects_of([RUN], [result])
    assert (subject.exists, subject.prompts, subject.request) == (True, 2, "nightly-request-1234")
    assert subject.cells == tuple(sorted(["aaaaaaaa", result["spec"]["cell"]["id"]]))
    assert subject.results == (result["metadata"]["name"],)
    assert subject.claims == ("claim://videos/team",)
    assert not subject.ended


def test_a_run_that_is_gone_is_known_by_its_results() -> None:
    artifacts = {"uri": "claim://videos/team/nightly/abcdef01/1/1", "digest": "0" * 64}
    (subject,) = subjects_of([], [document(run_uid="run-9", artifacts=artifacts)])
    assert (subject.exists, subject.prompts, subject.uid) == (False, None, "run-9")
    assert subject.claims == ("claim://videos/team",)


def test_two_runs_of_one_name_are_two_subjects() -> None:
    subjects = subjects_of([RUN], [document(run_uid="run-1"), document(run_uid="run-0")])
    assert [(subject.uid, subject.exists) for subject in subjects] == [("run-0", False), ("run-1", True)]


def test_prompts_are_searched_without_capitals() -> None:
    assert mentions(RUN, "ALICE")
    assert mentions(RUN, "p2")
    assert not mentions(RUN, "Bob")


def test_what_is_out_of_reach_says_why_and_what_to_do() -> None:
    (subject,) = subjects_of([RUN], [document(run_uid="run-1", comparability="Service")])
    found = out_of_reach(subject, "prod")
    assert {entry.ending for entry in found} == {Ending.NOT_REACHED}
    assert all(entry.why and entry.remedy for entry in found)
    assert any("server behind model wan" in entry.where for entry in found)
    assert any("etcd" in entry.where for entry in found)


def test_the_command_for_a_claim_deletes_the_folders_of_this_run_alone() -> None:
    (subject,) = subjects_of([RUN], [])
    offered, _by_hand, command = out_of_reach(subject, "prod")[0].remedy.partition("by hand: ")
    assert "vidbench erase nightly --storage" in offered
    words = shlex.split(command)
    assert words[:6] == ["kubectl", "--context", "prod", "run", "vidbench-erase", "-n"]
    (overrides,) = [word.removeprefix("--overrides=") for word in words if word.startswith("--overrides=")]
    spec = json.loads(overrides)["spec"]
    assert spec["containers"][0]["command"] == ["rm", "-rf", "--", "/claim/team/nightly/aaaaaaaa"]
    assert spec["volumes"] == [{"name": "claim", "persistentVolumeClaim": {"claimName": "videos"}}]

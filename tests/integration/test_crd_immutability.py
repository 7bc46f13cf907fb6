"""What of an object that exists may change, on a real API server: each immutable field is added, changed and removed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from support.kube_api import Answer, KubeApi, assert_refused
from support.manifests import (
    DIGEST,
    Manifest,
    benchmark_result,
    benchmark_run,
    complete_result,
    complete_runner_class,
    complete_video_model,
    video_model,
)

from localcluster.errors import LocalClusterError
from vidbench_api.run_spec import IMMUTABLE_FIELDS, IMMUTABLE_TIMEOUTS

PROMPTS = [{"id": "cat", "text": "A cat walks."}]


@dataclass(frozen=True)
class Change:
    """One edit of the spec of a run that exists."""

    field: str
    what: str
    before: dict[str, Any] = field(repr=False)
    after: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.what}-{self.field}"


def _edits(name: str, absent: dict[str, Any], first: Any, second: Any) -> tuple[Change, ...]:
    """Adding, changing and removing one field; `absent` is the spec without it."""
    return (
        Change(name, "add", absent, absent | {name: first}),
        Change(name, "change", absent | {name: first}, absent | {name: second}),
        Change(name, "remove", absent | {name: first}, absent),
    )


def _list_edits(
    name: str, base: dict[str, Any], one: dict[str, Any], other: dict[str, Any], changed: Any
) -> tuple[Change, ...]:
    return (
        Change(name, "add-an-entry-to", base | {name: [one]}, base | {name: [one, other]}),
        Change(name, "change-an-entry-of", base | {name: [one]}, base | {name: [one | changed]}),
        Change(name, "remove-an-entry-of", base | {name: [one, other]}, base | {name: [one]}),
    )


def gate(name: str = "a", bound: str = "12s") -> dict[str, Any]:
    return {"name": name, "metric": "latency", "against": {"bound": bound}, "test": "AtMost"}


MINIMAL: dict[str, Any] = {"models": [{"name": "wan"}], "workload": {"prompts": PROMPTS}}
FORBIDDEN = (
    *_edits("runnerClassName", MINIMAL, "gpu", "cpu"),
    *_edits("hardware", MINIMAL, [{"name": "a"}], [{"name": "a", "gpus": 2}]),
    *_edits("variants", MINIMAL, [{"name": "a"}], [{"name": "a", "steps": 2}]),
    *_edits("matrix", MINIMAL, {"exclude": [{"model": "wan"}]}, {"exclude": [{"hardware": "default"}]}),
    *_edits("measurement", MINIMAL, {"shards": 2}, {"shards": 3}),
    *_edits("validity", MINIMAL, {"onInvalid": "Flag"}, {"exclusiveGpu": "Ignore"}),
    *_edits("failurePolicy", MINIMAL, {"infrastructureRetries": 1}, {"infrastructureRetries": 2}),
    *_edits("artifacts", MINIMAL, {"storageUri": "claim://a"}, {"storageUri": "claim://b"}),
    *_edits("scheduling", MINIMAL, {"queueName": "a"}, {"queueName": "b"}),
    *_edits("reuse", MINIMAL, {"policy": "IfIdentical"}, {"policy": "IfIdentical", "maxAgeSeconds": 1}),
    *_edits(
        "baselines",
        MINIMAL,
        [{"name": "old"}],
        [{"name": "old", "selector": {"matchLabels": {"vidbench.io/run": "a"}}}],
    ),
    *_edits("gates", MINIMAL, [gate()], [gate(bound="13s")]),
    *_edits("analysis", MINIMAL, {"hypotheses": [gate()]}, {"hypotheses": [gate(bound="13s")]}),
    *_edits("analysis", MINIMAL, {"correction": "None"}, {"hypotheses": [gate()], "correction": "None"}),
    *_list_edits("gates", MINIMAL, gate(), gate(name="b"), {"onInconclusive": "Pass"}),
    *_list_edits("models", MINIMAL, {"name": "wan"}, {"name": "ltx"}, {"modelRef": {"name": "mine"}}),
    *_list_edits("hardware", MINIMAL, {"name": "a"}, {"name": "b"}, {"nodeSelector": {"a": "b"}}),
    *_list_edits("variants", MINIMAL, {"name": "a"}, {"name": "b"}, {"arguments": {"a": "1"}}),
    *(
        Change("workload", f"{verb}", MINIMAL | {"workload": before}, MINIMAL | {"workload": after})
        for verb, before, after in (
            ("add-a-prompt-to", {"prompts": PROMPTS}, {"prompts": [*PROMPTS, {"id": "dog", "text": "A dog."}]}),
            ("change-a-prompt-of", {"prompts": PROMPTS}, {"prompts": [{"id": "cat", "text": "Two cats."}]}),
            ("remove-a-prompt-of", {"prompts": [*PROMPTS, {"id": "dog", "text": "A dog."}]}, {"prompts": PROMPTS}),
            ("change-the-seeds-of", {"prompts": PROMPTS}, {"prompts": PROMPTS, "seeds": {"count": 2}}),
        )
    ),
    *(
        change
        for name in IMMUTABLE_TIMEOUTS
        for change in (
            Change(f"timeouts.{name}", "add", MINIMAL, MINIMAL | {"timeouts": {name: 11}}),
            Change(
                f"timeouts.{name}", "change", MINIMAL | {"timeouts": {name: 11}}, MINIMAL | {"timeouts": {name: 12}}
            ),
            Change(f"timeouts.{name}", "remove", MINIMAL | {"timeouts": {name: 11}}, MINIMAL),
        )
    ),
)
ALLOWED = (
    *_edits("parallelism", MINIMAL, 0, 1000),
    *_edits("autoscaling", MINIMAL, {"mode": "Off"}, {"mode": "Off", "min": 2}),
    *_edits("suspend", MINIMAL, True, False),
    Change("cancel", "ask-for", MINIMAL, MINIMAL | {"cancel": "Graceful"}),
    Change("cancel", "hasten", MINIMAL | {"cancel": "Graceful"}, MINIMAL | {"cancel": "Immediate"}),
    *_edits("ttl", MINIMAL, {"jobsSeconds": 1}, {"jobsSeconds": 2, "failedJobsSeconds": 3, "runSeconds": 4}),
    Change("timeouts.runSeconds", "add", MINIMAL, MINIMAL | {"timeouts": {"runSeconds": 5}}),
    Change(
        "timeouts.runSeconds",
        "change",
        MINIMAL | {"timeouts": {"runSeconds": 5}},
        MINIMAL | {"timeouts": {"runSeconds": 6}},
    ),
    Change("timeouts.runSeconds", "remove", MINIMAL | {"timeouts": {"runSeconds": 5}}, MINIMAL),
    Change(
        "gates",
        "spell-out-the-default-of",
        MINIMAL | {"gates": [gate()]},
        MINIMAL | {"gates": [gate() | {"onInconclusive": "Fail", "where": {"models": []}}]},
    ),
    Change("measurement", "spell-out-the-default-of", MINIMAL, MINIMAL | {"measurement": {"shards": 1}}),
    Change("hardware", "spell-out-the-default-of", MINIMAL, MINIMAL | {"hardware": [{"name": "default", "gpus": 1}]}),
    Change(
        "models",
        "reorder",
        MINIMAL | {"models": [{"name": "a"}, {"name": "b"}]},
        MINIMAL | {"models": [{"name": "b"}, {"name": "a"}]},
    ),
)
_run_numbers = itertools.count(1)


def edit(api: KubeApi, namespace: str, change: Change) -> Answer:
    """Create a run, then replace its spec; the answer to the second request."""
    manifest = benchmark_run(f"run-{next(_run_numbers)}", namespace)
    created = api.create(manifest | {"spec": change.before})
    assert created.accepted, created.message
    return api.replace(created.body | {"spec": change.after})


class TestImmutability:
    @pytest.mark.parametrize("change", FORBIDDEN, ids=str)
    def test_run_refuses_change_of_what_shapes_a_measurement(
        self, api: KubeApi, namespace: str, change: Change
    ) -> None:
        assert_refused(edit(api, namespace, change), f"spec.{change.field}", "cannot be changed: apply a new run")

    @pytest.mark.parametrize("change", ALLOWED, ids=str)
    def test_run_accepts_change_of_the_rest(self, api: KubeApi, namespace: str, change: Change) -> None:
        answer = edit(api, namespace, change)
        assert answer.accepted, answer.message

    @pytest.mark.parametrize(
        ("before", "after"), [("Graceful", "None"), ("Immediate", "None"), ("Immediate", "Graceful")]
    )
    def test_cancel_is_not_taken_back(self, api: KubeApi, namespace: str, before: str, after: str) -> None:
        change = Change("cancel", "take-back", MINIMAL | {"cancel": before}, MINIMAL | {"cancel": after})
        assert_refused(edit(api, namespace, change), "spec.cancel", "cancel cannot be taken back")

    def test_every_immutable_field_is_tried(self) -> None:
        fields = {*IMMUTABLE_FIELDS, *(f"timeouts.{name}" for name in IMMUTABLE_TIMEOUTS)}
        for verb in ("add", "change", "remove"):
            assert {change.field for change in FORBIDDEN if change.what.startswith(verb)} == fields

    def test_kubectl_apply_names_the_changed_field(self, namespace: str, kubectl: Callable[..., str]) -> None:
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace)))
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace, parallelism=3)))
        with pytest.raises(
            LocalClusterError, match=r"spec\.measurement: .*measurement cannot be changed: apply a new run"
        ):
            kubectl(
                "apply", "-f", "-", stdin=yaml.safe_dump(benchmark_run("again", namespace, measurement={"shards": 2}))
            )

    @pytest.mark.parametrize(
        ("manifest", "patch"),
        [
            pytest.param(video_model("m"), {"licence": "MIT"}, id="a model gets a licence"),
            pytest.param(complete_video_model({"tiny": "wan"}, "m"), {"licence": None}, id="a model loses its licence"),
            pytest.param(video_model("m"), {"defaults": {"steps": 5}}, id="a model's default"),
            pytest.param(benchmark_result("r"), {"outcome": "Succeeded"}, id="a result's outcome"),
            pytest.param(benchmark_result("r"), {"node": None, "samplesDone": 1}, id="a result gains a figure"),
            pytest.param(complete_result("r"), {"memory": None}, id="a result loses a figure"),
            pytest.param(benchmark_result("r"), {"requestDigest": DIGEST[::-1]}, id="a result's digest"),
        ],
    )
    def test_models_and_results_never_change(
        self, api: KubeApi, namespace: str, manifest: Manifest, patch: dict[str, Any]
    ) -> None:
        manifest = manifest | {"metadata": {"name": manifest["metadata"]["name"], "namespace": namespace}}
        assert api.create(manifest).accepted
        assert_refused(api.merge_patch(manifest, {"spec": patch}), "spec", "cannot be changed")
        labelled = api.merge_patch(manifest, {"metadata": {"labels": {"baseline": "v1"}}})
        assert labelled.accepted, labelled.message

    def test_runner_class_may_change(self, api: KubeApi) -> None:
        manifest = complete_runner_class("changing")
        assert api.create(manifest).accepted
        changed = api.merge_patch(manifest, {"spec": {"image": "other:2"}})
        api.delete(manifest)
        assert changed.accepted, changed.message

"""The objects that the operator creates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import benchmark_result
from support.pod_security import violations_of_restricted
from support.requests import CELL, request_document

from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    ENV_ARTIFACTS,
    ENV_CELL,
    ENV_HARVEST,
    ENV_MESSAGE_LIMIT,
    ENV_NODE_NAME,
    ENV_POD_UID,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    LABEL_ATTEMPT,
    LABEL_HARVEST,
    LABEL_QUEUE,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_SHARD,
    RUNNER_CONTAINER,
    EventReason,
    ExitCode,
)
from vidbench_api.result import BenchmarkResultSpec
from vidbench_operator.core.plan import EmitEvent, Placement
from vidbench_operator.manifests import (
    event_manifest,
    harvest_manifest,
    job_manifest,
    pod_deadline_seconds,
    request_manifest,
    result_manifest,
)

Manifest = dict[str, Any]


SILENT_NODE = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}
    for state in ("not-ready", "unreachable")
]


def job(**changes: Any) -> Manifest:
    return job_manifest(request_document(**changes), CELL, 2, 3)


def pod_spec(**changes: Any) -> Manifest:
    spec: Manifest = job(**changes)["spec"]["template"]["spec"]
    return spec


def container(**changes: Any) -> Manifest:
    entry: Manifest = pod_spec(**changes)["containers"][0]
    return entry


def environment(**changes: Any) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(**changes)["env"]}


def test_job_is_one_attempt_of_one_pod() -> None:
    spec = job()["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_job_has_no_time_limits_of_its_own() -> None:
    """A Job's deadline deletes the pod and its verdict; a time to live would do so before anybody read it."""
    spec = job()["spec"]
    assert "activeDeadlineSeconds" not in spec
    assert "ttlSecondsAfterFinished" not in spec


def test_job_says_which_exit_code_ended_it() -> None:
    rules = job()["spec"]["podFailurePolicy"]["rules"]
    by_code = rules[0]["onExitCodes"]
    assert rules[0]["action"] == "FailJob"
    assert (by_code["containerName"], by_code["operator"]) == (RUNNER_CONTAINER, "In")
    assert by_code["values"] == sorted(code.value for code in ExitCode if code)
    assert 0 not in by_code["values"]


def test_job_and_pod_carry_the_same_labels_and_digest() -> None:
    made = job()
    template = made["spec"]["template"]["metadata"]
    assert made["metadata"]["labels"] == template["labels"]
    assert (
        template["labels"].items()
        >= {
            LABEL_RUN: "nightly",
            LABEL_RUN_UID: "u-1",
            LABEL_SHARD: "2",
            LABEL_ATTEMPT: "3",
        }.items()
    )
    digest = request_document().digest
    assert made["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST] == digest
    assert template["annotations"][ANNOTATION_REQUEST_DIGEST] == digest


def test_job_is_owned_by_its_run() -> None:
    [owner] = job()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("BenchmarkRun", "nightly", "u-1")
    assert owner["controller"] is True
    assert owner["blockOwnerDeletion"] is True


def test_job_of_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="no cell 'ffffffff'"):
        job_manifest(request_document(), "ffffffff", 1, 1)


def test_pod_deadline_comes_after_the_runners() -> None:
    """The kubelet counts from binding, the pull included; the runner from its own start."""
    timeouts = request_document(timeouts={"imagePullSeconds": 100, "shardSeconds": 1000}).timeouts
    assert pod_deadline_seconds(timeouts) > 100 + 1000
    assert pod_spec(timeouts={"imagePullSeconds": 100, "shardSeconds": 1000})["activeDeadlineSeconds"] == 1160


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def node_affinity(placement: Placement) -> Manifest:
    made = job_manifest(request_document(), CELL, 1, 1, placement)
    affinity: Manifest = made["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity", {})
    return affinity


def by_name(operator: str, node: str) -> Manifest:
    return {"key": "metadata.name", "operator": operator, "values": [node]}


PLACEMENTS: list[Any] = [
    pytest.param(Placement(), {}, id="anywhere"),
    pytest.param(
        Placement(avoid=("a", "b")),
        {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [by_name("NotIn", "a"), by_name("NotIn", "b")]}]}},
        id="neither of two nodes",
    ),
    pytest.param(
        Placement(avoid=("a",), require="c"),
        {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [by_name("NotIn", "a"), by_name("In", "c")]}]}},
        id="one node, as a term that also keeps away from another",
    ),
    pytest.param(
        Placement(prefer=("a", "b"), avoid_if_possible=("c", "d")),
        {
            PREFERRED: [
                {"weight": 20, "preference": {"matchFields": [by_name("In", "a")]}},
                {"weight": 20, "preference": {"matchFields": [by_name("In", "b")]}},
                {"weight": 100, "preference": {"matchFields": [by_name("NotIn", "c"), by_name("NotIn", "d")]}},
            ]
        },
        id="to keep away weighs more than to come near",
    ),
]


@pytest.mark.parametrize(("placement", "affinity"), PLACEMENTS)
def test_placement_is_affinity_to_names_of_nodes(placement: Placement, affinity: Manifest) -> None:
    assert node_affinity(placement) == affinity


def test_job_of_a_queue_is_created_suspended_with_the_queues_label() -> None:
    made = job(scheduling={"queueName": "lab"})
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"][LABEL_QUEUE] == "lab"
    assert made["spec"]["template"]["metadata"]["labels"][LABEL_QUEUE] == "lab"


def test_job_without_a_queue_starts_at_once() -> None:
    made = job()
    assert "suspend" not in made["spec"]
    assert LABEL_QUEUE not in made["metadata"]["labels"]


def test_pod_has_the_priority_that_its_run_asked_for() -> None:
    assert pod_spec(scheduling={"priorityClassName": "urgent"})["priorityClassName"] == "urgent"
    assert "priorityClassName" not in pod_spec()


def test_pod_is_protected_from_autoscalers() -> None:
    annotations = job()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_pod_holds_no_token_and_no_service_environment() -> None:
    spec = pod_spec()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert "serviceAccountName" not in spec


def test_pod_goes_where_its_hardware_says() -> None:
    spec = pod_spec(
        runnerClass={"image": "r", "defaultTolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
        hardware=[
            {
                "name": "cpu",
                "nodeSelector": {"gpu": "h100"},
                "tolerations": [{"key": "team", "value": "a", "effect": "NoSchedule"}],
            }
        ],
    )
    assert spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["tolerations"][-2:] == SILENT_NODE
    assert spec["tolerations"][:-2] == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"},
    ]


@pytest.mark.parametrize(
    ("resources", "hardware", "want"),
    [
        pytest.param(
            {"cpu": "8", "memory": "64Gi", "ephemeralStorage": "20Gi"},
            {"gpus": 2, "resourceName": "nvidia.com/gpu"},
            {
                "requests": {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "2"},
                "limits": {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "2"},
            },
            id="a GPU class is Guaranteed",
        ),
        pytest.param(
            {"cpu": "1", "memory": "4Gi", "cpuLimit": "None"},
            {"gpus": 0},
            {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            id="a class without a CPU limit still has a memory limit",
        ),
    ],
)
def test_resources_are_the_classes_and_the_hardwares(resources: Manifest, hardware: Manifest, want: Manifest) -> None:
    made = container(runnerClass={"image": "r", "resources": resources}, hardware=[{"name": "cpu", **hardware}])
    assert made["resources"] == want


def test_environment_tells_the_runner_what_to_measure() -> None:
    given_to_runner = environment()
    assert given_to_runner[ENV_CELL] == CELL
    assert given_to_runner[ENV_REQUEST_DIGEST] == request_document().digest
    assert given_to_runner[ENV_REQUEST_PATH] == "/vidbench/request/request.json"
    assert given_to_runner[ENV_MESSAGE_LIMIT] == "2457"
    assert given_to_runner[ENV_NODE_NAME] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert given_to_runner[ENV_POD_UID] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert ENV_ARTIFACTS not in given_to_runner


def test_environment_of_the_class_moves_caches_but_not_the_contract() -> None:
    given_to_runner = environment(
        runnerClass={
            "image": "r",
            "env": [{"name": "HF_HOME", "value": "/weights/hub"}, {"name": ENV_CELL, "value": "ffffffff"}],
        }
    )
    assert given_to_runner["HF_HOME"] == "/weights/hub"
    assert given_to_runner[ENV_CELL] == CELL


def test_environment_names_each_variable_once() -> None:
    names = [entry["name"] for entry in container(runnerClass={"image": "r", "env": [{"name": "HOME"}]})["env"]]
    assert len(names) == len(set(names))


def test_caches_and_temporary_files_lie_on_one_scratch_volume() -> None:
    made = container()
    mounts = {mount["mountPath"]: mount for mount in made["volumeMounts"]}
    values = {entry["name"]: entry.get("value", "") for entry in made["env"]}
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "HF_HOME"):
        [mount] = [mount for path, mount in mounts.items() if f"{values[name]}/".startswith(f"{path}/")]
        assert mount["name"] == "scratch"


def test_artifacts_go_to_the_path_of_a_claim() -> None:
    spec = pod_spec(artifacts={"storageUri": "claim://videos/team/nightly"})
    made = spec["containers"][0]
    [volume] = [entry for entry in spec["volumes"] if "persistentVolumeClaim" in entry]
    [mount] = [entry for entry in made["volumeMounts"] if entry["name"] == volume["name"]]
    assert volume["persistentVolumeClaim"]["claimName"] == "videos"
    assert (mount["mountPath"], mount["subPath"]) == ("/vidbench/artifacts", "team/nightly")
    assert {"name": ENV_ARTIFACTS, "value": "file:///vidbench/artifacts"} in made["env"]


def test_claim_that_is_used_twice_is_one_volume() -> None:
    """A pod that names a claim in two volumes never gets past ContainerCreating."""
    spec = pod_spec(
        runnerClass={
            "image": "r",
            "claims": [
                {"claimName": "shared", "mountPath": "/weights"},
                {"claimName": "shared", "mountPath": "/cache", "readOnly": False},
            ],
        },
        artifacts={"storageUri": "claim://shared"},
    )
    claims = [entry for entry in spec["volumes"] if "persistentVolumeClaim" in entry]
    assert len(claims) == 1
    mounts = [entry for entry in spec["containers"][0]["volumeMounts"] if entry["name"] == claims[0]["name"]]
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in mounts] == [
        ("/weights", True),
        ("/cache", False),
        ("/vidbench/artifacts", False),
    ]


def test_class_chooses_image_secrets_and_runtime() -> None:
    spec = pod_spec(
        runnerClass={
            "image": "registry.example/r@sha256:0",
            "imagePullPolicy": "Always",
            "imagePullSecrets": [{"name": "pull"}],
            "runtimeClassName": "nvidia",
        }
    )
    assert spec["containers"][0]["image"] == "registry.example/r@sha256:0"
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["runtimeClassName"] == "nvidia"


STORING: Manifest = {"artifacts": {"storageUri": "claim://videos/team"}}


def harvest(**changes: Any) -> Manifest:
    return harvest_manifest(request_document(**STORING | changes), CELL, 2, 3)


def harvest_pod(**changes: Any) -> Manifest:
    spec: Manifest = harvest(**changes)["spec"]["template"]["spec"]
    return spec


def test_harvest_is_the_attempts_job_by_another_name_and_label() -> None:
    mine, attempts = harvest(), job(**STORING)
    assert mine["metadata"]["name"] == attempts["metadata"]["name"] + "-h"
    assert mine["metadata"]["labels"] == attempts["metadata"]["labels"] | {LABEL_HARVEST: "true"}
    assert mine["metadata"]["labels"] == mine["spec"]["template"]["metadata"]["labels"]
    assert mine["metadata"]["ownerReferences"] == attempts["metadata"]["ownerReferences"]
    without = {"template", "podFailurePolicy"}
    assert {key: value for key, value in mine["spec"].items() if key not in without} == {
        key: value for key, value in attempts["spec"].items() if key not in without
    }
    assert ExitCode.NOTHING_STORED in mine["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]


def test_longest_name_of_a_harvest_is_a_label_value() -> None:
    run = {"namespace": "default", "name": "n" * 40, "uid": "u-1"}
    made = harvest_manifest(request_document(**STORING, run=run), CELL, 64, 1000)
    assert len(made["metadata"]["name"]) <= 63


def test_harvest_takes_no_gpu_and_no_node_of_its_own() -> None:
    gpu = {
        "name": "cpu",
        "gpus": 2,
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    }
    spec = harvest_pod(hardware=[gpu], runnerClass={"image": "r", "runtimeClassName": "nvidia"})
    [made] = spec["containers"]
    assert made["resources"]["requests"] == {"cpu": "100m", "memory": "512Mi"}
    assert set(made["resources"]["limits"]) == {"cpu", "memory"}
    assert "nodeSelector" not in spec
    assert "runtimeClassName" not in spec
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in made["env"]
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}, *SILENT_NODE], (
        "the claim may be on a tainted node"
    )


def test_harvest_is_told_what_the_attempt_was_told_and_that_it_only_reads() -> None:
    attempts, mine = (
        environment(**STORING),
        {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in harvest_pod()["containers"][0]["env"]},
    )
    assert mine.items() >= attempts.items()
    assert mine[ENV_HARVEST] == "true"
    assert ENV_HARVEST not in attempts
    assert mine[ENV_ARTIFACTS] == "file:///vidbench/artifacts"


def test_harvest_mounts_the_artifacts_for_reading_and_no_weights() -> None:
    weights = {"image": "r", "claims": [{"claimName": "weights", "mountPath": "/weights"}]}
    spec = harvest_pod(runnerClass=weights)
    [volume] = [entry for entry in spec["volumes"] if "persistentVolumeClaim" in entry]
    [mount] = [entry for entry in spec["containers"][0]["volumeMounts"] if entry["name"] == volume["name"]]
    assert volume["persistentVolumeClaim"]["claimName"] == "videos"
    assert mount == {
        "name": volume["name"], "mountPath": "/vidbench/artifacts", "subPath": "team", "readOnly": True,
    }  # fmt: skip


def test_harvest_ends_by_itself_within_pull_and_five_minutes() -> None:
    assert harvest_pod(timeouts={"imagePullSeconds": 100, "shardSeconds": 9000})["activeDeadlineSeconds"] == 400


def test_harvest_of_a_run_that_stores_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="stores no artifacts"):
        harvest_manifest(request_document(), CELL, 1, 1)


_TEXT = st.text("abcXYZ019-", min_size=1, max_size=20).map(lambda text: f"a{text}a")
_SELECTORS = st.dictionaries(_TEXT, _TEXT, max_size=4)
_TOLERATIONS = st.lists(
    st.fixed_dictionaries(
        {"key": _TEXT, "operator": st.sampled_from(["Exists", "Equal"])},
        optional={"value": _TEXT, "effect": st.sampled_from(["NoSchedule", "NoExecute"])},
    ),
    max_size=3,
)
_HARDWARE = st.fixed_dictionaries(
    {"name": st.just("cpu"), "gpus": st.integers(0, 16), "nodeSelector": _SELECTORS, "tolerations": _TOLERATIONS}
)
_CLASS = st.fixed_dictionaries(
    {"image": st.sampled_from(["r", "registry.example/runner:1"])},
    optional={
        "resources": st.fixed_dictionaries({"cpuLimit": st.sampled_from(["Equal", "None"])}),
        "claims": st.lists(st.just({"claimName": "weights", "mountPath": "/weights"}), max_size=1),
        "env": st.lists(st.fixed_dictionaries({"name": _TEXT.map(lambda text: text.replace("-", "_"))}), max_size=3),
        "defaultTolerations": _TOLERATIONS,
        "runtimeClassName": st.just("nvidia"),
    },
)


@settings(max_examples=100, deadline=None)
@given(hardware=_HARDWARE, runner_class=_CLASS, storage=st.sampled_from(["", "claim://videos", "claim://a/b"]))
def test_pod_fits_the_restricted_profile_whatever_is_asked_for(
    hardware: Manifest, runner_class: Manifest, storage: str
) -> None:
    spec = pod_spec(hardware=[hardware], runnerClass=runner_class, artifacts={"storageUri": storage})
    specs = [spec]
    if storage:
        specs.append(harvest_pod(hardware=[hardware], runnerClass=runner_class, artifacts={"storageUri": storage}))
    for made in specs:
        assert violations_of_restricted(made) == []
        assert made["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in spec["containers"][0]["resources"]["limits"]


@settings(max_examples=50, deadline=None)
@given(hardware=_HARDWARE, text=st.text(max_size=30))
def test_what_a_run_says_reaches_selector_tolerations_and_gpus_only(hardware: Manifest, text: str) -> None:
    """Two runs of the same class differ in nothing else of their pods."""
    changes: Manifest = {"prompts": [{"id": "cat", "text": text or "x"}]}
    mine = pod_spec(hardware=[hardware], **changes)
    plain = pod_spec()
    for spec in (mine, plain):
        for field in ("nodeSelector", "tolerations"):
            del spec[field]
        del spec["containers"][0]["resources"]
        spec["containers"][0]["env"] = [
            entry for entry in spec["containers"][0]["env"] if entry["name"] != ENV_REQUEST_DIGEST
        ]
    assert mine == plain


def test_request_configmap_is_immutable_and_the_runs() -> None:
    document = request_document()
    made = request_manifest(document.run, "nightly-request-0", document.to_text())
    assert made["immutable"] is True
    assert made["data"] == {"request.json": document.to_text()}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert made["metadata"]["annotations"][ANNOTATION_REQUEST_DIGEST] == document.digest


def test_event_that_says_the_same_has_the_same_name() -> None:
    run = request_document().run
    event = EmitEvent("Warning", EventReason.ATTEMPT_FAILED, "it broke")
    first, again = event_manifest(run, event, 100.0), event_manifest(run, event, 200.0)
    other = event_manifest(run, EmitEvent("Warning", EventReason.ATTEMPT_FAILED, "it broke again"), 100.0)
    assert first["metadata"]["name"] == again["metadata"]["name"]
    assert first["metadata"]["name"] != other["metadata"]["name"]
    assert again["lastTimestamp"] == "1970-01-01T00:03:20Z"


def test_result_has_no_owner() -> None:
    """Results outlive their run."""
    spec = BenchmarkResultSpec.model_validate(benchmark_result()["spec"])
    made = result_manifest("default", "nightly-0123abcd-1", spec, {"a": "b"})
    assert "ownerReferences" not in made["metadata"]
    assert made["metadata"]["labels"]["a"] == "b"
    assert made["spec"] == spec.to_wire()

"""The `Cluster` port on a real API server: what each answer of the server becomes."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from structlog.testing import capture_logs
from support.broken_runs import without_phase_enum
from support.builders import document_of
from support.kube_api import KubeApi, wait_for
from support.manifests import benchmark_result, benchmark_run, runner_class, video_model

from localcluster.controlplane import ControlPlane
from vidbench_api.identity import request_name
from vidbench_api.names import EventReason
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.adapters.api import Api
from vidbench_operator.adapters.clock import ApiClock
from vidbench_operator.adapters.kube import KubeCluster
from vidbench_operator.adapters.metrics import Metrics
from vidbench_operator.core.observed import ObservedRun
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.manifests import job_manifest
from vidbench_operator.ports import AlreadyExists, BrokenRun, Conflict, Gone, Refused, RunKey, Unavailable

Manifest = dict[str, Any]


async def connect(kubeconfig: Path, metrics: Metrics | None = None) -> tuple[Api, KubeCluster]:
    """Return a cluster as the user of a kubeconfig."""
    configuration = Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    clock = ApiClock()
    api = Api(ApiClient(configuration), clock, metrics or Metrics())
    return api, KubeCluster(api, clock)


@pytest.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[KubeCluster]:
    api, cluster = await connect(control_plane.admin_kubeconfig)
    yield cluster
    await api.close()


@pytest.fixture
async def run(cluster: KubeCluster, api: KubeApi, namespace: str) -> ObservedRun:
    assert api.create(benchmark_run("run", namespace)).accepted
    stored = await cluster.get_run(RunKey(namespace, "run"))
    assert stored is not None
    return stored


def make_job(run: ObservedRun) -> Manifest:
    document = document_of(run)
    return job_manifest(document, document.cells[0].id, 1, 1)


async def test_run_is_read_and_missed(cluster: KubeCluster, run: ObservedRun) -> None:
    assert run.spec.parallelism == 16
    assert await cluster.get_run(RunKey(run.namespace, "nobody")) is None
    assert abs(cluster.now() - run.created_at) < 60


async def test_status_is_written_at_the_version_that_was_read(cluster: KubeCluster, run: ObservedRun) -> None:
    status = BenchmarkRunStatus(message="first")
    written = await cluster.write_status(run, status)
    stored = await cluster.get_run(RunKey(run.namespace, run.name))
    assert stored == written
    with pytest.raises(Conflict):
        await cluster.write_status(run, BenchmarkRunStatus(message="late"))
    again = await cluster.write_status(written, BenchmarkRunStatus(message="second"))
    assert again.status.message == "second"


async def test_status_of_a_deleted_run_is_gone(cluster: KubeCluster, run: ObservedRun) -> None:
    await cluster.delete_run(run)
    with pytest.raises((Gone, Conflict)):
        await cluster.write_status(run, BenchmarkRunStatus(message="late"))
    await cluster.delete_run(run)


async def test_run_of_the_same_name_is_not_deleted_for_its_predecessor(cluster: KubeCluster, run: ObservedRun) -> None:
    await cluster.delete_run(replace(run, uid="00000000-0000-4000-8000-000000000000"))
    assert await cluster.get_run(RunKey(run.namespace, run.name)) is not None


async def test_job_that_exists_already_is_the_runs_own(cluster: KubeCluster, run: ObservedRun) -> None:
    first = await cluster.create_job(run, make_job(run))
    again = await cluster.create_job(run, make_job(run))
    assert (first.uid, first.name, first.owner_uid) == (again.uid, again.name, run.uid)
    jobs, pods = await cluster.list_children(run)
    assert [job.uid for job in jobs] == [first.uid]
    assert all(pod.job_uid == first.uid for pod in pods)


async def test_job_of_somebody_else_is_a_conflict_of_names(
    cluster: KubeCluster, api: KubeApi, run: ObservedRun
) -> None:
    foreign = copy.deepcopy(make_job(run))
    del foreign["metadata"]["ownerReferences"]
    assert api.create(foreign).accepted
    with pytest.raises(AlreadyExists):
        await cluster.create_job(run, make_job(run))


async def test_job_that_the_server_will_not_have_is_refused_with_its_words(
    cluster: KubeCluster, run: ObservedRun
) -> None:
    bad = make_job(run)
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = ""
    with pytest.raises(Refused, match="image"):
        await cluster.create_job(run, bad)


async def test_job_beyond_a_quota_is_refused(cluster: KubeCluster, api: KubeApi, run: ObservedRun) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    assert api.request("POST", f"/api/v1/namespaces/{run.namespace}/resourcequotas", quota).accepted
    wait_for(lambda: api.create(make_job(run), dry_run=True), accepted=False)
    with pytest.raises(Refused, match=r"exceeded quota|status unknown for quota"):
        await cluster.create_job(run, make_job(run))


async def test_job_in_a_namespace_that_is_gone(cluster: KubeCluster, run: ObservedRun) -> None:
    elsewhere = replace(run, namespace="nowhere")
    manifest = make_job(run)
    manifest["metadata"]["namespace"] = "nowhere"
    with pytest.raises(Gone):
        await cluster.create_job(elsewhere, manifest)


async def test_job_is_deleted_by_uid_with_its_pods(cluster: KubeCluster, api: KubeApi, run: ObservedRun) -> None:
    job = await cluster.create_job(run, make_job(run))
    await cluster.delete_job(run, job.name, "00000000-0000-4000-8000-000000000000")
    assert (await cluster.list_children(run))[0] != ()
    await cluster.delete_job(run, job.name, job.uid)
    await cluster.delete_job(run, job.name, job.uid)
    assert (await cluster.list_children(run))[0] == ()


async def test_time_to_live_is_set_by_uid(cluster: KubeCluster, run: ObservedRun) -> None:
    job = await cluster.create_job(run, make_job(run))
    await cluster.patch_ttl(run, job.name, "00000000-0000-4000-8000-000000000000", 7)
    assert (await cluster.list_children(run))[0][0].ttl_seconds is None
    await cluster.patch_ttl(run, job.name, job.uid, 7)
    assert (await cluster.list_children(run))[0][0].ttl_seconds == 7
    await cluster.patch_ttl(run, "nobody", job.uid, 7)


async def test_request_is_stored_once_and_only_as_it_is(cluster: KubeCluster, run: ObservedRun) -> None:
    name = request_name(run.name, run.uid)
    assert await cluster.get_request(run, name) is None
    await cluster.create_request(run, name, '{"a":1}')
    await cluster.create_request(run, name, '{"a":1}')
    assert await cluster.get_request(run, name) == '{"a":1}'
    with pytest.raises(AlreadyExists):
        await cluster.create_request(run, name, '{"a":2}')
    assert await cluster.get_request(replace(run, uid="another"), name) is None


async def test_result_is_written_once(cluster: KubeCluster, run: ObservedRun) -> None:
    raw = benchmark_result()["spec"]
    spec = BenchmarkResultSpec.model_validate(raw | {"run": {"name": run.name, "uid": run.uid}})
    labels = {"vidbench.io/run-uid": run.uid}
    await cluster.create_result(run, "run-01234567-1", spec, labels)
    with pytest.raises(AlreadyExists):
        await cluster.create_result(run, "run-01234567-1", spec, labels)
    assert await cluster.get_result(run, "run-01234567-1") == spec
    assert await cluster.list_results(run) == {"run-01234567-1": spec}
    assert await cluster.get_result(run, "nobody") is None


async def test_references_are_read_and_broken_ones_named(cluster: KubeCluster, api: KubeApi, run: ObservedRun) -> None:
    assert (await cluster.get_references(run)).runner_class is None
    assert api.create(video_model("wan", run.namespace)).accepted
    assert api.create(video_model("other", run.namespace)).accepted
    assert api.create(runner_class("default")).accepted
    try:
        found = await cluster.get_references(run)
    finally:
        # It is there for every namespace, and for a second try of this test.
        api.delete(runner_class("default"))
    assert found.runner_class is not None
    assert set(found.models) == {"wan"}
    assert found.broken == {}


async def test_repeated_event_is_counted(cluster: KubeCluster, api: KubeApi, run: ObservedRun) -> None:
    event = EmitEvent("Warning", EventReason.ATTEMPT_FAILED, "it broke")
    for _ in range(3):
        await cluster.emit(run, event)
    stored = api.request("GET", f"/api/v1/namespaces/{run.namespace}/events").body["items"]
    mine = [entry for entry in stored if entry["involvedObject"].get("uid") == run.uid]
    assert [(entry["message"], entry["count"]) for entry in mine] == [("it broke", 3)]


async def test_event_that_cannot_be_written_is_only_logged(cluster: KubeCluster, run: ObservedRun) -> None:
    with capture_logs() as logs:
        await cluster.emit(replace(run, namespace="nowhere"), EmitEvent("Normal", EventReason.ACCEPTED, "hello"))
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["an Event could not be written"]


async def test_status_nonsense_makes_a_run_broken_and_is_reported_on_it(
    cluster: KubeCluster, api: KubeApi, run: ObservedRun
) -> None:
    """Fields that the schema of another version allowed: here, a phase that does not exist."""
    raw = api.get(benchmark_run("run", run.namespace)).body
    with without_phase_enum(api):
        wait_for(lambda: api.replace(raw | {"status": {"phase": "Sleeping"}}, "status"), accepted=True)
    with pytest.raises(BrokenRun, match=r"status\.phase") as caught:
        await cluster.get_run(RunKey(run.namespace, run.name))
    assert caught.value.run is not None
    await cluster.report_broken(caught.value.run, str(caught.value))
    body = api.get(benchmark_run("run", run.namespace)).body
    [condition] = body["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Stalled", "True", "InvalidSpec")
    assert "status.phase" in condition["message"]
    before = api.request("GET", f"/api/v1/namespaces/{run.namespace}/events").body["items"]
    assert [entry["count"] for entry in before if entry["reason"] == "Refused"] == [1]
    await cluster.report_broken(caught.value.run, str(caught.value))
    assert api.get(benchmark_run("run", run.namespace)).body == body, "saying it again writes"
    after = api.request("GET", f"/api/v1/namespaces/{run.namespace}/events").body["items"]
    assert after == before


async def test_namespace_of_restricted_pods_admits_the_runner(
    cluster: KubeCluster, api: KubeApi, run: ObservedRun
) -> None:
    """The server's own check of the profile, on the pod that a Job would make."""
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    path = f"/api/v1/namespaces/{run.namespace}"
    assert api.request("PATCH", path, label, content_type="application/merge-patch+json").accepted
    pod = make_job(run)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **pod}
    pod["metadata"] = {**pod["metadata"], "name": "runner", "namespace": run.namespace}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": run.namespace},
    }
    assert api.create(account).status in (201, 409)
    answer = api.create(pod, dry_run=True)
    assert answer.accepted, answer.message


async def test_calls_are_counted_and_mutations_told(control_plane: ControlPlane, namespace: str) -> None:
    metrics = Metrics()
    api, cluster = await connect(control_plane.admin_kubeconfig, metrics)
    with capture_logs() as logs:
        assert await cluster.get_run(RunKey(namespace, "nobody")) is None
        with pytest.raises(Gone):
            await api.create(f"/api/v1/namespaces/{namespace}-x/configmaps", {"metadata": {"name": "c"}})
    await api.close()
    text = metrics.render()[0].decode()
    assert 'vidbench_api_calls_total{code="404",resource="benchmarkruns",verb="GET"} 1.0' in text
    assert 'vidbench_api_calls_total{code="404",resource="configmaps",verb="POST"} 1.0' in text
    [line] = [entry for entry in logs if entry["event"] == "mutation"]
    assert (line["verb"], line["name"], line["code"]) == ("POST", "c", 404)


async def test_server_that_is_away_is_unavailable(control_plane: ControlPlane, tmp_path: Path) -> None:
    text = control_plane.admin_kubeconfig.read_text()
    port = control_plane.url.rpartition(":")[2]
    (tmp_path / "kubeconfig").write_text(text.replace(f":{port}", ":1"))
    api, cluster = await connect(tmp_path / "kubeconfig")
    with pytest.raises(Unavailable, match=r"GET /apis/vidbench\.io"):
        await cluster.get_run(RunKey("default", "run"))
    await api.close()


async def test_user_without_rights_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    api, cluster = await connect(control_plane.kubeconfig_for("nobody"))
    with pytest.raises(Refused, match="cannot list"):
        await cluster.list_nodes()
    assert not await cluster.can_list_nodes()
    assert await cluster.is_served()
    await api.close()

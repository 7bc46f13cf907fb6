"""The chart on a real API server of its own: install, upgrade, uninstall; what the operator may do; what admission refuses.

A control plane of its own, since admission policies hold for the whole cluster. Nobody runs the pods here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.helm import CHART, OPERATOR_ACCOUNT, RELEASE, RELEASE_NAMESPACE, Helm, only
from support.kube_api import Answer, KubeApi, collection, wait_for
from support.manifests import benchmark_result, benchmark_run, complete_runner_class, runner_class
from support.requests import CELL, request_document

from localcluster.components import APISERVER, ETCD, ControlPlaneOptions
from localcluster.controlplane import ControlPlane
from vidbench_api.names import ENV_SERVICE_API_KEY
from vidbench_api.request import RequestDocument
from vidbench_operator.core.plan import Placement
from vidbench_operator.manifests import harvest_manifest, job_manifest

Manifest = dict[str, Any]
TEAM, OTHER_TEAM = "team-a", "team-b"
USER = f"system:serviceaccount:{RELEASE_NAMESPACE}:{OPERATOR_ACCOUNT}"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server without CRDs: the chart brings them."""
    options = ControlPlaneOptions(components=(ETCD, APISERVER))
    with ControlPlane(tmp_path_factory.mktemp("chart-cluster"), options) as running:
        yield running


@pytest.fixture(scope="module")
def admin(cluster: ControlPlane) -> Iterator[KubeApi]:
    client = KubeApi(cluster.admin_kubeconfig)
    yield client
    client.close()


@pytest.fixture(scope="module")
def helm(cluster: ControlPlane, admin: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, after the first install, in namespaces that ask for restricted pods."""
    for name in (RELEASE_NAMESPACE, TEAM, OTHER_TEAM):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
        # A first try of the fixture may have left it.
        assert admin.create(namespace).status in {201, 409}
    installed = Helm(tmp_path_factory.mktemp("helm"), cluster.admin_kubeconfig)
    installed.install()
    return installed


@pytest.fixture(scope="module")
def operator(admin: KubeApi, helm: Helm) -> Iterator[KubeApi]:
    """The API as the operator's account, once the policies are in force."""
    client = admin.impersonate_service_account(RELEASE_NAMESPACE, OPERATOR_ACCOUNT)
    wait_for(lambda: admin.create(benchmark_result(namespace=TEAM), dry_run=True), accepted=False)
    wait_for(lambda: client.create(job(hostNetwork=True), dry_run=True), accepted=False)
    yield client
    client.close()


Keep = Callable[[KubeApi, Manifest], Manifest]


@pytest.fixture
def keep(admin: KubeApi) -> Iterator[Keep]:
    """Stores objects as whoever may, for the length of a test: however that ends, a second try finds their names free."""
    kept: list[Manifest] = []

    def create(client: KubeApi, manifest: Manifest) -> Manifest:
        answer = client.create(manifest)
        assert answer.accepted, answer.message
        kept.append(manifest)
        return answer.body

    yield create
    for manifest in kept:
        admin.delete(manifest)


PLACED = Placement(avoid=("a", "b"), avoid_if_possible=("c", "d"), prefer=("e", "f"), require="g")
"""All that a placement can say, to see that the API server takes it."""


def document_of_a_run() -> RequestDocument:
    return request_document(
        run={"namespace": TEAM, "name": "nightly", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
        runnerClass=complete_runner_class()["spec"] | {"allowedNamespaces": ["*"]},
        artifacts={"storageUri": "claim://videos/nightly"},
        scheduling={"queueName": "lab", "priorityClassName": "system-node-critical"},
    )


def job(change: Callable[[Manifest], object] | None = None, **pod: Any) -> Manifest:
    """A Job as the operator makes it, changed at will; keywords change its pod's spec."""
    manifest = copy.deepcopy(job_manifest(document_of_a_run(), CELL, 1, 1, PLACED))
    manifest["spec"]["template"]["spec"].update(pod)
    if change is not None:
        change(manifest)
    return manifest


def in_container(**fields: Any) -> Callable[[Manifest], object]:
    return lambda manifest: manifest["spec"]["template"]["spec"]["containers"][0].update(fields)


def in_security_context(**fields: Any) -> Callable[[Manifest], object]:
    def change(manifest: Manifest) -> None:
        manifest["spec"]["template"]["spec"]["containers"][0]["securityContext"].update(fields)

    return change


def in_pod_security_context(**fields: Any) -> Callable[[Manifest], object]:
    return lambda manifest: manifest["spec"]["template"]["spec"]["securityContext"].update(fields)


def service_key(
    variable: str = ENV_SERVICE_API_KEY, name: str = "vidbench-service-lab", key: str = "api-key"
) -> Manifest:
    """The one variable that a pod may get from a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def with_volume(**volume: Any) -> Callable[[Manifest], object]:
    return lambda manifest: manifest["spec"]["template"]["spec"]["volumes"].append({"name": "more", **volume})


def owned_by(*owners: Manifest) -> Callable[[Manifest], object]:
    return lambda manifest: manifest["metadata"].update(ownerReferences=list(owners))


def in_spec(**fields: Any) -> Callable[[Manifest], object]:
    def change(manifest: Manifest) -> None:
        manifest["spec"].pop("podFailurePolicy", None)  # forbids some of what is tried here by itself
        manifest["spec"].update(fields)

    return change


def restarting(manifest: Manifest) -> None:
    in_spec()(manifest)
    manifest["spec"].pop("podReplacementPolicy")
    manifest["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"


def owner(kind: str, api_version: str = "vidbench.io/v1alpha1", **more: Any) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "name": "nightly", "uid": "u", "controller": True} | more


PRIVILEGED = {"name": "more", "image": "i", "securityContext": {"privileged": True}}
OWNER = "metadata.ownerReferences: a Job of the operator has one owner"
ATTEMPT = "spec: a Job of the operator is one attempt"
HOST = "spec.template.spec: hostNetwork, hostPID and hostIPC"
TOKEN = "spec.template.spec.serviceAccountName: runners have no account"
NODE = "spec.template.spec.nodeName: runners go through the scheduler"
VOLUMES = "spec.template.spec.volumes: only emptyDir, claims"
POD_CONTEXT = "spec.template.spec.securityContext: runAsNonRoot"
CONTAINERS = "spec.template.spec.containers: not privileged"
ENVIRONMENT = "spec.template.spec.containers: environment from Secrets"
PORTS = "spec.template.spec.containers: ports of the node"

BAD_JOBS = {
    "a Job without an owner": (job(owned_by()), OWNER),
    "a Job of a Deployment": (job(owned_by(owner("Deployment", "apps/v1"))), OWNER),
    "a Job of a kind of the same name": (job(owned_by(owner("BenchmarkRun", "other.io/v1"))), OWNER),
    "a Job with an owner that does not control it": (job(owned_by(owner("BenchmarkRun", controller=False))), OWNER),
    "a Job of two owners": (
        job(owned_by(owner("BenchmarkRun"), owner("BenchmarkRun", controller=False, uid="v"))),
        OWNER,
    ),
    "a Job that tries again by itself": (job(in_spec(backoffLimit=3)), ATTEMPT),
    "a Job of two pods at once": (job(in_spec(parallelism=2)), ATTEMPT),
    "a Job of two pods in turn": (job(in_spec(completions=2)), ATTEMPT),
    "a pod that restarts": (job(restarting), ATTEMPT),
    "the node's network": (job(hostNetwork=True), HOST),
    "the node's processes": (job(hostPID=True), HOST),
    "the node's memory": (job(hostIPC=True), HOST),
    "an account of its own": (job(serviceAccountName="vidbench-operator"), TOKEN),
    "an account by its old name": (job(serviceAccount="vidbench-operator"), TOKEN),
    "a token": (job(automountServiceAccountToken=True), TOKEN),
    "a node of its choice": (job(nodeName="node-1"), NODE),
    "a folder of the node": (job(with_volume(hostPath={"path": "/"})), VOLUMES),
    "a Secret": (job(with_volume(secret={"secretName": "s"})), VOLUMES),
    "a token as a volume": (
        job(with_volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]})),
        VOLUMES,
    ),
    "somebody else's ConfigMap": (job(with_volume(configMap={"name": "other-request-0"})), VOLUMES),
    "a volume of a driver": (job(with_volume(csi={"driver": "d"})), VOLUMES),
    "root, by the pod": (job(in_pod_security_context(runAsNonRoot=False)), POD_CONTEXT),
    "no seccomp profile": (job(in_pod_security_context(seccompProfile={"type": "Unconfined"})), POD_CONTEXT),
    "a privileged container": (
        job(in_security_context(privileged=True, allowPrivilegeEscalation=True)),
        CONTAINERS,
    ),
    "escalation": (job(in_security_context(allowPrivilegeEscalation=True)), CONTAINERS),
    "root, by the container": (job(in_security_context(runAsNonRoot=False)), CONTAINERS),
    "no seccomp profile, by the container": (
        job(in_security_context(seccompProfile={"type": "Unconfined"})),
        CONTAINERS,
    ),
    "kept capabilities": (job(in_security_context(capabilities={})), CONTAINERS),
    "a capability": (job(in_security_context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})), CONTAINERS),
    "no security context": (job(in_container(securityContext={})), CONTAINERS),
    "a privileged init container": (job(initContainers=[PRIVILEGED]), CONTAINERS),
    "a second, privileged container": (
        job(lambda manifest: manifest["spec"]["template"]["spec"]["containers"].append(PRIVILEGED)),
        CONTAINERS,
    ),
    "a Secret in the environment": (
        job(in_container(env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])),
        ENVIRONMENT,
    ),
    "another Secret as a service's key": (job(in_container(env=[service_key(name="pull")])), ENVIRONMENT),
    "another key of a service's Secret": (job(in_container(env=[service_key(key="token")])), ENVIRONMENT),
    "a service's key by another name": (job(in_container(env=[service_key("TOKEN")])), ENVIRONMENT),
    "a whole Secret in the environment": (job(in_container(envFrom=[{"secretRef": {"name": "s"}}])), ENVIRONMENT),
    "a port of the node": (job(in_container(ports=[{"containerPort": 80, "hostPort": 80}])), PORTS),
}


class TestInstall:
    def test_first_install_brings_kinds_and_objects(self, admin: KubeApi, helm: Helm) -> None:
        for name in ("cpu", "gpu", "default"):
            assert admin.get(runner_class(name)).body["spec"]["allowedNamespaces"] == ["*"]

    def test_stored_classes_are_what_was_rendered(self, admin: KubeApi, helm: Helm) -> None:
        """Helm's client has unknown fields pruned in silence: what is stored must hold all that was said."""
        for document in helm.render():
            if document["kind"] == "RunnerClass":
                stored = admin.get(document).body["spec"]
                assert {name: stored[name] for name in document["spec"]} == document["spec"]

    def test_everything_rendered_passes_strict_validation(self, cluster: ControlPlane, helm: Helm) -> None:
        text = helm("template", RELEASE, str(CHART), "-n", RELEASE_NAMESPACE, "--include-crds")
        said = cluster.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
            stdin=text,
        )
        assert said.count("serverside-applied") == len(helm.render(None, "--include-crds"))

    def test_operator_pod_is_let_into_a_restricted_namespace(self, admin: KubeApi, helm: Helm) -> None:
        template = only(helm.render(), "Deployment")["spec"]["template"]
        metadata = template["metadata"] | {"name": "probe", "namespace": RELEASE_NAMESPACE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        assert admin.create(pod, dry_run=True).accepted
        template["spec"]["hostNetwork"] = True
        assert admin.create(pod, dry_run=True).status == 403

    def test_runner_pod_is_let_into_a_restricted_namespace(self, admin: KubeApi, helm: Helm) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": TEAM}}
        assert admin.create(account).status in {201, 409}
        template = job()["spec"]["template"]
        template["spec"].pop("runtimeClassName")  # there is no such RuntimeClass here
        metadata = template["metadata"] | {"name": "probe", "namespace": TEAM}
        answer = admin.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}, dry_run=True
        )
        assert answer.accepted, answer.message

    def test_second_install_changes_nothing(self, admin: KubeApi, helm: Helm) -> None:
        before = {name: admin.get(runner_class(name)).body["metadata"]["generation"] for name in ("cpu", "gpu")}
        helm.install()
        after = {name: admin.get(runner_class(name)).body["metadata"]["generation"] for name in ("cpu", "gpu")}
        assert after == before


def may(admin: KubeApi, verb: str, group: str, resource: str, namespace: str = TEAM, name: str = "") -> bool:
    """Ask the API server whether the operator may do something."""
    resource, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "name": name,
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": USER,
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{RELEASE_NAMESPACE}", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }
    answer = admin.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.accepted, answer.message
    return bool(answer.body["status"]["allowed"])


OURS = "vidbench.io"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RIGHTS = {
    (OURS, "benchmarkruns"): {"get", "list", "watch", "delete"},
    (OURS, "benchmarkruns/status"): {"update", "patch"},
    (OURS, "benchmarkruns/scale"): set(),
    (OURS, "videomodels"): {"get", "list", "watch"},
    (OURS, "runnerclasses"): {"get", "list", "watch"},
    (OURS, "benchmarkresults"): {"get", "list", "create"},
    ("", "configmaps"): {"get", "create"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "pods/exec"): set(),
    ("", "pods/log"): set(),
    ("", "pods/ephemeralcontainers"): set(),
    ("", "events"): {"get", "list", "create", "patch"},
    ("", "nodes"): {"get", "list", "watch"},
    ("", "secrets"): set(),
    ("", "serviceaccounts"): set(),
    ("", "serviceaccounts/token"): set(),
    ("", "namespaces"): set(),
    ("", "persistentvolumeclaims"): set(),
    ("batch", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("batch", "jobs/status"): set(),
    ("coordination.k8s.io", "leases"): set(),
    ("apps", "deployments"): set(),
    ("rbac.authorization.k8s.io", "roles"): set(),
    ("rbac.authorization.k8s.io", "clusterroles"): set(),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): set(),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): set(),
    ("apiextensions.k8s.io", "customresourcedefinitions"): set(),
}


class TestRights:
    @pytest.mark.parametrize(("group", "resource"), RIGHTS, ids=[f"{group}/{name}" for group, name in RIGHTS])
    def test_operator_may_do_this_and_no_more(self, admin: KubeApi, helm: Helm, group: str, resource: str) -> None:
        assert {verb for verb in VERBS if may(admin, verb, group, resource)} == RIGHTS[group, resource]

    @pytest.mark.parametrize(
        ("name", "verbs"),
        [
            pytest.param(OPERATOR_ACCOUNT, {"get", "patch", "create"}, id="its own"),
            # The name of an object to be created is not known to RBAC.
            pytest.param("kube-scheduler", {"create"}, id="another's"),
        ],
    )
    def test_operator_has_its_lease_alone(self, admin: KubeApi, helm: Helm, name: str, verbs: set[str]) -> None:
        lease = ("coordination.k8s.io", "leases", RELEASE_NAMESPACE, name)
        assert {verb for verb in VERBS if may(admin, verb, *lease)} == verbs

    def test_operators_calls_about_its_lease_are_let_in(self, operator: KubeApi, admin: KubeApi, keep: Keep) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": OPERATOR_ACCOUNT, "namespace": RELEASE_NAMESPACE},
            "spec": {"holderIdentity": "pod-1", "leaseDurationSeconds": 12, "renewTime": "2026-11-24T10:00:00.000000Z"},
        }
        keep(operator, lease)
        stored = operator.get(lease).body
        patch = {
            "metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]},
            "spec": {"holderIdentity": None},
        }
        assert operator.merge_patch(lease, patch).accepted
        assert operator.merge_patch(lease, patch).status == 409
        assert "holderIdentity" not in admin.get(lease).body["spec"]

    def test_list_of_rights_names_no_secrets_and_no_exec(self, cluster: ControlPlane, helm: Helm) -> None:
        said = cluster.kubectl("auth", "can-i", "--list", f"--as={USER}", "-n", TEAM)
        assert "benchmarkruns.vidbench.io" in said
        for word in ("secrets", "exec", "roles", "impersonate", "escalate", "*.*"):
            assert word not in said

    def test_operator_may_delete_results_once_the_ledger_has_a_limit(
        self, admin: KubeApi, helm: Helm, operator: KubeApi, keep: Keep
    ) -> None:
        result = benchmark_result(namespace=TEAM)
        assert admin.impersonate("restore", "system:masters").create(result, dry_run=True).status == 422
        keep(operator, result)
        assert operator.delete(result).status == 403
        helm.install({"ledger": {"maxPerNamespace": 100}})
        try:
            wait_for(lambda: _as_answer(may(admin, "delete", OURS, "benchmarkresults")), accepted=True)
            assert operator.delete(result).accepted
        finally:
            helm.install()
            wait_for(lambda: _as_answer(may(admin, "delete", OURS, "benchmarkresults")), accepted=False)

    def test_named_namespaces_bound_the_operator(self, admin: KubeApi, helm: Helm) -> None:
        helm.install({"watchNamespaces": [TEAM]})
        try:
            # Cluster roles and roles are heard of by watches of their own, in either order.
            wait_for(lambda: _as_answer(may(admin, "create", "batch", "jobs", OTHER_TEAM)), accepted=False)
            wait_for(lambda: _as_answer(may(admin, "create", "batch", "jobs", TEAM)), accepted=True)
            assert not may(admin, "list", "", "pods", "")
            assert may(admin, "list", "", "nodes", "")
            assert may(admin, "get", OURS, "runnerclasses", "")
        finally:
            helm.install()
            wait_for(lambda: _as_answer(may(admin, "create", "batch", "jobs", OTHER_TEAM)), accepted=True)


class TestAdmissionOfJobs:
    def test_job_of_the_operator_is_let_in(self, operator: KubeApi) -> None:
        answer = operator.create(job(), dry_run=True)
        assert answer.accepted, answer.message

    def test_harvest_of_the_operator_is_let_in(self, operator: KubeApi) -> None:
        answer = operator.create(harvest_manifest(document_of_a_run(), CELL, 1, 1), dry_run=True)
        assert answer.accepted, answer.message

    @pytest.mark.parametrize(("manifest", "words"), BAD_JOBS.values(), ids=list(BAD_JOBS))
    def test_job_of_another_shape_is_refused(self, operator: KubeApi, manifest: Manifest, words: str) -> None:
        answer = operator.create(manifest, dry_run=True)
        assert answer.status == 422, answer.message
        assert words in answer.message

    def test_job_with_the_key_of_a_service_is_let_through(self, operator: KubeApi) -> None:
        answer = operator.create(job(in_container(env=[service_key()])), dry_run=True)
        assert answer.accepted, answer.message

    def test_every_rule_refuses_something(self, helm: Helm) -> None:
        policy = only(helm.render(), "ValidatingAdmissionPolicy", "vidbench-jobs")
        tried = [words for _, words in BAD_JOBS.values()]
        unused = [
            rule["message"]
            for rule in policy["spec"]["validations"]
            if not any(rule["message"].startswith(words) for words in tried)
        ]
        assert unused == []

    def test_job_of_somebody_else_is_no_business_of_the_policy(self, admin: KubeApi, operator: KubeApi) -> None:
        assert admin.create(job(owned_by(), hostNetwork=True), dry_run=True).accepted

    def test_operator_cannot_touch_a_foreign_job(self, admin: KubeApi, operator: KubeApi, keep: Keep) -> None:
        foreign = job(owned_by())
        keep(admin, foreign)
        answer = operator.merge_patch(foreign, {"spec": {"ttlSecondsAfterFinished": 5}}, dry_run=True)
        assert answer.status == 422
        assert OWNER in answer.message

    def test_operator_can_set_the_time_to_live_of_its_job(self, operator: KubeApi, keep: Keep) -> None:
        own = job()
        keep(operator, own)
        assert operator.merge_patch(own, {"spec": {"ttlSecondsAfterFinished": 5}}).accepted


class TestAdmissionOfResults:
    def test_operator_writes_results(self, operator: KubeApi) -> None:
        answer = operator.create(benchmark_result(namespace=TEAM), dry_run=True)
        assert answer.accepted, answer.message

    def test_tenant_with_every_right_does_not(
        self, cluster: ControlPlane, admin: KubeApi, operator: KubeApi, keep: Keep
    ) -> None:
        words = ("create", "clusterrolebinding", "careless", "--clusterrole=cluster-admin", "--user=alice")
        cluster.kubectl("apply", "-f", "-", stdin=cluster.kubectl(*words, "--dry-run=client", "-o", "yaml"))
        alice = admin.impersonate("alice")
        wait_for(lambda: alice.request("GET", collection("BenchmarkResult", TEAM)), accepted=True)
        answer = alice.create(benchmark_result(namespace=TEAM), dry_run=True)
        assert answer.status == 422
        assert "a BenchmarkResult says what the operator measured" in answer.message

        keep(operator, benchmark_result(namespace=TEAM))
        labelled = alice.merge_patch(benchmark_result(namespace=TEAM), {"metadata": {"labels": {"baseline": "v1"}}})
        assert labelled.accepted, labelled.message
        assert alice.delete(benchmark_result(namespace=TEAM)).accepted
        alice.close()

    def test_named_writer_does(self, admin: KubeApi, helm: Helm, operator: KubeApi) -> None:
        restorer = admin.impersonate("restore", "system:masters")
        assert not restorer.create(benchmark_result(namespace=TEAM), dry_run=True).accepted
        helm.install({"admissionPolicies": {"additionalResultWriters": ["restore"]}})
        try:
            wait_for(lambda: restorer.create(benchmark_result(namespace=TEAM), dry_run=True), accepted=True)
        finally:
            helm.install()
            wait_for(lambda: restorer.create(benchmark_result(namespace=TEAM), dry_run=True), accepted=False)
        restorer.close()


@pytest.fixture(scope="module")
def team_class(admin: KubeApi, operator: KubeApi) -> Iterator[str]:
    """A class for one team, once the policy has heard of it."""
    manifest = runner_class("team-only", allowedNamespaces=[TEAM])
    # A first try of the fixture may have left it.
    assert admin.create(manifest).status in {201, 409}
    run = benchmark_run(namespace=OTHER_TEAM, runnerClassName="team-only")
    wait_for(lambda: admin.create(run, dry_run=True), accepted=False)
    yield "team-only"
    admin.delete(manifest)


class TestAdmissionOfRuns:
    def test_class_is_refused_to_other_namespaces(self, admin: KubeApi, team_class: str) -> None:
        answer = admin.create(benchmark_run(namespace=OTHER_TEAM, runnerClassName=team_class), dry_run=True)
        assert answer.status == 422
        assert f"spec.runnerClassName: RunnerClass {team_class} is not for namespace {OTHER_TEAM}" in answer.message

    @pytest.mark.parametrize(
        ("namespace", "class_name"),
        [
            pytest.param(TEAM, "team-only", id="its own namespace"),
            pytest.param(OTHER_TEAM, "gpu", id="a class for all"),
            pytest.param(OTHER_TEAM, "later", id="a class that does not exist yet"),
        ],
    )
    def test_run_is_let_in(self, admin: KubeApi, team_class: str, namespace: str, class_name: str) -> None:
        answer = admin.create(benchmark_run(namespace=namespace, runnerClassName=class_name), dry_run=True)
        assert answer.accepted, answer.message

    def test_default_class_is_checked_too(self, admin: KubeApi, helm: Helm, operator: KubeApi) -> None:
        run = benchmark_run(namespace=OTHER_TEAM)
        assert admin.create(run, dry_run=True).accepted
        helm.install({"runnerClasses": {"gpu": {"allowedNamespaces": [TEAM]}}})
        try:
            wait_for(lambda: admin.create(run, dry_run=True), accepted=False)
        finally:
            helm.install()
            wait_for(lambda: admin.create(run, dry_run=True), accepted=True)


def test_zz_uninstall_leaves_kinds_and_runs_and_can_be_installed_again(admin: KubeApi, helm: Helm) -> None:
    """The last test: the CRDs, and with them everybody's runs and results, outlive the release."""
    # A first try of this test may have left the run, and no release.
    helm.install()
    assert admin.create(benchmark_run("kept", TEAM)).status in {201, 409}
    helm("uninstall", RELEASE, "-n", RELEASE_NAMESPACE)
    assert admin.get(benchmark_run("kept", TEAM)).accepted
    assert admin.get(runner_class("gpu")).status == 404
    policies = admin.request("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies").body["items"]
    assert policies == []
    helm.install()
    assert admin.get(runner_class("gpu")).accepted


def _as_answer(allowed: bool) -> Answer:
    return Answer(200 if allowed else 403, {})

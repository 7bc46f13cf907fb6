"""What the chart renders, and which values it refuses. No cluster; `test_chart_install.py` has one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support.helm import CHART, OPERATOR_ACCOUNT, RELEASE_NAMESPACE, Helm, only

from localcluster.errors import LocalClusterError
from vidbench_api.kinds import KINDS, RunnerClassSpec

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    return Helm(tmp_path_factory.mktemp("helm"))


def container_of(documents: list[Manifest]) -> Manifest:
    return only(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def names_of(documents: list[Manifest], kind: str) -> list[str]:
    return sorted(document["metadata"]["name"] for document in documents if document["kind"] == kind)


def test_lint_finds_nothing(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_chart_carries_the_crds_that_the_types_make(helm: Helm) -> None:
    documents = helm.render(None, "--include-crds")
    assert names_of(documents, "CustomResourceDefinition") == sorted(kind.crd_name for kind in KINDS)


class TestRenderedObjects:
    def test_everything_lives_in_the_release_namespace_or_the_cluster(self, helm: Helm) -> None:
        for document in helm.render():
            assert document["metadata"].get("namespace", RELEASE_NAMESPACE) == RELEASE_NAMESPACE

    def test_two_replicas_share_a_lease_and_are_spread(self, helm: Helm) -> None:
        documents = helm.render()
        spec = only(documents, "Deployment")["spec"]
        assert spec["replicas"] == 2
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        budget = only(documents, "PodDisruptionBudget")["spec"]
        labels = spec["template"]["metadata"]["labels"].items()
        for selector in (spread["labelSelector"], budget["selector"], spec["selector"]):
            assert selector["matchLabels"].items() <= labels
        lease = only(documents, "Role", f"{OPERATOR_ACCOUNT}-lease")
        assert lease["metadata"]["namespace"] == RELEASE_NAMESPACE
        named = [rule for rule in lease["rules"] if rule.get("resourceNames")]
        env = {entry["name"]: entry.get("value") for entry in container_of(documents)["env"]}
        assert [rule["resourceNames"] for rule in named] == [[env["VIDBENCH_OPERATOR_LEASE_NAME"]]]

    def test_results_can_be_deleted_only_where_the_ledger_has_a_limit(self, helm: Helm) -> None:
        def deletes(values: Manifest) -> bool:
            rules = only(helm.render(values), "ClusterRole", OPERATOR_ACCOUNT)["rules"]
            return any("benchmarkresults" in rule["resources"] and "delete" in rule["verbs"] for rule in rules)

        def limits(values: Manifest) -> Manifest:
            env = {entry["name"]: entry.get("value") for entry in container_of(helm.render(values))["env"]}
            prefix = "VIDBENCH_OPERATOR_LEDGER_"
            return {name.removeprefix(prefix): value for name, value in env.items() if name.startswith(prefix)}

        assert not deletes({})
        assert limits({}) == {}
        assert deletes({"ledger": {"maxAgeSeconds": 7776000}})
        assert limits({"ledger": {"maxAgeSeconds": 7776000}}) == {"MAX_AGE_SECONDS": "7776000"}
        assert deletes({"ledger": {"maxPerNamespace": 10000}})
        assert limits({"ledger": {"maxPerNamespace": 10000}}) == {"MAX_PER_NAMESPACE": "10000"}

    def test_store_comes_from_a_secret_that_the_operator_may_not_read(self, helm: Helm) -> None:
        def store(values: Manifest) -> Manifest:
            env = container_of(helm.render(values))["env"]
            return {entry["name"]: entry for entry in env if "STORE" in entry["name"]}

        assert store({}) == {}
        found = store({"store": {"secretName": "ledger", "cluster": "prod"}})
        assert found["VIDBENCH_OPERATOR_STORE_URL"]["valueFrom"] == {"secretKeyRef": {"name": "ledger", "key": "url"}}
        assert found["VIDBENCH_OPERATOR_STORE_CLUSTER"]["value"] == "prod"

    def test_one_replica_needs_no_budget_and_no_spread(self, helm: Helm) -> None:
        documents = helm.render({"replicas": 1})
        assert names_of(documents, "PodDisruptionBudget") == []
        spec = only(documents, "Deployment")["spec"]
        assert spec["replicas"] == 1
        assert "topologySpreadConstraints" not in spec["template"]["spec"]

    def test_spread_of_ones_own_wins(self, helm: Helm) -> None:
        own = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
        documents = helm.render({"topologySpreadConstraints": own})
        assert only(documents, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"] == own

    def test_settings_reach_the_operator(self, helm: Helm) -> None:
        values = {
            "operator": {
                "logLevel": "DEBUG",
                "logFormat": "console",
                "resyncSeconds": 60,
                "env": [{"name": "X", "value": "z"}],
            },
            "watchNamespaces": ["team-a", "team-b"],
        }
        container = container_of(helm.render(values))
        env = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        from_pod = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in container["env"][-3:-1]}
        assert from_pod == {
            "VIDBENCH_OPERATOR_LEASE_NAMESPACE": "metadata.namespace",
            "VIDBENCH_OPERATOR_IDENTITY": "metadata.name",
        }
        assert env == {
            "VIDBENCH_OPERATOR_LOG_LEVEL": "DEBUG",
            "VIDBENCH_OPERATOR_LOG_FORMAT": "console",
            "VIDBENCH_OPERATOR_WATCH_NAMESPACES": "team-a,team-b",
            "VIDBENCH_OPERATOR_HEALTH_PORT": "8080",
            "VIDBENCH_OPERATOR_METRICS_PORT": "8081",
            "VIDBENCH_OPERATOR_RESYNC_SECONDS": "60",
            "VIDBENCH_OPERATOR_CAPACITY_COOLDOWN_SECONDS": "180",
            "VIDBENCH_OPERATOR_LEADER_ELECTION": "true",
            "VIDBENCH_OPERATOR_LEASE_NAME": "vidbench-operator",
            "X": "z",
        }

    @pytest.mark.parametrize(
        ("image", "reference"),
        [
            pytest.param({}, "ghcr.io/vidbench/vidbench-operator:0.1.0", id="default: the chart's version"),
            pytest.param({"repository": "localhost/o", "tag": "dev"}, "localhost/o:dev", id="a tag"),
            pytest.param(
                {"repository": "localhost/o", "tag": "dev", "digest": f"sha256:{'0' * 64}"},
                f"localhost/o@sha256:{'0' * 64}",
                id="a digest wins over a tag",
            ),
        ],
    )
    def test_image_is_named_by_tag_or_digest(self, helm: Helm, image: Manifest, reference: str) -> None:
        assert container_of(helm.render({"image": image}))["image"] == reference

    def test_fixed_user_can_be_left_to_the_platform(self, helm: Helm) -> None:
        documents = helm.render({"podSecurityContext": {"runAsUser": None}})
        context = only(documents, "Deployment")["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}

    def test_account_of_ones_own_is_used_everywhere(self, helm: Helm) -> None:
        documents = helm.render({"serviceAccount": {"create": False, "name": "mine"}})
        assert names_of(documents, "ServiceAccount") == []
        assert only(documents, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
        assert only(documents, "ClusterRoleBinding")["subjects"][0]["name"] == "mine"
        user = f"system:serviceaccount:{RELEASE_NAMESPACE}:mine"
        for name in ("vidbench-jobs", "vidbench-results"):
            assert user in yaml.safe_dump(only(documents, "ValidatingAdmissionPolicy", name))

    def test_admission_policies_can_be_switched_off(self, helm: Helm) -> None:
        kinds = {document["kind"] for document in helm.render({"admissionPolicies": {"enabled": False}})}
        assert not any(kind.startswith("ValidatingAdmission") for kind in kinds)
        assert names_of(helm.render(), "ValidatingAdmissionPolicy") == names_of(
            helm.render(), "ValidatingAdmissionPolicyBinding"
        )

    def test_named_namespaces_get_roles_in_place_of_the_cluster_wide_one(self, helm: Helm) -> None:
        everywhere = only(helm.render(), "ClusterRole", OPERATOR_ACCOUNT)["rules"]
        documents = helm.render({"watchNamespaces": ["team-a", "team-b"]})
        cluster_wide = only(documents, "ClusterRole", OPERATOR_ACCOUNT)["rules"]
        roles = [
            document
            for document in documents
            if document["kind"] == "Role" and document["metadata"]["namespace"] != RELEASE_NAMESPACE
        ]
        assert sorted(role["metadata"]["namespace"] for role in roles) == ["team-a", "team-b"]
        assert all(cluster_wide + role["rules"] == everywhere for role in roles)
        assert {verb for rule in cluster_wide for verb in rule["verbs"]} == {"get", "list", "watch"}


class TestRunnerClasses:
    def test_two_classes_and_a_default_are_made(self, helm: Helm) -> None:
        documents = helm.render()
        assert names_of(documents, "RunnerClass") == ["cpu", "default", "gpu"]
        specs = {name: only(documents, "RunnerClass", name)["spec"] for name in ("cpu", "default", "gpu")}
        assert specs["default"] == specs["gpu"]
        assert specs["cpu"]["resources"]["cpuLimit"] == "None"
        assert specs["gpu"]["resources"]["cpuLimit"] == "Equal"

    def test_every_class_fits_the_types(self, helm: Helm) -> None:
        for document in helm.render({"runnerClasses": {"mine": {"env": [{"name": "A", "value": "b"}]}}}):
            if document["kind"] == "RunnerClass":
                RunnerClassSpec.model_validate(document["spec"])

    def test_class_takes_every_field_of_its_kind(self, helm: Helm) -> None:
        fields = {
            "image": "localhost/r:1",
            "imagePullPolicy": "Never",
            "claims": [{"claimName": "weights", "mountPath": "/weights"}],
            "allowedNamespaces": ["team-a"],
            "runtimeClassName": "nvidia",
        }
        spec = only(helm.render({"runnerClasses": {"gpu": fields}}), "RunnerClass", "gpu")["spec"]
        assert {name: spec[name] for name in fields} == fields

    def test_classes_without_an_image_get_the_common_one(self, helm: Helm) -> None:
        documents = helm.render(
            {
                "runnerImage": {"repository": "r", "digest": f"sha256:{'1' * 64}"},
                "runnerClasses": {"cpu": {"image": "own:1"}},
            }
        )
        images = {name: only(documents, "RunnerClass", name)["spec"]["image"] for name in ("cpu", "gpu")}
        assert images == {"cpu": "own:1", "gpu": f"r@sha256:{'1' * 64}"}

    def test_classes_can_be_switched_off(self, helm: Helm) -> None:
        values = {"runnerClasses": {"gpu": {"enabled": False}, "cpu": {"enabled": False}}, "defaultRunnerClass": ""}
        assert names_of(helm.render(values), "RunnerClass") == []

    def test_default_must_be_a_class_that_is_made(self, helm: Helm) -> None:
        with pytest.raises(LocalClusterError, match='defaultRunnerClass: there is no enabled runner class "gpu"'):
            helm.render({"runnerClasses": {"gpu": {"enabled": False}}})


@pytest.mark.parametrize(
    ("values", "place"),
    [
        pytest.param({"copies": 2}, "additional properties 'copies' not allowed", id="a value that does not exist"),
        pytest.param({"ledger": {"maxAgeSeconds": 5}}, "at '/ledger/maxAgeSeconds'", id="results that live for seconds"),
        pytest.param({"replicas": -1}, "at '/replicas'", id="less than no replica"),
        pytest.param({"replicas": "two"}, "at '/replicas'", id="a text for a number"),
        pytest.param({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy'", id="a pull policy"),
        pytest.param({"image": {"digest": "sha256:123"}}, "at '/image/digest'", id="a digest that is too short"),
        pytest.param({"image": {"repository": "a@sha256:1"}}, "at '/image/repository'", id="a digest in the repository"),
        pytest.param({"operator": {"logLevel": "LOUD"}}, "at '/operator/logLevel'", id="a log level"),
        pytest.param({"operator": {"resyncSeconds": 0}}, "at '/operator/resyncSeconds'", id="no pause between resyncs"),
        pytest.param({"watchNamespaces": "team-a"}, "at '/watchNamespaces'", id="a text for a list"),
        pytest.param({"watchNamespaces": ["Team A"]}, "at '/watchNamespaces/0'", id="no name of a namespace"),
        pytest.param({"admissionPolicies": {"enabled": "yes"}}, "at '/admissionPolicies/enabled'", id="a text for a switch"),
        pytest.param(
            {"runnerClasses": {"gpu": {"resources": {"cpuLimit": "Half"}}}},
            "at '/runnerClasses/gpu/resources/cpuLimit'",
            id="a field of a class",
        ),
        pytest.param(
            {"runnerClasses": {"gpu": {"resources": {"memroy": "1Gi"}}}},
            "at '/runnerClasses/gpu/resources'",
            id="a misspelt field of a class",
        ),
        pytest.param({"runnerClasses": {"GPU!": {}}}, "invalid propertyName 'GPU!'", id="no name of a class"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_its_place(helm: Helm, values: Manifest, place: str) -> None:
    with pytest.raises(LocalClusterError, match=place):
        helm.render(values)


def test_schema_knows_exactly_the_values_that_there_are() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}

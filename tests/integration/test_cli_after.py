"""`vidbench compare` and `baseline` against a real API server: labels are written, specs are not, refusals say what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.kube_api import KubeApi, collection
from support.ledgers import cell_of_run, manifest_of, shard_of
from typer.testing import CliRunner

from localcluster.controlplane import ControlPlane
from localcluster.errors import LocalClusterError
from vidbench_api.result import BenchmarkResultSpec
from vidbench_cli.app import app

BASE = (10.00, 10.02, 9.98, 10.01)
ROOT = Path(__file__).resolve().parent.parent.parent


def _store(api: KubeApi, namespace: str, results: Iterable[BenchmarkResultSpec]) -> None:
    for spec in results:
        answer = api.create(manifest_of(spec, namespace))
        assert answer.accepted, answer.message


@pytest.fixture
def cli(control_plane: ControlPlane, namespace: str) -> Any:
    def invoke(*words: str, kubeconfig: Path | None = None) -> Any:
        place = ["--kubeconfig", str(kubeconfig or control_plane.admin_kubeconfig), "-n", namespace]
        return CliRunner().invoke(app, [*words, *place])

    return invoke


def _baselines(api: KubeApi, namespace: str) -> dict[str, str | None]:
    items = api.request("GET", collection("BenchmarkResult", namespace)).body["items"]
    return {item["metadata"]["name"]: item["metadata"]["labels"].get("vidbench.io/baseline") for item in items}


def test_a_baseline_is_set_compared_with_and_unset(api: KubeApi, namespace: str, cli: Any) -> None:
    _store(api, namespace, cell_of_run(BASE, run="june-run"))
    _store(api, namespace, [shard_of(None, run="june-run", shard=9)])
    _store(api, namespace, cell_of_run(tuple(1.1 * seconds for seconds in BASE), run="new"))

    rehearsed = cli("baseline", "set", "june", "june-run", "--dry-run")
    assert rehearsed.exit_code == 0, rehearsed.stderr
    assert "4 added, 0 removed, 0 stay (nothing was written)" in rehearsed.stdout
    assert set(_baselines(api, namespace).values()) == {None}

    done = cli("baseline", "set", "june", "june-run")
    assert done.exit_code == 0, done.stderr
    assert "OutOfMemory" in done.stdout
    labels = _baselines(api, namespace)
    assert sorted(name for name, value in labels.items() if value == "june") == sorted(
        name for name in labels if name.startswith("june-run") and not name.endswith("-9")
    )

    compared = cli("compare", "baseline/june", "new", "-m", "latency", "-o", "json")
    (row,) = json.loads(compared.stdout)
    assert (row["verdict"], row["reference"]["shards"], row["subject"]["shards"]) == ("Worse", 4, 4)
    assert row["ratio"]["value"] == pytest.approx(1.1, rel=1e-4)

    refused = cli("baseline", "set", "july", "june-run")
    assert refused.exit_code == 2
    assert "already of baseline june" in refused.stderr
    assert cli("baseline", "set", "july", "june-run:wan/h100/short", "--move").exit_code == 0
    listed = json.loads(cli("baseline", "list", "-o", "json").stdout)
    assert [(row["name"], row["results"]) for row in listed] == [("july", 4)]

    assert cli("baseline", "unset", "july").exit_code == 0
    assert set(_baselines(api, namespace).values()) == {None}
    again = cli("baseline", "unset", "july")
    assert again.exit_code == 3
    assert "there is no baseline yet" in again.stderr


def test_unknown_names_are_answered_with_those_that_there_are(api: KubeApi, namespace: str, cli: Any) -> None:
    empty = cli("compare", "nightly", "weekly")
    assert empty.exit_code == 3
    assert "it holds no result of any run" in empty.stderr
    _store(api, namespace, cell_of_run(BASE, run="nightly"))
    wrong = cli("compare", "nightly", "nightli")
    assert wrong.exit_code == 3
    assert "there are results of: nightly" in wrong.stderr


def test_a_reader_may_compare_and_an_editor_set_baselines(
    api: KubeApi, namespace: str, cli: Any, control_plane: ControlPlane
) -> None:
    _store(api, namespace, cell_of_run(BASE, run="a"))
    _store(api, namespace, cell_of_run(BASE, run="b"))
    _install_users(control_plane)
    for verb, role in (("list", "view"), ("patch", "edit")):
        _until_aggregated(control_plane, role, verb)
    viewer, editor = (_user(control_plane, namespace, role) for role in ("view", "edit"))
    for user, verb in ((viewer, "list"), (editor, "list"), (editor, "patch")):
        _until(partial(_may, control_plane, user, namespace, verb), f"{user.name} may {verb} results")

    for user in (viewer, editor):
        compared = cli("compare", "a", "b", "-m", "latency", "-o", "json", kubeconfig=user)
        assert compared.exit_code == 0, compared.stderr
        assert json.loads(compared.stdout)[0]["verdict"] == "Equivalent"
    refused = cli("baseline", "set", "june", "a", kubeconfig=viewer)
    assert refused.exit_code == 3
    assert "patch" in refused.stderr
    assert "benchmarkresults" in refused.stderr
    assert set(_baselines(api, namespace).values()) == {None}

    done = cli("baseline", "set", "june", "a", kubeconfig=editor)
    assert done.exit_code == 0, done.stderr
    assert list(_baselines(api, namespace).values()).count("june") == 4


def _install_users(control_plane: ControlPlane) -> None:
    """Install the chart's roles for users, which the API server adds to `view` and `edit`; no template but the name is in them."""
    lines = (ROOT / "charts" / "vidbench" / "templates" / "rbac-users.yaml").read_text().splitlines()
    document = "\n".join(line for line in lines if not line.strip().startswith("{{"))
    control_plane.kubectl("apply", "-f", "-", stdin=document.replace("{{ $name }}", "vidbench"))


def _until_aggregated(control_plane: ControlPlane, role: str, verb: str) -> None:
    """Wait until the controller that adds up roles has seen those of the chart."""

    def is_there() -> bool:
        found = json.loads(control_plane.kubectl("get", "clusterrole", role, "-o", "json"))
        rules = found["rules"] or []
        return any("benchmarkresults" in (rule.get("resources") or []) and verb in rule["verbs"] for rule in rules)

    _until(is_there, f"cluster role {role} has {verb} on benchmarkresults")


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.5)


def _may(control_plane: ControlPlane, kubeconfig: Path, namespace: str, verb: str) -> bool:
    """Whether the API server lets a user do this to results by now."""
    words = ("auth", "can-i", verb, "benchmarkresults.vidbench.io", "-n", namespace)
    try:
        return control_plane.kubectl(*words, as_kubeconfig=kubeconfig).strip() == "yes"
    except LocalClusterError:
        return False


def _user(control_plane: ControlPlane, namespace: str, role: str) -> Path:
    control_plane.kubectl("create", "serviceaccount", role, "-n", namespace)
    control_plane.kubectl(
        "create", "rolebinding", role, f"--clusterrole={role}", f"--serviceaccount={namespace}:{role}", "-n", namespace
    )
    return Path(control_plane.kubeconfig_for_service_account(namespace, role))


def test_a_self_tests_run_is_taken_by_the_api_server_once(api: KubeApi, namespace: str, cli: Any) -> None:
    words = ("self-test", "wan21-1-3b", "--random-weights", "--name", "noise", "--shards", "3")
    applied = cli(*words)
    assert applied.exit_code == 0, applied.stderr
    assert applied.stdout.strip() == f"vidbench self-test --run noise -n {namespace}"
    spec = api.request("GET", collection("BenchmarkRun", namespace) + "/noise").body["spec"]
    assert [variant["name"] for variant in spec["variants"]] == ["first", "second"]
    again = cli(*words)
    assert again.exit_code == 3
    assert "BenchmarkRun 'noise' is there already" in again.stderr
    assert f"vidbench self-test --run noise -n {namespace}" in again.stderr
    early = cli("self-test", "--run", "noise")
    assert early.exit_code == 3
    assert "selects no result" in early.stderr


def test_a_report_of_a_run_of_the_cluster(api: KubeApi, namespace: str, cli: Any) -> None:
    """The same results from the cluster and from a file give the same tables."""
    run = {
        "apiVersion": "vidbench.io/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {
            "models": [{"name": "wan"}],
            "hardware": [{"name": "h100"}],
            "variants": [{"name": "short"}, {"name": "fast"}],
            "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}]},
            "analysis": {
                "hypotheses": [
                    {
                        "name": "no-worse",
                        "metric": "latency",
                        "where": {"variants": ["fast"]},
                        "against": {"variant": "short"},
                        "test": "NoWorseThan",
                        "margin": "2%",
                    }
                ]
            },
        },
    }
    stored = api.create(run)
    assert stored.accepted, stored.message
    uid = stored.body["metadata"]["uid"]
    slower = (11.02, 10.98, 11.01, 11.00)
    for means, variant in ((BASE, "short"), (slower, "fast")):
        for spec in cell_of_run(means, variant=variant):
            own = spec.model_copy(update={"run": spec.run.model_copy(update={"uid": uid})})
            answer = api.create(manifest_of(own, namespace))
            assert answer.accepted, answer.message
    first, second = (cli("research", "report", "nightly") for _ in range(2))
    assert first.exit_code == 0, first.stderr
    assert first.stdout == second.stdout
    assert "| no-worse | Primary | Refuted | 0 of 1 | BeyondMargin |" in first.stdout
    planned = cli("research", "plan", "nightly", "-o", "json")
    assert (
        json.loads(planned.stdout)[0]["reason"] == "no earlier run of this cell has two valid shards with this metric"
    )

"""A real cluster with kubelet and containers, the images of this checkout in it, and the chart installed: once a session."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.suite_figures import Figures
from e2e.operator_pods import log_lines
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_node import NodeAccess
from support.e2e_quickstart import Quickstart
from support.e2e_runs import SCRIPTED_IMAGE

from demo import steps
from demo.images import OPERATOR_IMAGE
from localcluster.cluster import SingleNodeCluster, missing_for_own_node
from localcluster.kind import answering_engine

HERE = Path(__file__).resolve().parent
TEST_SECONDS = 420
"""Limit of one test; the session's images and installation are not counted."""

QUICKSTART_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here is an e2e test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add to a failed test what the cluster looked like."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    namespace = arguments.get("namespace") or getattr(arguments.get("quickstart"), "namespace", None)
    if report.when == "call" and report.failed and "cluster" in arguments and namespace:
        report.sections.append(("the cluster", arguments["cluster"].diagnose(namespace)))
    return report


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    """What the tests find beside passing, written and printed at the end."""
    found = Figures("e2e")
    yield found
    found.publish()


@pytest.fixture(scope="session")
def cluster() -> Iterator[E2ECluster]:
    """The cluster with the chart installed. One that this session started is taken down again; its images stay cached."""
    missing = missing_for_own_node()
    if missing and answering_engine() is None:
        pytest.skip(f"no container engine answers, and a node of its own needs {'; '.join(missing)}")
    was_there = SingleNodeCluster().exists
    kubeconfig = steps.bring_up_cluster()
    steps.load_images()
    build_scripted_runner()
    steps.install_chart()
    running = E2ECluster(kubeconfig)
    yield running
    running.close()
    if not was_there:
        steps.localcluster("down")


def build_scripted_runner() -> None:
    """Build the runner of the tests that are about the operator, and load it."""
    steps.localcluster(
        "images", "build", "scripted",
        "--dockerfile", HERE / "images/scripted.Dockerfile", "--context", ".", "--tag", SCRIPTED_IMAGE,
        "--input", "tests/support/scripted_runner.py", "--build-arg", f"BASE={OPERATOR_IMAGE}",
    )  # fmt: skip
    steps.localcluster("load-image", SCRIPTED_IMAGE)


@pytest.fixture(scope="session")
def node(cluster: E2ECluster) -> NodeAccess:
    """The node's machine. With kind, that is a container of its own, out of reach of these tests."""
    own = SingleNodeCluster()
    if not own.exists:
        pytest.skip("the cluster is kind's: its node's processes and audit log are not this machine's")
    return NodeAccess(own)


@pytest.fixture(scope="session")
def make_namespace(cluster: E2ECluster) -> Iterator[Callable[[str], str]]:
    """Make namespaces with the restricted profile enforced; all go in the end."""
    made: list[str] = []

    def make(purpose: str) -> str:
        name = f"e2e-{re.sub(r'[^a-z0-9]+', '-', purpose.lower())[:40].strip('-')}-{secrets.token_hex(3)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        made.append(name)
        return name

    yield make
    for name in made:
        cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest, cluster: E2ECluster, make_namespace: Callable[[str], str]
) -> Iterator[str]:
    """A namespace of the test's own. Its pods are gone before the next test measures anything."""
    name = make_namespace(request.node.name.removeprefix("test_"))
    yield name
    cluster.kubectl("delete", "br", "--all", "-n", name)
    cluster.wait_for("the pods of the last test to go", lambda: not cluster.live_pods(name), 60, name)


@pytest.fixture(scope="session")
def quickstart(cluster: E2ECluster, make_namespace: Callable[[str], str]) -> Quickstart:
    """The run of examples/quickstart.yaml, ended."""
    namespace = make_namespace("quickstart")
    cluster.kubectl("apply", "-n", namespace, "-f", steps.ROOT / "examples/quickstart.yaml")
    view = cluster.wait_until_ended(namespace, "quickstart", QUICKSTART_SECONDS)
    assert view.status.start_time is not None
    return Quickstart(namespace, view, tuple(log_lines(cluster, view.status.start_time)))


@pytest.fixture(scope="session")
def make_runner_class(cluster: E2ECluster) -> Iterator[Callable[..., str]]:
    """Make a RunnerClass from the chart's `cpu` class with some fields replaced; all go in the end."""
    made: list[str] = []

    def make(**replaced: Any) -> str:
        spec: Manifest = json.loads(cluster.kubectl("get", "runnerclass", "cpu", "-o", "json"))["spec"]
        name = f"e2e-{secrets.token_hex(3)}"
        spec["resources"] = {**spec.get("resources", {}), **replaced.pop("resources", {})}
        cluster.apply(
            {
                "apiVersion": "vidbench.io/v1alpha1",
                "kind": "RunnerClass",
                "metadata": {"name": name},
                "spec": spec | replaced,
            }
        )
        made.append(name)
        return name

    yield make
    for name in made:
        cluster.kubectl("delete", "runnerclass", name, "--ignore-not-found")


@pytest.fixture(scope="session")
def scripted_class(make_runner_class: Callable[..., str]) -> str:
    """A class of small pods that do what the model's path says; see support/scripted_runner.py."""
    return make_runner_class(
        image=SCRIPTED_IMAGE,
        resources={"cpu": "50m", "memory": "128Mi", "sharedMemory": "16Mi", "scratch": "64Mi"},
    )


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of this machine that pods of any user may write to."""
    directory = tmp_path_factory.mktemp("volume")
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def claim(cluster: E2ECluster, namespace: str, shared_directory: Path) -> Iterator[str]:
    """A claim whose volume is a directory of this machine."""
    size = {"storage": "1Gi"}
    volume: Manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": namespace,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(shared_directory), "type": "Directory"},
        },
    }
    wanted: Manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "videos", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": namespace,
            "volumeName": namespace,
            "resources": {"requests": size},
        },
    }
    cluster.apply(volume, wanted)
    yield "videos"
    cluster.kubectl("delete", "persistentvolume", namespace, "--wait=false")

"""Raw samples and videos on a claim of the run's namespace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_node import NodeAccess
from support.e2e_runs import folder_model, real_run

from vidbench_api.names import Outcome


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


def test_samples_and_first_video_are_stored_and_match_the_result(
    cluster: E2ECluster, node: NodeAccess, namespace: str, claim: str, shared_directory: Path
) -> None:
    cluster.apply(
        folder_model(namespace, "tiny-wan", "/models/tiny-wan"),
        real_run(
            namespace, "stored", "cpu", models=[{"name": "tiny-wan"}], variants=[{"name": "one"}],
            artifacts={"storageUri": f"claim://{claim}/nightly", "keepVideos": "First"},
        ),
    )  # fmt: skip
    view = cluster.wait_until_ended(namespace, "stored", 180)
    result = view.results["tiny-wan/cpu/one"]
    assert result.outcome is Outcome.SUCCEEDED, result.message
    assert result.artifacts is not None
    assert result.artifacts.uri.startswith(f"claim://{claim}/nightly/")
    directory = shared_directory / result.artifacts.uri.removeprefix(f"claim://{claim}/")
    stored = (directory / "samples.jsonl").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == result.artifacts.digest
    lines = [json.loads(line) for line in stored.splitlines()]
    assert [line["warmup"] for line in lines] == [True, False, False]
    (video,) = directory.glob("*.mkv")
    described = next(line["video"] for line in lines if line.get("video"))
    assert described == {"file": video.name, "sha256": hashlib.sha256(video.read_bytes()).hexdigest()}

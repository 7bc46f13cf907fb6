"""Raw samples and videos on a claim of the run's namespace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from support.e2e_cluster import E2ECluster
from support.e2e_node import NodeAccess
from support.e2e_runs import SCRIPTED_IMAGE, folder_model, real_run, scripted_models, scripted_run
from typer.testing import CliRunner

from vidbench_api.message import decode
from vidbench_api.names import REQUEST_KEY, Outcome
from vidbench_api.request import RequestDocument
from vidbench_cli.app import app
from vidbench_operator.manifests import harvest_manifest


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
    assert described["file"] == video.name
    assert described["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert (described["height"], described["width"]) == (result.clip.height, result.clip.width)
    harvested = decode(harvest(cluster, namespace, "stored", result.cell.id))
    assert (harvested.final, harvested.outcome, harvested.samples_done) == (True, Outcome.SUCCEEDED, 2)
    assert harvested.series == result.series
    assert harvested.health == result.health


def test_what_a_run_stored_is_erased_with_it_and_nothing_else(
    cluster: E2ECluster, namespace: str, scripted_class: str, claim: str, shared_directory: Path
) -> None:
    artifacts = {"storageUri": f"claim://{claim}/erase"}
    cluster.apply(
        *scripted_models(namespace, "lose-verdict"),
        *(
            each
            for name in ("alice", "bob")
            for each in scripted_run(
                namespace, name, scripted_class, models=[{"name": "lose-verdict"}], artifacts=artifacts
            )
        ),
    )
    for name in ("alice", "bob"):
        cluster.wait_until_ended(namespace, name, 120)
    folders = {name: shared_directory / "erase" / name for name in ("alice", "bob")}
    assert all(files_below(folder) for folder in folders.values())
    where = ["-n", namespace, "--kubeconfig", str(cluster.kubeconfig)]
    words = ["erase", "alice", "--storage", "--image", SCRIPTED_IMAGE, "--yes", *where]
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert files_below(folders["alice"]) == []
    assert files_below(folders["bob"])
    assert cluster.find("BenchmarkRun", "alice", namespace) is None


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def harvest(cluster: E2ECluster, namespace: str, run: str, cell: str) -> str:
    """Run the Job that harvests attempt 1 of shard 1, as nobody's, so that the operator leaves it alone; return its message."""
    configmaps = cluster.objects("ConfigMap", namespace, f"vidbench.io/run={run}")
    document = RequestDocument.from_text(configmaps[0]["data"][REQUEST_KEY])
    job = harvest_manifest(document, cell, 1, 1)
    del job["metadata"]["ownerReferences"], job["metadata"]["labels"]
    job["spec"]["template"]["metadata"]["labels"] = {"e2e": "harvest"}
    cluster.apply(job)

    def said() -> str | None:
        pods = cluster.objects("Pod", namespace, "e2e=harvest")
        states = [status.get("state", {}) for pod in pods for status in pod["status"].get("containerStatuses", ())]
        return next((state["terminated"].get("message", "") for state in states if "terminated" in state), None)

    message: str = cluster.wait_for("the harvest to end", said, 120, namespace)
    return message

"""Results of other local runs, as baselines find them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.builders import Scene

from vidbench_cli.local.files import RunDirectory
from vidbench_cli.local.neighbours import matches, results_beside
from vidbench_operator.core.results import result_labels
from vidbench_operator.manifests import result_manifest


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("a=1", True),
        ("a=1,b in (x,y)", True),
        ("a=2", False),
        ("a=1,b in (x)", False),
        ("c=", False),
        ("a=1,c=3", False),
    ],
)
def test_labels_match_as_on_a_cluster(selector: str, found: bool) -> None:
    assert matches(selector, {"a": "1", "b": "y"}) is found


def test_neighbours_are_read_and_the_run_itself_and_what_is_damaged_are_not(tmp_path: Path) -> None:
    scene = Scene.of()
    spec = scene.result()
    for name in ("mine", "other"):
        body = result_manifest("local", scene.result_name(), spec, result_labels(scene.run, spec))
        RunDirectory(tmp_path / name).create_result(scene.result_name(), body)
    RunDirectory(tmp_path / "odd").create_result("x", {"spec": {}})
    (tmp_path / "models").mkdir()
    (tmp_path / "torn" / "results").mkdir(parents=True)
    (tmp_path / "torn" / "results" / "y.json").write_text("{")
    ((labels, found),) = results_beside(tmp_path / "mine")
    assert found == spec
    assert matches(f"vidbench.io/run={scene.run.name},vidbench.io/outcome in (Succeeded)", labels)

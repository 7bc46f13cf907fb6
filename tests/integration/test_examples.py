"""Every example is a manifest that a real API server takes as it stands, and that holds to our types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import KINDS

EXAMPLES = sorted((Path(__file__).resolve().parent.parent.parent / "examples").glob("*.yaml"))
SPECS = {kind.kind: kind.spec for kind in KINDS}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_examples_were_found() -> None:
    assert {"minimal.yaml", "quickstart.yaml", "gpu-matrix.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_accepted_strictly(kubectl: Callable[..., str], namespace: str, path: Path) -> None:
    said = kubectl("apply", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", str(path))
    assert said.count("created (server dry run)") == len(documents(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_holds_to_the_types(path: Path) -> None:
    for document in documents(path):
        if document["kind"] in SPECS:
            SPECS[document["kind"]].model_validate(document["spec"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_names_models_that_exist(path: Path) -> None:
    """By another document of the file, or by the catalogue; and VideoModels that no run uses are a slip."""
    there = {document["metadata"]["name"] for document in documents(path) if document["kind"] == "VideoModel"}
    used = {
        model.get("modelRef", model)["name"]
        for document in documents(path)
        if document["kind"] == "BenchmarkRun"
        for model in document["spec"]["models"]
    }
    assert used - there - CATALOGUE.keys() == set()
    assert there - used == set()

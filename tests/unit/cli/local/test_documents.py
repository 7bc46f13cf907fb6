"""A manifest to what it holds; what is wrong is told with its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidbench_cli.errors import UsageError
from vidbench_cli.local.documents import Documents, class_of, documents_of
from vidbench_cli.local.folders import Mount, found_models, mounted, parse_mount
from vidbench_cli.manifest_files import parse_objects, read_objects

QUICKSTART = Path(__file__).resolve().parents[4] / "examples" / "quickstart.yaml"
RUN = """
apiVersion: vidbench.io/v1alpha1
kind: BenchmarkRun
metadata: {name: NAME}
spec: {models: [{name: dry}], workload: {prompts: [{id: cat, text: cat}]}EXTRA}
"""
CLASS = """
apiVersion: vidbench.io/v1alpha1
kind: RunnerClass
metadata: {name: NAME}
spec: {image: mine/runner}
"""


def run(name: str = "nightly", extra: str = "") -> str:
    return RUN.replace("NAME", name).replace("EXTRA", extra)


def test_the_quickstart_names_a_preset_for_each_folder() -> None:
    documents = quickstart()
    assert documents.name == "quickstart"
    assert documents.presets == {"mid-wan": "wan-mid", "tiny-ltx": "ltx", "broken": "broken"}
    assert documents.models.keys() == documents.presets.keys()


def quickstart() -> Documents:
    return documents_of(read_objects([str(QUICKSTART)]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLASS.replace("NAME", "a"), "0 BenchmarkRuns"),
        (run() + "---" + run("other"), "2 BenchmarkRuns"),
        (run().replace("{name: NAME}", "{}").replace("{name: nightly}", "{generateName: nightly-}"), "metadata.name"),
        (run("a" * 41), "not valid"),
        (run(extra=", variants: [{name: a, steps: -1}]"), "not valid"),
        (run().replace("v1alpha1", "v9"), "not valid"),
    ],
)
def test_a_bad_manifest_is_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        documents_of(parse_objects(text, "f.yaml"))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (", variants: [{name: a, steps: -1}]", "spec.variants[0].steps"),
        (", measurement: {plan: Fixed, precision: {halfWidth: 1%}}", "plan Precision only"),
        (", models: [{name: a}, {name: a}]", "models"),
    ],
)
def test_schema_and_rules_of_the_api_server_hold_here_too(extra: str, said: str) -> None:
    text = run(extra=extra).replace("models: [{name: dry}], ", "" if "models" in extra else "models: [{name: dry}], ")
    with pytest.raises(UsageError) as caught:
        documents_of(parse_objects(text, "f.yaml"))
    assert said in caught.value.remedy


def test_a_class_is_found_by_name_or_because_it_is_the_only_one() -> None:
    one, two = (parse_objects(CLASS.replace("NAME", name), "c.yaml") for name in ("a", "b"))
    assert class_of(one, "c.yaml", "other").image == "mine/runner"
    assert class_of(one + two, "c.yaml", "b").image == "mine/runner"
    with pytest.raises(UsageError, match="2 RunnerClasses"):
        class_of(one + two, "c.yaml", "other")


def test_the_longest_mount_wins_and_parts_of_names_do_not_count() -> None:
    mounts = [parse_mount("/weights=/data"), parse_mount("/weights/ltx/=/fast/ltx")]
    assert mounts[0] == Mount("/weights", Path("/data"))
    assert mounted("/weights/wan", mounts) == Path("/data/wan")
    assert mounted("/weights/ltx/a", mounts) == Path("/fast/ltx/a")
    assert mounted("/weights2/wan", mounts) == Path("/weights2/wan")


@pytest.mark.parametrize("text", ["weights=/data", "/weights", "/weights="])
def test_a_bad_mount_is_explained(text: str) -> None:
    with pytest.raises(UsageError, match="INSIDE=HERE"):
        parse_mount(text)


def test_models_point_to_folders_of_this_machine(tmp_path: Path) -> None:
    documents = quickstart()
    for name in documents.models:
        (tmp_path / name).mkdir()
    told: list[str] = []
    found = found_models(documents.models, documents.presets, [Mount("/models", tmp_path)], tmp_path, told.append)
    assert {name: spec.source.path for name, spec in found.items()} == {name: str(tmp_path / name) for name in found}
    assert told == [], "a folder that is there needs no preset"


def test_a_folder_that_no_model_may_have_is_explained(tmp_path: Path) -> None:
    documents = quickstart()
    hidden = tmp_path / ".hidden"
    for name in documents.models:
        (hidden / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be a model's"):
        found_models(documents.models, {}, [Mount("/models", hidden)], tmp_path, lambda _: None)

"""The generated CRDs: what the generator makes of types, and what every schema must hold to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

import generate
from vidbench_api.base import ATOMIC, ApiModel, Rule, map_list, rules
from vidbench_api.crdgen import UnstructuralSchemaError, crd_of, root_schema, schema_of, to_yaml
from vidbench_api.kinds import KINDS, Kind

WORDS_THAT_YAML_READS_AS_BOOLEANS = {"n", "y", "no", "yes", "on", "off", "true", "false"}
FORMATS_WITH_A_LENGTH = {"date-time"}


def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema in a schema with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], path + suffix)


def lint(schema: dict[str, Any], path: str) -> list[str]:
    """Return what is wrong with a schema: what has no bound, no list type, a dangerous name."""
    found = ((at, problem) for at, node in walk(schema, path) for check in CHECKS for problem in check(node))
    return [f"{at}: {problem}" for at, problem in found]


def find_missing_bounds(node: dict[str, Any]) -> Iterator[str]:
    match node.get("type"):
        case "string" if not (node.keys() & {"maxLength", "enum"} or node.get("format") in FORMATS_WITH_A_LENGTH):
            yield "a string without maxLength, enum or format"
        case "integer" if not {"minimum", "maximum"} <= node.keys():
            yield "an integer without bounds"
        case "array":
            if "maxItems" not in node:
                yield "a list without maxItems"
            if "x-kubernetes-list-type" not in node:
                yield "a list without a list type"
        case "object":
            if "additionalProperties" in node and "maxProperties" not in node:
                yield "a map without maxProperties"
            if not node.keys() & {"additionalProperties", "properties"}:
                yield "an object that says nothing of its content"
        case None:
            yield "no type"


def find_dangerous_names(node: dict[str, Any]) -> Iterator[str]:
    if "x-kubernetes-preserve-unknown-fields" in node or node.get("additionalProperties") is True:
        yield "unknown fields are kept"
    for name in node.get("properties", {}):
        if name.lower() in WORDS_THAT_YAML_READS_AS_BOOLEANS:
            yield f"YAML 1.1 reads the key {name} as a boolean"


CHECKS = (find_missing_bounds, find_dangerous_names)


def fill_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """Do what the API server does with the defaults of a structural schema."""
    if isinstance(value, dict) and "properties" in schema:
        filled = {name: fill_defaults(entry, schema["properties"][name]) for name, entry in value.items()}
        for name, child in schema["properties"].items():
            if name not in filled and "default" in child:
                filled[name] = fill_defaults(child["default"], child)
        return filled
    if isinstance(value, list):
        return [fill_defaults(entry, schema["items"]) for entry in value]
    return value


def find_by_json_path(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.removeprefix(".").split("."):
        schema = schema["properties"][name]
    return schema


every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


class TestEverySchema:
    @every_kind
    def test_schema_bounds_everything(self, kind: Kind) -> None:
        schema = root_schema(kind)["properties"]
        assert lint(schema["spec"], "spec") + lint(schema.get("status", {"type": "null"}), "status") == []

    @every_kind
    def test_schema_describes_every_kind_and_part(self, kind: Kind) -> None:
        schema = root_schema(kind)
        assert schema["description"]
        undescribed = [
            path
            for path, node in walk(schema["properties"]["spec"], "spec")
            if "properties" in node and not node.get("description")
        ]
        assert undescribed == []

    @every_kind
    def test_columns_and_scale_point_at_fields(self, kind: Kind) -> None:
        schema = root_schema(kind)
        for column in kind.columns:
            if not column.json_path.startswith(".metadata"):
                assert find_by_json_path(schema, column.json_path)["type"] == column.type
        for path in (kind.scale or {}).values():
            assert find_by_json_path(schema, path)["type"] in {"integer", "string"}

    @every_kind
    def test_names_stay_out_of_delete_all(self, kind: Kind) -> None:
        assert crd_of(kind)["spec"]["names"]["categories"] == ["vidbench"]

    @every_kind
    def test_yaml_reads_back_as_the_same_crd(self, kind: Kind) -> None:
        crd = crd_of(kind)
        assert yaml.safe_load(to_yaml(crd)) == crd

    def test_one_version_is_served_and_stored(self) -> None:
        versions = {
            (version["name"], version["served"], version["storage"])
            for kind in KINDS
            for version in crd_of(kind)["spec"]["versions"]
        }
        assert versions == {("v1alpha1", True, True)}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        pytest.param({"type": "string"}, "a string without maxLength, enum or format", id="endless string"),
        pytest.param({"type": "integer", "minimum": 0}, "an integer without bounds", id="integer without maximum"),
        pytest.param(
            {"type": "array", "items": {"type": "boolean"}, "maxItems": 1},
            "a list without a list type",
            id="plain list",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "boolean"}, "x-kubernetes-list-type": "set"},
            "a list without maxItems",
            id="endless list",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "boolean"}},
            "a map without maxProperties",
            id="endless map",
        ),
        pytest.param(
            {"type": "object", "properties": {"n": {"type": "boolean"}}},
            "YAML 1.1 reads the key n as a boolean",
            id="a key called n",
        ),
        pytest.param({"x-kubernetes-preserve-unknown-fields": True}, "unknown fields are kept", id="open object"),
    ],
)
def test_lint_finds_what_it_is_there_for(schema: dict[str, Any], problem: str) -> None:
    assert f"x: {problem}" in lint(schema, "x")


class TestDefaults:
    @pytest.mark.parametrize(
        ("kind_name", "spec"),
        [
            pytest.param(
                "BenchmarkRun",
                {"models": [{"name": "a"}], "workload": {"prompts": [{"id": "cat", "text": "A cat"}]}},
                id="a run with models and prompts only",
            ),
            pytest.param(
                "BenchmarkRun",
                {
                    "models": [{"name": "a"}],
                    "hardware": [{"name": "gpu", "tolerations": [{"key": "x"}]}],
                    "variants": [{"name": "short", "clip": {"frames": 9}}],
                    "workload": {"prompts": [{"id": "cat", "text": "A cat"}], "seeds": {"count": 3}},
                    "timeouts": {"runSeconds": 60},
                },
                id="a run with halves of objects",
            ),
            pytest.param(
                "VideoModel",
                {
                    "source": {"tiny": "wan"},
                    "defaults": {"height": 64, "width": 64, "frames": 9, "steps": 2},
                },
                id="a model",
            ),
            pytest.param("RunnerClass", {"image": "runner:1"}, id="a class with an image only"),
            pytest.param(
                "RunnerClass",
                {"image": "runner:1", "resources": {"cpu": "2"}, "claims": [{"claimName": "w", "mountPath": "/w"}]},
                id="a class with halves of objects",
            ),
        ],
    )
    def test_defaults_are_those_of_the_types(self, kind_name: str, spec: dict[str, Any]) -> None:
        """Whoever reads an object from the server sees what pydantic would have filled in, and nothing else."""
        kind = next(kind for kind in KINDS if kind.kind == kind_name)
        schema = root_schema(kind)["properties"]["spec"]
        assert fill_defaults(spec, schema) == kind.spec.model_validate(spec).to_wire()

    @pytest.mark.parametrize(
        ("kind_name", "part"), [("BenchmarkRun", "status"), ("BenchmarkResult", "spec")], ids=["status", "result"]
    )
    def test_defaults_never_stand_in_for_a_measurement(self, kind_name: str, part: str) -> None:
        kind = next(kind for kind in KINDS if kind.kind == kind_name)
        assert [path for path, node in walk(root_schema(kind)["properties"][part], part) if "default" in node] == []


class Colour(StrEnum):
    """A colour.

    More that nobody needs.
    """

    RED = "Red"


class Inner(ApiModel):
    """The inner part."""

    size: Annotated[int, Field(ge=1, le=5_000_000_000)] = 3


class Outer(ApiModel):
    """The outer part,
    over two lines.

    And a second paragraph.
    """

    model_config = ApiModel.model_config | {"json_schema_extra": rules(Rule("true", "never", ".inner"))}
    inner: Inner = Field(default_factory=Inner)
    maybe_inner: Inner | None = Field(default=None, description="Perhaps.")
    colour: Colour = Colour.RED
    fixed: Literal["Only"] = "Only"
    entries: Annotated[tuple[Inner, ...], Field(max_length=3, json_schema_extra=map_list("size"))] = (Inner(size=2),)
    texts: Annotated[
        tuple[Annotated[str, Field(max_length=9)], ...], Field(max_length=3, json_schema_extra=ATOMIC)
    ] = ()
    by_key: Annotated[
        dict[Annotated[str, Field(max_length=7, pattern=r"^a\.b$")], Annotated[str, Field(max_length=9)]],
        Field(max_length=4),
    ] = Field(default_factory=dict)


@pytest.fixture
def schema() -> dict[str, Any]:
    return schema_of(Outer, "Outer", with_defaults=True)


class TestTranslation:
    def test_docstring_gives_its_first_paragraph(self, schema: dict[str, Any]) -> None:
        assert schema["description"] == "The outer part, over two lines."
        assert schema["properties"]["colour"]["description"] == "A colour."

    def test_optional_field_is_its_type_and_not_required(self, schema: dict[str, Any]) -> None:
        assert schema["properties"]["maybeInner"] == {
            "type": "object",
            "description": "Perhaps.",
            "properties": schema["properties"]["inner"]["properties"],
        }
        assert "required" not in schema

    def test_defaults_are_sparse(self, schema: dict[str, Any]) -> None:
        defaults = {name: child.get("default") for name, child in schema["properties"].items()}
        assert defaults == {
            "inner": {}, "maybeInner": None, "colour": "Red", "fixed": "Only", "entries": [{"size": 2}], "texts": [],
            "byKey": {},
        }  # fmt: skip

    def test_literal_of_one_value_becomes_an_enum(self, schema: dict[str, Any]) -> None:
        assert schema["properties"]["fixed"]["enum"] == ["Only"]

    def test_large_integers_say_their_width(self, schema: dict[str, Any]) -> None:
        assert schema["properties"]["inner"]["properties"]["size"]["format"] == "int64"

    def test_keys_of_maps_are_checked_by_a_rule(self, schema: dict[str, Any]) -> None:
        by_key = schema["properties"]["byKey"]
        assert by_key["maxProperties"] == 4
        assert by_key["additionalProperties"] == {"type": "string", "maxLength": 9}
        assert [rule["rule"] for rule in by_key["x-kubernetes-validations"]] == [
            r"self.all(key, key.size() <= 7 && key.matches('^a\\.b$'))"
        ]

    def test_rules_keep_their_field_path(self, schema: dict[str, Any]) -> None:
        assert schema["x-kubernetes-validations"] == [{"rule": "true", "message": "never", "fieldPath": ".inner"}]


class UnionOfTwo(ApiModel):
    """A union."""

    value: int | str


class MultipleOf(ApiModel):
    """A key that a structural schema has no room for here."""

    value: Annotated[int, Field(multiple_of=4)]


class OpenMap(ApiModel):
    """A map of anything."""

    value: dict[str, Any]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(UnionOfTwo, "T.value: a union of 2 types", id="union"),
        pytest.param(MultipleOf, "T.value: multipleOf has no structural form", id="a key that is not known"),
        pytest.param(OpenMap, "T.value: a map needs exactly one type of values", id="open map"),
    ],
)
def test_schema_refuses_what_kubernetes_cannot_say(model: type[ApiModel], message: str) -> None:
    with pytest.raises(UnstructuralSchemaError, match=message):
        schema_of(model, "T", with_defaults=True)


class TestFiles:
    def test_committed_files_are_fresh(self) -> None:
        expected = generate.generate()
        orphans = generate.find_orphans(generate.CRD_DIRECTORIES, expected)
        assert generate.find_stale(expected, orphans) == []

    def test_every_kind_has_a_file_for_people_and_one_for_the_chart(self) -> None:
        files = [path for path in generate.generate() if path.name.endswith(".vidbench.io.yaml")]
        assert len(files) == 2 * len(KINDS)

    def test_stale_files_are_found_and_written(self, tmp_path: Path) -> None:
        same, new, changed, gone = (
            tmp_path / f"{name}.vidbench.io.yaml" for name in ("same", "new", "changed", "gone")
        )
        same.write_text("a\n")
        changed.write_text("before\n")
        gone.write_text("d\n")
        expected = {same: "a\n", new: "b\n", changed: "c\n"}
        orphans = generate.find_orphans((tmp_path,), expected)
        assert orphans == [gone]
        first, second, third = generate.find_stale(expected, orphans)
        assert "+b\n" in first
        assert "-before\n+c\n" in second
        assert "-d\n" in third

        generate.write(expected, orphans)
        assert generate.find_stale(expected, generate.find_orphans((tmp_path,), expected)) == []
        assert not gone.exists()

    def test_values_schema_is_closed_and_knows_every_field_of_a_class(self) -> None:
        text = generate.with_runner_class('{"$defs": {"other": {}, "runnerClass": {}}}')
        runner_class = json.loads(text)["$defs"]["runnerClass"]
        kind = next(kind for kind in KINDS if kind.kind == "RunnerClass")
        fields = root_schema(kind)["properties"]["spec"]["properties"]
        assert runner_class["properties"].keys() == fields.keys() | {"enabled"}
        assert runner_class["additionalProperties"] is False
        assert runner_class["properties"]["resources"]["additionalProperties"] is False
        assert "x-kubernetes" not in text

"""The JSON schemas of what a benchmark leaves behind, for those who read it without us: a result, and a stored verdict.

They are the structural schemas of the types without what Kubernetes adds. Keys of maps are bounded by CEL rules in the CRD
and by the types, and not here.
"""

from __future__ import annotations

import json
from typing import Any

from vidbench_api.crdgen import root_schema, schema_of
from vidbench_api.kinds import BENCHMARK_RESULT
from vidbench_api.verdict import Verdict

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, str]:
    """Return the text of every published schema by its file name."""
    return {
        "benchmarkresult.schema.json": _document("BenchmarkResult", _object_schema()),
        "verdict.schema.json": _document("Verdict", schema_of(Verdict, "Verdict", with_defaults=False)),
    }


def _object_schema() -> dict[str, Any]:
    """Return the schema of a whole result; its metadata is Kubernetes' matter."""
    schema = root_schema(BENCHMARK_RESULT)
    return schema | {"properties": schema["properties"] | {"metadata": {"type": "object"}}}


def _document(title: str, schema: dict[str, Any]) -> str:
    return (
        json.dumps({"$schema": _DIALECT, "title": title} | without_extensions(schema), indent=1, ensure_ascii=False)
        + "\n"
    )


def without_extensions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as JSON Schema knows it: without Kubernetes' extensions, and closed, as Kubernetes' is anyway."""
    plain = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in plain:
        plain["properties"] = {name: without_extensions(child) for name, child in plain["properties"].items()}
        plain["additionalProperties"] = False
    elif "additionalProperties" in plain:
        plain["additionalProperties"] = without_extensions(plain["additionalProperties"])
    if "items" in plain:
        plain["items"] = without_extensions(plain["items"])
    return plain

"""The published JSON schemas, as somebody else would use them: by a validator that is none of ours."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.verdict import Verdict
from vidbench_operator.manifests import result_manifest

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"


@cache
def validator(name: str) -> Draft202012Validator:
    """The validator of a published schema: `benchmarkresult` or `verdict`."""
    schema = json.loads((_FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(name: str, document: Any) -> list[str]:
    """What a published schema has against a document, after a way through JSON."""
    found = validator(name).iter_errors(json.loads(json.dumps(document)))
    return [f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message[:200]}" for error in found]


def problems_of_result(spec: BenchmarkResultSpec) -> list[str]:
    """What the schema has against the object that the operator writes for a result."""
    return problems("benchmarkresult", result_manifest("lab", "nightly-0123abcd-1", spec, {}))


def problems_of_verdict(verdict: Verdict) -> list[str]:
    """What the schema has against a verdict as it is stored."""
    return problems("verdict", verdict.to_wire())

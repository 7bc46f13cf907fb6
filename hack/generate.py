"""Writes what follows from the code: CRDs as YAML, JSON schemas, the chart's values schema, tables of reasons and models.

CRDs go into crds/ and charts/vidbench/crds/. Run as `.venv/bin/python hack/generate.py [--check]`; with --check nothing
is written, and exit code 1 with a diff says that something is stale.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path

from json_schemas import json_schemas, without_extensions
from models_page import with_models
from vidbench_api.crdgen import generate_documents, schema_of
from vidbench_api.kinds import RunnerClassSpec
from vidbench_api.validity import VALIDITY_ROWS, Effect
from vidbench_operator.core.failures import FAILURES, Failure, FailureClass

REPOSITORY = Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "charts" / "vidbench"
CRD_DIRECTORIES = (REPOSITORY / "crds", CHART / "crds")
CRD_PATTERN = "*.vidbench.io.yaml"
VALUES_SCHEMA = CHART / "values.schema.json"
FAILURES_PAGE = REPOSITORY / "docs" / "failures.md"
MODELS_PAGE = REPOSITORY / "docs" / "models.md"
VALIDITY_PAGE = REPOSITORY / "docs" / "validity.md"
SCHEMAS = REPOSITORY / "docs" / "schemas"
BEGIN_TABLE, END_TABLE = "<!-- generated: reasons -->\n", "<!-- end of generated -->\n"


def generate() -> dict[Path, str]:
    """Return the text that every generated file should have."""
    documents = generate_documents()
    files = {directory / name: text for directory in CRD_DIRECTORIES for name, text in documents.items()}
    files[VALUES_SCHEMA] = with_runner_class(VALUES_SCHEMA.read_text(encoding="utf-8"))
    files[MODELS_PAGE] = with_models(MODELS_PAGE.read_text(encoding="utf-8"))
    files[FAILURES_PAGE] = with_table(FAILURES_PAGE.read_text(encoding="utf-8"), failure_lines())
    files[VALIDITY_PAGE] = with_table(VALIDITY_PAGE.read_text(encoding="utf-8"), validity_lines())
    files |= {SCHEMAS / name: text for name, text in json_schemas().items()}
    return files


def with_table(page: str, lines: list[str]) -> str:
    """Return a page whose generated part is these lines; the rest is kept."""
    before, after = page.split(BEGIN_TABLE, maxsplit=1)[0], page.split(END_TABLE)[1]
    return before + BEGIN_TABLE + "\n".join(lines) + "\n" + END_TABLE + after


def failure_lines() -> list[str]:
    """Return the table of every reason for which a shard fails, by class."""
    lines = ["| reason | class | recognised by | what to do |", "|---|---|---|---|"]
    lines.extend(
        failure_line(row) for failure_class in FailureClass for row in FAILURES if row.failure_class is failure_class
    )
    return lines


def validity_lines() -> list[str]:
    """Return the table of every reason for which figures may not be believed, by effect."""
    lines = ["| reason | effect | what shows it | from when on | why | again |", "|---|---|---|---|---|---|"]
    lines.extend(
        f"| `{row.reason}` | {row.effect} | {row.evidence} | {row.threshold} | {row.why} | {'yes' if row.passes else ''} |"
        for effect in Effect
        for row in VALIDITY_ROWS
        if row.effect is effect
    )
    return lines


def failure_line(row: Failure) -> str:
    """Return the line of one reason; words of Kubernetes are set as code."""
    evidence = [f"exit code {row.exit_code}"] if row.exit_code is not None else []
    for what, words in (
        ("container", row.container_reasons),
        ("pod", row.pod_reasons),
        ("DisruptionTarget", row.disruptions),
        ("waiting", row.waiting_reasons),
    ):
        evidence.extend([f"{what} " + ", ".join(f"`{word}`" for word in words)] if words else [])
    evidence.extend([row.seen_as] if row.seen_as else [])
    return f"| {row.reason} | {row.failure_class} | {'; '.join(evidence)} | {row.next_step} |"


def with_runner_class(values_schema: str) -> str:
    """Return a values schema whose `$defs.runnerClass` says what RunnerClass.spec says; the rest is kept."""
    schema = json.loads(values_schema)
    fields = without_extensions(schema_of(RunnerClassSpec, "RunnerClass.spec", with_defaults=False))
    # The image may be left to runnerImage; `enabled` is the chart's own.
    fields.pop("required")
    fields["properties"]["image"] = {"type": "string"}
    fields["properties"]["enabled"] = {"type": "boolean"}
    schema["$defs"]["runnerClass"] = fields
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def find_orphans(directories: tuple[Path, ...], expected: dict[Path, str]) -> list[Path]:
    """Return the CRD files that belong to no kind any more."""
    present = [path for directory in directories for path in sorted(directory.glob(CRD_PATTERN))]
    return [path for path in present if path not in expected]


def find_stale(expected: dict[Path, str], orphans: list[Path]) -> list[str]:
    """Return a unified diff for each file that is missing, differs, or should not be there."""
    differences = []
    for path, after in [*expected.items(), *((path, "") for path in orphans)]:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before != after:
            lines = difflib.unified_diff(
                before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), f"{path} (generated)"
            )
            differences.append("".join(lines))
    return differences


def write(expected: dict[Path, str], orphans: list[Path]) -> None:
    """Write the files, and remove those that belong to no kind."""
    for path in orphans:
        path.unlink()
    for path, text in expected.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the files, or with --check print how they differ from what they should be and return 1 if they do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff if a file is stale")
    options = parser.parse_args(arguments)
    expected = generate()
    orphans = find_orphans(CRD_DIRECTORIES, expected)
    if not options.check:
        write(expected, orphans)
        return 0
    differences = find_stale(expected, orphans)
    if differences:
        print("".join(differences), end="")
        print("Generated files are stale: run `make generate` and commit what it writes.", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

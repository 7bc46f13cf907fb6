"""Writes the CRDs of `vidbench_api` as YAML into crds/ and charts/vidbench/crds/; with --check only says what is stale.

Run as `.venv/bin/python hack/generate.py [--check]`. Exit code 1: something is stale (--check only).
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from vidbench_api.crdgen import generate_documents

REPOSITORY = Path(__file__).resolve().parent.parent
TARGETS = (REPOSITORY / "crds", REPOSITORY / "charts" / "vidbench" / "crds")
PATTERN = "*.vidbench.io.yaml"


def find_stale(directory: Path, documents: dict[str, str]) -> list[str]:
    """Return a unified diff for each file of a directory that is missing, differs or belongs to no kind."""
    present = {path.name: path.read_text(encoding="utf-8") for path in directory.glob(PATTERN)}
    differences = []
    for name in sorted(present.keys() | documents.keys()):
        before, after = present.get(name, ""), documents.get(name, "")
        if before != after:
            path = str(directory / name)
            lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), path, f"{path} (generated)")
            differences.append("".join(lines))
    return differences


def write(directory: Path, documents: dict[str, str]) -> None:
    """Make a directory hold exactly these documents, beside whatever is no CRD."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob(PATTERN):
        if path.name not in documents:
            path.unlink()
    for name, text in documents.items():
        (directory / name).write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the CRDs, or with --check print how the files differ from them and return 1 if they do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff if a file is stale")
    options = parser.parse_args(arguments)
    documents = generate_documents()
    if not options.check:
        for directory in TARGETS:
            write(directory, documents)
        return 0
    differences = [difference for directory in TARGETS for difference in find_stale(directory, documents)]
    if differences:
        print("".join(differences), end="")
        print("The CRDs are stale: run `make generate` and commit what it writes.", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`vidbench benchmark --local` as a process, and the results that it left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vidbench_api.result import BenchmarkResultSpec


def local_command(file: Path, directory: Path) -> list[str]:
    """The words of a run of a file on this machine, which leaves everything in a directory."""
    words = [sys.executable, "-m", "vidbench_cli", "benchmark", "--local"]
    return [*words, "-f", str(file), "--directory", str(directory)]


def local_results(directory: Path) -> list[BenchmarkResultSpec]:
    """The results in the directory of a local run."""
    return [
        BenchmarkResultSpec.model_validate(json.loads(path.read_text())["spec"])
        for path in (directory / "results").iterdir()
    ]

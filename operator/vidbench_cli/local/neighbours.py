"""The results of other local runs: directories beside a run's own are to it what its namespace is on a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from vidbench_api.result import BenchmarkResultSpec

from .files import DamagedError, RunDirectory

_REQUIREMENT: Final = re.compile(r"([^,=\s]+)(?:=([^,]*)| in \(([^)]*)\))")


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels hold to a selector of `key=value` and `key in (a,b)`, which is all that the operator writes."""
    return all(
        labels.get(key) in (several.split(",") if several else [value])
        for key, value, several in _REQUIREMENT.findall(selector)
    )


def results_beside(path: Path) -> Iterator[tuple[Mapping[str, str], BenchmarkResultSpec]]:
    """Yield labels and spec of the results in the directories beside one; a directory that cannot be read has none."""
    for neighbour in sorted(path.parent.iterdir()):
        if neighbour == path or not (neighbour / "results").is_dir():
            continue
        try:
            bodies = RunDirectory(neighbour).read_results().values()
        except DamagedError:
            continue
        for body in bodies:
            try:
                yield body["metadata"]["labels"], BenchmarkResultSpec.model_validate(body["spec"])
            except (KeyError, TypeError, ValueError):
                continue

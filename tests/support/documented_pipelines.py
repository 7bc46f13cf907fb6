"""The pipelines that docs/gates.md shows, as they stand there: tests run them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

PAGE = Path(__file__).parents[2] / "docs" / "gates.md"


def block_under(heading: str) -> str:
    """The first fenced block below a heading."""
    _, _, below = PAGE.read_text().partition(f"### {heading}\n")
    found = re.search(r"```\w+\n(.*?)```", below, re.DOTALL)
    assert found is not None, f"docs/gates.md has no block under {heading!r}"
    return found[1]


def github_script() -> str:
    """What the step of GitHub Actions runs, its expressions filled in."""
    (step,) = yaml.safe_load(block_under("GitHub Actions"))
    return re.sub(r"\$\{\{ github\.(\w+) \}\}", "1", step["run"])


def gitlab_script() -> str:
    """What the job of GitLab runs, before and after."""
    job = yaml.safe_load(block_under("GitLab"))["benchmark"]
    return "\n".join([*job["script"], *job["after_script"]])


def argo_health() -> str:
    """The Lua by which Argo CD is told what health means."""
    return str(
        yaml.safe_load(block_under("Argo CD"))["data"]["resource.customizations.health.vidbench.io_BenchmarkRun"]
    )

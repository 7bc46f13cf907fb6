"""Writes and prints what a bench found, with where and when it was found."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "bench"
DOCUMENTATION = ROOT / "docs" / "benchmarks.md"


def provenance(load_average: float) -> dict[str, Any]:
    """Return commit and machine. The load average is that of the minute before the bench."""
    return {
        "takenAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _git("rev-parse", "HEAD"),
        "changedFiles": len((_git("status", "--porcelain") or "").splitlines()),
        "machine": {
            "cpus": os.cpu_count(),
            "cpu": _field(Path("/proc/cpuinfo"), "model name"),
            "memory": _field(Path("/proc/meminfo"), "MemTotal"),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "loadAverageBefore": round(load_average, 2),
        },
    }


def publish(report: Mapping[str, Any]) -> None:
    """Write and print a report under the name of its benchmark. Fails if the documentation does not name a key of it."""
    path = write(str(report["benchmark"]), report)
    print(f"\n{render(report)}\n\nwritten to {path}")
    assert json.loads(path.read_text()) == report
    text = DOCUMENTATION.read_text()
    unknown = [key for key, _ in flatten(report) if f"`{key}`" not in text]
    assert not unknown, f"{DOCUMENTATION} does not say what these keys mean: {unknown}"


def write(name: str, report: Mapping[str, Any]) -> Path:
    """Write `build/bench/NAME.json` and return its path."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def flatten(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every figure with its dotted key; a spread (median, min, max) and a table of calls stay one."""
    for key, value in report.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not _is_spread(value) and not _is_table(value):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def _is_spread(value: Mapping[str, Any]) -> bool:
    return set(value) in ({"median", "min", "max"}, {"p50", "p99", "max"})


def _is_table(value: Mapping[str, Any]) -> bool:
    """Whether the keys are calls, e.g. `create jobs`, and not names of figures."""
    return all(" " in key for key in value)


def render(report: Mapping[str, Any]) -> str:
    """Return a table of key and figure."""
    rows = [(key, _text(value)) for key, value in flatten(report)]
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"  {key:<{width}}  {text}" for key, text in rows)


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and _is_spread(value):
        first, *rest = (f"{key} {number:g}" for key, number in value.items())
        return f"{first}  ({', '.join(rest)})"
    if isinstance(value, Mapping):
        return ", ".join(f"{number:g} {kind}" for kind, number in value.items()) or "none"
    if isinstance(value, list):
        rows = (entry.values() if isinstance(entry, Mapping) else (entry,) for entry in value)
        return ", ".join("/".join(f"{figure:g}" for figure in row) for row in rows)
    return "unknown" if value is None else str(value)


def _git(*arguments: str) -> str | None:
    """Return what git says; None outside of a checkout."""
    try:
        answer = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _field(path: Path, key: str) -> str | None:
    for line in path.read_text().splitlines():
        name, separator, value = line.partition(":")
        if separator and name.strip() == key:
            return value.strip()
    return None

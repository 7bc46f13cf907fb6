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


def write(name: str, report: Mapping[str, Any]) -> Path:
    """Write `build/bench/NAME.json` and return its path."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def flatten(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every figure with its dotted key; a spread (median, min, max) stays one."""
    for key, value in report.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and set(value) != {"median", "min", "max"}:
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def render(report: Mapping[str, Any]) -> str:
    """Return a table of key and figure."""
    rows = [(key, _text(value)) for key, value in flatten(report)]
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"  {key:<{width}}  {text}" for key, text in rows)


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        return f"{value['median']:g}  ({value['min']:g} to {value['max']:g})"
    if isinstance(value, list):
        return ", ".join(_inline(entry) for entry in value)
    return "none" if value in (None, {}) else str(value)


def _inline(value: Any) -> str:
    return "/".join(f"{entry:g}" for entry in value.values()) if isinstance(value, Mapping) else str(value)


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

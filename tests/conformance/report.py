"""Runs the checks on a subject, and makes of the answers the table, the figures and what the class supports."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.report import provenance

from vidbench_api.pipeline_classes import ClassSupport
from vidbench_runner.ports import ModelFailure

from .checks import MAY, MUST, ONE_TYPE, TILES_ONLY, Check, Lacking, Skipped
from .subject import Subject

State = Literal["passed", "failed", "lacking", "skipped"]
SIGN: dict[State, str] = {"passed": "ok", "failed": "FAIL", "lacking": "-", "skipped": "skip"}


@dataclass(frozen=True)
class Answer:
    """What one check said of one preset."""

    check: str
    state: State
    detail: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """All answers of one preset."""

    preset: str
    pipeline_class: str
    inputs: tuple[str, ...]
    answers: tuple[Answer, ...]

    def state_of(self, check: str) -> State | None:
        return next((answer.state for answer in self.answers if answer.check == check), None)

    def failures(self) -> list[str]:
        return [f"{answer.check}: {answer.detail}" for answer in self.answers if answer.state == "failed"]


def examine(subject: Subject, names: Sequence[str], scratch: Path) -> Row:
    """Run the named checks, in order; what one raises does not keep the others from running."""
    answers = [_ask(name, (MUST | MAY)[name], subject, scratch / name) for name in names]
    return Row(subject.name, subject.preset.pipeline_class, subject.loaded.inputs, tuple(answers))


def _ask(name: str, check: Check, subject: Subject, scratch: Path) -> Answer:
    started = time.monotonic()
    state: State
    try:
        state, detail = "passed", check(subject, scratch)
    except Lacking as lacking:
        state, detail = "lacking", str(lacking)
    except Skipped as skipped:
        state, detail = "skipped", str(skipped)
    except ModelFailure as failure:
        state, detail = "failed", f"{failure.reason}: {failure}"
    except Exception as error:  # noqa: BLE001 - one check that breaks must not hide what the others say
        state, detail = "failed", f"{type(error).__name__}: {error}"
    return Answer(name, state, " ".join(detail.split())[:600], round(time.monotonic() - started, 2))


def contradictions(row: Row, support: ClassSupport | None) -> list[str]:
    """What the answers say otherwise than the table of supported classes. A check that was not run or skipped says nothing."""
    if support is None:
        return [f"{row.pipeline_class} is not in PIPELINE_CLASSES"]
    said: dict[str, bool | None] = {
        "model": "Model" in support.offloads,
        "sequential": "Sequential" in support.offloads,
        "group": "Group" in support.offloads,
        "tiling": support.vae_tiling,
        "attention": support.attention,
        "compile": support.compile,
    }
    found = [
        f"{check}: the table says {said[check]}, the check {answer.state} ({answer.detail})"
        for answer in row.answers
        if said.get(check := answer.check) is not None
        and answer.state != "skipped"
        and said[check] != (answer.state == "passed")
    ]
    required = any(answer.check == "tiling" and answer.detail.startswith(TILES_ONLY) for answer in row.answers)
    if row.state_of("tiling") is not None and required != support.tiles_only:
        found.append(f"tiling: the table says {support.tiles_only} to tiles only, the check {required}")
    folder = next((answer for answer in row.answers if answer.check == "folder" and answer.state == "passed"), None)
    if folder is not None and folder.detail.endswith(ONE_TYPE) == support.vae_of_own_type:
        found.append(
            f"folder: the table says {support.vae_of_own_type} to a VAE of another type, the check {folder.detail}"
        )
    if row.inputs != support.takes:
        found.append(f"takes: the table says {support.takes}, the class {row.inputs}")
    return [*found, *(f"{name}: failed" for name in MUST if row.state_of(name) == "failed")]


def table(rows: Sequence[Row]) -> str:
    """Classes x checks, as text."""
    checks = [name for name in (*MUST, *MAY) if any(row.state_of(name) for row in rows)]
    width = max(len(f"{row.pipeline_class} ({row.preset})") for row in rows)
    lines = [" " * width + "  " + "  ".join(f"{name:>{max(len(name), 4)}}" for name in checks)]
    for row in rows:
        states = [row.state_of(name) for name in checks]
        signs = [SIGN[state] if state is not None else "" for state in states]
        cells = "  ".join(f"{sign:>{max(len(name), 4)}}" for sign, name in zip(signs, checks, strict=True))
        lines.append(f"{f'{row.pipeline_class} ({row.preset})':<{width}}  {cells}")
    classes = {row.pipeline_class for row in rows if not row.failures()}
    seconds = sum(answer.seconds for row in rows for answer in row.answers)
    lines.append(
        f"{len(classes)} classes, {len(rows)} presets, {seconds:.0f} s; ok passed, - refused in words, skip not shown here"
    )
    return "\n".join(lines)


WORST_FIRST: tuple[State, ...] = ("failed", "lacking", "skipped", "passed")


def by_class(rows: Sequence[Row]) -> dict[str, dict[str, State]]:
    """Class x check: the worst that one of its presets answered."""
    found: dict[str, dict[str, State]] = {}
    for row in rows:
        checks = found.setdefault(row.pipeline_class, {})
        for answer in row.answers:
            checks[answer.check] = min(checks.get(answer.check, answer.state), answer.state, key=WORST_FIRST.index)
    return dict(sorted(found.items()))


def is_whole(rows: Sequence[Row], presets: Sequence[str]) -> bool:
    """Whether each of the presets answered every check: part of the table must not stand in place of all of it."""
    answered = {row.preset for row in rows if all(row.state_of(check) is not None for check in (*MUST, *MAY))}
    return answered >= set(presets)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write everything that was seen, with what a CPU cannot show."""
    document: dict[str, Any] = {
        "benchmark": "conformance",
        **provenance(os.getloadavg()[0]),
        "classes": by_class(rows),
        "cannotShow": "offload runs with the CPU as its device: hooks and calls are real; memory saved, fetching ahead on a"
        " stream and tensors on two devices are not seen",
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")

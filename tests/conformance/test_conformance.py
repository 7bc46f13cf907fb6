"""Every supported pipeline class with random weights: what the table of supported classes claims is what is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vidbench_api.pipeline_classes import CLASS_OF_PRESET, PIPELINE_CLASSES
from vidbench_runner.backends.tiny_presets import PRESETS

from .checks import MAY, MUST
from .report import Answer, Row, contradictions, examine, is_whole, table, write
from .subject import Subject

pytestmark = pytest.mark.pipelines

FIGURES = Path("build/bench/conformance.json")
SMALL = [name for name in PRESETS if not name.endswith("-mid")]
WITHOUT_COMPILING = [name for name in (*MUST, *MAY) if name != "compile"]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Collects the answers and prints them at the end; writes them where every preset answered every check."""
    seen: list[Row] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield seen
    torch.set_num_threads(threads)
    if seen:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{table(seen)}")
        if is_whole(seen, SMALL):
            write(seen, FIGURES)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", SMALL)
def test_class_does_what_the_table_says(preset: str, rows: list[Row], tmp_path: Path) -> None:
    look(preset, WITHOUT_COMPILING, rows, tmp_path)


def look(preset: str, checks: Sequence[str], rows: list[Row], scratch: Path) -> Row:
    """Run checks on a preset, keep the answers, and hold them against the table."""
    subject = Subject(preset)
    try:
        row = examine(subject, checks, scratch)
    finally:
        subject.free()
    known = next((index for index, seen in enumerate(rows) if seen.preset == preset), None)
    if known is None:
        rows.append(row)
    else:
        news = tuple(answer for answer in row.answers if rows[known].state_of(answer.check) is None)
        rows[known] = replace(rows[known], answers=(*rows[known].answers, *news))
    assert contradictions(row, PIPELINE_CLASSES.get(row.pipeline_class)) == []
    return row


@pytest.mark.conformance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("preset", SMALL)
def test_compiled_class_compiles_once(preset: str, rows: list[Row], tmp_path: Path) -> None:
    row = look(preset, ["compile"], rows, tmp_path)
    if row.state_of("compile") == "skipped":
        pytest.skip(row.answers[0].detail)


def test_every_supported_class_has_a_preset_and_every_preset_its_class() -> None:
    assert dict(CLASS_OF_PRESET) == {name: preset.pipeline_class for name, preset in PRESETS.items()}
    assert {PRESETS[name].pipeline_class for name in SMALL} == set(PIPELINE_CLASSES)
    assert len(PIPELINE_CLASSES) >= 20


def test_only_answers_to_every_check_of_every_preset_are_the_figures() -> None:
    whole = [Row(name, "", (), tuple(Answer(check, "passed", "", 0.0) for check in (*MUST, *MAY))) for name in SMALL]
    assert is_whole(whole, SMALL)
    assert not is_whole(whole[1:], SMALL)
    assert not is_whole([replace(whole[0], answers=whole[0].answers[:-1]), *whole[1:]], SMALL)

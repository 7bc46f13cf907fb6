"""The real GPU path against published figures, and CUDA's out of memory. `make gpu` runs it; without a GPU there is nothing to see."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from bench.suite_figures import Figures
from support.local_runs import local_command, local_results

from vidbench_api.measured import SeriesName
from vidbench_api.names import Outcome, Reason
from vidbench_api.result import BenchmarkResultSpec

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "published-figures.yaml"
SECONDS = 1_500
CAP_BYTES = 4096 * 2**20


@dataclass(frozen=True)
class Published:
    """Of one H100, a video: the data of the ML.ENERGY leaderboard, as quoted in facts/video-benchmarks.md, 1.4."""

    seconds: float
    joules: float


PUBLISHED = {"wan21-1-3b": Published(95.4, 64_700), "cogvideox-2b": Published(43.0, 28_600)}

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
    pytest.mark.timeout(SECONDS, func_only=True),
]


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    found = Figures("gpu")
    yield found
    found.publish()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], BenchmarkResultSpec]:
    """The example, measured on this machine: results by model and variant."""
    directory = tmp_path_factory.mktemp("published") / "run"
    subprocess.run(local_command(EXAMPLE, directory), check=False, timeout=SECONDS)
    return {(spec.cell.model, spec.cell.variant): spec for spec in local_results(directory)}


def mean_of(spec: BenchmarkResultSpec, name: SeriesName) -> float:
    """The mean of a column that must have been measured."""
    [series] = [series for series in spec.series if series.name is name]
    assert series.statistics is not None
    return series.statistics.mean


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_published_configuration_is_measured_and_its_ratio_printed(
    results: dict[tuple[str, str], BenchmarkResultSpec], figures: Figures, model: str
) -> None:
    spec, published = results[model, "published"], PUBLISHED[model]
    assert spec.outcome is Outcome.SUCCEEDED, spec.message
    seconds = mean_of(spec, SeriesName.LATENCY) / 1e6
    joules = mean_of(spec, SeriesName.ENERGY) / 1e3
    assert spec.environment is not None
    figures.put(
        model,
        device=spec.environment.device,
        validity=spec.validity.state.value,
        seconds=round(seconds, 2),
        joules=round(joules),
        secondsToPublished=round(seconds / published.seconds, 3),
        joulesToPublished=round(joules / published.joules, 3),
        otherPercent=round(100 * mean_of(spec, SeriesName.OTHER) / 1e6 / seconds, 3),
    )
    assert spec.memory is not None
    assert (spec.memory.device or 0) > (spec.memory.allocated or 0) > 0
    assert mean_of(spec, SeriesName.OTHER) / 1e6 <= 0.02 * seconds


def test_a_small_gpu_ends_as_out_of_memory_with_stage_and_peak(
    results: dict[tuple[str, str], BenchmarkResultSpec], figures: Figures
) -> None:
    spec = results["wan21-1-3b", "small"]
    assert (spec.outcome, spec.reason) == (Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY_CUDA.value)
    assert spec.stage is not None
    assert spec.memory is not None
    peak = spec.memory.reserved or 0
    figures.put("outOfMemory", stage=spec.stage.value, phase=spec.phase, peakReservedBytes=peak, capBytes=CAP_BYTES)
    assert 0 < peak <= CAP_BYTES

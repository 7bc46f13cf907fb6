"""The mock: a whole attempt in real processes without a model, whose result says of itself that it measured nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from support.published_schemas import problems_of_verdict
from support.requests import CELL, request_document

from vidbench_api.measured import SeriesName
from vidbench_api.message import decode
from vidbench_api.names import Outcome, Validity
from vidbench_runner.__main__ import main
from vidbench_runner.backends.mock import pattern
from vidbench_runner.ports import ClipRequest

SOURCE = {"mock": {"loadMilliseconds": 10, "clipMilliseconds": 60}}


def test_mock_goes_the_whole_way_and_claims_nothing(tmp_path: Path) -> None:
    request = request_document(
        cell={"backend": "mock", "source": SOURCE}, hardware=[{"name": "cpu", "gpus": 1}], seeds={"base": 7, "count": 3}
    )
    (tmp_path / "request.json").write_text(request.to_text())
    message = tmp_path / "message"
    code = main(["run", "--request", str(tmp_path / "request.json"), "--cell", CELL, "--message", str(message)])
    verdict = decode(message.read_text())
    assert (code, verdict.outcome, verdict.reason) == (0, Outcome.SUCCEEDED, None)
    assert problems_of_verdict(verdict) == []
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    assert {entry.name for entry in verdict.series} == {SeriesName.LATENCY, SeriesName.FRAMES}
    latency = verdict.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert latency.statistics.min >= 60_000, "it slept as long as was said"
    assert verdict.environment is not None
    assert (verdict.environment.device, verdict.environment.gpu_uuid, verdict.loaded) == ("mock", None, None)
    for name in ("denoise", "step", "denoiserCalls", "energy", "memoryAllocated", "memoryDevice", "loaded"):
        assert verdict.unmeasured[name] == "mock", name


def test_pattern_moves_and_is_decided_by_prompt_and_seed() -> None:
    clip = ClipRequest("a cat", None, 7, 16, 32, 5, 2)
    frames = pattern(clip)
    assert (frames.shape, frames.dtype) == ((5, 16, 32, 3), np.uint8)
    assert all(not np.array_equal(one, other) for one, other in pairwise(frames))
    assert np.array_equal(frames, pattern(clip))
    for other in (ClipRequest("a dog", None, 7, 16, 32, 5, 2), ClipRequest("a cat", None, 8, 16, 32, 5, 2)):
        assert not np.array_equal(frames, pattern(other))

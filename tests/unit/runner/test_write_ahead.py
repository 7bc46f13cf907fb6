"""When a message is written ahead, as a function of what was written and what that cost."""

from __future__ import annotations

import pytest

from vidbench_api.verdict import Stage
from vidbench_runner.core.endings import blank_verdict
from vidbench_runner.core.plan import Attempt
from vidbench_runner.core.write_ahead import Place, WriteAhead

OLD, NEW = (blank_verdict(Attempt("0" * 16, "0123abcd", 1, 1)) for _ in range(2))
DENOISE, DECODE = (Stage.SAMPLING, "denoise"), (Stage.SAMPLING, "vae_decode")
WARM = (Stage.WARMING_UP, "denoise")
BURST = 0.02


@pytest.mark.parametrize(
    ("verdict", "place", "now", "due"),
    [
        pytest.param(NEW, DENOISE, 12.4, False, id="a sample before 1 ms is 0.04 % of the time since"),
        pytest.param(NEW, DENOISE, 12.6, True, id="a sample after that"),
        pytest.param(OLD, DENOISE, 99.0, False, id="nothing new"),
        pytest.param(OLD, (Stage.SAMPLING, "audio"), 10.0, True, id="a place that is new, at once"),
        pytest.param(OLD, DECODE, 12.4, False, id="a place that is known, before"),
        pytest.param(OLD, DECODE, 12.6, True, id="a place that is known, after"),
        pytest.param(NEW, WARM, 10.1, True, id="a warm-up, whatever it costs"),
        pytest.param(OLD, WARM, 10.9, False, id="a known place of a warm-up, within the second"),
        pytest.param(OLD, WARM, 11.1, True, id="and after it"),
    ],
)
def test_a_message_is_due(verdict: object, place: Place, now: float, due: bool) -> None:
    pace = WriteAhead(phase_seconds=1.0, share=0.0004, burst=BURST)
    for known in (DECODE, WARM, DENOISE):
        assert pace.due(OLD, known, 10.0)
        pace.written(OLD, known, 10.0, cost=0.001)
    pace.written(OLD, DENOISE, 10.0, cost=BURST + 0.001)
    assert pace.due(verdict, place, now) is due  # type: ignore[arg-type]


def test_writing_takes_no_more_than_its_share_however_short_samples_are() -> None:
    pace, spent = WriteAhead(phase_seconds=1.0, share=0.0004, burst=BURST), 0.0
    pace.written(OLD, DENOISE, 0.0, cost=0.0)
    for tick in range(1, 10_000):
        now, verdict = tick * 0.1, OLD.model_copy()
        if pace.due(verdict, DENOISE, now):
            spent += 0.02
            pace.written(verdict, DENOISE, now, cost=0.02)
    assert 0.0003 * 1_000 < spent <= 0.0004 * 1_000 + BURST + 0.02


def test_the_first_samples_are_written_when_each_is_done_however_short_they_are() -> None:
    pace, cost = WriteAhead(phase_seconds=1.0, share=0.0004, burst=BURST), 0.002
    pace.written(OLD, DENOISE, 0.0, cost)
    at_once = 0
    for tick in range(1, 100):
        verdict, now = OLD.model_copy(), tick * 0.1
        if not pace.due(verdict, DENOISE, now):
            break
        pace.written(verdict, DENOISE, now, cost)
        at_once += 1
    assert at_once == 11, "the burst is ten of them, and the share of a second a fifth of one"

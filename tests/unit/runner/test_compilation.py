"""What a compiled model's clips say about compiling, from the clips to the verdict and back from the stored lines."""

from __future__ import annotations

from typing import Any

import pytest
from support.requests import CELL, request_document
from support.scripted_model import FakeClock, FakeHost, FakeMeter, ScriptedModel, clip

from vidbench_api.measured import Compilation, Environment
from vidbench_api.names import Validity
from vidbench_api.verdict import Verdict
from vidbench_runner.core.compilation import compilation_of
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.trial import Trial, World


class Heard:
    """A listener that only remembers samples."""

    def __init__(self) -> None:
        self.samples: list[MeasuredSample] = []

    def beat(self, stage: Any, word: str) -> None: ...

    def snapshot(self, verdict: Verdict) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        self.samples.append(sample)

    def store(self) -> None: ...


def run(*compiled: tuple[int, int] | None, warmup: int = 2) -> tuple[Verdict, list[MeasuredSample]]:
    """A trial whose clips compile so many graphs in so many nanoseconds."""

    def action(figures: tuple[int, int] | None) -> Any:
        changes = {} if figures is None else {"compilations": figures[0], "compile_nanoseconds": figures[1]}
        return lambda request: clip(request, **changes)

    heard, document = Heard(), request_document(warmup=warmup)
    model = ScriptedModel(actions=iter([action(figures) for figures in compiled]))
    world = World(model, FakeMeter(), FakeClock(), FakeHost(), heard, heard, Environment(device="cpu"))
    return Trial(plan_trial(document, Attempt("0123456789abcdef", CELL, 1, 1)), world).run(), heard.samples


def test_the_cold_clip_is_told_apart_and_a_recompiling_warm_up_counts() -> None:
    verdict, samples = run((2, 30_000_000), (1, 5_000), (0, 0), (0, 0), (0, 0))
    assert verdict.compilation == Compilation(
        graphs=2, cold_microseconds=41_503, compile_microseconds=30_000, recompiles=1
    )
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    back = [MeasuredSample.from_line(sample.to_line()) for sample in samples]
    assert compilation_of(back[:2], back[2:]) == verdict.compilation


@pytest.mark.parametrize("warmup", [0, 2])
def test_a_measured_sample_that_compiles_makes_the_shard_invalid(warmup: int) -> None:
    hot: list[tuple[int, int]] = [(0, 0)] * 4
    verdict, _ = run((1, 9), *hot, warmup=0) if not warmup else run((1, 9), (0, 0), (0, 0), (1, 9), (0, 0))
    assert verdict.validity is not None
    assert (verdict.validity.state, verdict.validity.reasons) == (Validity.INVALID, ("CompiledInSample",))


def test_nothing_is_said_of_a_model_that_is_not_compiled() -> None:
    verdict, samples = run(None, None, None, None, None)
    assert verdict.compilation is None
    assert "compilations" not in samples[0].to_line()

"""Rounding to microseconds: the phases of a sample add up, whatever their nanoseconds are."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.requests import request_document
from support.scripted_model import clip

from vidbench_api.verdict import Phase
from vidbench_runner.core.columns import columns_of, latency_microseconds, phase_microseconds
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.ports import DeviceReading

REQUEST = plan_trial(request_document(), Attempt("d", "0123abcd", 1, 1)).samples[0].clip
TIMES = st.dictionaries(st.sampled_from(list(Phase)), st.none() | st.integers(0, 10**13), min_size=1)


def sample_of(times: dict[Phase, int | None]) -> MeasuredSample:
    total = sum(time for time in times.values() if time is not None)
    made = replace(clip(REQUEST), phase_nanoseconds=times, latency_nanoseconds=total, frames=None)
    return MeasuredSample(0, False, "cat", 7, made, "d", Energy(None, 0, "x"), DeviceReading())


@given(TIMES)
def test_trial_columns_phases_add_up_and_none_is_off_by_a_microsecond(times: dict[Phase, int | None]) -> None:
    sample = sample_of(times)
    rounded = phase_microseconds(sample)
    assert sum(rounded.values()) == latency_microseconds(sample)
    assert set(rounded) == {phase for phase, time in times.items() if time is not None}
    assert all(abs(rounded[phase] * 1000 - (times[phase] or 0)) < 1000 for phase in rounded)


def test_trial_columns_of_no_samples_claim_nothing() -> None:
    columns = columns_of([])
    assert (columns.series, columns.unmeasured) == ((), {})


def test_trial_columns_keep_reasons_short() -> None:
    sample = replace(sample_of({Phase.DENOISE: 5}), energy=Energy(None, 0, "energy: " + "x" * 500))
    assert len(columns_of([sample]).unmeasured["energy"]) <= 96

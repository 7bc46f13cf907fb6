from __future__ import annotations

import contextlib

import pytest

from vidbench_api.verdict import Phase
from vidbench_runner.backends.boundaries import PhaseRecorder, StreamBoundaries, WallBoundaries, attribute

P, T, I, D, V, A, S, O = (  # noqa: E741 - one letter a phase keeps the table readable
    Phase.PREPARE,
    Phase.TEXT_ENCODE,
    Phase.IMAGE_ENCODE,
    Phase.DENOISE,
    Phase.VAE_DECODE,
    Phase.AUDIO,
    Phase.POSTPROCESS,
    Phase.OTHER,
)
GAP = None


class HandClock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.now = 1_000

    def nanoseconds(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        pytest.param(
            [GAP, T, GAP, T, GAP, D, GAP, D, GAP, V, GAP, S, GAP],
            [P, T, P, T, P, D, D, D, D, V, O, S, O],
            id="text to video: the loop runs from the first denoiser call to the decoder",
        ),
        pytest.param(
            [GAP, T, GAP, I, GAP, D, GAP, V, GAP],
            [P, T, P, I, P, D, D, V, O],
            id="image to video: the image is encoded before the loop",
        ),
        pytest.param(
            [GAP, D, GAP, V, GAP, D, GAP, V, GAP, S, GAP],
            [P, D, D, V, D, D, D, V, O, S, O],
            id="decode inside the loop: what leads to the next denoiser call is the loop's",
        ),
        pytest.param(
            [GAP, D, GAP, V, GAP, V, GAP, V, GAP, S, GAP],
            [P, D, D, V, V, V, V, V, O, S, O],
            id="decode in chunks: joining them is decoding",
        ),
        pytest.param(
            [GAP, D, GAP, T, GAP, D, GAP],
            [P, D, D, T, D, D, D],
            id="text encoded again inside the loop; latents returned without a decode",
        ),
        pytest.param([GAP, D, GAP, V, GAP, A, GAP], [P, D, D, V, O, A, O], id="audio after the decode"),
        pytest.param([GAP, T, GAP, S, GAP], [P, T, O, S, O], id="no denoiser seen: only the start is preparation"),
        pytest.param([GAP], [O], id="no call seen at all"),
    ],
)
def test_stretches_between_calls_go_to_the_phase_they_serve(owners, expected):
    assert attribute(owners) == expected


def record(clock, recorder, calls):
    """Replay (nanoseconds before, phase, nanoseconds inside) calls, with a stretch of 1 at the end."""
    recorder.begin()
    for before, phase, inside in calls:
        clock.now += before
        with recorder.call(phase):
            clock.now += inside
    clock.now += 1
    return recorder.finish()


def test_phases_sum_to_the_latency_and_unseen_ones_are_none():
    clock = HandClock()
    times = record(
        clock,
        PhaseRecorder(WallBoundaries(clock)),
        [(5, T, 100), (7, D, 1000), (11, D, 1000), (13, V, 300), (2, S, 30)],
    )
    assert times.phases == {P: 12, T: 100, I: None, D: 2024, V: 300, A: None, S: 30, O: 3}
    assert times.latency == sum(value for value in times.phases.values() if value is not None) == 2469
    assert times.calls[A] == times.calls[I] == 0
    assert (times.calls[T], times.calls[D], times.calls[V]) == (1, 2, 1)


def test_nested_call_is_exclusive_time_and_a_call_inside_its_own_phase_counts_once():
    clock = HandClock()
    recorder = PhaseRecorder(WallBoundaries(clock))
    recorder.begin()
    with recorder.call(D):
        clock.now += 10
        with recorder.call(V):
            clock.now += 100
            with recorder.call(V):
                clock.now += 1000
        clock.now += 20
    times = recorder.finish()
    assert (times.phases[D], times.phases[V]) == (30, 1100)
    assert (times.calls[D], times.calls[V]) == (1, 1)


@pytest.mark.parametrize(
    ("calls_per_step", "steps", "expected"),
    [
        pytest.param(1, 4, (101, 102, 103, 1004), id="one call a step, the last step ends where the decoder starts"),
        pytest.param(2, 2, (203, 1107), id="two calls a step under guidance"),
        pytest.param(2, 4, (), id="fewer calls than known for the class: no step times"),
        pytest.param(None, 4, (), id="not known how calls make up steps: no step times"),
    ],
)
def test_step_times_follow_the_calls_and_sum_to_the_loop(calls_per_step, steps, expected):
    clock = HandClock()
    times = record(
        clock,
        PhaseRecorder(WallBoundaries(clock)),
        [(50, D, 100), (1, D, 100), (2, D, 100), (3, D, 1000), (4, V, 7)],
    )
    assert times.steps(calls_per_step, steps) == expected
    assert sum(expected) in (0, times.phases[D])


def test_recorder_starts_each_sample_afresh():
    clock = HandClock()
    recorder = PhaseRecorder(WallBoundaries(clock))
    first = record(clock, recorder, [(1, T, 2), (3, D, 4), (5, V, 6)])
    assert record(clock, recorder, [(1, T, 2), (3, D, 4), (5, V, 6)]) == first


@pytest.mark.parametrize(
    ("calls", "failing", "phase"),
    [
        pytest.param([], None, P, id="before anything"),
        pytest.param([(1, T, 1)], None, P, id="between text encoder and denoiser"),
        pytest.param([(1, T, 1), (1, D, 1)], None, D, id="in the scheduler's arithmetic"),
        pytest.param([(1, D, 1), (1, V, 1)], None, O, id="after the decoder"),
        pytest.param([(1, D, 1)], V, V, id="inside the decoder"),
    ],
)
def test_abandoned_sample_names_the_phase_it_failed_in(calls, failing, phase):
    recorder = PhaseRecorder(WallBoundaries(HandClock()))
    recorder.begin()
    for _, name, _ in calls:
        with recorder.call(name):
            pass
    if failing is not None:
        with pytest.raises(RuntimeError), recorder.call(failing):
            raise RuntimeError
    assert recorder.abandon() is phase
    assert not recorder.active


class FakeStream:
    """A device that is behind the host: events happen `lag` nanoseconds after they are recorded."""

    def __init__(self, clock: HandClock, lag: int) -> None:
        self.clock, self.lag, self.synchronised = clock, lag, 0

    def new_event(self) -> FakeEvent:
        return FakeEvent(self)

    def synchronize(self) -> None:
        self.synchronised += 1
        self.clock.now += self.lag


class FakeEvent:
    def __init__(self, stream: FakeStream) -> None:
        self.stream = stream
        self.happened = -1

    def record(self) -> None:
        self.happened = self.stream.clock.now + self.stream.lag

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.happened - self.happened) / 1e6


def test_stream_boundaries_read_events_and_end_at_the_synchronised_wall_clock():
    clock = HandClock()
    stream = FakeStream(clock, lag=50)
    recorder = PhaseRecorder(StreamBoundaries(clock, stream.new_event, stream.synchronize))
    times = record(clock, recorder, [(5, T, 100), (7, D, 1000), (13, V, 300), (2, S, 30)])
    assert stream.synchronised == 2
    assert times.phases[T] == 100
    assert times.phases[D] == 1013
    assert times.latency == 5 + 100 + 7 + 1000 + 13 + 300 + 2 + 30 + 1 + stream.lag
    assert times.latency == sum(value for value in times.phases.values() if value is not None)
    assert times.phases[O] == 2 + 1 + stream.lag


def test_stream_boundaries_never_go_back_or_past_the_end_when_the_two_clocks_drift():
    clock = HandClock()
    stream = FakeStream(clock, lag=0)
    boundaries = StreamBoundaries(clock, stream.new_event, stream.synchronize)
    boundaries.start()
    for drifted in (100, 90, 500):
        clock.now = 1_000 + drifted
        boundaries.mark()
    clock.now = 1_000 + 450
    assert boundaries.finish() == (0, 100, 100, 450, 450)


def test_the_failure_of_a_call_is_kept_although_the_pipeline_swallows_it():
    clock = HandClock()
    recorder = PhaseRecorder(WallBoundaries(clock))
    recorder.begin()
    swallowed = MemoryError("in the decode")
    with contextlib.suppress(MemoryError), recorder.call(V):
        raise swallowed
    assert (recorder.failure, recorder.abandon()) == (swallowed, V)
    recorder.begin()
    assert recorder.failure is None

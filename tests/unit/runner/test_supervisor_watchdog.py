"""When a worker is ended, as a function of what was observed; and what the observations are made of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.names import Reason
from vidbench_api.verdict import Stage
from vidbench_runner.core.watchdog import STORAGE_BYTES, Activity, Limits, Observation, Watchdog
from vidbench_runner.memory_evidence import OomKills
from vidbench_runner.processes import ProcessGroup
from vidbench_runner.pulse import Pulse, new_page

LIMITS = Limits(load=1800, no_progress=300, shard=7200)


def look(
    seconds: float,
    *,
    stage: Stage = Stage.SAMPLING,
    beats: int = 1,
    processor: float = 0.0,
    moved: int = 0,
    busy: bool | None = None,
) -> Observation:
    return Observation(seconds, stage, beats, Activity(processor, moved), busy)


@pytest.mark.parametrize(
    ("observations", "reason"),
    [
        pytest.param([look(10), look(309)], None, id="silent for less than the limit"),
        pytest.param([look(10), look(310)], Reason.HUNG, id="silent for the limit"),
        pytest.param([look(10), look(300, beats=2), look(599, beats=2)], None, id="a heartbeat in between"),
        pytest.param([look(10), look(200, processor=3.0), look(499, processor=3.0)], None, id="computed in between"),
        pytest.param([look(10), look(200, processor=2.9), look(310, processor=2.9)], Reason.HUNG, id="idle timers only"),
        pytest.param([look(10), look(100, processor=2.0), look(310, processor=5.0)], None, id="slow work adds up"),
        pytest.param([look(10), look(200, moved=STORAGE_BYTES), look(499, moved=STORAGE_BYTES)], None, id="read from a slow disk"),
        pytest.param([look(10), look(300, busy=True), look(599, busy=False)], None, id="a long kernel: the device is busy"),
        pytest.param([look(10, busy=False), look(310, busy=False)], Reason.HUNG, id="an idle device"),
        pytest.param([look(10), look(310, busy=None)], Reason.HUNG, id="a device that cannot be asked excuses nothing"),
        pytest.param(
            [look(10, stage=Stage.LOADING), look(609, stage=Stage.LOADING)], None, id="storage stalls under a load"
        ),
        pytest.param(
            [look(10, stage=Stage.LOADING), look(610, stage=Stage.LOADING)], Reason.HUNG, id="a load that hangs"
        ),
        pytest.param(
            [look(10, stage=Stage.WARMING_UP), look(609, stage=Stage.WARMING_UP)], None, id="a compiler elsewhere"
        ),
        pytest.param([look(10), look(310, stage=Stage.STORING)], None, id="went on to another stage"),
        pytest.param([look(1799, stage=Stage.LOADING)], None, id="loads for less than its limit"),
        pytest.param([look(1800, stage=Stage.LOADING)], Reason.LOAD_DEADLINE, id="loads for too long, and busy"),
        pytest.param([look(1800, stage=Stage.STARTING)], Reason.LOAD_DEADLINE, id="does not even start to load"),
        pytest.param([look(1800, stage=Stage.WARMING_UP)], None, id="loaded in time"),
        pytest.param([look(7139)], None, id="before the soft deadline"),
        pytest.param([look(7140)], Reason.SHARD_DEADLINE, id="a minute before the shard's limit"),
    ],
)  # fmt: skip
def test_supervisor_watchdog_ends_a_worker(observations: list[Observation], reason: Reason | None) -> None:
    watchdog = Watchdog(LIMITS)
    endings = [watchdog.observe(observation) for observation in observations]
    assert all(ending is None for ending in endings[:-1])
    last = endings[-1]
    assert (last.reason if last else None) is reason


_LOOKS = st.lists(
    st.tuples(
        st.floats(1, 50), st.sampled_from([Stage.LOADING, Stage.WARMING_UP, Stage.SAMPLING]), st.integers(0, 1),
        st.floats(0, 0.02), st.booleans(),
    ),
    min_size=1, max_size=60,
)  # fmt: skip


@given(_LOOKS)
def test_supervisor_watchdog_never_ends_a_worker_whose_silence_is_shorter_than_the_limit(
    steps: list[tuple[float, Stage, int, float, bool]],
) -> None:
    watchdog, limits = Watchdog(Limits(load=1e6, no_progress=300, shard=1e6)), (300, 600)
    now, beats, last, before = 0.0, 0, 0.0, Stage.STARTING
    for seconds, stage, beat, processor, busy in steps:
        now, beats = now + seconds, beats + beat
        if beat or busy or stage is not before:
            last = now
        before = stage
        ending = watchdog.observe(Observation(now, stage, beats, Activity(processor, 0), busy))
        silence = limits[stage is not Stage.SAMPLING]
        assert (ending is not None and ending.reason is Reason.HUNG) <= (now - last >= silence)
        if ending is not None:
            return


@pytest.mark.parametrize(("shard", "soft"), [(7200, 7140), (600, 540), (60, 54), (1, 0.9)])
def test_supervisor_watchdog_soft_deadline_leaves_a_margin(shard: float, soft: float) -> None:
    assert Limits(load=1, no_progress=1, shard=shard).soft_deadline == pytest.approx(soft)


BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def test_supervisor_activity_counts_descendants_and_never_falls() -> None:
    code = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"
    group = ProcessGroup([sys.executable, "-c", code], os.environ, ())
    try:
        seen = [group.activity().processor_seconds]
        end = time.monotonic() + 20
        while seen[-1] < 0.5 and time.monotonic() < end:
            time.sleep(0.05)
            seen.append(group.activity().processor_seconds)
        assert seen[-1] >= 0.5, "the busy one is a child of the worker"
        assert seen == sorted(seen)
    finally:
        group.kill()
        group.wait(10)
    assert group.activity().processor_seconds >= seen[-1]


def test_supervisor_activity_of_a_sleeping_worker_does_not_move() -> None:
    group = ProcessGroup(["sleep", "60"], os.environ, ())
    try:
        time.sleep(0.3)
        before = group.activity()
        time.sleep(0.5)
        assert group.activity() == before
    finally:
        group.kill()
        group.wait(10)


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    (tmp_path / "own").write_text("4:cpu,memory:/pod/container\n0::/pod/container\n")
    return tmp_path


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("memory/memory.oom_control", id="v1, as a container sees it"),
        pytest.param("memory/pod/container/memory.oom_control", id="v1, below the process's own path"),
        pytest.param("memory.events", id="v2, as a container sees it"),
        pytest.param("pod/container/memory.events", id="v2, below the process's own path"),
    ],
)
def test_supervisor_counts_oom_kills_since_its_start(cgroups: Path, file: str) -> None:
    path = cgroups / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("low 5\noom 9\noom_kill 2\noom_kill_disable 0\nunder_oom 0\n")
    kills = OomKills(cgroups, cgroups / "own")
    assert (kills.readable, kills.since_start()) == (True, 0)
    path.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert kills.since_start() == 1


def test_supervisor_without_evidence_claims_no_oom_kill(cgroups: Path) -> None:
    kills = OomKills(cgroups, cgroups / "absent")
    assert (kills.readable, kills.since_start()) == (False, 0)


def test_supervisor_reads_the_pulse_of_a_process_that_was_killed() -> None:
    page = new_page()
    code = (
        "import os, signal, sys\nfrom vidbench_api.verdict import Stage\nfrom vidbench_runner.pulse import Pulse\n"
        "pulse = Pulse(int(sys.argv[1]))\npulse.beat(Stage.SAMPLING, 'sample 3')\npulse.progress('vae_decode')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    pulse = Pulse(page)
    before = pulse.read()
    assert (before.count, before.stage, before.phase) == (0, Stage.STARTING, None)
    subprocess.run([sys.executable, "-c", code, str(page)], pass_fds=(page,), check=False)
    os.close(page)
    beat = pulse.read()
    assert (beat.count, beat.stage, beat.word, beat.phase) == (2, Stage.SAMPLING, "vae_decode", "vae_decode")


@pytest.mark.parametrize(
    ("word", "phase"),
    [("denoise 12", "denoise"), ("vae_decode done", "vae_decode"), ("sample 3", None), ("", None), ("é" * 60, None)],
)
def test_supervisor_pulse_knows_the_phase_of_a_word(word: str, phase: str | None) -> None:
    page = new_page()
    pulse = Pulse(page)
    pulse.beat(Stage.SAMPLING, word)
    assert pulse.read().phase == phase
    os.close(page)

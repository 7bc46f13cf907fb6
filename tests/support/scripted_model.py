"""A video model that does what a script says, a clock that only moves when told, and a meter that counts reads."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vidbench_api.names import Reason
from vidbench_api.verdict import Phase
from vidbench_runner.ports import (
    CallMismatch,
    ClipRequest,
    DeviceReading,
    DeviceSample,
    GeneratedClip,
    HostLook,
    HostReading,
    LoadedModel,
    ModelFailure,
    ModelRequest,
    Progress,
)

PHASES = {
    Phase.PREPARE: 1_000_400,
    Phase.TEXT_ENCODE: 2_000_400,
    Phase.IMAGE_ENCODE: None,
    Phase.DENOISE: 30_000_400,
    Phase.VAE_DECODE: 8_000_400,
    Phase.AUDIO: None,
    Phase.POSTPROCESS: 500_400,
    Phase.OTHER: 1_000,
}


def clip(request: ClipRequest, *, slower: int = 0, **changes: Any) -> GeneratedClip:
    """Return a clip of the requested size whose denoising took `slower` nanoseconds longer."""
    phases: dict[Phase, int | None] = dict(PHASES) | {Phase.DENOISE: PHASES[Phase.DENOISE] + slower}
    shape = (request.frames, request.height, request.width, 3)
    made = GeneratedClip(
        latency_nanoseconds=sum(time for time in phases.values() if time is not None),
        phase_nanoseconds=phases,
        phase_calls={phase: 0 if taken is None else 1 for phase, taken in phases.items()}
        | {Phase.DENOISE: request.steps},
        denoiser_forward_calls=request.steps,
        step_nanoseconds=tuple([15_000_200 + slower] * request.steps),
        delivered_frames=request.frames,
        delivered_height=request.height,
        delivered_width=request.width,
        frames=np.full(shape, request.seed % 256, dtype=np.uint8),
        finite=True,
        memory_reason="cpu",
        expected_calls={Phase.DENOISE: request.steps, Phase.VAE_DECODE: 1},
    )
    return replace(made, **changes)


Action = Callable[[ClipRequest], GeneratedClip]


def fail(reason: Reason, phase: Phase | None = None) -> Action:
    """An action that fails as a model does."""

    def action(_request: ClipRequest) -> GeneratedClip:
        raise ModelFailure(reason, f"scripted {reason}", phase=phase)

    return action


def raise_error(error: BaseException) -> Action:
    """An action that lets an exception through."""

    def action(_request: ClipRequest) -> GeneratedClip:
        raise error

    return action


def not_finite(request: ClipRequest) -> GeneratedClip:
    """A clip with NaN in it."""
    return clip(request, finite=False)


def miscounted(request: ClipRequest) -> GeneratedClip:
    """A clip whose denoiser was seen once too often."""
    return clip(request, call_mismatches=(CallMismatch(Phase.DENOISE, request.steps, request.steps + 1),))


@dataclass
class ScriptedModel:
    """A `VideoModel`: each `generate` takes the next action; when they are used up, plain clips."""

    actions: Iterator[Action] = field(default_factory=lambda: iter(()))
    load_action: Callable[[], None] = lambda: None
    check_action: Callable[[ClipRequest], None] = lambda _clip: None
    device: str = "cpu"
    progress: Progress = lambda _word: None
    calls: list[str] = field(default_factory=list)
    requests: list[ModelRequest] = field(default_factory=list)
    on_generate: Callable[[], None] = lambda: None

    def load(self, request: ModelRequest) -> LoadedModel:
        self.calls.append(f"load {request.source}")
        self.requests.append(request)
        self.load_action()
        return LoadedModel(
            pipeline_class="WanPipeline",
            load_nanoseconds=5_000_000_000,
            to_device_nanoseconds=None,
            device=self.device,
            component_dtypes={"transformer": "float32", "vae": "float32"},
            component_parameters={"transformer": 1000, "vae": 234},
            timed_call_nanoseconds=3_000,
            frame_grid="4k+1",
        )

    def check(self, request: ClipRequest) -> None:
        self.calls.append(f"check {request.seed}")
        self.check_action(request)

    def generate(self, request: ClipRequest) -> GeneratedClip:
        self.calls.append(f"generate {request.seed}")
        for phase in (Phase.TEXT_ENCODE, Phase.DENOISE, Phase.VAE_DECODE):
            self.progress(phase.value)
        made = next(self.actions, clip)(request)
        self.on_generate()
        return made

    def free(self) -> None:
        self.calls.append("free")


@dataclass
class FakeClock:
    """A clock that moves by `advance` only."""

    now: int = 0

    def nanoseconds(self) -> int:
        return self.now

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds


@dataclass
class FakeMeter:
    """A meter whose energy counter rises by `step` millijoules a reading."""

    base: DeviceReading = field(default_factory=lambda: DeviceReading(reason="no_gpu"))
    step: int = 0
    reads: int = 0

    def read(self) -> DeviceReading:
        self.reads += 1
        if not self.step:
            return self.base
        return replace(self.base, total_energy_millijoules=self.reads * self.step)

    def close(self) -> None:
        self.reads = -1


@dataclass
class FakeWatch:
    """A watch over readings that a test has put there; it rests by moving the clock."""

    readings: list[DeviceSample] = field(default_factory=list)
    reason: str | None = "no_gpu"
    clock: FakeClock = field(default_factory=FakeClock)

    def between(self, start: int, end: int) -> tuple[DeviceSample, ...]:
        return tuple(reading for reading in self.readings if start <= reading.nanoseconds <= end)

    def cost_ppm(self) -> int | None:
        return 120 if self.readings else None

    def rest(self, nanoseconds: int) -> None:
        self.clock.advance(nanoseconds)


@dataclass
class FakeHost:
    """A host that was throttled `step` more periods at each reading; each look takes the next of `looks`, if any is left."""

    step: int = 0
    reads: int = 0
    looks: Iterator[HostLook] = field(default_factory=lambda: iter(()))

    def look(self) -> HostLook:
        return next(self.looks, HostLook(3, 2**36, 2**30, 2**35))

    def read(self) -> HostReading:
        self.reads += 1
        return HostReading(
            peak_resident_bytes=2**30, cgroup_peak_bytes=2**31, cpu_throttled_periods=self.reads * self.step
        )


def _sleep(_request: ClipRequest) -> GeneratedClip:
    while True:
        time.sleep(0.05)


def _busy(seconds: float) -> Action:
    def action(request: ClipRequest) -> GeneratedClip:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(1000))
        return clip(request)

    return action


def _kill(number: signal.Signals) -> Action:
    def action(_request: ClipRequest) -> GeneratedClip:
        os.kill(os.getpid(), number)
        time.sleep(60)
        raise AssertionError("still alive")

    return action


def _kill_everything(_request: ClipRequest) -> GeneratedClip:
    """Kill supervisor and worker at once, as a cgroup v2 out-of-memory kill does."""
    time.sleep(1.5)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def postprocess_late_and_kill_everything(progress: Progress) -> Action:
    """Reach a phase long after the last report, and be killed with the supervisor in it."""

    def action(request: ClipRequest) -> GeneratedClip:
        time.sleep(1.0)
        progress(Phase.POSTPROCESS.value)
        return _kill_everything(request)

    return action


def _eat_memory(_request: ClipRequest) -> GeneratedClip:
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * (8 * 1024 * 1024)))


def _leave(_request: ClipRequest) -> GeneratedClip:
    os._exit(3)


def _slow(request: ClipRequest) -> GeneratedClip:
    time.sleep(0.3)
    return clip(request)


def garbage(reports: int) -> Action:
    """Write nonsense into the report pipe, as a library that prints into any descriptor."""

    def action(request: ClipRequest) -> GeneratedClip:
        os.write(reports, b'Downloading: 50%\r\n{"cell": 1}\n\xff\xfe\x00{{{{' + b"z" * 2_000_000 + b"\n{}\n")
        return clip(request)

    return action


ACTIONS: Mapping[str, Action] = {
    "clip": clip,
    "slow": _slow,
    "nan": not_finite,
    "miscounted": miscounted,
    "sleep": _sleep,
    "busy": _busy(4.0),
    "sigkill": _kill(signal.SIGKILL),
    "sigsegv": _kill(signal.SIGSEGV),
    "kill-everything": _kill_everything,
    "eat-memory": _eat_memory,
    "leave": _leave,
    "out-of-memory": fail(Reason.OUT_OF_MEMORY_CUDA, Phase.VAE_DECODE),
    "memory-error": raise_error(MemoryError("no room")),
    "bug": raise_error(ZeroDivisionError("scripted bug")),
}


def _load_action(words: str) -> Callable[[], None]:
    """`SECONDS`: a load that sleeps. `trickle SECONDS`: one that computes for a hundredth of a second now and then."""
    *how, seconds = words.split() or ["0"]

    def trickle() -> None:
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            used = time.process_time()
            while time.process_time() < used + 0.03:
                sum(range(1000))
            time.sleep(0.3)

    return trickle if how else lambda: time.sleep(float(seconds))


def main() -> int:
    """The real worker over a scripted model: actions by name from SCRIPT, the load's from SCRIPT_LOAD."""
    from vidbench_runner import worker

    reports = int(sys.argv[sys.argv.index("--reports") + 1])
    actions = ACTIONS | {"garbage": garbage(reports)}
    names = os.environ.get("SCRIPT", "").split()
    load = os.environ.get("SCRIPT_LOAD", "")

    def create(_backend: str, progress: Progress) -> ScriptedModel:
        late = {"postprocess-late-and-kill-everything": postprocess_late_and_kill_everything(progress)}
        return ScriptedModel(
            actions=iter([(actions | late)[name] for name in names]),
            progress=progress,
            load_action=_load_action(load),
        )

    return worker.main(create=create)


if __name__ == "__main__":
    sys.exit(main())

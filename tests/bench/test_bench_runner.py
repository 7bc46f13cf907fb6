"""What the instrument costs: `make bench-runner`.

For each tiny pipeline class, on a video of some seconds: the cost of a timed call times its calls, and the bits with and
without the instrument. For a few of them, the same pipeline as a bare loop against the runner, alternating. Then the
processor time of a real supervisor while its worker samples. Asserts that bits are the same and that phases sum to the
whole, for every class; no time passes or fails it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.requests import CELL, request_document

from bench import report
from bench.runner_figures import class_figures, steps_that_last
from vidbench_api.message import MessageError, decode
from vidbench_api.pipeline_classes import PIPELINE_CLASSES
from vidbench_api.verdict import Phase, Stage
from vidbench_runner.backends.boundaries import MonotonicClock, WallBoundaries
from vidbench_runner.backends.calibration import timed_call_nanoseconds
from vidbench_runner.backends.call_arguments import call_arguments
from vidbench_runner.backends.generation import rounded_frames
from vidbench_runner.backends.library_logs import logged_warnings
from vidbench_runner.backends.tiny import TinyModel
from vidbench_runner.backends.tiny_presets import PRESETS, Preset
from vidbench_runner.ports import ClipRequest, ModelFailure, ModelRequest
from vidbench_runner.pulse import Pulse, new_page

PAIRS = int(os.environ.get("VIDBENCH_BENCH_PAIRS", "8"))
"""Of the classes of which the ratio to a bare loop is taken; one of the others."""

RATIO_OF = ("ltx", "wan")
ONLY = os.environ.get("VIDBENCH_BENCH_PRESETS", "").split()
"""Presets, to look at some alone; without them, one preset of each class at least."""

LEAST_SECONDS = 1.0
"""Of a video whose figures are looked at; which ones were shorter is printed."""

ENOUGH_SECONDS, WORKLOAD_SECONDS = 1.5, 2.0
"""A video gets steps until it takes so long that it will hardly take less than `LEAST_SECONDS` the next time."""

MOST_STEPS = 500
UNTIMED = (Phase.PREPARE, Phase.OTHER)
SEED = 7
SUPERVISED_SECONDS, MOST_SAMPLES = 90.0, 64
"""Processor time is told in hundredths of a second: over so many seconds that is 0.011 % of one processor."""


pytestmark = [pytest.mark.bench, pytest.mark.pipelines, pytest.mark.timeout(3600)]


class KnownPipeline(TinyModel):
    """A tiny model that lets the bench call its pipeline without the runner."""

    pipeline: Any = None

    def build(self, request: ModelRequest) -> Any:
        """Build it and remember it."""
        self.pipeline = super().build(request)
        return self.pipeline

    def bare(self, clip: ClipRequest) -> tuple[int, Any]:
        """Return the nanoseconds and the output of a bare call: without the seam, as a loop of one's own would."""
        import torch

        seam = self._seam
        assert seam is not None
        arguments = call_arguments(self.pipeline, clip, torch.Generator("cpu").manual_seed(clip.seed))
        seam.remove()
        try:
            with logged_warnings("bare"):
                started = time.perf_counter_ns()
                output = self.pipeline(**arguments)
                return time.perf_counter_ns() - started, output
        finally:
            seam.install(self.pipeline)


def digest(frames: Any) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


def clip_of(preset: Preset, steps: int) -> ClipRequest:
    wanted = preset.clip
    return ClipRequest(
        "a cat walks", None, SEED, wanted.height, wanted.width, wanted.frames, steps, dict(wanted.arguments)
    )


def steps_for(model: KnownPipeline, preset: Preset) -> int:
    """Return how many steps make a timed video last as long as a workload should, on this machine, now."""
    first = preset.clip.steps
    model.bare(clip_of(preset, first))

    def seconds_of(steps: int) -> float | None:
        try:
            return model.generate(clip_of(preset, steps)).latency_nanoseconds / 1e9
        except ModelFailure:
            # Schedulers of diffusers trip over time steps that fall together: SanaVideo's at some 180 steps.
            return None

    return steps_that_last(
        seconds_of,
        first,
        enough=ENOUGH_SECONDS,
        wanted=WORKLOAD_SECONDS,
        most=MOST_STEPS,
    )


def measure(name: str, pulse: Pulse) -> dict[str, Any]:
    preset, model = PRESETS[name], KnownPipeline(pulse.progress)
    model.load(ModelRequest("tiny", None, name, None, "float32", vae_tiling=preset.clip.vae_tiling))
    clip = clip_of(preset, steps_for(model, preset))
    model.check(clip)
    bare, timed, other, calls = [], [], [], 0
    for pair in range(PAIRS if name in RATIO_OF else 1):
        made = model.generate(clip) if pair % 2 else None
        taken, output = model.bare(clip)
        made = made or model.generate(clip)
        assert sum(time or 0 for time in made.phase_nanoseconds.values()) == made.latency_nanoseconds
        assert digest(made.frames) == digest(rounded_frames(output)[0]), f"{name}: the instrument changed the video"
        bare.append(taken)
        timed.append(made.latency_nanoseconds)
        other.append(made.phase_nanoseconds[Phase.OTHER] or 0)
        calls = sum(count for phase, count in made.phase_calls.items() if phase not in UNTIMED)
    cost = timed_call_nanoseconds(WallBoundaries(MonotonicClock()), pulse.progress)
    model.free()
    return {"class": preset.pipeline_class, "preset": name, "steps": clip.steps, "bitsEqual": True} | class_figures(
        bare, timed, other, calls, cost
    )


def supervisor_share(folder: Path, steps: int, samples: int) -> dict[str, Any]:
    """Return the processor time of a real supervisor while its worker samples videos of `wan`, as a share of that time.

    What it does depends on how long videos are and on no class. Its threads that ask a GPU's driver are part of it where there
    is one; what they cost beside it is `samplerPpm` of a result.
    """
    request, message = folder / "request.json", folder / "message"
    clip = clip_of(PRESETS["wan"], steps)
    cell = {"height": clip.height, "width": clip.width, "frames": clip.frames, "steps": steps}
    request.write_text(request_document(cell=cell, seeds={"base": SEED, "count": samples}).to_text())
    process = subprocess.Popen(
        [
            sys.executable, "-m", "vidbench_runner", "run", "--request", str(request), "--cell", CELL,
            "--message", str(message),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    observed, looks = psutil.Process(process.pid), []
    while process.poll() is None:
        try:
            stage = decode(message.read_text()).stage
        except (OSError, MessageError):
            stage = None
        try:
            times = observed.cpu_times()
        except psutil.NoSuchProcess:
            break
        if stage is Stage.SAMPLING:
            looks.append((time.monotonic(), times.user + times.system))
        time.sleep(0.1)
    assert process.wait(60) == 0
    seconds, used = looks[-1][0] - looks[0][0], looks[-1][1] - looks[0][1]
    return {
        "sampledSeconds": round(seconds, 1),
        "processorSeconds": round(used, 3),
        "percentOfOneProcessor": round(100 * used / seconds, 3),
    }


def too_short(rows: list[dict[str, Any]]) -> list[str]:
    return [row["preset"] for row in rows if row["latencySeconds"] < LEAST_SECONDS]


def render(rows: list[dict[str, Any]], supervisor: dict[str, Any]) -> str:
    head = f"{'class':<36} {'preset':<16} {'s':>7} {'calls':>6} {'ns/call':>8} {'instrument':>11} {'in sum':>10} {'other':>8}"
    lines = [f"{head}  bits   ratio to a bare loop (95 %)"]
    for row in rows:
        ratio = row["ratioToBareLoop"]
        interval = f" [{ratio['low']:.4f}, {ratio['high']:.4f}] in {row['pairs']} pairs" if "low" in ratio else ""
        lines.append(
            f"{row['class']:<36} {row['preset']:<16} {row['latencySeconds']:>7.3f} {row['timedCalls']:>6}"
            f" {row['nanosecondsPerTimedCall']:>8} {row['instrumentPercent']:>9.4f} % {row['sumPercent']:>8.4f} %"
            f" {row['otherPercent']:>6.3f} %  equal  {ratio['value']:.4f}{interval}"
        )
    share = supervisor["percentOfOneProcessor"]
    if short := too_short(rows):
        lines.append(f"videos shorter than {LEAST_SECONDS:g} s, whose shares say little: {', '.join(short)}")
    lines.append(f"supervisor: {share} % of one processor over {supervisor['sampledSeconds']} s of sampling")
    return "\n".join(lines)


def test_what_the_instrument_costs(tmp_path: Path) -> None:
    load = os.getloadavg()[0]
    pulse = Pulse(new_page())
    presets = ONLY or sorted(name for name in PRESETS if not name.endswith("-mid"))
    rows = [measure(preset, pulse) for preset in presets]
    classes = {row["class"] for row in rows}
    assert ONLY or classes == set(PIPELINE_CLASSES), "a supported class was not measured"
    steps, seconds = next(((row["steps"], row["latencySeconds"]) for row in rows if row["preset"] == "wan"), (20, 2.0))
    supervisor = supervisor_share(tmp_path, steps, min(MOST_SAMPLES, math.ceil(SUPERVISED_SECONDS / seconds)))
    for row in rows:
        row["sumPercent"] = round(row["instrumentPercent"] + supervisor["percentOfOneProcessor"], 5)
    found = {
        "benchmark": "bench-runner",
        **report.provenance(load),
        "supervisor": supervisor,
        "tooShort": too_short(rows),
        "classes": rows,
    }
    path = report.write("bench-runner", found)
    print(f"\n{render(rows, supervisor)}\n\nwritten to {path}")
    assert json.loads(path.read_text()) == found

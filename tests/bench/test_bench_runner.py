"""What the instrument costs: `make bench-runner`.

For each tiny pipeline class: the cost of a timed call times its calls, and the same pipeline as a bare loop against the
runner, alternating. Then the processor time of a real supervisor while its worker samples. Asserts that the videos' bits
are the same with and without the instrument and that phases sum to the whole; no time passes or fails it.
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
from bench.runner_figures import class_figures
from vidbench_api.message import MessageError, decode
from vidbench_api.verdict import Phase, Stage
from vidbench_runner.backends.boundaries import MonotonicClock, WallBoundaries
from vidbench_runner.backends.calibration import timed_call_nanoseconds
from vidbench_runner.backends.call_arguments import call_arguments
from vidbench_runner.backends.generation import rounded_frames
from vidbench_runner.backends.tiny import TinyModel
from vidbench_runner.backends.tiny_presets import PRESETS
from vidbench_runner.ports import ClipRequest, ModelFailure, ModelRequest
from vidbench_runner.pulse import Pulse, new_page

PAIRS = int(os.environ.get("VIDBENCH_BENCH_PAIRS", "8"))
WORKLOAD_SECONDS = 2.0
UNTIMED = (Phase.PREPARE, Phase.OTHER)
CLIP = ClipRequest("a cat walks", None, 7, 64, 64, 9, 4)

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
            started = time.perf_counter_ns()
            output = self.pipeline(**arguments)
            return time.perf_counter_ns() - started, output
        finally:
            seam.install(self.pipeline)


def digest(frames: Any) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


def steps_for(model: KnownPipeline) -> int:
    """Return how many steps make a video last as long as a workload should, on this machine, now."""
    model.bare(CLIP)
    taken = model.bare(CLIP)[0] / 1e9
    return min(1000, max(CLIP.steps, math.ceil(CLIP.steps * WORKLOAD_SECONDS / taken)))


def measure(preset: str, pulse: Pulse) -> dict[str, Any]:
    model = KnownPipeline(pulse.progress)
    model.load(ModelRequest("tiny", None, preset, None, "float32"))
    try:
        model.check(CLIP)
    except ModelFailure as failure:
        return {"preset": preset, "unmeasured": failure.message}
    clip = ClipRequest(**{**vars(CLIP), "steps": steps_for(model)})
    bare, timed, other, calls = [], [], [], 0
    for pair in range(PAIRS):
        made = model.generate(clip) if pair % 2 else None
        taken, output = model.bare(clip)
        made = made or model.generate(clip)
        assert sum(time or 0 for time in made.phase_nanoseconds.values()) == made.latency_nanoseconds
        assert digest(made.frames) == digest(rounded_frames(output)[0]), f"{preset}: the instrument changed the video"
        bare.append(taken)
        timed.append(made.latency_nanoseconds)
        other.append(made.phase_nanoseconds[Phase.OTHER] or 0)
        calls = sum(count for phase, count in made.phase_calls.items() if phase not in UNTIMED)
    cost = timed_call_nanoseconds(WallBoundaries(MonotonicClock()), pulse.progress)
    name = type(model.pipeline).__name__
    model.free()
    return {"class": name, "preset": preset, "steps": clip.steps, "bitsEqual": True} | class_figures(
        bare, timed, other, calls, cost
    )


def supervisor_share(folder: Path, steps: int) -> dict[str, Any]:
    """Return the processor time of a real supervisor while its worker samples, as a share of that time."""
    request, message = folder / "request.json", folder / "message"
    cell = {"height": CLIP.height, "width": CLIP.width, "frames": CLIP.frames, "steps": steps}
    request.write_text(request_document(cell=cell, seeds={"base": 7, "count": 40}).to_text())
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


def render(rows: list[dict[str, Any]], supervisor: dict[str, Any]) -> str:
    lines = [
        f"{'class':<32} {'s':>7} {'calls':>6} {'ns/call':>8} {'instrument':>11} {'other':>8}   ratio to a bare loop (95 %)"
    ]
    for row in rows:
        if "unmeasured" in row:
            lines.append(f"{row['preset']:<32} not measured: {row['unmeasured']}")
            continue
        ratio = row["ratioToBareLoop"]
        lines.append(
            f"{row['class']:<32} {row['latencySeconds']:>7.3f} {row['timedCalls']:>6} {row['nanosecondsPerTimedCall']:>8}"
            f" {row['instrumentPercent']:>9.4f} % {row['otherPercent']:>6.3f} %   {ratio['value']:.4f}"
            f" [{ratio['low']:.4f}, {ratio['high']:.4f}] in {row['pairs']} pairs"
        )
    share = supervisor["percentOfOneProcessor"]
    lines.append(f"supervisor: {share} % of one processor over {supervisor['sampledSeconds']} s of sampling")
    return "\n".join(lines)


def test_what_the_instrument_costs(tmp_path: Path) -> None:
    load = os.getloadavg()[0]
    pulse = Pulse(new_page())
    presets = sorted(name for name in PRESETS if not name.endswith("-mid"))
    rows = [measure(preset, pulse) for preset in presets]
    measured = [row for row in rows if "unmeasured" not in row]
    assert measured, "no class could be measured"
    supervisor = supervisor_share(tmp_path, measured[-1]["steps"])
    found = {"benchmark": "bench-runner", **report.provenance(load), "supervisor": supervisor, "classes": rows}
    path = report.write("bench-runner", found)
    print(f"\n{render(rows, supervisor)}\n\nwritten to {path}")
    assert json.loads(path.read_text()) == found

"""A model that is none, for dry runs: it sleeps as long as its source says and draws a moving pattern.

Everything round a measurement is real (Job, worker, message, result); no figure says anything about a model. Results are
marked Mock by the operator, from the request. Needs numpy alone.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from vidbench_api.names import Reason
from vidbench_runner.ports import ClipRequest, GeneratedClip, LoadedModel, ModelFailure, ModelRequest, Progress

REASON = "mock"
_BEAT_SECONDS = 1.0


class MockModel:
    """The `mock` backend."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._clip_seconds = 0.0

    def load(self, request: ModelRequest) -> LoadedModel:
        """Sleep as long as a load is said to take.

        Raises:
            ModelFailure: InvalidRequest, without a mock source.
        """
        if request.mock is None:
            raise ModelFailure(Reason.INVALID_REQUEST, "backend mock needs a source of kind mock")
        self._clip_seconds = request.mock.clip_milliseconds / 1e3
        started = time.monotonic_ns()
        self._sleep(request.mock.load_milliseconds / 1e3)
        return LoadedModel(
            pipeline_class=REASON,
            load_nanoseconds=time.monotonic_ns() - started,
            to_device_nanoseconds=None,
            device=REASON,
            component_dtypes={},
            component_parameters={},
            timed_call_nanoseconds=None,
            frame_grid=None,
            opaque_reason=REASON,
        )

    def check(self, clip: ClipRequest) -> None:
        """Take everything."""

    def generate(self, clip: ClipRequest) -> GeneratedClip:
        """Sleep as long as a clip is said to take; the latency is that of the sleep, as the clock has it."""
        started = time.monotonic_ns()
        self._sleep(self._clip_seconds)
        latency = time.monotonic_ns() - started
        return GeneratedClip(
            latency_nanoseconds=latency,
            phase_nanoseconds={},
            phase_calls={},
            denoiser_forward_calls=None,
            step_nanoseconds=(),
            delivered_frames=clip.frames,
            delivered_height=clip.height,
            delivered_width=clip.width,
            frames=pattern(clip),
            finite=True,
            memory_reason=REASON,
            phases_reason=REASON,
        )

    def free(self) -> None:
        """Nothing is held."""

    def _sleep(self, seconds: float) -> None:
        """Sleep, with a heartbeat a second."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._progress(REASON)
            time.sleep(min(_BEAT_SECONDS, left))


def pattern(clip: ClipRequest) -> Any:
    """Return frames, uint8 of shape (frames, height, width, 3): diagonal waves that move, decided by prompt and seed."""
    import numpy as np

    digest = hashlib.sha256(f"{clip.seed}\0{clip.prompt}".encode()).digest()
    rows = np.arange(clip.height, dtype=np.uint16)[:, None, None]
    columns = np.arange(clip.width, dtype=np.uint16)[None, :, None]
    channels = np.frombuffer(digest[:3], dtype=np.uint8).astype(np.uint16)[None, None, :]
    speed = 1 + digest[3] % 7
    return np.stack(
        [((rows + columns + channels + speed * number) % 256).astype(np.uint8) for number in range(clip.frames)]
    )

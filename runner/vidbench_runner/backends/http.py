"""A model behind a `/v1/videos` server, as SGLang and vLLM-Omni serve it. Timed by this client's clock, from outside.

Phases, forward calls, memory and energy of such a model are not seen from here: they stay null, as `unsupported`. Decoding
comes after the clock has stopped. Needs no torch.
"""

from __future__ import annotations

from vidbench_api.names import Reason
from vidbench_runner.backends.video_client import Patience, VideoClient
from vidbench_runner.backends.video_decode import decode_video
from vidbench_runner.core.purse import Purse
from vidbench_runner.core.service import body_of, check_arguments
from vidbench_runner.ports import ClipRequest, GeneratedClip, LoadedModel, ModelFailure, ModelRequest, Progress

REASON = "unsupported"


class HttpModel:
    """The `http` backend. `key` is the endpoint's API key, if it has one."""

    def __init__(self, progress: Progress, key: str | None, patience: Patience | None = None) -> None:
        self._progress = progress
        self._key = key
        self._patience = patience
        self._frames_per_second = 16
        self._purse: Purse | None = None
        self._client: VideoClient | None = None

    def load(self, request: ModelRequest) -> LoadedModel:
        """Nothing is loaded and nothing is asked: the first clip shows whether the server answers.

        Raises:
            ModelFailure: InvalidRequest, without an http source.
        """
        if request.http is None:
            raise ModelFailure(Reason.INVALID_REQUEST, "backend http needs a source of kind http")
        self._frames_per_second = request.frames_per_second
        self._purse = Purse(request.http)
        self._client = VideoClient(request.http, self._key, self._purse, self._progress, self._patience)
        return LoadedModel(
            pipeline_class=REASON,
            load_nanoseconds=None,
            to_device_nanoseconds=None,
            device="service",
            component_dtypes={},
            component_parameters={},
            timed_call_nanoseconds=None,
            frame_grid=None,
            opaque_reason=REASON,
            purse=self._purse,
        )

    def check(self, clip: ClipRequest) -> None:
        """Refuse arguments that would change what the request says."""
        check_arguments(clip.arguments)

    def generate(self, clip: ClipRequest) -> GeneratedClip:
        """Have one clip made.

        Raises:
            ModelFailure: CostCapReached before the job that would be too much; else what the server's answers mean.
        """
        if self._client is None or self._purse is None:
            raise ModelFailure(Reason.INTERNAL_ERROR, "a clip was asked for before the load")
        refusal = self._purse.refusal()
        if refusal is not None:
            raise ModelFailure(Reason.COST_CAP, refusal)
        delivery = self._client.fetch(body_of(self._purse.source, clip, self._frames_per_second))
        self._progress("decode")
        frames = decode_video(delivery.content, clip)
        count, height, width, _ = frames.shape
        return GeneratedClip(
            latency_nanoseconds=delivery.latency_nanoseconds,
            phase_nanoseconds={},
            phase_calls={},
            denoiser_forward_calls=None,
            step_nanoseconds=(),
            delivered_frames=count,
            delivered_height=height,
            delivered_width=width,
            frames=frames,
            finite=True,
            memory_reason=REASON,
            phases_reason=REASON,
            service=delivery.call,
        )

    def free(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

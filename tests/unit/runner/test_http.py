"""The `http` backend against a real server on this machine: what it asks, what it times, and every way in which that fails."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.published_schemas import problems_of_verdict
from support.requests import CELL, request_document
from support.scripted_model import FakeClock, FakeHost
from support.video_server import FRAMES, HEIGHT, WIDTH, Reply, VideoServer, frames_of, video_of, video_server

from vidbench_api.measured import SeriesName
from vidbench_api.names import Outcome, Reason, Validity
from vidbench_api.services import HttpSource
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.artifacts import NoArtifacts
from vidbench_runner.backends.http import HttpModel
from vidbench_runner.backends.video_client import Patience
from vidbench_runner.backends.video_decode import decode_video
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.trial import Trial, World
from vidbench_runner.meters.null import NullMeter
from vidbench_runner.ports import ClipRequest, GeneratedClip, ModelFailure, ModelRequest
from vidbench_runner.provenance import find_environment

KEY = "sk-very-secret"
SHORT = Patience(connect=1.0, read=1.0, tries=3, abandon=1.0)
CLIP = ClipRequest("a cat", None, 7, HEIGHT, WIDTH, FRAMES, 4)


@pytest.fixture
def server() -> Iterator[VideoServer]:
    with video_server() as running:
        yield running


def source(server: VideoServer, **changes: Any) -> HttpSource:
    return HttpSource(
        **({"endpoint": server.address, "model": "wan", "poll_milliseconds": 50, "clip_seconds": 5} | changes)
    )


def loaded(server: VideoServer, **changes: Any) -> HttpModel:
    model = HttpModel(lambda word: None, KEY, SHORT)
    model.load(ModelRequest("http", None, "wan", None, "float32", http=source(server, **changes), frames_per_second=8))
    return model


def generate(server: VideoServer, clip: ClipRequest = CLIP, **changes: Any) -> GeneratedClip:
    model = loaded(server, **changes)
    try:
        return model.generate(clip)
    finally:
        model.free()


def test_clip_is_submitted_as_the_request_says_and_comes_back_to_the_bit(server: VideoServer) -> None:
    clip = generate(server, ClipRequest("a cat", "rain", 7, HEIGHT, WIDTH, FRAMES, 4, {"guidance_scale": 5.0}))
    assert np.array_equal(clip.frames, frames_of(7))
    asked = server.of("POST")[0]
    assert json.loads(asked.body) == {
        "model": "wan", "prompt": "a cat", "negative_prompt": "rain", "size": f"{WIDTH}x{HEIGHT}", "num_frames": FRAMES,
        "fps": 8, "num_inference_steps": 4, "seed": 7, "guidance_scale": 5.0,
    }  # fmt: skip
    assert {entry.headers["Authorization"] for entry in server.asked} == {f"Bearer {KEY}"}
    assert [entry.path for entry in server.asked] == [
        "/v1/videos", "/v1/videos/video_1", "/v1/videos/video_1/content",
    ]  # fmt: skip


def test_form_says_the_same_in_fields(server: VideoServer) -> None:
    generate(server, encoding="Form")
    body = server.of("POST")[0].body.decode()
    assert 'name="seed"\r\n\r\n7\r\n' in body
    assert 'name="prompt"\r\n\r\na cat\r\n' in body
    assert "multipart/form-data" in server.of("POST")[0].headers["Content-Type"]


def test_nothing_that_is_not_seen_has_a_figure(server: VideoServer) -> None:
    clip = generate(server)
    assert (clip.phase_nanoseconds, clip.phase_calls, clip.step_nanoseconds) == ({}, {}, ())
    assert (clip.denoiser_forward_calls, clip.memory_allocated_bytes, clip.memory_reserved_bytes) == (None, None, None)
    assert (clip.phases_reason, clip.memory_reason) == ("unsupported", "unsupported")


def test_queue_is_told_where_the_server_says_when_it_begins(server: VideoServer) -> None:
    server.statuses = ["queued", "in_progress", "completed"]
    server.facts = {"inference_time_s": 0.125}
    clip = generate(server)
    assert clip.service is not None
    assert clip.service.polls == 3
    assert clip.service.run_nanoseconds == 125_000_000
    assert clip.service.queue_nanoseconds is not None
    assert 100e6 <= clip.service.queue_nanoseconds <= clip.latency_nanoseconds - 50e6, "two polls, and one to come"


def test_queue_and_run_stay_null_where_the_server_tells_neither(server: VideoServer) -> None:
    server.statuses = ["queued", "completed"]
    clip = generate(server)
    assert clip.service is not None
    assert (clip.service.queue_nanoseconds, clip.service.run_nanoseconds) == (None, None)


BAD_STEPS = [
    pytest.param("submit", Reply.json(401, error="no"), Reason.MODEL_ACCESS_DENIED, "Secret", id="401"),
    pytest.param("submit", Reply.json(403), Reason.MODEL_ACCESS_DENIED, "403", id="403"),
    pytest.param("submit", Reply.json(404, detail="no model wan"), Reason.MODEL_NOT_FOUND, "no model wan", id="404 model"),
    pytest.param("submit", Reply.json(400, detail="steps"), Reason.INVALID_ARGUMENTS, "steps", id="400"),
    pytest.param("submit", Reply.json(422), Reason.INVALID_ARGUMENTS, "422", id="422"),
    pytest.param("submit", Reply.json(500), Reason.SERVICE_UNAVAILABLE, "500", id="500 on a submission"),
    pytest.param("submit", Reply(302, headers={"Location": "http://127.0.0.1:1/"}), Reason.SERVICE_UNAVAILABLE, "redirections", id="redirection"),
    pytest.param("submit", Reply(200, b"<html>"), Reason.SERVICE_UNAVAILABLE, "another protocol", id="a web page"),
    pytest.param("submit", Reply.json(id="../../admin", status="queued"), Reason.SERVICE_UNAVAILABLE, "no plain word", id="an id that climbs"),
    pytest.param("submit", Reply(hang_up=True), Reason.SERVICE_UNAVAILABLE, "submit", id="hangs up on a submission"),
    pytest.param("submit", Reply(seconds=1.5), Reason.SERVICE_UNAVAILABLE, "Timeout", id="says nothing for too long"),
    pytest.param("submit", Reply(429, headers={"Retry-After": "3600"}), Reason.SERVICE_UNAVAILABLE, "429", id="wants an hour"),
    pytest.param("poll", Reply.json(404), Reason.SERVICE_UNAVAILABLE, "404", id="forgets the job"),
    pytest.param("poll", Reply.json(401), Reason.MODEL_ACCESS_DENIED, "401", id="takes the key away"),
    pytest.param("poll", Reply.json(id="video_1", status="dreaming"), Reason.SERVICE_UNAVAILABLE, "dreaming", id="an unknown word"),
    pytest.param("poll", Reply.json(id="video_1", status="failed", error={"message": "no memory"}), Reason.GENERATION_FAILED, "no memory", id="job failed"),
    pytest.param("poll", Reply.json(id="video_1", status="cancelled"), Reason.GENERATION_FAILED, "is cancelled", id="job cancelled"),
    pytest.param("download", Reply(body=b"not a video at all"), Reason.OUTPUT_UNREADABLE, "MP4", id="no video"),
    pytest.param("download", Reply(body=b"#EXTM3U\nfile:///etc/passwd\n"), Reason.OUTPUT_UNREADABLE, "MP4", id="a playlist"),
    pytest.param("download", Reply(body=b""), Reason.OUTPUT_UNREADABLE, "0 bytes", id="nothing"),
    pytest.param("download", Reply(body=b"\x1a\x45\xdf\xa3" + b"\0" * 500), Reason.OUTPUT_UNREADABLE, "without a frame", id="a video in name"),
    pytest.param("download", Reply.json(404), Reason.SERVICE_UNAVAILABLE, "404", id="no content"),
    pytest.param("download", Reply(body=b"x" * 40, drip_seconds=0.2), Reason.SERVICE_TIMEOUT, "clipSeconds", id="drips for ever"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "reply", "reason", "words"), BAD_STEPS)
def test_bad_answer_ends_as_its_own_reason(
    server: VideoServer, step: str, reply: Reply, reason: Reason, words: str
) -> None:
    server.replies[step] = [reply]
    with pytest.raises(ModelFailure, match=words) as caught:
        generate(server, clip_seconds=2)
    assert caught.value.reason == reason
    assert KEY not in caught.value.message


def test_answer_that_repeats_the_key_does_not_get_it_into_a_message(server: VideoServer) -> None:
    server.replies["submit"] = [Reply(401, f"Bearer {KEY} is unknown".encode())]
    with pytest.raises(ModelFailure, match=r"\*\*\* is unknown"):
        generate(server)


def test_job_that_never_finishes_is_ended_and_taken_back(server: VideoServer) -> None:
    server.statuses = ["in_progress"]
    started = time.monotonic()
    with pytest.raises(ModelFailure, match="video_1 is still in_progress after 1 s") as caught:
        generate(server, clip_seconds=1)
    assert caught.value.reason == Reason.SERVICE_TIMEOUT
    assert time.monotonic() - started >= 1
    assert [asked.path for asked in server.of("DELETE")] == ["/v1/videos/video_1"]


def test_server_that_is_not_there_is_not_available(server: VideoServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelFailure, match="submit") as caught:
        generate(server, endpoint=endpoint)
    assert caught.value.reason == Reason.SERVICE_UNAVAILABLE


def test_refused_submission_is_tried_again_after_the_time_asked_for_and_no_part_of_the_latency(
    server: VideoServer,
) -> None:
    server.replies["submit"] = [Reply(429, headers={"Retry-After": "1"}), Reply(503, headers={"Retry-After": "0"})]
    started = time.monotonic()
    model = loaded(server)
    clip = model.generate(CLIP)
    model.free()
    assert time.monotonic() - started >= 1
    assert clip.latency_nanoseconds < (time.monotonic() - started - 1) * 1e9
    assert clip.service is not None
    assert clip.service.transient_errors == 2
    assert model._purse is not None
    assert model._purse.jobs == 1, "a refused submission costs nothing"


@pytest.mark.parametrize("bad", [Reply(500), Reply(502), Reply(429, headers={"Retry-After": "0"}), Reply(hang_up=True)])
def test_poll_and_download_get_over_an_error(server: VideoServer, bad: Reply) -> None:
    server.replies["poll"], server.replies["download"] = [bad], [bad]
    clip = generate(server)
    assert np.array_equal(clip.frames, frames_of(7))
    assert clip.service is not None
    assert clip.service.transient_errors == 2
    assert len(server.of("POST")) == 1, "the job is not submitted again"


def test_cut_download_is_tried_again_and_then_told(server: VideoServer) -> None:
    whole = video_of(frames_of(7))
    server.replies["download"] = [Reply(body=whole[:-200], cut=True)]
    assert np.array_equal(generate(server).frames, frames_of(7))
    server.replies["download"] = [Reply(body=whole[:-200], cut=True)] * SHORT.tries
    with pytest.raises(ModelFailure, match="did not come whole") as caught:
        generate(server)
    assert caught.value.reason == Reason.OUTPUT_UNREADABLE


def test_video_that_the_server_itself_cut_is_noticed() -> None:
    whole = video_of(np.concatenate([frames_of(seed) for seed in range(8)]))
    assert decode_video(whole, CLIP).shape == (40, HEIGHT, WIDTH, 3)
    with pytest.raises(ModelFailure, match="delivered") as caught:
        decode_video(whole[: len(whole) // 2], CLIP)
    assert caught.value.reason == Reason.OUTPUT_UNREADABLE


def test_video_of_far_more_pixels_than_asked_for_is_not_read_on() -> None:
    with pytest.raises(ModelFailure, match="16 times the pixels"):
        decode_video(video_of(frames_of(1)), ClipRequest("a", None, 1, 2, 2, 1, 1))


def test_arguments_that_the_request_decides_are_refused_before_anything_is_asked(server: VideoServer) -> None:
    with pytest.raises(ModelFailure, match=r"arguments\[seed\]") as caught:
        loaded(server).check(ClipRequest("a", None, 1, 8, 8, 1, 1, {"seed": 3}))
    assert caught.value.reason == Reason.INVALID_ARGUMENTS
    assert server.asked == []


class Silent:
    """A listener that hears nothing."""

    def beat(self, stage: Stage, word: str) -> None: ...

    def snapshot(self, verdict: Verdict) -> None: ...

    def failed(self, error: BaseException) -> None: ...


def run_trial(server: VideoServer, count: int = 3, warmup: int = 1, **changes: Any) -> Verdict:
    request = request_document(
        cell={
            "backend": "http",
            "source": {"http": source(server, **changes).to_wire()},
            "height": HEIGHT,
            "width": WIDTH,
        },
        seeds={"base": 7, "count": count},
        warmup=warmup,
    )
    plan = plan_trial(request, Attempt("0" * 16, CELL, 1, 1))
    world = World(
        model=HttpModel(lambda word: None, None, SHORT), meter=NullMeter("unsupported"), clock=FakeClock(),
        host=FakeHost(), listener=Silent(), keeper=NoArtifacts(), environment=find_environment(),
    )  # fmt: skip
    return Trial(plan, world).run()


def test_result_of_a_service_says_what_it_is(server: VideoServer) -> None:
    server.statuses = ["queued", "in_progress", "completed"]
    verdict = run_trial(server, price_per_video="0.35", currency="EUR")
    assert (verdict.outcome, verdict.validity and verdict.validity.state) == (Outcome.SUCCEEDED, Validity.VALID)
    service = verdict.service
    assert service is not None
    assert (service.endpoint, service.model, service.resolution_microseconds) == (server.address, "wan", 50_000)
    assert (service.videos, service.cost, service.currency, service.last_request) == (4, "1.40", "EUR", "video_4")
    assert service.seed_honoured == "Yes", "the warm-up asked for what the first sample asks for"
    assert {series.name for series in verdict.series} == {
        SeriesName.LATENCY, SeriesName.FRAMES, SeriesName.SERVICE_QUEUE,
    }  # fmt: skip
    for name in (
        "denoise",
        "vaeDecode",
        "step",
        "denoiserCalls",
        "energy",
        "memoryAllocated",
        "memoryDevice",
        "loaded",
    ):
        assert verdict.unmeasured[name] == "unsupported", name
    assert verdict.unmeasured["serviceRun"] == "not_told"
    assert verdict.environment is not None
    assert (verdict.environment.device, verdict.loaded) == ("service", None)
    assert problems_of_verdict(verdict) == []


def test_one_seed_alone_does_not_show_that_it_is_honoured(server: VideoServer) -> None:
    verdict = run_trial(server, count=1)
    assert verdict.service is not None
    assert verdict.service.seed_honoured == "Unknown"


def test_seed_that_is_ignored_is_told(server: VideoServer) -> None:
    server.ignores_seed = True
    verdict = run_trial(server)
    assert verdict.service is not None
    assert verdict.service.seed_honoured == "No"


def test_cost_cap_ends_the_attempt_with_what_it_has(server: VideoServer) -> None:
    verdict = run_trial(server, price_per_video="0.5", currency="EUR", max_cost_per_attempt="1.50")
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.COST_CAP)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL
    assert verdict.samples_done == 2
    assert verdict.service is not None
    assert (verdict.service.videos, verdict.service.cost) == (3, "1.5")
    assert "maxCostPerAttempt" in (verdict.message or "")
    assert len(server.of("POST")) == 3


def test_job_that_may_have_been_made_is_paid_and_not_submitted_again(server: VideoServer) -> None:
    server.replies["submit"] = [Reply(hang_up=True)]
    verdict = run_trial(server, warmup=0)
    assert verdict.reason == Reason.SERVICE_UNAVAILABLE
    assert verdict.service is not None
    assert verdict.service.videos == 1
    assert len(server.of("POST")) == 1


def test_video_of_another_size_is_invalid(server: VideoServer) -> None:
    server.replies["download"] = [Reply(body=video_of(np.zeros((FRAMES, 32, 32, 3), dtype=np.uint8)))]
    verdict = run_trial(server, count=1, warmup=0)
    assert verdict.validity is not None
    assert (verdict.validity.state, verdict.validity.reasons) == (Validity.INVALID, ("SizeDiffers",))


@pytest.mark.parametrize("backend", ["http", "mock"])
def test_worker_of_a_service_or_a_mock_imports_no_torch(backend: str) -> None:
    program = (
        "import sys; from vidbench_runner.worker import import_and_create;"
        f"import_and_create({backend!r}, lambda word: None);"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

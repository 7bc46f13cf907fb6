from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from vidbench_api.names import Reason
from vidbench_api.verdict import Phase
from vidbench_runner.backends import create_model
from vidbench_runner.backends.call_arguments import call_arguments, check_clip, frame_grid, inputs_of, is_guided
from vidbench_runner.backends.call_counts import expected_calls, mismatches
from vidbench_runner.backends.generation import rounded_frames
from vidbench_runner.ports import CallMismatch, ClipRequest, ModelFailure

CLIP = ClipRequest(prompt="a cat", negative_prompt=None, seed=3, height=32, width=64, frames=9, steps=2)


class TextToVideo:
    vae_scale_factor_temporal = 4

    def check_inputs(self, prompt, negative_prompt, height, width, guidance_scale_2=None):
        if height % 16 or width % 16:
            raise ValueError(f"`height` and `width` have to be divisible by 16 but are {height} and {width}.")

    def __call__(
        self, prompt=None, negative_prompt=None, height=480, width=832, num_frames=81, num_inference_steps=50,
        guidance_scale=5.0, guidance_scale_2=None, generator=None, output_type="pil", return_dict=True,
    ): ...  # fmt: skip


class FramesCalledFrames:
    def __call__(self, prompt=None, height=1, width=1, frames=81, num_inference_steps=50, generator=None): ...


class FramesCalledLength:
    def __call__(self, prompt=None, height=1, width=1, video_length=16, num_inference_steps=50, generator=None): ...


class ImageToVideo:
    def __call__(self, image, prompt=None, height=1, width=1, num_frames=1, num_inference_steps=1, generator=None): ...


class VideoToVideo:
    def __call__(self, video, prompt=None, height=1, width=1, num_frames=1, num_inference_steps=1, generator=None): ...


class TextToImage:
    def __call__(self, prompt=None, height=1, width=1, num_inference_steps=1, generator=None): ...


class NeedsAnEmbedding(TextToVideo):
    def check_inputs(self, prompt, embedding, height, width):
        raise AssertionError("must not be called with a made-up embedding")


def clip(**changes) -> ClipRequest:
    return dataclasses.replace(CLIP, **changes)


def refusal(pipeline, request: ClipRequest) -> str:
    with pytest.raises(ModelFailure) as caught:
        check_clip(pipeline, request)
    assert caught.value.reason == Reason.INVALID_ARGUMENTS
    return caught.value.message


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [(TextToVideo(), "num_frames"), (FramesCalledFrames(), "frames"), (FramesCalledLength(), "video_length")],
)
def test_number_of_frames_goes_by_the_name_that_the_class_gives_it(pipeline, name):
    arguments = call_arguments(pipeline, CLIP, generator="g")
    assert arguments[name] == 9
    assert arguments["generator"] == "g"
    assert arguments.get("output_type", "np") == "np"
    assert "negative_prompt" not in arguments


def test_arguments_of_the_clip_are_passed_on():
    arguments = call_arguments(TextToVideo(), clip(negative_prompt="blur", arguments={"guidance_scale": 1.0}), None)
    assert (arguments["negative_prompt"], arguments["guidance_scale"]) == ("blur", 1.0)
    assert arguments["output_type"] == "np"


@pytest.mark.parametrize(("given", "passed_on"), [(None, ""), ("blur", "blur")])
def test_a_class_that_fails_without_a_negative_prompt_gets_the_empty_one(given, passed_on):
    pipeline = type("EasyAnimatePipeline", (TextToVideo,), {})()
    assert call_arguments(pipeline, clip(negative_prompt=given), None)["negative_prompt"] == passed_on


@pytest.mark.parametrize(
    ("pipeline", "changes", "words"),
    [
        pytest.param(
            TextToVideo(), {"arguments": {"guidence": 1}}, "arguments.guidence.*it takes guidance_scale", id="typo"
        ),
        pytest.param(TextToVideo(), {"arguments": {"height": 8}}, "arguments.height is set by clip.height", id="ours"),
        pytest.param(TextToVideo(), {"arguments": {"self": 8}}, "arguments.self", id="self"),
        pytest.param(
            TextToVideo(), {"height": 40}, "divisible by 16 but are 40 and 64", id="off the class's size grid"
        ),
        pytest.param(TextToVideo(), {"steps": 0}, "steps is 0", id="no steps"),
        pytest.param(TextToVideo(), {"frames": -1}, "frames is -1", id="negative frames"),
        pytest.param(FramesCalledFrames(), {"negative_prompt": "x"}, "takes no negative_prompt", id="negative prompt"),
        pytest.param(VideoToVideo(), {}, "needs video", id="a class that needs a video"),
        pytest.param(TextToImage(), {}, "takes no number of frames", id="a class that makes no video"),
    ],
)
def test_check_refuses_what_the_class_does_not_allow(pipeline, changes, words):
    import re

    assert re.search(words, refusal(pipeline, clip(**changes)))


@pytest.mark.parametrize("frames", [9, 10, 12])
def test_check_allows_frames_off_the_grid_because_the_delivered_ones_are_reported(frames):
    check_clip(TextToVideo(), clip(frames=frames))


def test_check_leaves_to_the_call_what_it_cannot_ask_the_class():
    check_clip(NeedsAnEmbedding(), CLIP)


@pytest.mark.parametrize(
    ("pipeline", "grid"),
    [
        (TextToVideo(), "4k+1"),
        (type("LTXPipeline", (), {"vae_temporal_compression_ratio": 8})(), "8k+1"),
        (type("MochiPipeline", (), {"vae_temporal_scale_factor": 6})(), "6k+1"),
        (type("AllegroPipeline", (), {"vae_scale_factor_temporal": 4})(), "4k"),
        (FramesCalledLength(), None),
    ],
)
def test_frame_grid_follows_the_vaes_compression_in_time(pipeline, grid):
    assert frame_grid(pipeline) == grid


@pytest.mark.parametrize(
    ("pipeline", "arguments", "guided"),
    [
        pytest.param(TextToVideo(), {}, True, id="the class's default of 5"),
        pytest.param(TextToVideo(), {"guidance_scale": 1.0}, False, id="a scale of 1 switches it off"),
        pytest.param(FramesCalledFrames(), {}, False, id="a class without a scale"),
    ],
)
def test_guidance_is_told_by_the_scale(pipeline, arguments, guided):
    assert is_guided(pipeline, clip(arguments=arguments)) is guided


@pytest.mark.parametrize(
    ("name", "guided", "per_step", "denoise", "text"),
    [
        ("WanPipeline", True, 2, 8, 2),
        ("WanPipeline", False, 1, 4, 1),
        ("LTXPipeline", True, 1, 4, 2),
        ("LTXPipeline", False, 1, 4, 1),
        ("MochiPipeline", True, 1, 4, 2),
        ("EasyAnimatePipeline", True, 1, 4, 2),
        ("EasyAnimatePipeline", False, 1, 4, 1),
        ("HunyuanVideoPipeline", True, 1, 4, 2),
        ("HunyuanVideoImageToVideoPipeline", True, 1, 4, 2),
        ("HunyuanVideo15Pipeline", True, 2, 8, None),
        ("MotifVideoPipeline", True, 2, 8, 2),
        ("MotifVideoPipeline", False, 1, 4, None),
        ("Kandinsky5T2VPipeline", True, 2, 8, 4),
        ("Kandinsky5T2VPipeline", False, 1, 4, 2),
        ("StableVideoDiffusionPipeline", True, 1, 4, 0),
    ],
)
def test_expected_calls_by_class_and_guidance(name, guided, per_step, denoise, text):
    expected = expected_calls(name, clip(steps=4), guided=guided, scheduler_order=1)
    assert expected is not None
    assert expected.denoiser_per_step == per_step
    assert expected.calls[Phase.DENOISE] == denoise
    assert expected.calls.get(Phase.TEXT_ENCODE) == text


@pytest.mark.parametrize(("name", "order"), [("SomeNewPipeline", 1), ("WanPipeline", 2)])
def test_nothing_is_expected_of_a_class_or_scheduler_that_is_not_known(name, order):
    assert expected_calls(name, clip(steps=4), guided=True, scheduler_order=order) is None
    assert mismatches(None, {Phase.DENOISE: 3}) == ()


@pytest.mark.parametrize(
    ("name", "frames", "arguments", "denoise", "decode"),
    [
        pytest.param("StableVideoDiffusionPipeline", 14, {}, 4, 1, id="all frames at once by default"),
        pytest.param("StableVideoDiffusionPipeline", 14, {"decode_chunk_size": 4}, 4, 4, id="four frames at a time"),
        pytest.param("AnimateDiffPipeline", 17, {}, 4, 2, id="sixteen frames at a time by default"),
        pytest.param("LattePipeline", 16, {}, 4, 2, id="fourteen frames at a time by default"),
        pytest.param("HeliosPipeline", 33, {"guidance_scale": 1.0}, 8, 1, id="one window"),
        pytest.param("HeliosPipeline", 132, {}, 32, 4, id="four windows, each denoised and decoded"),
        pytest.param("HunyuanVideoFramepackPipeline", 129, {}, 16, 4, id="four sections"),
        pytest.param("HunyuanVideoFramepackPipeline", 9, {"latent_window_size": 2}, 8, 2, id="sections of two latents"),
    ],
)
def test_what_is_decoded_or_made_in_parts_is_counted_in_parts(name, frames, arguments, denoise, decode):
    expected = expected_calls(name, clip(frames=frames, steps=4, arguments=arguments), guided=True, scheduler_order=1)
    assert (expected.calls[Phase.DENOISE], expected.calls[Phase.VAE_DECODE]) == (denoise, decode)
    assert (expected.denoiser_per_step is None) is (denoise > 4 * expected_per_step(name))


def expected_per_step(name):
    return 2 if name == "HeliosPipeline" else 1


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("HunyuanVideoPipeline", "true_cfg_scale"),
        ("HunyuanVideoImageToVideoPipeline", "true_cfg_scale"),
        ("LTX2Pipeline", "stg_scale"),
    ],
)
def test_nothing_is_expected_of_a_call_with_an_argument_that_changes_the_counts(name, argument):
    assert expected_calls(name, clip(), guided=True, scheduler_order=1) is not None
    assert expected_calls(name, clip(arguments={argument: 2.0}), guided=True, scheduler_order=1) is None


class SomeImageToVideoPipeline:
    def __call__(self, image=None, prompt=None, height=1, width=1, num_frames=1, num_inference_steps=1, generator=None):
        """A class that needs an image, although its signature does not say so."""


class PictureOnly:
    def __call__(self, image, height=1, width=1, num_frames=1, num_inference_steps=1, generator=None):
        """A class without text."""


class MayTakeAPicture:
    def __call__(self, prompt, image=None, height=1, width=1, num_frames=1, num_inference_steps=1, generator=None):
        """A class that an image may lead."""


@pytest.mark.parametrize(
    ("pipeline", "inputs"),
    [
        (ImageToVideo(), ("Prompt", "Image")),
        (SomeImageToVideoPipeline(), ("Prompt", "Image")),
        (PictureOnly(), ("Image",)),
        (MayTakeAPicture(), ("Prompt",)),
    ],
)
def test_a_class_is_given_what_it_cannot_do_without(pipeline, inputs):
    arguments = call_arguments(pipeline, clip(negative_prompt=None), None)
    assert inputs_of(pipeline) == inputs
    assert {"Prompt": "prompt" in arguments, "Image": "image" in arguments} == {
        name: name in inputs for name in ("Prompt", "Image")
    }


def test_the_picture_is_the_size_of_the_clip_and_the_seeds():
    one, again, other = (
        call_arguments(ImageToVideo(), clip(seed=seed, negative_prompt=None), None)["image"] for seed in (1, 1, 2)
    )
    assert one.size == (clip().width, clip().height)
    assert one.tobytes() == again.tobytes() != other.tobytes()


def test_an_image_cannot_be_given_as_an_argument():
    with pytest.raises(ModelFailure, match=r"arguments\.image is set by the runner"):
        call_arguments(ImageToVideo(), clip(negative_prompt=None, arguments={"image": "cat.png"}), None)


@pytest.mark.parametrize(("frames", "refused"), [(24, None), (40, None), (16, "frames is 16"), (30, "24 \\+ k x 16")])
def test_a_vae_of_whole_tiles_refuses_what_it_would_leave_blank(frames, refused):
    pipeline = TextToVideo()
    pipeline.vae = SimpleNamespace(kernel=(24, 64, 64), stride=(16, 32, 32))
    asked = clip(frames=frames, height=64, width=96)
    if refused is None:
        check_clip(pipeline, asked)
        return
    with pytest.raises(ModelFailure, match=refused):
        check_clip(pipeline, asked)


def test_a_guider_tells_guidance_where_the_call_has_no_scale():
    pipeline = FramesCalledFrames()
    pipeline.guider = SimpleNamespace(guidance_scale=6.0)
    assert is_guided(pipeline, clip())
    pipeline.guider.guidance_scale = 1.0
    assert not is_guided(pipeline, clip())


def test_mismatch_names_the_phase_that_was_not_seen():
    expected = expected_calls("WanPipeline", clip(steps=4), guided=True, scheduler_order=1)
    seen = {Phase.DENOISE: 8, Phase.TEXT_ENCODE: 2, Phase.VAE_DECODE: 0, Phase.POSTPROCESS: 1}
    assert mismatches(expected, seen) == (CallMismatch(Phase.VAE_DECODE, expected=1, seen=0),)


def output(array) -> SimpleNamespace:
    return SimpleNamespace(frames=array)


def test_frames_are_rounded_and_not_truncated():
    values = np.array([0.0, 0.9 / 255, 254.6 / 255, 1.0, 1.2, -0.5], dtype=np.float32)
    video = np.broadcast_to(values.reshape(1, 6, 1, 1, 1), (1, 6, 2, 2, 3))
    frames, finite = rounded_frames(output(video))
    assert finite
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [0, 1, 255, 255, 255, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_found(bad):
    video = np.full((1, 2, 2, 2, 3), 0.5, dtype=np.float32)
    video[0, 1, 1, 1, 2] = bad
    frames, finite = rounded_frames(output(video))
    assert not finite
    assert frames[1, 1, 1].tolist() == [128, 128, 0]


def test_images_that_are_bytes_already_stay_as_they_are():
    video = [[np.full((2, 2, 3), level, dtype=np.uint8) for level in (1, 2)]]
    frames, finite = rounded_frames(output(video))
    assert (frames.shape, finite, frames[1, 0, 0, 0]) == ((2, 2, 2, 3), True, 2)


def test_output_that_is_no_video_fails_with_its_shape():
    with pytest.raises(ModelFailure, match=r"\(2, 2, 3\)") as caught:
        rounded_frames(output(np.zeros((1, 2, 2, 3))))
    assert caught.value.reason == Reason.GENERATION_FAILED


def test_unknown_backend_is_an_invalid_request():
    with pytest.raises(ModelFailure, match="'magic'") as caught:
        create_model("magic", lambda word: None)
    assert caught.value.reason == Reason.INVALID_REQUEST

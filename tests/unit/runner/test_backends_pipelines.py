from __future__ import annotations

import dataclasses
import hashlib
import inspect
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from vidbench_api.names import Reason
from vidbench_api.verdict import LoadPhase, Phase
from vidbench_runner.backends import create_model, tiny_chat
from vidbench_runner.backends.tiny import TinyModel, main, save
from vidbench_runner.backends.tiny_presets import PRESETS, build_pipeline
from vidbench_runner.ports import AcceleratorMemory, ClipRequest, ModelFailure, ModelRequest

pytestmark = pytest.mark.pipelines

CLIP = ClipRequest(prompt="a cat on a roof", negative_prompt="blur", seed=7, height=64, width=64, frames=9, steps=3)
CALLS = {
    "wan": {Phase.TEXT_ENCODE: 2, Phase.DENOISE: 6, Phase.VAE_DECODE: 1, Phase.POSTPROCESS: 1},
    "ltx": {Phase.TEXT_ENCODE: 2, Phase.DENOISE: 3, Phase.VAE_DECODE: 1, Phase.POSTPROCESS: 1},
}
SMALL = ("wan", "ltx")


def request(backend: str, source: str, **changes) -> ModelRequest:
    return ModelRequest(backend, None, str(source), None, **{"dtype": "float32", **changes})


def loaded(backend: str, source: str, **changes):
    model = create_model(backend, lambda word: None)
    return model, model.load(request(backend, source, **changes))


def digest(frames) -> str:
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()


def weights_digest(pipeline) -> str:
    total = hashlib.sha256()
    for name in ("text_encoder", "transformer", "vae"):
        for key, tensor in sorted(getattr(pipeline, name).state_dict().items()):
            total.update(key.encode() + tensor.numpy().tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for preset in SMALL:
        save(preset, root / preset)
    return root


@pytest.fixture(scope="module", params=SMALL)
def tiny(request):
    model, facts = loaded("tiny", request.param)
    yield request.param, model, facts
    model.free()


def test_phases_sum_to_the_latency_and_calls_are_right_on_the_first_and_third_clip(tiny):
    preset, model, _ = tiny
    for clip in [model.generate(CLIP) for _ in range(3)][::2]:
        parts = [part for part in clip.phase_nanoseconds.values() if part is not None]
        assert sum(parts) == clip.latency_nanoseconds
        assert {phase: clip.phase_calls[phase] for phase in CALLS[preset]} == CALLS[preset]
        assert clip.call_mismatches == ()
        assert clip.phase_nanoseconds[Phase.AUDIO] is None
        assert clip.phase_calls[Phase.AUDIO] == 0
        assert len(clip.step_nanoseconds) == CLIP.steps
        assert sum(clip.step_nanoseconds) == clip.phase_nanoseconds[Phase.DENOISE]
        assert clip.denoiser_forward_calls == CALLS[preset][Phase.DENOISE]
        assert (clip.memory_allocated_bytes, clip.memory_reason) == (None, "cpu")


def test_same_seed_gives_the_same_bits_and_another_seed_others(tiny):
    _, model, _ = tiny
    first, again = model.generate(CLIP), model.generate(CLIP)
    other = model.generate(dataclasses.replace(CLIP, seed=8))
    assert digest(first.frames) == digest(again.frames) != digest(other.frames)
    assert first.finite
    assert first.frames.std() > 5


def test_bits_with_the_seam_are_the_bits_without_it(tiny):
    _, model, _ = tiny
    timed = model.generate(CLIP)
    model._seam.remove()
    try:
        plain = model._pipeline(
            prompt=CLIP.prompt,
            negative_prompt=CLIP.negative_prompt,
            height=CLIP.height,
            width=CLIP.width,
            num_frames=CLIP.frames,
            num_inference_steps=CLIP.steps,
            generator=torch.Generator("cpu").manual_seed(CLIP.seed),
            output_type="np",
        ).frames[0]
    finally:
        model._seam.install(model._pipeline)
    assert np.array_equal(timed.frames, np.rint(plain * 255).astype(np.uint8))


def test_load_tells_parameters_dtypes_device_and_grid(tiny):
    preset, _, facts = tiny
    assert facts.pipeline_class == PRESETS[preset].pipeline_class
    assert facts.frame_grid == {"wan": "4k+1", "ltx": "8k+1"}[preset]
    assert facts.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert set(facts.component_dtypes.values()) == {"float32"}
    assert facts.component_parameters["transformer"] > 500_000


@pytest.mark.parametrize(("frames", "delivered"), [(9, {"wan": 9, "ltx": 9}), (12, {"wan": 13, "ltx": 9})])
def test_delivered_frames_are_counted_in_the_output(tiny, frames, delivered):
    preset, model, _ = tiny
    clip = model.generate(dataclasses.replace(CLIP, frames=frames, width=96))
    assert (clip.delivered_frames, clip.delivered_height, clip.delivered_width) == (delivered[preset], 64, 96)
    assert clip.frames.shape == (delivered[preset], 64, 96, 3)


def test_guidance_switched_off_halves_the_work_and_is_expected(tiny):
    _, model, _ = tiny
    clip = model.generate(dataclasses.replace(CLIP, negative_prompt=None, arguments={"guidance_scale": 1.0}))
    assert clip.denoiser_forward_calls == 3
    assert clip.phase_calls[Phase.TEXT_ENCODE] == 1
    assert clip.call_mismatches == ()


def test_a_guided_clip_without_a_negative_prompt_is_made_by_the_class_that_asks_for_one():
    model, _ = loaded("tiny", "easyanimate")
    try:
        clip = model.generate(dataclasses.replace(CLIP, negative_prompt=None, height=32, width=32, frames=5))
    finally:
        model.free()
    assert clip.phase_calls[Phase.TEXT_ENCODE] == 2
    assert clip.call_mismatches == ()


def test_the_tiny_tokenizer_cuts_the_template_of_hunyuanvideo_from_an_image_where_its_class_does():
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE as TEMPLATE

    tokenizer = tiny_chat.hunyuan_i2v()["tokenizer"]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(TEMPLATE["template"].format("cats"))["input_ids"])
    assert tokens[TEMPLATE["image_emb_start"]] == "<image>"
    assert tokens[TEMPLATE["crop_start"] : TEMPLATE["crop_start"] + 5] == [*"cats", "<|eot_id|>"]
    assert TEMPLATE["image_emb_len"] == tiny_chat.LLAVA_PATCHES**2


@pytest.mark.parametrize("size", [(40, 64), (64, 72)])
def test_check_refuses_a_size_that_the_class_refuses(tiny, size):
    _, model, _ = tiny
    with pytest.raises(ModelFailure, match="divisible") as caught:
        model.check(dataclasses.replace(CLIP, height=size[0], width=size[1]))
    assert caught.value.reason == Reason.INVALID_ARGUMENTS
    model.check(CLIP)


def test_work_that_the_seam_did_not_see_is_a_mismatch_and_null(tiny, monkeypatch):
    _, model, _ = tiny
    vae = model._pipeline.vae
    monkeypatch.delitem(vars(vae), "decode")
    clip = model.generate(CLIP)
    assert clip.phase_nanoseconds[Phase.VAE_DECODE] is None
    assert [(m.phase, m.expected, m.seen) for m in clip.call_mismatches] == [(Phase.VAE_DECODE, 1, 0)]


@pytest.mark.parametrize(
    ("part", "method", "phase"),
    [
        ("text_encoder", "forward", Phase.TEXT_ENCODE),
        ("transformer", "forward", Phase.DENOISE),
        ("vae", "_decode", Phase.VAE_DECODE),
        ("scheduler", "step", Phase.DENOISE),
        ("scheduler", "set_timesteps", Phase.PREPARE),
    ],
)
def test_out_of_memory_names_its_phase_and_the_next_clip_is_whole_again(tiny, monkeypatch, part, method, phase):
    _, model, _ = tiny

    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    target = getattr(model._pipeline, part)
    run_out.__signature__ = inspect.signature(getattr(target, method))
    with monkeypatch.context() as patch:
        patch.setattr(target, method, run_out)
        with pytest.raises(ModelFailure) as caught:
            model.generate(CLIP)
    assert (caught.value.reason, caught.value.phase) == (Reason.OUT_OF_MEMORY_CUDA, phase)
    assert model.generate(CLIP).call_mismatches == ()


@pytest.mark.parametrize(
    ("target", "phase"),
    [
        pytest.param("vidbench_runner.backends.tiny.build_pipeline", LoadPhase.READ, id="the weights are read"),
        pytest.param("diffusers.DiffusionPipeline.to", LoadPhase.TO_DEVICE, id="the weights go to the device"),
    ],
)
def test_out_of_memory_in_a_load_says_how_far_it_was(monkeypatch, target, phase):
    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    words = []
    monkeypatch.setattr(target, run_out)
    with pytest.raises(ModelFailure) as caught:
        create_model("tiny", words.append).load(request("tiny", "wan"))
    assert (caught.value.reason, caught.value.phase) == (Reason.OUT_OF_MEMORY_CUDA, phase)
    assert words[-1] == phase, "a kill by the kernel is told by the last heartbeat"


def test_out_of_memory_says_what_the_accelerator_held(tiny, monkeypatch):
    _, model, _ = tiny

    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model._pipeline.vae, "_decode", run_out)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 70)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 80)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 75)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(model, "_device", "cuda")
    with pytest.raises(ModelFailure) as caught:
        model.generate(CLIP)
    assert caught.value.memory == AcceleratorMemory(70, 80, None, reserved_now=75)


def test_clip_says_what_the_allocator_held_at_its_peak_and_holds_when_it_is_done(tiny, monkeypatch):
    _, model, _ = tiny
    monkeypatch.setattr(
        "vidbench_runner.backends.generation.accelerator_memory",
        lambda _device: AcceleratorMemory(70, 80, None, reserved_now=3),
    )
    made = model.generate(CLIP)
    assert (made.memory_allocated_bytes, made.memory_reserved_bytes, made.memory_reserved_after_bytes) == (70, 80, 3)


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_folder_gives_the_bits_of_the_model_built_in_memory(folders, preset, dtype):
    clips = []
    for backend, source in (("tiny", preset), ("diffusers", folders / preset)):
        model, facts = loaded(backend, source, dtype=dtype)
        assert facts.component_dtypes["text_encoder"] == dtype
        clips.append(model.generate(CLIP))
        model.free()
    assert digest(clips[0].frames) == digest(clips[1].frames)


@pytest.mark.parametrize("preset", SMALL)
def test_random_weights_are_the_same_every_time_and_at_least_three_blocks(preset):
    state = torch.random.get_rng_state()
    first = build_pipeline(PRESETS[preset])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert weights_digest(first) == weights_digest(build_pipeline(PRESETS[preset]))
    assert first.transformer.config.num_layers >= 3
    assert not any(first.components[name].training for name in ("text_encoder", "transformer", "vae"))


def test_seam_holds_while_model_offload_reinstalls_its_hooks_after_every_clip():
    model, _ = loaded("tiny", "wan")
    plain = model.generate(CLIP)
    model._seam.remove()
    model._pipeline.enable_model_cpu_offload(device="cpu")
    model._seam.install(model._pipeline)
    clips = [model.generate(CLIP) for _ in range(3)]
    assert [clip.call_mismatches for clip in clips] == [(), (), ()]
    assert {digest(clip.frames) for clip in clips} == {digest(plain.frames)}
    model.free()


def test_tiled_decode_works_on_smaller_frames_and_gives_nearly_the_same_video():
    wide = dataclasses.replace(CLIP, width=320, frames=1, steps=1)
    widest, videos = {}, {}
    for tiled in (False, True):
        model, _ = loaded("tiny", "wan", vae_tiling=tiled)
        widths: list[int] = []
        model._pipeline.vae.decoder.register_forward_hook(lambda _m, _i, out, seen=widths: seen.append(out.shape[-1]))
        clip = model.generate(wide)
        assert clip.call_mismatches == (), "tiles are one decode to the seam"
        assert clip.frames.shape == (1, 64, 320, 3)
        widest[tiled], videos[tiled] = max(widths), clip.frames.astype(int)
        model.free()
    assert widest[True] < widest[False]
    assert 0 < np.abs(videos[True] - videos[False]).mean() < 8


def test_tiling_of_a_class_without_it_is_refused(monkeypatch):
    def not_for_this_class(_vae):
        raise NotImplementedError("Tiling doesn't seem to be implemented for this class.")

    monkeypatch.setattr("diffusers.AutoencoderKLWan.enable_tiling", not_for_this_class)
    with pytest.raises(ModelFailure, match="VAE tiling is not supported by WanPipeline") as caught:
        loaded("tiny", "wan", vae_tiling=True)
    assert caught.value.reason == Reason.UNSUPPORTED_OPTION


@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="compiling needs a C compiler")
@pytest.mark.timeout(900)
def test_seam_counts_calls_of_a_compiled_denoiser_without_a_graph_break(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, _ = loaded("tiny", "ltx")
    model._seam.remove()
    model._pipeline.transformer.compile(fullgraph=True)
    model._seam.install(model._pipeline)
    clips = [model.generate(CLIP) for _ in range(3)]
    assert [clip.phase_calls[Phase.DENOISE] for clip in clips] == [3, 3, 3]
    assert clips[2].call_mismatches == ()
    assert clips[0].latency_nanoseconds > 10 * clips[2].latency_nanoseconds, "the first call compiles"
    model.free()
    torch._dynamo.reset()


def test_load_puts_every_part_in_evaluation_mode():
    class InTraining(TinyModel):
        def build(self, request):
            pipeline = super().build(request)
            pipeline.text_encoder.train()
            return pipeline

    model = InTraining()
    model.load(request("tiny", "ltx"))
    assert not model._pipeline.text_encoder.training
    model.free()


def test_free_takes_the_seam_off_and_a_freed_model_says_so():
    model, _ = loaded("tiny", "ltx")
    pipeline = model._pipeline
    model.free()
    assert pipeline.transformer._compiled_call_impl is None
    assert "decode" not in vars(pipeline.vae)
    with pytest.raises(ModelFailure, match="load first"):
        model.generate(CLIP)


@pytest.mark.timeout(900)
def test_mid_size_pipeline_leaves_at_most_two_percent_to_other(capsys):
    model, facts = loaded("tiny", "wan-mid", dtype="bfloat16")
    assert 150e6 < sum(facts.component_parameters.values()) < 400e6
    clips = [model.generate(dataclasses.replace(CLIP, steps=2)) for _ in range(3)]
    for clip in clips[::2]:
        assert clip.call_mismatches == ()
        assert clip.phase_calls[Phase.DENOISE] == 4
    shares = [clip.phase_nanoseconds[Phase.OTHER] / clip.latency_nanoseconds for clip in clips]
    with capsys.disabled():
        print("\nshare of `other`, wan-mid:", ", ".join(f"{share:.4%}" for share in shares))
    assert min(shares) <= 0.02
    model.free()


def test_command_line_saves_a_folder_that_any_user_may_read(tmp_path, capsys):
    assert main(["save", "--preset", "wan", "--out", str(tmp_path / "wan")]) == 0
    assert "MB in" in capsys.readouterr().out
    files = [path for path in (tmp_path / "wan").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o044 for path in files} == {0o044}
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]


def test_loading_writes_nothing_to_the_standard_output(folders):
    program = (
        "import sys; from vidbench_runner.backends import create_model; from vidbench_runner.ports import *;"
        "m = create_model('diffusers', lambda word: None);"
        f"m.load(ModelRequest('diffusers', None, {str(folders / 'wan')!r}, None, 'bfloat16'));"
        "m.generate(ClipRequest('a', None, 0, 64, 64, 9, 2))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == ""
    assert "%|" not in done.stderr, "no progress bars"

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module

from vidbench_api.verdict import Phase
from vidbench_runner.backends.boundaries import PhaseRecorder, WallBoundaries
from vidbench_runner.backends.generation import bytes_of
from vidbench_runner.backends.seam import PhaseSeam, phase_of_module


class HandClock:
    def __init__(self) -> None:
        self.now = 0

    def nanoseconds(self) -> int:
        return self.now


class Part(torch.nn.Module):
    """A module whose forward takes `cost` nanoseconds of a hand-turned clock."""

    def __init__(self, clock: HandClock, cost: int) -> None:
        super().__init__()
        self.clock, self.cost = clock, cost

    def forward(self, value: float) -> float:
        self.clock.now += self.cost
        return value + 1


class Vae(torch.nn.Module):
    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self.clock = clock

    def encode(self, value: float) -> float:
        self.clock.now += 40
        return value

    def decode(self, value: float, tiles: int = 1) -> float:
        """Decode; with tiles by calling itself."""
        if tiles > 1:
            return sum(self.decode(value) for _ in range(tiles))
        self.clock.now += 300
        return value


class Processor:
    def __init__(self, clock: HandClock) -> None:
        self.clock = clock

    def postprocess_video(self, value: float, output_type: str = "np") -> float:
        self.clock.now += 20
        return value


class Pipeline:
    """A pipeline's outline: components by name, and a loop that a test may change."""

    def __init__(self, **extra: torch.nn.Module) -> None:
        self.clock = HandClock()
        self.components = {
            "tokenizer": SimpleNamespace(),
            "text_encoder": Part(self.clock, 100),
            "transformer": Part(self.clock, 1000),
            "vae": Vae(self.clock),
            **extra,
        }
        self.video_processor = Processor(self.clock)

    def __getattr__(self, name: str):
        return self.components[name]

    def loop(self, steps: int = 2) -> float:
        value = self.text_encoder(0.0)
        for _ in range(steps):
            value = self.transformer(value)
            self.clock.now += 5
        return self.video_processor.postprocess_video(self.vae.decode(value))


def seam_on(pipeline: Pipeline):
    words: list[str] = []
    recorder = PhaseRecorder(WallBoundaries(pipeline.clock))
    seam = PhaseSeam(recorder, words.append)
    seam.install(pipeline)
    return seam, recorder, words


def sample(recorder, call):
    recorder.begin()
    call()
    return recorder.finish()


def instance_dictionaries(pipeline: Pipeline):
    return {
        name: dict(vars(part)) for name, part in {**pipeline.components, "processor": pipeline.video_processor}.items()
    }


def test_seam_times_modules_methods_and_postprocessing():
    pipeline = Pipeline()
    _, recorder, _ = seam_on(pipeline)
    times = sample(recorder, pipeline.loop)
    assert times.phases[Phase.TEXT_ENCODE] == 100
    assert times.phases[Phase.DENOISE] == 2 * (1000 + 5)
    assert times.phases[Phase.VAE_DECODE] == 300
    assert times.phases[Phase.POSTPROCESS] == 20
    assert times.phases[Phase.OTHER] == 0
    assert times.phases[Phase.IMAGE_ENCODE] is None


def test_seam_is_right_on_the_first_and_third_sample_when_hooks_are_reinstalled_after_each():
    pipeline = Pipeline()

    class MoveWeights(ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            pipeline.clock.now += 70
            return args, kwargs

    add_hook_to_module(pipeline.transformer, MoveWeights())
    _, recorder, _ = seam_on(pipeline)
    samples = []
    for _ in range(3):
        samples.append(sample(recorder, pipeline.loop))
        remove_hook_from_module(pipeline.transformer)
        add_hook_to_module(pipeline.transformer, MoveWeights())
    assert samples[0] == samples[1] == samples[2]
    assert samples[2].phases[Phase.DENOISE] == 2 * (70 + 1000 + 5)
    assert samples[2].calls[Phase.DENOISE] == 2


def test_seam_counts_a_decode_that_calls_itself_once_and_chunks_each():
    pipeline = Pipeline()
    _, recorder, _ = seam_on(pipeline)
    tiled = sample(recorder, lambda: pipeline.vae.decode(pipeline.transformer(0.0), tiles=4))
    chunked = sample(recorder, lambda: [pipeline.vae.decode(pipeline.transformer(0.0)) for _ in range(4)])
    assert (tiled.phases[Phase.VAE_DECODE], tiled.calls[Phase.VAE_DECODE]) == (1200, 1)
    assert (chunked.phases[Phase.VAE_DECODE], chunked.calls[Phase.VAE_DECODE]) == (1200, 4)


def test_seam_knows_a_second_expert_an_image_encoder_and_audio_parts():
    clock_parts = {"text_encoder_2": 1, "image_encoder": 2, "transformer_2": 3, "vocoder": 4}
    pipeline = Pipeline()
    for name, cost in clock_parts.items():
        pipeline.components[name] = Part(pipeline.clock, cost)
    pipeline.components["audio_vae"] = Vae(pipeline.clock)
    _, recorder, _ = seam_on(pipeline)

    def call():
        for name in ("text_encoder_2", "image_encoder"):
            getattr(pipeline, name)(0.0)
        pipeline.vae.encode(0.0)
        pipeline.transformer_2(0.0)
        pipeline.vocoder(pipeline.audio_vae.decode(0.0))

    times = sample(recorder, call)
    assert times.phases[Phase.TEXT_ENCODE] == 1
    assert times.phases[Phase.IMAGE_ENCODE] == 2 + 40
    assert times.phases[Phase.DENOISE] == 3
    assert times.phases[Phase.AUDIO] == 300 + 4


def test_module_that_is_two_components_is_wrapped_once():
    pipeline = Pipeline()
    pipeline.components["transformer_2"] = pipeline.transformer
    _, recorder, _ = seam_on(pipeline)
    assert sample(recorder, lambda: pipeline.transformer_2(0.0)).calls[Phase.DENOISE] == 1


def test_seam_passes_calls_through_outside_a_sample_and_keeps_signatures():
    pipeline = Pipeline()
    before = inspect.signature(pipeline.vae.decode), inspect.signature(pipeline.video_processor.postprocess_video)
    _, _, words = seam_on(pipeline)
    assert pipeline.loop() == 3.0
    assert words == []
    after = inspect.signature(pipeline.vae.decode), inspect.signature(pipeline.video_processor.postprocess_video)
    assert after == before
    assert pipeline.vae.decode.__doc__ == "Decode; with tiles by calling itself."


def test_removing_the_seam_restores_every_object_exactly():
    pipeline = Pipeline()
    own_decode = pipeline.vae.decode
    object.__setattr__(pipeline.vae, "decode", own_decode)
    before = instance_dictionaries(pipeline)
    seam, recorder, _ = seam_on(pipeline)
    assert instance_dictionaries(pipeline) != before
    seam.remove()
    assert instance_dictionaries(pipeline) == before
    assert pipeline.vae.decode is own_decode
    assert sample(recorder, pipeline.loop).calls[Phase.DENOISE] == 0


def test_removing_the_seam_leaves_what_was_set_after_it():
    pipeline = Pipeline()
    seam, _, _ = seam_on(pipeline)
    later = object()
    pipeline.transformer._compiled_call_impl = later
    seam.remove()
    assert pipeline.transformer._compiled_call_impl is later


def test_seam_refuses_to_be_installed_twice():
    pipeline = Pipeline()
    seam, _, _ = seam_on(pipeline)
    with pytest.raises(ValueError, match="installed already"):
        seam.install(pipeline)


def test_seam_tells_progress_at_each_boundary_and_numbers_denoiser_calls():
    pipeline = Pipeline()
    _, recorder, words = seam_on(pipeline)
    sample(recorder, pipeline.loop)
    assert words == [
        "text_encode",
        "text_encode done",
        "denoise 1",
        "denoise done",
        "denoise 2",
        "denoise done",
        "vae_decode",
        "vae_decode done",
        "postprocess",
        "postprocess done",
    ]


def test_seam_lets_an_exception_through_and_remembers_the_innermost_phase():
    pipeline = Pipeline()

    def fail(value):
        raise RuntimeError("boom")

    pipeline.transformer.forward = fail
    _, recorder, _ = seam_on(pipeline)
    recorder.begin()
    with pytest.raises(RuntimeError, match="boom"):
        pipeline.loop()
    assert recorder.abandon() is Phase.DENOISE


@pytest.mark.parametrize(
    ("component", "phase"),
    [
        ("text_encoder_3", Phase.TEXT_ENCODE),
        ("connectors", Phase.TEXT_ENCODE),
        ("transformer_2", Phase.DENOISE),
        ("unet", Phase.DENOISE),
        ("vocoder", Phase.AUDIO),
        ("scheduler", None),
        ("vae", None),
        ("safety_checker", None),
    ],
)
def test_phase_of_a_component_is_told_by_its_name(component, phase):
    assert phase_of_module(component) is phase


def test_seam_keeps_what_the_decoder_was_given_in_a_sample_until_it_is_taken():
    pipeline = Pipeline()
    seam, recorder, _ = seam_on(pipeline)
    pipeline.vae.decode(7.0)
    assert seam.take_decoded() == (), "outside of a sample nothing is kept"
    sample(recorder, lambda: (pipeline.vae.decode(1.0), pipeline.vae.encode(9.0), pipeline.vae.decode(value=2.0)))
    assert seam.take_decoded() == (1.0, 2.0)
    assert seam.take_decoded() == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_of_a_tensor_are_those_of_its_values_in_order_whatever_its_type_and_layout(dtype):
    values = torch.arange(24).reshape(2, 3, 4).to(dtype)
    turned = values.transpose(0, 2)
    assert bytes_of(turned).tobytes() == bytes_of(turned.clone(memory_format=torch.contiguous_format)).tobytes()
    assert bytes_of(values).nbytes == 24 * values.element_size()
    back = torch.frombuffer(bytearray(bytes_of(values).tobytes()), dtype=dtype).reshape(2, 3, 4)
    assert torch.equal(back, values)

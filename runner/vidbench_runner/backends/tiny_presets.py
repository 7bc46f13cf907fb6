"""Real pipeline classes of diffusers with random weights, built from configurations alone: no network, no files.

The small presets make a clip in about a second; the `-mid` ones have some hundred million parameters and denoise for
seconds, so that their figures mean something on a CPU. All have at least three denoiser blocks. Each has a clip that it
makes, which the conformance suite asks for. One seed: the same weights every time on one kind of machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

from vidbench_runner.backends import tiny_chat, tiny_t5, tiny_unets, tiny_wan

WEIGHTS_SEED = 20_261_123
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class TinyClip:
    """A clip that a preset makes: on its class's grid, and as small as shows everything."""

    frames: int
    height: int = 32
    width: int = 32
    steps: int = 2
    arguments: Mapping[str, Any] = field(default_factory=lambda: NO_ARGUMENTS)
    vae_tiling: bool = False


@dataclass(frozen=True)
class Preset:
    """A pipeline and its sizes. Weights are rounded to `storage_dtype`, so that saving in it loses nothing."""

    pipeline_class: str
    parts: Callable[[], dict[str, Any]]
    clip: TinyClip
    storage_dtype: str = "float32"


_MID_TEXT = {"d_model": 256, "d_kv": 64, "d_ff": 512, "num_layers": 4}
_WAN_MID = partial(
    tiny_wan.wan,
    {"num_attention_heads": 8, "attention_head_dim": 128, "ffn_dim": 4096, "num_layers": 12, "text_dim": 256},
    {"width": 24, "multiples": (1, 2, 4, 4), "blocks": 1},
    _MID_TEXT,
)
_LTX_MID = partial(
    tiny_t5.ltx,
    {"num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 12},
    (32, 64, 128, 128),
    _MID_TEXT,
)
_CHUNKS_OF_TWO = MappingProxyType({"decode_chunk_size": 2})

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "wan": Preset("WanPipeline", partial(tiny_wan.wan, {}, {}, {}), TinyClip(frames=5)),
        "ltx": Preset("LTXPipeline", tiny_t5.small_ltx, TinyClip(frames=9, height=64, width=64)),
        "wan-mid": Preset("WanPipeline", _WAN_MID, TinyClip(frames=9), "bfloat16"),
        "ltx-mid": Preset("LTXPipeline", _LTX_MID, TinyClip(frames=9), "bfloat16"),
        "wan22-a14b": Preset("WanPipeline", tiny_wan.wan22_a14b, TinyClip(frames=5, steps=4)),
        "wan22-5b": Preset("WanPipeline", tiny_wan.wan22_5b, TinyClip(frames=5)),
        "wan-i2v": Preset("WanImageToVideoPipeline", tiny_wan.wan_i2v, TinyClip(frames=5)),
        "wan-vace": Preset("WanVACEPipeline", tiny_wan.wan_vace, TinyClip(frames=5)),
        "skyreels-v2": Preset("SkyReelsV2Pipeline", tiny_wan.skyreels, TinyClip(frames=5)),
        "skyreels-v2-df": Preset("SkyReelsV2DiffusionForcingPipeline", tiny_wan.skyreels, TinyClip(frames=5)),
        "skyreels-v2-i2v": Preset("SkyReelsV2ImageToVideoPipeline", tiny_wan.skyreels_i2v, TinyClip(frames=5)),
        "helios": Preset("HeliosPipeline", tiny_wan.helios, TinyClip(frames=33)),
        "sana-video": Preset(
            "SanaVideoPipeline", tiny_wan.sana, TinyClip(frames=5, arguments={"use_resolution_binning": False})
        ),
        "motif-video": Preset("MotifVideoPipeline", tiny_wan.motif_video, TinyClip(frames=5)),
        "ltx-i2v": Preset("LTXImageToVideoPipeline", tiny_t5.small_ltx, TinyClip(frames=9, height=64, width=64)),
        "ltx-condition": Preset("LTXConditionPipeline", tiny_t5.ltx_condition, TinyClip(frames=9, height=64, width=64)),
        "ltx2": Preset("LTX2Pipeline", tiny_chat.ltx2, TinyClip(frames=9)),
        "cogvideox": Preset("CogVideoXPipeline", tiny_t5.cogvideox, TinyClip(frames=9)),
        "cogvideox-i2v": Preset("CogVideoXImageToVideoPipeline", tiny_t5.cogvideox_i2v, TinyClip(frames=9)),
        "consisid": Preset("ConsisIDPipeline", tiny_t5.consisid, TinyClip(frames=9)),
        "mochi": Preset("MochiPipeline", tiny_t5.mochi, TinyClip(frames=7)),
        "allegro": Preset(
            "AllegroPipeline", tiny_t5.allegro, TinyClip(frames=24, height=128, width=128, vae_tiling=True)
        ),
        "latte": Preset("LattePipeline", tiny_t5.latte, TinyClip(frames=16)),
        "svd": Preset("StableVideoDiffusionPipeline", tiny_unets.svd, TinyClip(frames=4, arguments=_CHUNKS_OF_TWO)),
        "animatediff": Preset(
            "AnimateDiffPipeline", tiny_unets.animatediff, TinyClip(frames=4, arguments=_CHUNKS_OF_TWO)
        ),
        "modelscope": Preset("TextToVideoSDPipeline", tiny_unets.modelscope, TinyClip(frames=4)),
        "hunyuan": Preset("HunyuanVideoPipeline", tiny_chat.hunyuan, TinyClip(frames=5)),
        "hunyuan15": Preset("HunyuanVideo15Pipeline", tiny_chat.hunyuan15, TinyClip(frames=5)),
        "framepack": Preset(
            "HunyuanVideoFramepackPipeline",
            tiny_chat.framepack,
            TinyClip(frames=9, arguments={"latent_window_size": 2}),
        ),
        "easyanimate": Preset("EasyAnimatePipeline", tiny_chat.easyanimate, TinyClip(frames=5)),
        "hunyuan-i2v": Preset("HunyuanVideoImageToVideoPipeline", tiny_chat.hunyuan_i2v, TinyClip(frames=5)),
        "kandinsky5": Preset(
            "Kandinsky5T2VPipeline", tiny_chat.kandinsky5, TinyClip(frames=5, arguments={"max_sequence_length": 1024})
        ),
    }
)


def build_pipeline(preset: Preset) -> Any:
    """Build a preset's pipeline on the CPU, in float32 with weights that `storage_dtype` holds exactly, in eval mode."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WEIGHTS_SEED)
        parts = preset.parts()
    storage = getattr(torch, preset.storage_dtype)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            for parameter in part.parameters():
                parameter.data = parameter.data.to(storage).to(torch.float32)
    return getattr(import_module("diffusers"), preset.pipeline_class)(**parts)

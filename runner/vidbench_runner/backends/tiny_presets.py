"""Real pipeline classes of diffusers with random weights, built from configurations alone: no network, no files.

The small presets make a clip in a fraction of a second; the `-mid` ones have some hundred million parameters and denoise
for seconds, so that their figures mean something on a CPU. All have the geometry of the real models (Wan: 8x in space, 4k+1
frames; LTX: 32x and 8k+1) and at least three denoiser blocks. One seed: the same weights every time on one kind of machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

WEIGHTS_SEED = 20_261_123
TOKENIZER_MODEL_MAX_LENGTH = 512
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
"""Padding, end of text, unknown."""


@dataclass(frozen=True)
class Preset:
    """A pipeline's sizes. Weights are rounded to `storage_dtype`, so that saving in it loses nothing."""

    pipeline_class: str
    storage_dtype: str
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]


def _text_encoder(width: int, layers: int, feed_forward: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "d_model": width,
            "d_kv": width // 4,
            "d_ff": feed_forward,
            "num_layers": layers,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        }
    )


def _wan_transformer(heads: int, head_width: int, feed_forward: int, layers: int, text_width: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "patch_size": (1, 2, 2),
            "num_attention_heads": heads,
            "attention_head_dim": head_width,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": text_width,
            "freq_dim": 256,
            "ffn_dim": feed_forward,
            "num_layers": layers,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "rope_max_seq_len": 1024,
        }
    )


def _ltx_transformer(heads: int, head_width: int, layers: int, text_width: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "in_channels": 128,
            "out_channels": 128,
            "num_attention_heads": heads,
            "attention_head_dim": head_width,
            "cross_attention_dim": heads * head_width,
            "num_layers": layers,
            "caption_channels": text_width,
        }
    )


def _wan_vae(width: int, multiples: tuple[int, ...], blocks: int) -> Mapping[str, Any]:
    return MappingProxyType({"base_dim": width, "z_dim": 16, "dim_mult": list(multiples), "num_res_blocks": blocks})


def _ltx_vae(channels: tuple[int, ...]) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "latent_channels": 128,
            "block_out_channels": channels,
            "decoder_block_out_channels": channels,
            "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1),
        }
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "wan": Preset(
            "WanPipeline",
            "float32",
            transformer=_wan_transformer(heads=4, head_width=32, feed_forward=256, layers=3, text_width=32),
            vae=_wan_vae(width=8, multiples=(1, 1, 1, 1), blocks=1),
            text_encoder=_text_encoder(width=32, layers=2, feed_forward=64),
        ),
        "ltx": Preset(
            "LTXPipeline",
            "float32",
            transformer=_ltx_transformer(heads=4, head_width=32, layers=3, text_width=32),
            vae=_ltx_vae((16, 16, 32, 32)),
            text_encoder=_text_encoder(width=32, layers=2, feed_forward=64),
        ),
        "wan-mid": Preset(
            "WanPipeline",
            "bfloat16",
            transformer=_wan_transformer(heads=8, head_width=128, feed_forward=4096, layers=12, text_width=256),
            vae=_wan_vae(width=24, multiples=(1, 2, 4, 4), blocks=1),
            text_encoder=_text_encoder(width=256, layers=4, feed_forward=512),
        ),
        "ltx-mid": Preset(
            "LTXPipeline",
            "bfloat16",
            transformer=_ltx_transformer(heads=16, head_width=64, layers=12, text_width=256),
            vae=_ltx_vae((32, 64, 128, 128)),
            text_encoder=_text_encoder(width=256, layers=4, feed_forward=512),
        ),
    }
)


def build_pipeline(preset: Preset) -> Any:
    """Build a preset's pipeline on the CPU, in float32 with weights that `storage_dtype` holds exactly, in eval mode."""
    import torch

    builders = {"WanPipeline": _wan_parts, "LTXPipeline": _ltx_parts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WEIGHTS_SEED)
        parts = builders[preset.pipeline_class](preset)
    storage = getattr(torch, preset.storage_dtype)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            for parameter in part.parameters():
                parameter.data = parameter.data.to(storage).to(torch.float32)
    return getattr(import_module("diffusers"), preset.pipeline_class)(**parts)


def _wan_parts(preset: Preset) -> dict[str, Any]:
    diffusers, transformers = import_module("diffusers"), import_module("transformers")
    tokenizer = byte_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.UMT5EncoderModel(
            transformers.UMT5Config(vocab_size=len(tokenizer), **preset.text_encoder)
        ),
        "vae": diffusers.AutoencoderKLWan(**preset.vae),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
        "transformer": diffusers.WanTransformer3DModel(**preset.transformer),
    }


def _ltx_parts(preset: Preset) -> dict[str, Any]:
    diffusers, transformers = import_module("diffusers"), import_module("transformers")
    tokenizer = byte_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=len(tokenizer), **preset.text_encoder)
        ),
        "vae": diffusers.AutoencoderKLLTXVideo(**preset.vae),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
        "transformer": diffusers.LTXVideoTransformer3DModel(**preset.transformer),
    }


def byte_tokenizer() -> Any:
    """A byte-level BPE tokenizer without merges: one token a byte, so that it needs no training and knows every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    padding, end, unknown = SPECIAL_TOKENS
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, vocabulary[end])]
    )
    return import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        eos_token=end,
        unk_token=unknown,
        model_max_length=TOKENIZER_MODEL_MAX_LENGTH,
    )

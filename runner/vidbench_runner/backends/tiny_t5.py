"""Tiny pipelines with a T5 text encoder and a VAE of their own: LTX, CogVideoX, ConsisID, Mochi, Allegro, Latte."""

from __future__ import annotations

from typing import Any

from vidbench_runner.backends import tiny_parts as parts

COGVIDEOX_TEXT_TOKENS = 226
ALLEGRO_TILE = 128
"""Height and width of a tile, which is 24 frames long. Clips that hold no whole tile come out blank (diffusers 0.42.1)."""


def _with_t5(**sizes: Any) -> dict[str, Any]:
    tokenizer = parts.byte_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": parts.t5(len(tokenizer), **sizes)}


def ltx(transformer: dict[str, Any], vae_widths: tuple[int, ...], text_encoder: dict[str, Any]) -> dict[str, Any]:
    """LTX-Video, text or image to video, in any size."""
    diffusers = parts.library("diffusers")
    heads, head_width = transformer["num_attention_heads"], transformer["attention_head_dim"]
    sizes = {
        "in_channels": 128,
        "out_channels": 128,
        "cross_attention_dim": heads * head_width,
        "caption_channels": text_encoder.get("d_model", parts.TEXT_WIDTH),
    }
    return _with_t5(**text_encoder) | {
        "vae": diffusers.AutoencoderKLLTXVideo(
            latent_channels=128,
            block_out_channels=vae_widths,
            decoder_block_out_channels=vae_widths,
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
        ),
        "scheduler": parts.flow_euler(use_dynamic_shifting=True, shift_terminal=0.1),
        "transformer": diffusers.LTXVideoTransformer3DModel(**(sizes | transformer)),
    }


def small_ltx() -> dict[str, Any]:
    """LTX-Video at its smallest."""
    return ltx({"num_attention_heads": 4, "attention_head_dim": 32, "num_layers": 3}, (16, 16, 32, 32), {})


def ltx_condition() -> dict[str, Any]:
    """LTX-Video 0.9.5 and later: its pipeline shifts the timesteps itself."""
    return small_ltx() | {"scheduler": parts.flow_euler()}


def _cogvideox_sizes() -> dict[str, Any]:
    return {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": parts.TEXT_WIDTH,
        "num_layers": 3,
        "sample_width": 4,
        "sample_height": 4,
        "sample_frames": 9,
        "patch_size": 2,
        "temporal_compression_ratio": 4,
        "max_text_seq_length": COGVIDEOX_TEXT_TOKENS,
        "use_rotary_positional_embeddings": True,
    }


def _cogvideox(kind: str, **changes: Any) -> dict[str, Any]:
    diffusers = parts.library("diffusers")
    return _with_t5() | {
        "vae": parts.cogvideox_vae(),
        "transformer": getattr(diffusers, kind)(**(_cogvideox_sizes() | changes)),
        "scheduler": diffusers.CogVideoXDDIMScheduler(),
    }


def cogvideox() -> dict[str, Any]:
    """CogVideoX, text to video."""
    return _cogvideox("CogVideoXTransformer3DModel")


def cogvideox_i2v() -> dict[str, Any]:
    """CogVideoX, image to video: the picture's latents stand beside the noise."""
    return _cogvideox("CogVideoXTransformer3DModel", in_channels=8, use_learned_positional_embeddings=True)


def consisid() -> dict[str, Any]:
    """ConsisID, without the face that it may be led by."""
    return _cogvideox(
        "ConsisIDTransformer3DModel",
        in_channels=8,
        use_learned_positional_embeddings=True,
        is_train_face=False,
    ) | {"scheduler": parts.library("diffusers").CogVideoXDPMScheduler()}


def mochi() -> dict[str, Any]:
    """Mochi: its VAE is 8 times smaller in height and width, 6 in time, but for the first frame."""
    diffusers = parts.library("diffusers")
    widths = (32, 32, 32, 32)
    return _with_t5() | {
        "vae": diffusers.AutoencoderKLMochi(
            latent_channels=12,
            out_channels=3,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            layers_per_block=(1, 1, 1, 1, 1),
        ),
        "transformer": diffusers.MochiTransformer3DModel(
            patch_size=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=3,
            pooled_projection_dim=16,
            in_channels=12,
            text_embed_dim=parts.TEXT_WIDTH,
            time_embed_dim=4,
        ),
        "scheduler": parts.flow_euler(invert_sigmas=True),
    }


def allegro() -> dict[str, Any]:
    """Allegro: its VAE is 8 times smaller in height and width and 4 in time, and decodes in tiles only."""
    diffusers = parts.library("diffusers")
    return _with_t5() | {
        "vae": diffusers.AutoencoderKLAllegro(
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            sample_size=ALLEGRO_TILE,
        ),
        "transformer": diffusers.AllegroTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            cross_attention_dim=24,
            sample_width=8,
            sample_height=8,
            sample_frames=8,
            caption_channels=parts.TEXT_WIDTH,
        ),
        "scheduler": diffusers.EulerAncestralDiscreteScheduler(),
    }


def latte() -> dict[str, Any]:
    """Latte: spatial and temporal blocks in turn, frames decoded in chunks."""
    diffusers = parts.library("diffusers")
    return _with_t5() | {
        "vae": parts.image_vae(),
        "transformer": diffusers.LatteTransformer3DModel(
            sample_size=8,
            num_layers=3,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=parts.TEXT_WIDTH,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
        ),
        "scheduler": parts.ddim(),
    }

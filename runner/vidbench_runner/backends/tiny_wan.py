"""Tiny pipelines of the classes that build on Wan's blocks or VAE: Wan, SkyReels V2, Helios, Sana-Video, Motif-Video."""

from __future__ import annotations

from typing import Any

from vidbench_runner.backends import tiny_parts as parts

IMAGE_LATENTS = 36
"""Channels of the denoiser's input where a picture leads: noise, the picture's latents, and its mask."""

CONTROL_LATENTS = 96
"""Channels of what VACE goes by: latents of what changes and of what stays, and a mask of 8 x 8 pixels each."""


def wan_transformer(kind: str = "WanTransformer3DModel", **changes: Any) -> Any:
    """A denoiser of Wan's kind with three blocks; `changes` replace sizes."""
    sizes = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": parts.TEXT_WIDTH,
        "freq_dim": 256,
        "ffn_dim": 256,
        "num_layers": 3,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
    }
    return getattr(parts.library("diffusers"), kind)(**(sizes | changes))


def wan(transformer: dict[str, Any], vae: dict[str, Any], text_encoder: dict[str, Any]) -> dict[str, Any]:
    """Wan 2.1, text to video, in any size."""
    tokenizer = parts.byte_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": parts.t5(len(tokenizer), kind="UMT5", **text_encoder),
        "vae": parts.wan_vae(**vae),
        "scheduler": parts.flow_unipc(),
        "transformer": wan_transformer(**transformer),
    }


def _small() -> dict[str, Any]:
    return wan({}, {}, {})


def wan22_a14b() -> dict[str, Any]:
    """Wan 2.2 A14B: two denoisers, one above and one below the boundary in noise."""
    return _small() | {"transformer_2": wan_transformer(), "boundary_ratio": 0.875}


def wan22_5b() -> dict[str, Any]:
    """Wan 2.2 TI2V-5B: its VAE is 16 times smaller in height and width, and each token has a timestep of its own."""
    vae = parts.library("diffusers").AutoencoderKLWan(
        base_dim=8,
        z_dim=48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )
    return _small() | {
        "vae": vae,
        "transformer": wan_transformer(in_channels=48, out_channels=48),
        "expand_timesteps": True,
    }


def wan_i2v() -> dict[str, Any]:
    """Wan 2.1, image to video."""
    transformer = wan_transformer(
        in_channels=IMAGE_LATENTS, image_dim=parts.IMAGE_WIDTH, added_kv_proj_dim=4 * 32, ffn_dim=128
    )
    return _small() | {
        "transformer": transformer,
        "image_encoder": parts.clip_vision(projected=False),
        "image_processor": parts.clip_pictures(),
    }


def wan_vace() -> dict[str, Any]:
    """Wan 2.1 VACE: a video to go by beside the noise, grey where none is given, through blocks of its own."""
    transformer = wan_transformer(
        "WanVACETransformer3DModel", num_layers=4, vace_layers=[0, 2], vace_in_channels=CONTROL_LATENTS
    )
    return _small() | {"transformer": transformer}


def skyreels() -> dict[str, Any]:
    """SkyReels V2, text to video and diffusion forcing."""
    transformer = wan_transformer("SkyReelsV2Transformer3DModel")
    return _small() | {"transformer": transformer, "scheduler": parts.flow_unipc(8.0)}


def skyreels_i2v() -> dict[str, Any]:
    """SkyReels V2, image to video."""
    transformer = wan_transformer(
        "SkyReelsV2Transformer3DModel",
        in_channels=IMAGE_LATENTS,
        image_dim=parts.IMAGE_WIDTH,
        added_kv_proj_dim=4 * 32,
    )
    return skyreels() | {
        "transformer": transformer,
        "image_encoder": parts.clip_vision(projected=True),
        "image_processor": parts.clip_pictures(),
    }


def helios() -> dict[str, Any]:
    """Helios: chunks one after another, each denoised with the history before it, and decoded in the loop."""
    transformer = wan_transformer(
        "HeliosTransformer3DModel",
        attention_head_dim=12,
        ffn_dim=64,
        rope_dim=(4, 4, 4),
        has_multi_term_memory_patch=True,
        guidance_cross_attn=True,
        zero_history_timestep=True,
        is_amplify_history=False,
    )
    scheduler = parts.library("diffusers").HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True)
    return _small() | {"transformer": transformer, "scheduler": scheduler}


def sana() -> dict[str, Any]:
    """Sana-Video: linear attention, Gemma as the text encoder."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    tokenizer = parts.byte_tokenizer()
    text = transformers.Gemma2Model(transformers.Gemma2Config(head_dim=16, **parts.decoder_sizes(len(tokenizer))))
    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=3,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=parts.TEXT_WIDTH,
        mlp_ratio=2.5,
        sample_size=30,
        patch_size=(1, 2, 2),
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=1024,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": text,
        "vae": parts.wan_vae(),
        "transformer": transformer,
        "scheduler": diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    }


def motif_video() -> dict[str, Any]:
    """Motif-Video: blocks of two streams, of one, and a decoder's; the encoder of a T5Gemma 2; a guider with a memory."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    tokenizer = parts.byte_tokenizer()
    text = parts.decoder_sizes(len(tokenizer)) | {"head_dim": 16, "dropout_rate": 0.0}
    vision = {"model_type": "siglip_vision_model", **parts.EYES}
    encoder = transformers.T5Gemma2EncoderConfig(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    transformer = diffusers.MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_single_layers=3,
        num_decoder_layers=1,
        text_embed_dim=parts.TEXT_WIDTH,
        rope_axes_dim=(4, 4, 4),
        enable_text_cross_attention_single=True,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.T5Gemma2Encoder(encoder),
        "vae": parts.wan_vae(),
        "transformer": transformer,
        "scheduler": parts.flow_euler(shift=15.0),
        "guider": parts.library("diffusers.guiders").AdaptiveProjectedGuidance(
            guidance_scale=8.0,
            adaptive_projected_guidance_rescale=12.0,
            adaptive_projected_guidance_momentum=0.1,
            adaptive_projected_guidance_norm_dim=[-1, -2, -4],
            use_original_formulation=True,
        ),
    }

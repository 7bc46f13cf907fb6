"""Tiny pipelines with a UNet: Stable Video Diffusion, AnimateDiff, ModelScope. Three levels of blocks each."""

from __future__ import annotations

from typing import Any

from vidbench_runner.backends import tiny_parts as parts

WIDTH = 32
"""Temporal blocks normalise 32 groups of channels, so no level can be narrower."""

SVD_PICTURE_SIDE = 224
"""What the pipeline resizes the picture to, whatever its feature extractor says."""


def svd() -> dict[str, Any]:
    """Stable Video Diffusion: no text; a picture leads."""
    diffusers = parts.library("diffusers")
    attending, plain = "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"
    return {
        "image_encoder": parts.clip_vision(projected=True, side=SVD_PICTURE_SIDE),
        "feature_extractor": parts.clip_pictures(),
        "vae": parts.image_vae("AutoencoderKLTemporalDecoder", width=WIDTH),
        "unet": diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=(WIDTH, WIDTH, WIDTH),
            down_block_types=(attending, attending, plain),
            up_block_types=("UpBlockSpatioTemporal", *("CrossAttnUpBlockSpatioTemporal",) * 2),
            layers_per_block=1,
            transformer_layers_per_block=1,
            cross_attention_dim=parts.IMAGE_WIDTH,
            num_attention_heads=(2, 2, 2),
            addition_time_embed_dim=WIDTH,
            projection_class_embeddings_input_dim=3 * WIDTH,
            sample_size=8,
        ),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            interpolation_type="linear",
            prediction_type="v_prediction",
            sigma_max=700.0,
            sigma_min=0.002,
            timestep_spacing="leading",
            timestep_type="continuous",
            use_karras_sigmas=True,
        ),
    }


def animatediff() -> dict[str, Any]:
    """AnimateDiff: a motion adapter in the UNet of Stable Diffusion 1.5; frames are decoded in chunks."""
    diffusers = parts.library("diffusers")
    tokenizer = parts.byte_tokenizer(77)
    widths = (8, 8, 8)
    return {
        "tokenizer": tokenizer,
        "text_encoder": parts.clip_text(len(tokenizer)),
        "vae": parts.image_vae(),
        "unet": diffusers.UNet2DConditionModel(
            block_out_channels=widths,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=parts.TEXT_WIDTH,
            attention_head_dim=2,
            norm_num_groups=2,
            sample_size=8,
        ),
        "motion_adapter": diffusers.MotionAdapter(
            block_out_channels=widths,
            motion_layers_per_block=1,
            motion_norm_num_groups=2,
            motion_num_attention_heads=4,
        ),
        "scheduler": parts.ddim(),
    }


def modelscope() -> dict[str, Any]:
    """ModelScope's text to video."""
    diffusers = parts.library("diffusers")
    tokenizer = parts.byte_tokenizer(77)
    return {
        "tokenizer": tokenizer,
        "text_encoder": parts.clip_text(len(tokenizer)),
        "vae": parts.image_vae(),
        "unet": diffusers.UNet3DConditionModel(
            block_out_channels=(WIDTH, WIDTH, WIDTH),
            down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
            layers_per_block=1,
            cross_attention_dim=parts.TEXT_WIDTH,
            attention_head_dim=4,
            norm_num_groups=WIDTH,
            sample_size=8,
        ),
        "scheduler": parts.ddim(),
    }

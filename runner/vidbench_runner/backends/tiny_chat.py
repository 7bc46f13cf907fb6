"""Tiny pipelines whose text encoder is a chat model: HunyuanVideo and what follows it, LTX-2, EasyAnimate, Kandinsky 5."""

from __future__ import annotations

from typing import Any

from vidbench_runner.backends import tiny_parts as parts

HEADS, HEAD_WIDTH = 2, 10
ROPE_AXES = (2, 4, 4)
LLAVA_PATCHES, LLAVA_PATCH = 24, 2
"""HunyuanVideo's template has room for 24 x 24 patches of its picture; the real ones are of 14 x 14 pixels."""


def _llama_and_clip() -> dict[str, Any]:
    transformers = parts.library("transformers")
    tokenizer, second = parts.byte_tokenizer(2048), parts.byte_tokenizer(77)
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.LlamaModel(transformers.LlamaConfig(**parts.decoder_sizes(len(tokenizer)))),
        "tokenizer_2": second,
        "text_encoder_2": parts.clip_text(len(second)),
    }


def _hunyuan_sizes() -> dict[str, Any]:
    return {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_WIDTH,
        "num_layers": 3,
        "num_single_layers": 3,
        "num_refiner_layers": 1,
        "patch_size": 2,
        "patch_size_t": 1,
        "guidance_embeds": True,
        "text_embed_dim": parts.TEXT_WIDTH,
        "pooled_projection_dim": parts.TEXT_WIDTH,
        "rope_axes_dim": ROPE_AXES,
    }


def hunyuan() -> dict[str, Any]:
    """HunyuanVideo: guidance is an input of the denoiser, so that it is called once a step."""
    return _llama_and_clip() | {
        "vae": parts.hunyuan_vae(),
        "transformer": parts.library("diffusers").HunyuanVideoTransformer3DModel(**_hunyuan_sizes()),
        "scheduler": parts.flow_euler(shift=7.0),
    }


def hunyuan_i2v() -> dict[str, Any]:
    """HunyuanVideo from an image: Llava sees it with the prompt, and its first latent frame stays as it is."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    module = parts.library("diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video")
    image, markers = "<image>", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = parts.template_tokenizer(module.DEFAULT_PROMPT_TEMPLATE["template"], (*markers, image), 2048)
    side = LLAVA_PATCHES * LLAVA_PATCH
    vision = transformers.CLIPVisionConfig(
        hidden_size=parts.IMAGE_WIDTH,
        projection_dim=parts.IMAGE_WIDTH,
        intermediate_size=2 * parts.IMAGE_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=side,
        patch_size=LLAVA_PATCH,
    )
    llava = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**parts.decoder_sizes(len(tokenizer))),
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids(image),
        pad_token_id=tokenizer.pad_token_id,
    )
    return hunyuan() | {
        "tokenizer": tokenizer,
        "text_encoder": transformers.LlavaForConditionalGeneration(llava),
        "image_processor": transformers.CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        "transformer": diffusers.HunyuanVideoTransformer3DModel(
            **_hunyuan_sizes(), image_condition_type="token_replace"
        ),
    }


def framepack() -> dict[str, Any]:
    """FramePack: sections one after another, each decoded in the loop; a picture leads."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    side = {"height": parts.PICTURE_SIDE, "width": parts.PICTURE_SIDE}
    return hunyuan() | {
        "transformer": diffusers.HunyuanVideoFramepackTransformer3DModel(
            **_hunyuan_sizes(), has_image_proj=True, image_proj_dim=parts.IMAGE_WIDTH, has_clean_x_embedder=True
        ),
        "image_encoder": transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(
                hidden_size=parts.IMAGE_WIDTH,
                intermediate_size=2 * parts.IMAGE_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                image_size=parts.PICTURE_SIDE,
                patch_size=8,
            )
        ),
        "feature_extractor": transformers.SiglipImageProcessor(size=side),
    }


def _qwen_sizes(vocabulary: int) -> dict[str, Any]:
    rope = {"mrope_section": [2, 3, 3], "rope_type": "default", "rope_theta": 1_000_000.0}
    return {"rope_parameters": rope, **parts.decoder_sizes(vocabulary)}


def hunyuan15() -> dict[str, Any]:
    """HunyuanVideo 1.5: a chat template round the prompt, a second encoder for what is written in it, a guider."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    tokenizer, second = parts.byte_tokenizer(4096), transformers.ByT5Tokenizer()
    tokenizer.chat_template = parts.CHAT_TEMPLATE
    text = transformers.Qwen2_5_VLTextConfig(**_qwen_sizes(len(tokenizer)))
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.Qwen2_5_VLTextModel(text),
        "tokenizer_2": second,
        "text_encoder_2": parts.t5(len(second)),
        "vae": diffusers.AutoencoderKLHunyuanVideo15(
            latent_channels=4,
            block_out_channels=(16, 16, 16, 16),
            layers_per_block=1,
            spatial_compression_ratio=8,
            temporal_compression_ratio=4,
            downsample_match_channel=False,
            upsample_match_channel=False,
        ),
        "transformer": diffusers.HunyuanVideo15Transformer3DModel(
            in_channels=9,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=3,
            num_refiner_layers=1,
            mlp_ratio=2.0,
            patch_size=1,
            patch_size_t=1,
            text_embed_dim=parts.TEXT_WIDTH,
            text_embed_2_dim=parts.TEXT_WIDTH,
            image_embed_dim=12,
            rope_axes_dim=(2, 2, 4),
            target_size=64,
            task_type="t2v",
        ),
        "scheduler": parts.flow_euler(shift=7.0),
        "guider": parts.library("diffusers.guiders").ClassifierFreeGuidance(guidance_scale=6.0),
    }


def easyanimate() -> dict[str, Any]:
    """EasyAnimate 5.1: the whole of Qwen2-VL reads the prompt, and the VAE decodes one latent frame after another."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    tokenizer = parts.byte_tokenizer(1024)
    tokenizer.chat_template = parts.CHAT_TEMPLATE_OF_PARTS
    config = transformers.Qwen2VLConfig(
        text_config=_qwen_sizes(len(tokenizer)),
        vision_config={"depth": 1, "embed_dim": parts.IMAGE_WIDTH, "hidden_size": parts.TEXT_WIDTH, "num_heads": 2},
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": transformers.Qwen2VLForConditionalGeneration(config),
        "vae": diffusers.AutoencoderKLMagvit(
            latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2
        ),
        "transformer": diffusers.EasyAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            patch_size=2,
            num_layers=3,
            mmdit_layers=3,
            time_embed_dim=16,
            add_norm_text_encoder=True,
            text_embed_dim=parts.TEXT_WIDTH,
        ),
        "scheduler": parts.flow_euler(),
    }


def kandinsky5() -> dict[str, Any]:
    """Kandinsky 5: a prompt within a fixed text for Qwen2.5-VL, pooled by CLIP; two calls of the denoiser for guidance.

    The real tokenizer takes that text to be 128 tokens and cuts them off; of bytes it is more, so that clips ask for long sequences.
    """
    diffusers = parts.library("diffusers")
    tokenizer, second = parts.byte_tokenizer(4096), parts.byte_tokenizer(77)
    return {
        "tokenizer": tokenizer,
        "text_encoder": _qwen_with_eyes(len(tokenizer)),
        "tokenizer_2": second,
        "text_encoder_2": parts.clip_text(len(second)),
        "vae": parts.hunyuan_vae(),
        "transformer": _with_open_gates(
            diffusers.Kandinsky5Transformer3DModel(
                in_visual_dim=4,
                out_visual_dim=4,
                in_text_dim=parts.TEXT_WIDTH,
                in_text_dim2=parts.TEXT_WIDTH,
                time_dim=32,
                model_dim=48,
                ff_dim=96,
                num_text_blocks=1,
                num_visual_blocks=3,
                axes_dims=(8, 8, 8),
                visual_cond=True,
            )
        ),
        "scheduler": parts.flow_euler(shift=5.0),
    }


def _qwen_with_eyes(vocabulary: int) -> Any:
    """Qwen2.5-VL as a whole; what sees pictures is never called."""
    transformers = parts.library("transformers")
    vision = {
        "depth": 1,
        "hidden_size": parts.IMAGE_WIDTH,
        "intermediate_size": 2 * parts.IMAGE_WIDTH,
        "num_heads": 2,
        "out_hidden_size": parts.TEXT_WIDTH,
        "patch_size": 8,
    }
    markers = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = transformers.Qwen2_5_VLConfig(
        text_config=_qwen_sizes(vocabulary), vision_config=vision, **dict.fromkeys(markers, 2)
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _with_open_gates(transformer: Any) -> Any:
    """Draw what is made of zeros: with gates of zero no block would do anything, and no check would see one."""
    init = parts.library("torch.nn.init")
    for name, module in transformer.named_modules():
        if name.endswith("modulation"):
            init.normal_(module.out_layer.weight, std=0.2)
    return transformer


def ltx2() -> dict[str, Any]:
    """LTX-2: video and sound from one denoiser, with a VAE each and a vocoder."""
    diffusers, transformers = parts.library("diffusers"), parts.library("transformers")
    tokenizer = parts.byte_tokenizer(1024)
    sizes = parts.decoder_sizes(len(tokenizer))
    text = transformers.Gemma3ForConditionalGeneration(
        transformers.Gemma3Config(
            text_config=sizes | {"head_dim": 16},
            vision_config=dict(parts.EYES),
            mm_tokens_per_image=4,
            image_token_index=2,
            boi_token_index=2,
            eoi_token_index=2,
        )
    )
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4,
        output_channels=2,
        ch_mult=(1,),
        num_res_blocks=1,
        attn_resolutions=None,
        in_channels=2,
        resolution=32,
        latent_channels=2,
        norm_type="pixel",
        causality_axis="height",
        mid_block_add_attention=False,
        mel_bins=8,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": text,
        "connectors": _connectors(sizes["num_hidden_layers"] + 1),
        "transformer": _ltx2_transformer(),
        "vae": _ltx2_vae(),
        "audio_vae": audio_vae,
        "vocoder": parts.library("diffusers.pipelines.ltx2.vocoder").LTX2Vocoder(
            in_channels=16,
            hidden_channels=32,
            out_channels=2,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
        ),
        "scheduler": parts.flow_euler(),
    }


def _connectors(text_layers: int) -> Any:
    sizes: dict[str, Any] = {"caption_channels": parts.TEXT_WIDTH, "text_proj_in_factor": text_layers}
    for stream in ("video", "audio"):
        sizes |= {
            f"{stream}_connector_num_attention_heads": 4,
            f"{stream}_connector_attention_head_dim": 8,
            f"{stream}_connector_num_layers": 1,
            f"{stream}_connector_num_learnable_registers": None,
        }
    return parts.library("diffusers.pipelines.ltx2").LTX2TextConnectors(
        **sizes,
        connector_rope_base_seq_len=32,
        rope_theta=10000.0,
        rope_double_precision=False,
        causal_temporal_positioning=False,
        rope_type="split",
    )


def _ltx2_transformer() -> Any:
    return parts.library("diffusers").LTX2VideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=3,
        qk_norm="rms_norm_across_heads",
        caption_channels=parts.TEXT_WIDTH,
        rope_double_precision=False,
        rope_type="split",
    )


def _ltx2_vae() -> Any:
    """A third of the real one: one level of four, on patches of 4 x 4 pixels; 8 times smaller, 2 in time."""
    return parts.library("diffusers").AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(16,),
        decoder_block_out_channels=(16,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatiotemporal",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        timestep_conditioning=False,
        patch_size=4,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )

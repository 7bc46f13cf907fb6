"""Parts that the tiny presets share: tokenizers, text and image encoders, VAEs, schedulers. No network, no files.

Sizes are as small as a class allows; kinds and geometry are those of the real models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

TOKENIZER_MODEL_MAX_LENGTH = 512
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
"""Padding, end of text, unknown."""

BEGINNING = "<s>"

TEXT_WIDTH = 32
IMAGE_WIDTH = 32
PICTURE_SIDE = 32
EYES = {
    "hidden_size": IMAGE_WIDTH,
    "intermediate_size": 2 * IMAGE_WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": PICTURE_SIDE,
    "patch_size": 8,
}
"""Sizes of the picture encoder of a chat model that is given text alone: it is loaded and never called."""
"""Height and width of what the image encoders see."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CHAT_TEMPLATE_OF_PARTS = CHAT_TEMPLATE.replace(
    "message['content']", "message['content'] | map(attribute='text') | join"
)
"""For classes whose messages are lists of parts, as chat models with eyes have them."""


def library(name: str) -> Any:
    """Import `diffusers`, `transformers` or one of their modules when a preset is built, and not before."""
    return import_module(name)


def byte_tokenizer(max_length: int = TOKENIZER_MODEL_MAX_LENGTH) -> Any:
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
    return library("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        eos_token=end,
        unk_token=unknown,
        model_max_length=max_length,
    )


def template_tokenizer(template: str, markers: Sequence[str], max_length: int) -> Any:
    """A byte-level tokenizer that knows `template`'s markers and words whole, as a trained one of Llama 3 does.

    For classes that cut what their template takes off by its number of tokens. Any other text is one token a byte.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\n+"), behavior="isolated"), byte_level])
    texts = re.split("|".join(map(re.escape, markers)), template)
    known = {piece for text in texts if text for piece, _ in cut.pre_tokenize_str(text)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Digits are tokens of their own.
    words = sorted(word for word in known - set(alphabet) if not re.search(r"\d", word))
    whole = [*SPECIAL_TOKENS, BEGINNING, *markers]
    scored = [
        *((token, 0.0) for token in whole),
        *((byte, -10.0) for byte in alphabet),
        *((word, -1.0) for word in words),
    ]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=2))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGINNING} $A",
        pair=f"{BEGINNING} $A {BEGINNING} $B",
        special_tokens=[(BEGINNING, whole.index(BEGINNING))],
    )
    padding, end, unknown = SPECIAL_TOKENS
    return library("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGINNING,
        pad_token=padding,
        eos_token=end,
        unk_token=unknown,
        additional_special_tokens=list(markers),
        model_max_length=max_length,
    )


def t5(vocabulary: int, *, kind: str = "T5", **sizes: Any) -> Any:
    """A T5 (`T5` or `UMT5`) encoder; `sizes` replace those of the smallest."""
    smallest = {
        "d_model": TEXT_WIDTH,
        "d_kv": TEXT_WIDTH // 4,
        "d_ff": 2 * TEXT_WIDTH,
        "num_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }
    transformers = library("transformers")
    config = getattr(transformers, f"{kind}Config")(vocab_size=vocabulary, **(smallest | sizes))
    return getattr(transformers, f"{kind}EncoderModel")(config)


def clip_text(vocabulary: int) -> Any:
    """A CLIP text encoder, as Stable Diffusion and HunyuanVideo have one."""
    transformers = library("transformers")
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )


def decoder_sizes(vocabulary: int) -> dict[str, Any]:
    """The sizes that the configurations of decoder-only text encoders (Llama, Gemma, Qwen) have in common."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }


def clip_vision(*, projected: bool, side: int = PICTURE_SIDE) -> Any:
    """A CLIP image encoder, with or without its projection, for pictures of `side` x `side` pixels."""
    transformers = library("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH,
        projection_dim=IMAGE_WIDTH,
        intermediate_size=2 * IMAGE_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=side,
        patch_size=side // 4,
    )
    return (transformers.CLIPVisionModelWithProjection if projected else transformers.CLIPVisionModel)(config)


def clip_pictures() -> Any:
    """What prepares a picture for `clip_vision`."""
    return library("transformers").CLIPImageProcessor(
        size={"shortest_edge": PICTURE_SIDE}, crop_size={"height": PICTURE_SIDE, "width": PICTURE_SIDE}
    )


def wan_vae(width: int = 8, multiples: tuple[int, ...] = (1, 1, 1, 1), blocks: int = 1) -> Any:
    """The VAE of Wan 2.1: 8 times smaller in height and width, 4 in time, but for the first frame."""
    return library("diffusers").AutoencoderKLWan(
        base_dim=width, z_dim=16, dim_mult=list(multiples), num_res_blocks=blocks
    )


def image_vae(kind: str = "AutoencoderKL", levels: int = 4, width: int = 8) -> Any:
    """A VAE of Stable Diffusion's kind, which decodes frame by frame: 2^(levels-1) times smaller."""
    sizes: dict[str, Any] = {
        "block_out_channels": (width,) * levels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "latent_channels": 4,
        "layers_per_block": 1,
    }
    if kind == "AutoencoderKL":
        sizes |= {"up_block_types": ("UpDecoderBlock2D",) * levels, "norm_num_groups": 2, "sample_size": 64}
    return getattr(library("diffusers"), kind)(**sizes)


def hunyuan_vae() -> Any:
    """The VAE of HunyuanVideo: 8 times smaller in height and width, 4 in time, but for the first frame."""
    return library("diffusers").AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )


def cogvideox_vae() -> Any:
    """The VAE of CogVideoX: 8 times smaller in height and width, 4 in time, but for the first frame."""
    return library("diffusers").AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
    )


def flow_unipc(shift: float = 3.0) -> Any:
    """The scheduler of Wan and SkyReels."""
    return library("diffusers").UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
    )


def flow_euler(**options: Any) -> Any:
    """The scheduler of most flow models."""
    return library("diffusers").FlowMatchEulerDiscreteScheduler(**options)


def ddim() -> Any:
    """The scheduler of the older latent models."""
    return library("diffusers").DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, steps_offset=1
    )

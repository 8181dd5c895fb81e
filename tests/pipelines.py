"""Tiny random pipelines of each kind, saved with diffusers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

WORDS = ("<pad>", "<start>", "<end>", "<unknown>", "a", "red", "blue", "circle", "square", "on", "background")
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}

LENGTH = 16
"""Tokens of a prompt, as many as the longest of the tests has and some more."""


def tokenizer(length: int) -> transformers.PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unknown>"))
    words.pre_tokenizer = Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unknown>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=length, **names)


def clip(kind: type = CLIPTextModel) -> transformers.PreTrainedModel:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return kind(config).eval()


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        **{"cross_attention_dim": 16, **options},
    ).eval()


def vae(channels: int = 4, **options: Any) -> diffusers.AutoencoderKL:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        **options,
    ).eval()


def stable(scheduler: Any = None) -> diffusers.StableDiffusionPipeline:
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=tokenizer(LENGTH),
        unet=unet(),
        scheduler=scheduler or diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl_unet(width: int = 32) -> diffusers.UNet2DConditionModel:
    return unet(
        cross_attention_dim=width,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=4 * 6 + 16,
    )


def xl() -> diffusers.StableDiffusionXLPipeline:
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(LENGTH),
        tokenizer_2=tokenizer(LENGTH),
        unet=xl_unet(),
        scheduler=diffusers.EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def turbo() -> diffusers.StableDiffusionXLPipeline:
    pipeline = xl()
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing")
    return pipeline


def t5(width: int = 16) -> T5EncoderModel:
    sizes = {"vocab_size": len(WORDS), "d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(**sizes, pad_token_id=0, decoder_start_token_id=0)).eval()


def three() -> diffusers.StableDiffusion3Pipeline:
    return diffusers.StableDiffusion3Pipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5305),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(LENGTH),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer_2=tokenizer(LENGTH),
        text_encoder_3=t5(36),
        tokenizer_3=tokenizer(LENGTH),
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=36,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            out_channels=4,
        ).eval(),
    )


def three_without_t5() -> diffusers.StableDiffusion3Pipeline:
    parts = three().components | {"text_encoder_3": None, "tokenizer_3": None}
    parts["scheduler"] = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return diffusers.StableDiffusion3Pipeline(**parts)


def flux() -> diffusers.FluxPipeline:
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5305),
        text_encoder=clip(),
        tokenizer=tokenizer(LENGTH),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(LENGTH),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
    )


KINDS: dict[str, Callable[[], Any]] = {"stable": stable, "xl": xl, "turbo": turbo, "flux": flux}
KINDS |= {"three": three, "three_without_t5": three_without_t5}


def save(kind: str, directory: Path) -> Any:
    """Make a pipeline, save it, and give it."""
    pipeline = KINDS[kind]()
    pipeline.save_pretrained(directory)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline

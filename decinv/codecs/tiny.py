"""Tiny random autoencoders of every class of diffusers that can be driven, for tests and for the table of classes."""

from typing import Any, NamedTuple

import diffusers
import torch
from diffusers import ModelMixin

Options = dict[str, Any]

BLOCKS: Options = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
}
KL: Options = {**BLOCKS, "block_out_channels": (8,) * 4, "layers_per_block": 1}
STATISTICS: Options = {"latents_mean": (0.1, -0.2, 0.3, 0.4), "latents_std": (1.0, 2.0, 3.0, 4.0)}
DC: Options = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {
        "block_out_channels": (8,) * 4,
        "layers_per_block": (1,) * 4,
        "block_types": "ResBlock",
        "qkv_multiscales": ((),) * 4,
    }.items()
}
LTX: Options = {"latent_channels": 8, "block_out_channels": (8,) * 4, "layers_per_block": (1,) * 5, "patch_size": 1}
LTX1: Options = {**LTX, "decoder_block_out_channels": (8,) * 4, "decoder_layers_per_block": (1,) * 5}
HUNYUAN: Options = {
    "latent_channels": 4,
    "block_out_channels": (16,) * 3,
    "layers_per_block": 1,
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 4,
}
WAN: Options = {"base_dim": 4, "z_dim": 4, "dim_mult": [1] * 4, "num_res_blocks": 1, **STATISTICS}
QWEN: Options = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True],
    **STATISTICS,
}
VIDTOK: Options = {"ch": 32, "ch_mult": [1] * 4, "z_channels": 4, "num_res_blocks": 1}


class Instance(NamedTuple):
    """A tiny autoencoder.

    Attributes:
        kind: Its class in diffusers.
        options: What its constructor takes.
        variant: What tells it from others of its class; empty for the usual one.
    """

    kind: str
    options: Options
    variant: str = ""


INSTANCES: dict[str, Instance] = {
    "kl": Instance("AutoencoderKL", {**KL, "scaling_factor": 0.18215}, "4 channels, as Stable Diffusion"),
    "kl16": Instance(
        "AutoencoderKL",
        {
            **KL,
            "latent_channels": 16,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        "16 channels, as Stable Diffusion 3 and Flux",
    ),
    "kl_statistics": Instance(
        "AutoencoderKL", {**KL, **STATISTICS, "scaling_factor": 0.5}, "mean and deviation, as Playground"
    ),
    "tiny": Instance("AutoencoderTiny", {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}),
    "dc": Instance("AutoencoderDC", {**DC, "latent_channels": 8, "scaling_factor": 0.41407}),
    "asymmetric": Instance(
        "AsymmetricAutoencoderKL", {**BLOCKS, "down_block_out_channels": (8,) * 4, "up_block_out_channels": (8,) * 4}
    ),
    "vq": Instance(
        "VQModel",
        {
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "block_out_channels": (8,) * 3,
            "norm_num_groups": 4,
            "num_vq_embeddings": 16,
        },
    ),
    "consistency": Instance(
        "ConsistencyDecoderVAE",
        {
            "encoder_block_out_channels": (8,) * 4,
            "encoder_down_block_types": ("DownEncoderBlock2D",) * 4,
            "encoder_layers_per_block": 1,
            "encoder_norm_num_groups": 4,
            "encoder_in_channels": 3,
            "encoder_out_channels": 4,
            "decoder_block_out_channels": (8,) * 4,
            "decoder_layers_per_block": 1,
            "decoder_norm_num_groups": 4,
        },
    ),
    "flux2": Instance("AutoencoderKLFlux2", {**KL, "latent_channels": 4}),
    "hunyuan_image": Instance(
        "AutoencoderKLHunyuanImage",
        {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 8,
            "block_out_channels": (32, 32),
            "layers_per_block": 1,
            "spatial_compression_ratio": 2,
            "sample_size": 64,
            "scaling_factor": 0.75289,
        },
    ),
    "hunyuan_refiner": Instance("AutoencoderKLHunyuanImageRefiner", HUNYUAN),
    "kvae": Instance(
        "AutoencoderKLKVAE", {"channels": 32, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4, "ch_mult": (1,) * 3}
    ),
    "qwen": Instance("AutoencoderKLQwenImage", QWEN),
    "qwen21": Instance("AutoencoderKLQwenImage21", {**QWEN, "decoder_base_dim": 8, "scale_factor_spatial": 2}),
    "rae": Instance(
        "AutoencoderRAE",
        {
            "encoder_hidden_size": 64,
            "encoder_patch_size": 4,
            "encoder_num_hidden_layers": 1,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 16,
            "patch_size": 8,
            "encoder_input_size": 16,
        },
    ),
    "temporal": Instance(
        "AutoencoderKLTemporalDecoder",
        {"down_block_types": ("DownEncoderBlock2D",) * 2, "block_out_channels": (32,) * 2, "layers_per_block": 1},
    ),
    "cogvideox": Instance(
        "AutoencoderKLCogVideoX",
        {
            "down_block_types": ("CogVideoXDownBlock3D",) * 4,
            "up_block_types": ("CogVideoXUpBlock3D",) * 4,
            "block_out_channels": (8,) * 4,
            "latent_channels": 4,
            "layers_per_block": 1,
            "norm_num_groups": 2,
        },
    ),
    "ltx": Instance("AutoencoderKLLTXVideo", LTX1),
    "ltx_timed": Instance(
        "AutoencoderKLLTXVideo",
        {**LTX1, "timestep_conditioning": True, "decoder_inject_noise": (True,) * 5},
        "timestep and noise, as from 0.9.1 on",
    ),
    "ltx2": Instance(
        "AutoencoderKLLTX2Video",
        {**LTX, "decoder_block_out_channels": (16, 32, 64), "decoder_layers_per_block": (1,) * 4, "decoder_causal": False},
    ),
    "hunyuan_video": Instance(
        "AutoencoderKLHunyuanVideo",
        {"latent_channels": 4, "block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 4},
    ),
    "hunyuan_video15": Instance("AutoencoderKLHunyuanVideo15", HUNYUAN),
    "wan": Instance("AutoencoderKLWan", WAN, "2.1"),
    "wan22": Instance(
        "AutoencoderKLWan",
        {
            **WAN,
            "decoder_base_dim": 4,
            "is_residual": True,
            "in_channels": 12,
            "out_channels": 12,
            "patch_size": 2,
            "scale_factor_spatial": 16,
        },
        "2.2",
    ),
    "mochi": Instance(
        "AutoencoderKLMochi",
        {
            "latent_channels": 4,
            "encoder_block_out_channels": (32,) * 4,
            "decoder_block_out_channels": (32,) * 4,
            "layers_per_block": (1,) * 5,
            "add_attention_block": (False, True, False, False, False),
            **STATISTICS,
        },
    ),
    "cosmos": Instance(
        "AutoencoderKLCosmos",
        {
            "encoder_block_out_channels": (8,) * 4,
            "decode_block_out_channels": (8,) * 4,
            "attention_resolutions": (8,),
            "resolution": 64,
            "num_layers": 1,
        },
    ),
    "allegro": Instance("AutoencoderKLAllegro", {"block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 2}),
    "magvit": Instance(
        "AutoencoderKLMagvit",
        {"latent_channels": 4, "block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 2},
    ),
    "kvae_video": Instance("AutoencoderKLKVAEVideo", {"ch": 32, "ch_mult": (1,) * 4, "num_res_blocks": 1, "z_channels": 4}),
    "kandinsky6": Instance(
        "Kandinsky6SRVAE",
        {
            "latent_channels": 4,
            "encoder_block_out_channels": (16,) * 4,
            "decoder_block_out_channels": (16,) * 4,
            "layers_per_block": 1,
        },
    ),
    "minimax": Instance(
        "AutoencoderKLMiniMaxH3",
        {
            "latent_channels": 4,
            "block_out_channels": (8, 8),
            "layers_per_block": 1,
            "spatial_downsample_factors": (2, 2),
            "temporal_downsample_factors": (2, 2),
            "norm_num_groups": 8,
            "decoder_num_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_attention_head_dim": 8,
            "decoder_num_register_tokens": 2,
            "decoder_ffn_mult": 2,
            **STATISTICS,
        },
    ),
    "vidtok": Instance("AutoencoderVidTok", VIDTOK, "causal"),
    "vidtok_whole": Instance("AutoencoderVidTok", {**VIDTOK, "is_causal": False}, "not causal"),
}
"""One or more of every class that can be driven, by a short name."""

INITIALLY_PLAIN = ("running_mean", "running_var", "latents_mean", "latents_std", "per_channel_scale1", "per_channel_scale2")
"""Buffers and weights that a new autoencoder has at 0 or 1, where they would do nothing."""


def make(name: str) -> ModelMixin:
    """Make one of ``INSTANCES`` with the same random weights each time, in evaluation mode."""
    kind, options, _ = INSTANCES[name]
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(diffusers, kind)(**options)
        for key, tensor in (*model.named_buffers(), *model.named_parameters()):
            if key.endswith(INITIALLY_PLAIN):
                tensor.uniform_(0.5, 1.5)
    return model.eval()

"""Codecs from whole pipelines, as diffusers saves them."""

from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, ModelMixin

from decinv.codecs import load_codec
from decinv.codecs.tiny import make


def _unet() -> ModelMixin:
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
    )


def _ldm(vae: ModelMixin) -> diffusers.DiffusionPipeline:
    return diffusers.LDMPipeline(vae, _unet(), DDIMScheduler())


def _dit(vae: ModelMixin) -> diffusers.DiffusionPipeline:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, num_layers=1, sample_size=8, norm_num_groups=4
    )
    return diffusers.DiTPipeline(transformer, vae, DDIMScheduler())


def _wan(vae: ModelMixin) -> diffusers.DiffusionPipeline:
    return diffusers.WanPipeline(tokenizer=None, text_encoder=None, vae=vae, scheduler=DDIMScheduler())


def _cogvideox(vae: ModelMixin) -> diffusers.DiffusionPipeline:
    return diffusers.CogVideoXPipeline(None, None, vae, None, DDIMScheduler())


@pytest.mark.parametrize(("name", "pipeline"), [("vq", _ldm), ("kl", _dit), ("wan", _wan), ("cogvideox", _cogvideox)])
def test_the_autoencoder_of_a_whole_pipeline_is_found(
    tmp_path: Path, name: str, pipeline: Callable[[ModelMixin], diffusers.DiffusionPipeline]
) -> None:
    vae = make(name)
    pipeline(vae).save_pretrained(tmp_path)
    assert (tmp_path / "model_index.json").is_file()
    codec = load_codec(tmp_path)
    times = () if codec.frames is None else (9,)
    image = torch.rand(1, 3, *times, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        output = vae.encode(image)
        expected = output.latents if name == "vq" else output.latent_dist.mode()
        assert torch.equal(codec.encode(image), expected)
        assert torch.equal(codec.decode(expected), vae.decode(expected).sample)

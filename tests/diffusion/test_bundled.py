"""The bundled diffusion models: small, loadable by diffusers, and able to paint what a prompt says."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from decinv.codecs.loading import BUNDLED as CODEC
from decinv.data.scenes import RGB
from decinv.diffusion.bundled import BUNDLED, WEIGHTS, pipeline_directory
from decinv.diffusion.captions import WORDS
from decinv.diffusion.text import encode_prompts

PROMPTS = ["a red circle on a plain white background", "a white square on a plain blue background"]


def noise():
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def colours(images):
    """The median colour of the border of ``(B, 3, H, W)`` in [0, 1], and the share of pixels near each named colour."""
    levels = images * 255
    border = torch.cat([levels[..., :6].flatten(2), levels[..., -6:].flatten(2)], -1).median(-1).values
    share = {
        name: ((levels - torch.tensor(rgb).view(3, 1, 1)).abs().amax(1) < 50).float().mean((1, 2)) for name, rgb in RGB.items()
    }
    return border, share


def check(images):
    border, share = colours(images)
    for row, (thing, ground) in enumerate([("red", "white"), ("white", "blue")]):
        assert (border[row] - torch.tensor(RGB[ground])).abs().max() < 50
        assert share[thing][row] > 0.04
        assert share[ground][row] > 0.4


def test_they_are_small():
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert size < 40 * 2**20


@pytest.mark.parametrize("name", BUNDLED)
def test_every_word_is_a_token(name):
    tokenizer = CLIPTokenizer.from_pretrained(pipeline_directory(name), subfolder="tokenizer")
    assert {len(tokenizer(word).input_ids) for word in WORDS} == {3}


def test_the_diffusion_model_paints_its_prompt():
    vae = AutoencoderKL.from_pretrained(CODEC)
    pipeline = StableDiffusionPipeline.from_pretrained(pipeline_directory("bundled"), vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(PROMPTS, latents=noise(), num_inference_steps=12, guidance_scale=3.0, output_type="pt").images
    assert images.shape == (2, 3, 128, 128)
    check(images)


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 4])
def test_the_flow_paints_its_prompt_in_few_steps(steps):
    directory = pipeline_directory("bundled-flow")
    unet = UNet2DConditionModel.from_pretrained(directory, subfolder="unet")
    text_encoder = CLIPTextModel.from_pretrained(directory, subfolder="text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(directory, subfolder="tokenizer")
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(directory, subfolder="scheduler")
    scheduler.set_timesteps(sigmas=[1 - k / steps for k in range(steps)])
    prompts, latent = encode_prompts(tokenizer, text_encoder, PROMPTS), noise()
    for time in scheduler.timesteps:
        latent = scheduler.step(unet(latent, time, prompts).sample, time, latent).prev_sample
    vae = AutoencoderKL.from_pretrained(CODEC)
    check(vae.decode(latent / vae.config.scaling_factor).sample.clamp(-1, 1) / 2 + 0.5)


def test_another_directory_must_hold_a_pipeline(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        pipeline_directory(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    assert pipeline_directory(str(tmp_path)) == tmp_path

"""Images that a diffusion model makes of noise that is known."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.data.generated import decode_rounded
from decinv.diffusion import Pipeline, Process, Sampler
from decinv.diffusion.conditioned import conditioned
from decinv.diffusion.noise import draw_noise


class Made(NamedTuple):
    """A chunk of ``B`` images with all that they were made of, on the codec's device.

    Attributes:
        prompts: What each shows.
        noise: Standard normal noise ``(B, C, h, w)``.
        latent: The scaled latents that were sampled from it.
        image: Their 8-bit images ``(B, 3, H, W)`` in [-1, 1].
        process: The process that sampled them.
    """

    prompts: list[str]
    noise: Tensor
    latent: Tensor
    image: Tensor
    process: Process


class Maker:
    """A diffusion model with the sampler, guidance and prompts that it makes images with.

    Attributes:
        shape: Shape (C, h, w) of a latent.
    """

    def __init__(
        self, pipeline: Pipeline, codec: Codec, sampler: Sampler, guidance: float, prompts: Sequence[str], size: int
    ) -> None:
        """Take the parts.

        Raises:
            ValueError: If ``size`` is no multiple of the codec's stride.
        """
        if size < 1 or size % codec.stride:
            raise ValueError(f"Expected `size` to be a multiple of {codec.stride}, but got {size}.")
        self.pipeline, self.codec, self.guidance, self.prompts = pipeline, codec, guidance, prompts
        self.sampler = sampler
        self.shape = (pipeline.channels, size // codec.stride, size // codec.stride)

    def process(self, prompts: Sequence[str], known: bool = True) -> Process:
        """Give the process of images that show ``prompts``; unless they are known, with the empty prompt and no guidance."""
        texts, guidance = (prompts, self.guidance) if known else ([""] * len(prompts), 1.0)
        place, stride = self.codec.device, self.codec.stride
        return conditioned(self.pipeline, self.sampler, texts, self.shape[1:], stride, guidance, device=place)

    def make(self, numbers: Sequence[int], seed: int) -> Made:
        """Make images by number: image i shows prompt i, in turn, and its noise depends on nothing but seed and i."""
        prompts = [self.prompts[number % len(self.prompts)] for number in numbers]
        return self.sample(prompts, torch.stack([draw_noise(self.shape, seed, number) for number in numbers]))

    @torch.no_grad()
    def sample(self, prompts: list[str], noise: Tensor) -> Made:
        """Make images that show prompts of noise ``(B, C, h, w)``."""
        noise, process = noise.to(self.codec.device), self.process(prompts)
        latent = process.generate(noise)
        image = decode_rounded(self.codec, self.codec.scaling.invert(latent))
        return Made(prompts, noise, latent, image.to(self.codec.device), process)

"""Images that a diffusion model makes of marked and unmarked noise, for the benchmark of watermarks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.data.generated import decode_rounded
from decinv.diffusion import Pipeline, Process, Sampler
from decinv.diffusion.conditioned import conditioned
from decinv.diffusion.noise import draw_noise
from decinv.watermark import Watermark


class Generated(NamedTuple):
    """A chunk of ``B`` images with all that they were made of, on the CPU.

    Attributes:
        image: 8-bit images ``(B, 3, H, W)`` in [-1, 1].
        latent: Their scaled latents ``(B, C, h, w)``.
        noise: The noise that those were made of, marked or not.
        which: The mark of each, ``(B,)``; -1 for none.
        prompts: What each shows.
        numbers: Number of each in the run.
    """

    image: Tensor
    latent: Tensor
    noise: Tensor
    which: Tensor
    prompts: list[str]
    numbers: list[int]


class Maker:
    """A diffusion model with the sampler, guidance and prompts that it generates with.

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

    @torch.no_grad()
    def generate(
        self, mark: Watermark, count: int, batch_size: int, seed: int, tick: Callable[[], None] = lambda: None
    ) -> list[Generated]:
        """Generate ``count`` images of each mark from the same noises, and as many unmarked ones from others.

        Image i of every mark shows the same prompt. Images do not depend on their batch mates' noise.

        Args:
            mark: The watermark.
            count: Number of images of each mark.
            batch_size: Largest number of images of a chunk.
            seed: Seed of the noise.
            tick: Is called for each chunk.
        """
        which = [mark for mark in (*range(mark.marks), -1) for _ in range(count)]
        chunks = []
        for start in range(0, len(which), batch_size):
            tick()
            numbers = list(range(start, min(start + batch_size, len(which))))
            drawn = [draw_noise(self.shape, seed, number % count, int(which[number] < 0)) for number in numbers]
            noise, marks = torch.stack(drawn), torch.tensor([which[number] for number in numbers])
            noise[marks >= 0] = mark.mark(noise[marks >= 0], marks[marks >= 0])
            prompts = [self.prompts[number % count % len(self.prompts)] for number in numbers]
            latent = self.process(prompts).generate(noise.to(self.codec.device))
            image = decode_rounded(self.codec, self.codec.scaling.invert(latent))
            chunks.append(Generated(image, latent.cpu(), noise, marks, prompts, numbers))
        return chunks

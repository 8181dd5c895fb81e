"""Images that a diffusion model makes of marked and unmarked noise, for the benchmark of watermarks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.maker import Maker
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


def generate(
    maker: Maker, mark: Watermark, count: int, batch_size: int, seed: int, tick: Callable[[], None] = lambda: None
) -> list[Generated]:
    """Generate ``count`` images of each mark from the same noises, and as many unmarked ones from others.

    Image i of every mark shows the same prompt. Images do not depend on their batch mates' noise.

    Args:
        maker: What makes them.
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
        drawn = [draw_noise(maker.shape, seed, number % count, int(which[number] < 0)) for number in numbers]
        noise, marks = torch.stack(drawn), torch.tensor([which[number] for number in numbers])
        noise[marks >= 0] = mark.mark(noise[marks >= 0], marks[marks >= 0])
        prompts = [maker.prompts[number % count % len(maker.prompts)] for number in numbers]
        made = maker.sample(prompts, noise)
        chunks.append(Generated(made.image.cpu(), made.latent.cpu(), noise, marks, prompts, numbers))
    return chunks

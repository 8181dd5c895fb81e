"""The forward process of given prompts."""

from collections.abc import Sequence

import torch

from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.pipeline import Pipeline
from decinv.diffusion.process import Process
from decinv.diffusion.prompt import Condition
from decinv.diffusion.sampler import Sampler
from decinv.ranges import refuse_below


def check_range(guidance: float, noise_seed: int) -> None:
    """Refuse guidance scales and seeds that make no process, before models are loaded.

    Raises:
        ValueError: If one is out of range.
    """
    refuse_below(0, guidance=guidance)
    if not 0 <= noise_seed < 2**63 or noise_seed != int(noise_seed):
        raise ValueError(f"Expected `noise_seed` to be at least 0, below 2^63 and a whole number, but got {noise_seed}.")


def conditioned(
    pipeline: Pipeline,
    sampler: Sampler,
    prompts: Sequence[str],
    cells: tuple[int, int],
    stride: int,
    guidance: float = 1.0,
    negative_prompt: str | None = None,
    noise_seed: int = 0,
    device: torch.device | str = "cpu",
) -> Process:
    """Put a forward process together: text encoders first, then the network.

    Args:
        pipeline: The diffusion model.
        sampler: The sampler.
        prompts: The prompt of each sample.
        cells: Height and width of a latent.
        stride: Pixels along one side of a latent cell.
        guidance: Guidance scale, at least 0; up to 1 there is none.
        negative_prompt: What guidance leads away from; ``None`` for what the pipeline takes if no prompt is given.
        noise_seed: Seed of the noise that ancestral steps add, the same for each sample.
        device: Where to compute.

    Returns:
        The process.

    Raises:
        ValueError: If ``guidance`` is below 0, or the network cannot cut the latents into whole patches.
    """
    device = torch.device(device)
    height, width = cells
    pipeline.refuse_cells(height, width)
    size = height * stride, width * stride
    away = [negative_prompt] if guidance > 1 else []
    told = pipeline.encode([*prompts, *away], size, device)  # together, so that text encoders are loaded once
    prompt = told.select(torch.arange(len(prompts)))
    negative = told.select(torch.full((len(prompts),), len(prompts))) if away else None
    trajectory = pipeline.trajectory(sampler, cells)
    added = None
    if any(step.noise for step in trajectory.steps):
        generator = torch.Generator().manual_seed(noise_seed)
        drawn = (torch.randn(pipeline.channels, height, width, generator=generator) for _ in trajectory.steps)
        added = [noise.to(device).expand(len(prompts), -1, -1, -1) for noise in drawn]
    return Process(trajectory, Guidance(pipeline.denoiser(device), guidance), Condition(prompt, negative), added)

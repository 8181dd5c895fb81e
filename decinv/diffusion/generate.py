"""The forward process: from noise to a latent, step by step."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.prompt import Condition
from decinv.diffusion.sampler import Trajectory


class Visited(NamedTuple):
    """A point of a trajectory, with what was predicted there.

    Attributes:
        point: x_s, ``(B, C, h, w)``.
        output: The network's output there.
        data: The data prediction there.
        following: x_t, the point after it.
    """

    point: Tensor
    output: Tensor
    data: Tensor
    following: Tensor


@torch.no_grad()
def walk(
    trajectory: Trajectory, guidance: Guidance, noise: Tensor, condition: Condition, added: Sequence[Tensor] | None = None
) -> Iterator[Visited]:
    """Take the steps of a sampler one by one.

    Args:
        trajectory: The steps.
        guidance: The guided network.
        noise: Standard normal noise ``(B, C, h, w)``.
        condition: Condition of each sample.
        added: Standard normal noise that each ancestral step adds, as many tensors as there are steps.

    Yields:
        The points, the noisiest first.

    Raises:
        ValueError: If a step needs noise, and ``added`` is not given.
    """
    point = noise.float() * trajectory.start
    history: Tensor | None = None
    for index, step in enumerate(trajectory.steps):
        output = guidance(point / step.scale, step.time, condition)
        data = step.data(point, output)
        following = step(point, output, history, None if added is None else added[index])
        yield Visited(point, output, data, following)
        point, history = following, data


def generate(
    trajectory: Trajectory, guidance: Guidance, noise: Tensor, condition: Condition, added: Sequence[Tensor] | None = None
) -> Tensor:
    """Run a sampler from noise to the scaled latent; see ``walk``."""
    latent = noise
    for visited in walk(trajectory, guidance, noise, condition, added):
        latent = visited.following
    return latent

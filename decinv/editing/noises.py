"""Points between noises, which are typical noises themselves: their norm is near that of noise, not smaller as a mean's."""

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Length of a sum or difference of directions below which it says nothing of where it points."""


def slerp(first: Tensor, second: Tensor, part: float) -> Tensor:
    """Go from one noise to another along the sphere (Shoemake, 1985), the norm changing evenly.

    Args:
        first: Noises ``(B, ...)``.
        second: Noises of the same shape.
        part: Part of the way: 0 for the first, 1 for the second.

    Returns:
        Noises of the same shape; nan between opposite ones, where no way is the shortest, and where one is 0 everywhere, which
        has no direction.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"Expected noises of one shape, but got {tuple(first.shape)} and {tuple(second.shape)}.")
    flat = first.flatten(1).double(), second.flatten(1).double()
    norms = [torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in flat]
    (a, b), norm = [one / n for one, n in zip(flat, norms, strict=True)], torch.lerp(norms[0], norms[1], part)
    apart, together = (torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in (a - b, a + b))
    angle = 2 * torch.atan2(apart, together)
    between = (torch.sin((1 - part) * angle) * a + torch.sin(part * angle) * b) / torch.sin(angle)
    between = torch.where(together < ROUNDING, torch.nan, between)
    noise: Tensor = norm * torch.where(angle < ROUNDING, torch.lerp(a, b, part), between)
    return noise.view_as(first).to(first.dtype)


def centroid(noises: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give the centre of several noises on their sphere: a seed for images that have something of each.

    The weighted mean of their directions, with their weighted mean norm. It stands in for the centroid of Samuel et al. (arXiv
    2306.08687), whose path lengths count the density of the norm; in many dimensions that is a thin shell, and their centroid
    lies on it too.

    Args:
        noises: Noises ``(N, ...)``.
        weights: Their weights ``(N,)``, finite, at least 0 and not all 0; by default equal.

    Returns:
        One noise of the shape of each; nan where they have no centre, since their directions cancel out or one is 0 everywhere.

    Raises:
        ValueError: If there is none, or the weights are no such weights.
    """
    if not len(noises):
        raise ValueError("Expected at least one noise, but got none.")
    if weights is None:
        weights = torch.ones(len(noises))
    possible = weights.isfinite() & (weights >= 0)
    if weights.shape != (len(noises),) or not bool(possible.all()) or not bool(weights.any()):
        raise ValueError(
            f"Expected a finite weight of at least 0 for each of {len(noises)} noises, not all 0, but got {weights.tolist()}."
        )
    flat = noises.flatten(1).double()
    weights = (weights / weights.sum()).to(flat)
    norms = torch.linalg.vector_norm(flat, dim=1)
    mean = weights / norms @ flat
    length = torch.linalg.vector_norm(mean)
    centre: Tensor = mean / torch.where(length < ROUNDING, torch.nan, length) * (weights @ norms)
    return centre.view(noises.shape[1:]).to(noises.dtype)

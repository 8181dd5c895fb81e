"""How cocoercive the residual map is along a path: what the convergence theorems ask for."""

import torch
from torch import Tensor


def cocoercivity(residual: Tensor, offset: Tensor) -> Tensor:
    """Give ``<T(z), z - z*> / ||T(z)||^2`` of each sample, where z* is a zero of T.

    Theorem 1 of arXiv 2409.18442 proves that the forward step with size rho < 2 beta converges if this is at least beta
    along its path.

    Args:
        residual: T(z) with shape ``(B, ...)``.
        offset: z - z* of the same shape.

    Returns:
        Values ``(B,)``, float32; nan where T(z) is 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if residual.shape != offset.shape:
        raise ValueError(f"Expected tensors of one shape, but got {tuple(residual.shape)} and {tuple(offset.shape)}.")
    residual, offset = residual.flatten(1).float(), offset.flatten(1).float()
    product = (residual * offset).sum(1) / residual.square().sum(1)
    return torch.where(residual.any(1), product, torch.nan)

"""The normalised mean squared error of latents."""

import torch
from torch import Tensor

from decinv.metrics.samples import PerSampleMetric


def nmse_db(preds: Tensor, target: Tensor) -> Tensor:
    """Give ``10 log10(||z - z*||^2 / ||z*||^2)`` of each sample in dB, computed in float32; lower is better.

    The ratio depends on the latents' shift, so give latents of the diffusion model's space: ``codec.scaling.apply(raw)``.

    Args:
        preds: Latents z with shape ``(B, ...)``.
        target: True latents z* of the same shape.

    Returns:
        Values ``(B,)``, float32; ``-inf`` where both are identical, nan where a latent contains nan.

    Raises:
        ValueError: If the shapes differ.
    """
    if preds.shape != target.shape:
        raise ValueError(f"Expected latents of one shape, but got {tuple(preds.shape)} and {tuple(target.shape)}.")
    preds, target = preds.flatten(1).float(), target.flatten(1).float()
    return 20 * torch.log10(torch.linalg.vector_norm(preds - target, dim=1) / torch.linalg.vector_norm(target, dim=1))


class LatentNMSE(PerSampleMetric):
    """The mean of ``nmse_db`` over all samples, with its 95 % interval."""

    def measure(self, preds: Tensor, target: Tensor) -> Tensor:
        """Give ``nmse_db``."""
        return nmse_db(preds, target)

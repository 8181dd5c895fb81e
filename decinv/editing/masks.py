"""Masks of edits: where two prompts disagree, what is kept around it."""

import torch
from torch import Tensor
from torch.nn import functional

from decinv.ranges import refuse_below, refuse_not_above


def difference_mask(source: Tensor, target: Tensor, ratio: float = 3.0, threshold: float = 0.5) -> Tensor:
    """Tell where a denoiser's predictions under two prompts differ, as DiffEdit does (Couairon et al., arXiv 2210.11427).

    The absolute difference is averaged over draws and channels, cut at ``ratio`` times its mean over the latent, and divided by
    that. Each sample has a mean of its own; the pipeline of diffusers takes one over the whole batch.

    Args:
        source: Predictions under the prompt of the image, ``(n, B, C, h, w)``, for n draws of noise.
        target: Predictions of the same noisy latents under the prompt of the edit, of the same shape.
        ratio: Multiple of the mean at which differences are cut, above 0.
        threshold: What part of that counts as an edit, in [0, 1).

    Returns:
        The mask ``(B, 1, h, w)``, bool; of equal predictions it is empty.

    Raises:
        ValueError: If the shapes differ or are no such shapes, or a number is out of range.
    """
    if source.shape != target.shape or source.ndim != 5:
        raise ValueError(
            f"Expected predictions of one shape (n, B, C, h, w), but got {tuple(source.shape)} and {tuple(target.shape)}."
        )
    refuse_not_above(0, ratio=ratio)
    if not 0 <= threshold < 1:
        raise ValueError(f"Expected `threshold` in [0, 1), but got {threshold}.")
    difference = (source.float() - target.float()).abs().mean((0, 2))[:, None]
    limit = ratio * difference.mean((1, 2, 3), keepdim=True)
    return difference.minimum(limit) > threshold * limit


def grow(mask: Tensor, distance: int) -> Tensor:
    """Add to a mask ``(B, 1, h, w)`` all places that are at most ``distance`` rows and columns away from it.

    Raises:
        ValueError: If ``distance`` is below 0.
    """
    refuse_below(0, distance=distance)
    return functional.max_pool2d(mask.float(), 2 * distance + 1, stride=1, padding=distance) > 0


def to_pixels(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Give a mask of latents ``(B, 1, h, w)`` as one of images ``(B, 1, H, W)``: each place as the pixels it stands for."""
    return functional.interpolate(mask.float(), size, mode="nearest") > 0.5


def blend(edited: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Give ``edited`` inside the mask ``(B, 1, h, w)`` and ``source`` outside, both ``(B, C, h, w)``."""
    return torch.where(mask, edited, source)

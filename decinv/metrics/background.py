"""What an edit left alone: errors over the background of images, which a mask says.

The mean is that over the background. The code of PIE-Bench (Ju et al., arXiv 2310.01506) paints the mask black in both images
and takes the mean over the whole image, so its PSNR is higher by ``-10 log10`` of the background's part of the image, and its
similarity is drawn to 1. For its figures, paint the mask black (-1) in both and give none.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from decinv.metrics.pixel import PEAK

WINDOW = 11
"""Side in pixels of the window of the structural similarity."""


def background_nmse(preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give ``||y - x||^2 / ||x||^2`` over the background of each image, where white is 1 and black is 0; lower is better.

    The measure of edits of arXiv 2311.18387; a plain ratio, no dB.

    Args:
        preds: Edited images y ``(B, 3, H, W)`` in [-1, 1].
        target: Images x before the edit, of the same shape.
        mask: Where the edit is, ``(B, 1, H, W)``, bool; by default nowhere.

    Returns:
        Values ``(B,)``, float32; nan where there is no background.

    Raises:
        ValueError: If the shapes differ, or are not those of images.
    """
    background = _background(preds, target, mask)
    error = (background * (preds.float() - target.float()) / 2).flatten(1).square().sum(1)
    return error / (background * (target.float() + 1) / 2).flatten(1).square().sum(1)


def image_nmse_db(preds: Tensor, target: Tensor) -> Tensor:
    """Give ``10 log10(||y - x||^2 / ||x||^2)`` of each image in dB, where white is 1 and black is 0; lower is better.

    The 0T0 of arXiv 2311.18387: ``background_nmse`` without a mask, in dB.

    Args:
        preds: Images y ``(B, 3, H, W)`` in [-1, 1].
        target: Images x of the same shape.

    Returns:
        Values ``(B,)``, float32; ``-inf`` where both are identical.

    Raises:
        ValueError: If the shapes differ, or are not those of images.
    """
    return 10 * background_nmse(preds, target).log10()


def background_psnr_db(preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give the PSNR over the background of each image in dB; ``decinv.metrics.psnr_db`` without a mask. Higher is better.

    Args:
        preds: Edited images ``(B, 3, H, W)`` in [-1, 1].
        target: Images before the edit, of the same shape.
        mask: Where the edit is, ``(B, 1, H, W)``, bool; by default nowhere.

    Returns:
        Values ``(B,)``, float32; ``inf`` where the background is unchanged, nan where there is none.

    Raises:
        ValueError: If the shapes differ, or are not those of images.
    """
    background = _background(preds, target, mask)
    error = (background * (preds.float() - target.float())).flatten(1).square().sum(1)
    return 10 * torch.log10(PEAK**2 * background.flatten(1).sum(1) * preds.shape[1] / error)


def background_ssim(preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give the mean structural similarity (Wang et al., 2004) over the background of each image; higher is better, 1 at most.

    White is 1 and black is 0, since the similarity of means depends on where black is. The similarity of a place is that of a
    Gaussian window of 11 pixels about it, which near the mask reaches into the edit. Computed in float64, since the variance in
    a window is a difference of squares: in plain backgrounds, float32 is off by up to 0.001.

    Args:
        preds: Edited images ``(B, 3, H, W)`` in [-1, 1]; sides of at least 11.
        target: Images before the edit, of the same shape.
        mask: Where the edit is, ``(B, 1, H, W)``, bool; by default nowhere.

    Returns:
        Values ``(B,)``, float32; nan where there is no background.

    Raises:
        ValueError: If the shapes differ, are not those of images, or a side is below 11.
    """
    background = _background(preds, target, mask)
    if min(preds.shape[-2:]) < WINDOW:
        raise ValueError(f"Expected sides of at least {WINDOW} pixels, but got {tuple(preds.shape)}.")
    ours, theirs = ((image.double() + 1) / 2 for image in (preds, target))
    _, places = structural_similarity_index_measure(ours, theirs, reduction="none", data_range=1.0, return_full_image=True)
    return ((background * places).flatten(1).sum(1) / (background.flatten(1).sum(1) * preds.shape[1])).float()


def _background(preds: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Give 1 where the background is and 0 elsewhere, ``(B, 1, H, W)``."""
    if preds.shape != target.shape:
        raise ValueError(f"Expected images of one shape, but got {tuple(preds.shape)} and {tuple(target.shape)}.")
    if preds.ndim != 4:
        raise ValueError(f"Expected images (B, 3, H, W), but got {tuple(preds.shape)}; measure the frames of clips as images.")
    expected = (len(preds), 1, *preds.shape[-2:])
    if mask is None:
        return torch.ones(expected, device=preds.device)
    if tuple(mask.shape) != expected:
        raise ValueError(f"Expected a mask of shape {expected}, but got {tuple(mask.shape)}.")
    return (~mask.bool()).float()

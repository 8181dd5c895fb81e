"""The peak signal-to-noise ratio of images."""

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from decinv.metrics.samples import PerSampleMetric

PEAK = 2.0
"""Difference between white and black of images in [-1, 1]."""


def psnr_db(preds: Tensor, target: Tensor) -> Tensor:
    """Give ``10 log10(4 / mean((y - x)^2))`` of each image in dB, computed in float32; higher is better.

    Clamp reconstructions to [-1, 1] first; nothing is clamped here. Against an image that was rounded to 8 bits about 58.9 dB
    is the limit.

    Args:
        preds: Images y with shape ``(B, 3, H, W)``.
        target: Images x of the same shape, in [-1, 1].

    Returns:
        Values ``(B,)``, float32; ``inf`` where both are identical, nan where an image contains nan.

    Raises:
        ValueError: If the shapes differ.
    """
    if preds.shape != target.shape:
        raise ValueError(f"Expected images of one shape, but got {tuple(preds.shape)} and {tuple(target.shape)}.")
    return peak_signal_noise_ratio(
        preds.flatten(1).float(), target.flatten(1).float(), data_range=PEAK, reduction="none", dim=1
    )


class PixelPSNR(PerSampleMetric):
    """The mean of ``psnr_db`` over all images, with its 95 % interval; ``torchmetrics``' own class has no interval."""

    def measure(self, preds: Tensor, target: Tensor) -> Tensor:
        """Give ``psnr_db``."""
        return psnr_db(preds, target)

"""Random changes of brightness, contrast and saturation; see ``decinv.images.distortions``."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from decinv.images.distortions import Draws, generators
from decinv.images.eight_bit import round_to_8_bits
from decinv.images.luminance import luminance


def jitter(
    image: Tensor,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
) -> Tensor:
    """Multiply brightness, then contrast, then saturation by random factors, clamping after each.

    A strength s draws a factor from [max(0, 1 - s), 1 + s] for each image. Brightness multiplies values where white is 1 and
    black is 0; contrast multiplies the distance to the image's mean grey, saturation that to each pixel's grey (ITU-R BT.601).

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        brightness: Strength, at least 0; 0 changes nothing, here and below.
        contrast: Strength, at least 0.
        saturation: Strength, at least 0.
        seed: Seed, at least 0; see ``noise``.
        numbers: Number of each image, ``B`` of them.

    Raises:
        ValueError: If a strength is below 0.
    """
    strengths = np.array([brightness, contrast, saturation])
    if not (strengths >= 0).all():
        raise ValueError(f"Expected strengths of at least 0, but got {brightness}, {contrast} and {saturation}.")
    drawn = [rng.uniform(np.maximum(0, 1 - strengths), 1 + strengths) for rng in generators(image, Draws.JITTER, seed, numbers)]
    factors = torch.tensor(np.array(drawn).reshape(-1, 3), dtype=torch.float32, device=image.device)
    brighter, sharper, richer = factors.T[..., None, None, None]
    value = (brighter * (image.float() + 1) / 2).clamp(0, 1)
    grey = luminance(value).mean((1, 2, 3), keepdim=True)
    value = (grey + sharper * (value - grey)).clamp(0, 1)
    grey = luminance(value)
    value = (grey + richer * (value - grey)).clamp(0, 1)
    return round_to_8_bits(2 * value - 1)

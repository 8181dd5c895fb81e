"""Distortions that images meet on their way: what an inversion, or a watermark, has to survive.

Each is a pure function of images ``(B, 3, H, W)`` in [-1, 1], on any device, that keeps shape and device and gives float32
images of 256 grey levels, as an 8-bit file holds them. At strength 0 such images come back unchanged. What becomes of an image
depends on its place in the batch only where a seed says so. ``compose`` makes one distortion of several.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from decinv.images.eight_bit import levels, round_to_8_bits
from decinv.images.pixels import to_tensor

Distortion = Callable[[Tensor], Tensor]
"""A distortion whose strength is fixed, such as ``partial(jpeg, quality=75)``."""


def compose(*distortions: Distortion) -> Distortion:
    """Give the distortion that applies all of them, the first one first; of none, it changes nothing."""

    def apply(image: Tensor) -> Tensor:
        for distort in distortions:
            image = distort(image)
        return image

    return apply


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Save as JPEG with Pillow, whose default is 4:2:0 chroma subsampling, and read again.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        quality: Quality from 1, the strongest, to 100; even 100 changes an image.

    Raises:
        ValueError: If ``quality`` is out of range.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"Expected `quality` in [1, 100], but got {quality}.")
    return torch.stack([_through_jpeg(one, quality) for one in image.cpu()]).to(image.device)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file = BytesIO()
    Image.fromarray(levels(image).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    with Image.open(file) as saved:
        return to_tensor(saved)


def resize(image: Tensor, factor: float) -> Tensor:
    """Resize to ``factor`` times the sides and back, bicubically, with antialiasing.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        factor: Factor of both sides, above 0; 1 changes nothing.

    Raises:
        ValueError: If ``factor`` is not above 0.
    """
    if not factor > 0:
        raise ValueError(f"Expected `factor` above 0, but got {factor}.")
    height, width = image.shape[-2:]
    small = _scale(image.float(), max(1, round(factor * height)), max(1, round(factor * width)))
    return round_to_8_bits(_scale(round_to_8_bits(small), height, width))


def crop(image: Tensor, side: float) -> Tensor:
    """Cut out the centre and resize it to the size of the whole, bicubically.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        side: Part of height and of width that is kept, in (0, 1]; 1 changes nothing.

    Raises:
        ValueError: If ``side`` is out of range.
    """
    rows, columns = _centre(image, side)
    return round_to_8_bits(_scale(image[..., rows, columns].float(), *image.shape[-2:]))


def frame(image: Tensor, side: float) -> Tensor:
    """Blacken all but the centre, which stays where it is: a crop that is padded to its old size.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        side: Part of height and of width that is kept, in (0, 1]; 1 changes nothing.

    Raises:
        ValueError: If ``side`` is out of range.
    """
    rows, columns = _centre(image, side)
    framed = torch.full_like(image, -1.0, dtype=torch.float32)
    framed[..., rows, columns] = image[..., rows, columns].float()
    return round_to_8_bits(framed)


def noise(image: Tensor, std: float, seed: int = 0) -> Tensor:
    """Add independent Gaussian noise to every value, then clamp.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        std: Standard deviation where white is 1 and black is 0, at least 0; 0 changes nothing.
        seed: Seed, at least 0; image i of the batch gets the noise of ``(seed, i)``, on every device.

    Raises:
        ValueError: If ``std`` is below 0.
    """
    if not std >= 0:
        raise ValueError(f"Expected `std` to be at least 0, but got {std}.")
    drawn = [np.random.default_rng([seed, i]).standard_normal(image.shape[1:], np.float32) for i in range(len(image))]
    return round_to_8_bits(image.float() + 2 * std * torch.from_numpy(np.stack(drawn)).to(image.device))


def brighten(image: Tensor, shift: float) -> Tensor:
    """Add a constant to every value, then clamp.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        shift: What is added where white is 1 and black is 0; below 0 to darken, and 0 changes nothing.
    """
    return round_to_8_bits(image.float() + 2 * shift)


def _scale(image: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(image, (height, width), mode="bicubic", antialias=True)


def _centre(image: Tensor, side: float) -> tuple[slice, slice]:
    """Give the rows and the columns of the centre, at least one of each."""
    if not 0 < side <= 1:
        raise ValueError(f"Expected `side` in (0, 1], but got {side}.")
    kept = [(whole, max(1, round(side * whole))) for whole in image.shape[-2:]]
    rows, columns = (slice((whole - part) // 2, (whole - part) // 2 + part) for whole, part in kept)
    return rows, columns

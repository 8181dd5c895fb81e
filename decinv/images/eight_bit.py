"""Images as an 8-bit file holds them."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]
"""An RGB picture ``(H, W, 3)``."""


def levels(image: Tensor) -> Tensor:
    """Give the nearest of the 256 grey levels: integers 0 to 255 of images in [-1, 1], which are clamped; same dtype."""
    return (image.clamp(-1, 1) * 127.5 + 127.5).round()


def round_to_8_bits(image: Tensor) -> Tensor:
    """Give images in [-1, 1] as they come back from an 8-bit file: ``levels(image) / 127.5 - 1``."""
    return levels(image) / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Give images ``(B, 3, ...)`` in [-1, 1] as bytes ``(B, ..., 3)`` on the CPU; nan becomes black."""
    return levels(images.nan_to_num(-1.0)).byte().movedim(1, -1).cpu()


def to_picture(image: Tensor) -> Picture:
    """Give an image ``(3, H, W)`` in [-1, 1] as a picture; nan becomes black."""
    return to_bytes(image[None])[0].numpy()

"""Images as an 8-bit file holds them."""

from torch import Tensor


def levels(image: Tensor) -> Tensor:
    """Give the nearest of the 256 grey levels: integers 0 to 255 of images in [-1, 1], which are clamped; same dtype."""
    return (image.clamp(-1, 1) * 127.5 + 127.5).round()


def round_to_8_bits(image: Tensor) -> Tensor:
    """Give images in [-1, 1] as they come back from an 8-bit file: ``levels(image) / 127.5 - 1``."""
    return levels(image) / 127.5 - 1

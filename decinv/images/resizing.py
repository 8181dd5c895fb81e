"""Bringing images to a given size."""

from torch import Tensor
from torch.nn import functional


def cover(image: Tensor, height: int, width: int) -> Tensor:
    """Resize to the smallest size that covers ``height x width``, with its proportions kept, and cut out the centre.

    Resizing is bicubic, with antialiasing; results are clamped to [-1, 1].

    Args:
        image: An image ``(3, H, W)`` in [-1, 1].
        height: Height to cover, at least 1.
        width: Width to cover, at least 1.

    Returns:
        The image ``(3, height, width)``; unchanged if it has that size.
    """
    tall, wide = image.shape[-2:]
    scale = max(height / tall, width / wide)
    size = (max(height, round(tall * scale)), max(width, round(wide * scale)))
    if size != (tall, wide):
        image = functional.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(-1, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return image[:, top : top + height, left : left + width].contiguous()

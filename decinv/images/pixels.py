"""From the pixels of any Pillow mode to an RGB tensor in [-1, 1]."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

WHITE_16 = 65535
"""White of a 16-bit image."""


def to_tensor(image: Image.Image, low_bytes: Image.Image | None = None) -> Tensor:
    """Convert the pixels by the rules of ``read_image``, at the full depth that they have.

    Args:
        image: A loaded image of any mode.
        low_bytes: Where ``image`` holds the high bytes of 16-bit colour, the image of the low bytes.

    Returns:
        An image with shape ``(3, H, W)``, float32 in [-1, 1].

    Raises:
        ValueError: If the image has no pixel, or pixels that no rule maps to [-1, 1].
    """
    if 0 in image.size:
        raise ValueError(f"it has no pixel: its size is {image.width} x {image.height}")
    key = image.info.get("transparency")
    if low_bytes is not None:
        deep = 256 * _values(image) + _values(low_bytes)
        alpha = deep[3:] / WHITE_16 if image.mode == "RGBA" else _opacity(deep[:3], key)
        return _over_white(deep[:3] / (WHITE_16 / 2) - 1, alpha)
    if image.mode == "F":
        grey = _values(image)
        if not (grey.min() >= 0 and grey.max() <= 1):
            raise ValueError(f"it has floating-point pixels in [{grey.min():.3g}, {grey.max():.3g}] instead of [0, 1]")
        return _over_white(2 * grey - 1)
    if image.mode.startswith("I"):
        grey = _values(image)
        if grey.min() < 0 or grey.max() > WHITE_16:
            raise ValueError(f"it has integer pixels in [{grey.min():.0f}, {grey.max():.0f}] instead of [0, {WHITE_16}]")
        return _over_white(grey / (WHITE_16 / 2) - 1, _opacity(grey, key))
    if image.has_transparency_data:
        straight = image.convert("LA") if image.mode == "La" else image  # Pillow converts La in two steps only
        rgba = _values(straight.convert("RGBA"))
        return _over_white(rgba[:3] / 127.5 - 1, rgba[3:] / 255)
    return _over_white(_values(image.convert("RGB")) / 127.5 - 1)


def _values(image: Image.Image) -> Tensor:
    """Give the pixels as they are, ``(C, H, W)``, float32."""
    values = torch.from_numpy(np.array(image, np.float32))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)


def _opacity(values: Tensor, key: int | tuple[int, ...] | None) -> Tensor | None:
    """Give the opacity ``(1, H, W)`` of 16-bit pixels ``(C, H, W)`` of which one colour, the ``key``, is transparent."""
    if key is None:
        return None
    return (values != values.new_tensor(key).reshape(-1, 1, 1)).any(0, keepdim=True).float()


def _over_white(colour: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Lay colour ``(1 or 3, H, W)`` in [-1, 1] of opacity ``alpha`` ``(1, H, W)`` in [0, 1] over white."""
    if alpha is not None:
        colour = colour * alpha + (1 - alpha)
    return colour.expand(3, -1, -1).contiguous()

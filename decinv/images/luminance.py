"""The luminance of colours (ITU-R BT.601)."""

from torch import Tensor

BT601 = (0.299, 0.587, 0.114)
"""Weights of red, green and blue."""


def luminance(image: Tensor) -> Tensor:
    """Give the luminance ``(B, 1, ...)`` of RGB images ``(B, 3, ...)`` of any range."""
    return (image * image.new_tensor(BT601).view(3, *[1] * (image.ndim - 2))).sum(1, keepdim=True)

"""Fitting an image to the codec's stride, in a way that taking the top-left pixels undoes."""

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Pad below and to the right up to the next multiple of ``stride``.

    An axis is continued by reflection (the edge itself is not repeated), or by its last row or column where it has too few
    pixels for that. ``padded[..., :H, :W]`` is the image, exactly.

    Args:
        image: Images with shape ``(..., 3, H, W)``, three or four dimensions.
        stride: Pixels of which the sides become multiples, at least 1.

    Returns:
        The padded images.
    """
    height, width = image.shape[-2:]
    below, right = -height % stride, -width % stride
    if below:
        image = functional.pad(image, (0, 0, 0, below), "reflect" if below < height else "replicate")
    if right:
        image = functional.pad(image, (0, right, 0, 0), "reflect" if right < width else "replicate")
    return image


def crop_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Keep the top-left part whose sides are the largest multiples of ``stride``.

    Args:
        image: Images with shape ``(..., H, W)``.
        stride: Pixels of which the sides become multiples, at least 1.

    Returns:
        The part, a copy.

    Raises:
        ValueError: If a side is shorter than ``stride``.
    """
    height, width = image.shape[-2:]
    if min(height, width) < stride:
        raise ValueError(f"Expected sides of at least {stride} pixels to crop to, but got {height} x {width}; pad instead.")
    return image[..., : height // stride * stride, : width // stride * stride].clone()


def fit_to_multiple(image: Tensor, multiple: int, crop: bool) -> Tensor:
    """Crop or pad to sides that are multiples of ``multiple``; see ``crop_to_multiple`` and ``pad_to_multiple``."""
    return crop_to_multiple(image, multiple) if crop else pad_to_multiple(image, multiple)


def fitted_size(size: tuple[int, int], multiple: int, crop: bool) -> tuple[int, int] | None:
    """Give height and width of what ``fit_to_multiple`` makes of an image of a size; ``None`` where it is too small to crop."""
    height, width = size
    if not crop:
        return height + -height % multiple, width + -width % multiple
    return (height - height % multiple, width - width % multiple) if min(height, width) >= multiple else None

"""Distortions that images meet on their way: what an inversion, or a watermark, has to survive.

Each is a pure function of images ``(B, 3, H, W)`` in [-1, 1], on any device, that keeps shape and device and gives float32
images of 256 grey levels, as an 8-bit file holds them. At strength 0 such images come back unchanged. What is random depends on
a seed, on the image's number, by default its place in the batch, and on the kind of distortion. ``compose`` makes one of
several, and ``decinv.images.attacks`` has them as YAML names them.
"""

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from decinv.convolutions import convolutions
from decinv.images.eight_bit import round_to_8_bits, to_picture
from decinv.images.pixels import to_tensor
from decinv.ranges import refuse_below, refuse_not_above

Distortion = Callable[[Tensor], Tensor]
"""A distortion whose strength is fixed, such as ``partial(jpeg, quality=75)``."""


class Draws(IntEnum):
    """What is drawn at random: each kind has numbers of its own, which no seed of initial noise or of scenes gives."""

    NOISE = 1
    CROP = 2
    JITTER = 3


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
    read = [_through_jpeg(one, quality) for one in image.cpu()]
    return torch.stack(read).to(image.device) if read else image.float()


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file = BytesIO()
    Image.fromarray(to_picture(image)).save(file, "JPEG", quality=quality)
    with Image.open(file) as saved:
        return to_tensor(saved)


def resize(image: Tensor, factor: float) -> Tensor:
    """Resize to ``factor`` times the sides and back, bicubically, with antialiasing.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        factor: Factor of both sides, above 0; 1 changes nothing.

    Raises:
        ValueError: If ``factor`` is out of range.
    """
    refuse_not_above(0, factor=factor)
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


def crop_at_random(
    image: Tensor, area: float, ratio: float = 1.0, seed: int = 0, numbers: Sequence[int] | None = None
) -> Tensor:
    """Cut out a rectangle anywhere and resize it to the size of the whole, bicubically.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        area: Part of the area that is kept, in (0, 1]; 1 changes nothing.
        ratio: Part of the width over part of the height that is kept, from ``area`` to ``1 / area``.
        seed: Seed, at least 0; see ``noise``.
        numbers: Number of each image, ``B`` of them.

    Raises:
        ValueError: If ``area`` or ``ratio`` is out of range.
    """
    if not 0 < area <= 1 or not area <= ratio <= 1 / area:
        raise ValueError(f"Expected `area` in (0, 1] and `ratio` from it to its inverse, but got {area} and {ratio}.")
    sides = [max(1, round(part * side)) for part, side in zip(_sides(area, ratio), image.shape[-2:], strict=True)]
    cut = image.new_empty(len(image), 3, *sides, dtype=torch.float32)
    for one, part, rng in zip(image, cut, generators(image, Draws.CROP, seed, numbers), strict=True):
        top, left = (int(rng.integers(whole - side + 1)) for whole, side in zip(image.shape[-2:], sides, strict=True))
        part[:] = one[:, top : top + sides[0], left : left + sides[1]]
    return round_to_8_bits(_scale(cut, *image.shape[-2:]))


def rotate(image: Tensor, degrees: float) -> Tensor:
    """Rotate about the centre, counter-clockwise, bilinearly; what comes from outside is black, and corners are lost.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        degrees: The angle; 0 changes nothing.
    """
    height, width = image.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]], device=image.device)
    grid = functional.affine_grid(matrix[None], [1, *image.shape[1:]], align_corners=False).expand(len(image), -1, -1, -1)
    return round_to_8_bits(functional.grid_sample(image.float() + 1, grid, align_corners=False) - 1)


def blur(image: Tensor, std: float) -> Tensor:
    """Convolve with a Gaussian; the border is repeated beyond the image.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        std: Its standard deviation in pixels, at least 0; 0 changes nothing.

    Raises:
        ValueError: If ``std`` is below 0.
    """
    refuse_below(0, std=std)
    if std == 0:
        return round_to_8_bits(image.float())
    reach = math.ceil(4 * std)
    offsets = torch.arange(-reach, reach + 1, device=image.device)
    kernel = torch.softmax(-(offsets**2) / (2 * std**2), dim=0).view(1, 1, -1)
    for _ in range(2):
        rows = functional.pad(image.float().flatten(0, 2)[:, None], (reach, reach), mode="replicate")
        with convolutions(tf32=False):
            image = functional.conv1d(rows, kernel).view(image.shape).mT
    return round_to_8_bits(image)


def noise(image: Tensor, std: float, seed: int = 0, numbers: Sequence[int] | None = None) -> Tensor:
    """Add independent Gaussian noise to every value, then clamp.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        std: Standard deviation where white is 1 and black is 0, at least 0; 0 changes nothing.
        seed: Seed, at least 0; image i of the run gets the noise of ``(seed, i)``, on every device.
        numbers: Number i of each image, ``B`` of them; by default their places in the batch.

    Raises:
        ValueError: If ``std`` is below 0.
    """
    refuse_below(0, std=std)
    drawn = [rng.standard_normal(image.shape[1:], np.float32) for rng in generators(image, Draws.NOISE, seed, numbers)]
    added = torch.from_numpy(np.stack(drawn)).to(image.device) if drawn else image.float()
    return round_to_8_bits(image.float() + 2 * std * added)


def brighten(image: Tensor, shift: float) -> Tensor:
    """Add a constant to every value, then clamp.

    Args:
        image: Images ``(B, 3, H, W)`` in [-1, 1].
        shift: What is added where white is 1 and black is 0; below 0 to darken, and 0 changes nothing.
    """
    return round_to_8_bits(image.float() + 2 * shift)


def generators(image: Tensor, draws: Draws, seed: int, numbers: Sequence[int] | None) -> list[np.random.Generator]:
    """Give a generator for each image, which depends on ``(seed, number)`` and on what is drawn alone."""
    every = range(len(image)) if numbers is None else numbers
    return [np.random.default_rng(np.random.SeedSequence([seed, i], spawn_key=(draws,))) for i in every]


def _sides(area: float, ratio: float) -> tuple[float, float]:
    """Give the parts of height and of width of a rectangle."""
    return min(1.0, math.sqrt(area / ratio)), min(1.0, math.sqrt(area * ratio))


def _scale(image: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(image, (height, width), mode="bicubic", antialias=True)


def _centre(image: Tensor, side: float) -> tuple[slice, slice]:
    """Give the rows and the columns of the centre, at least one of each."""
    if not 0 < side <= 1:
        raise ValueError(f"Expected `side` in (0, 1], but got {side}.")
    kept = [(whole, max(1, round(side * whole))) for whole in image.shape[-2:]]
    rows, columns = (slice((whole - part) // 2, (whole - part) // 2 + part) for whole, part in kept)
    return rows, columns

"""The disc of Fourier coefficients that a tree-ring key is written into."""

from enum import Enum

import torch
from torch import Tensor


class Mask(Enum):
    """Where the disc lies.

    Attributes:
        CENTRED: About the zero frequency, so that it holds the mirror -k of each of its frequencies k: a real latent can
            carry a key of Hermitian symmetry exactly.
        PUBLISHED: As in the code of arXiv 2305.20030, for comparison only: planes of even height get a disc about one row
            beside the zero frequency, without symmetry, and taking the real part of a marked latent mixes neighbouring rings.
    """

    CENTRED = "centred"
    PUBLISHED = "published"


def frequencies(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Give the integer frequencies of the rows ``(H, 1)`` and of the columns ``(1, W)`` in the order of ``torch.fft.fft2``."""
    rows, columns = (torch.fft.fftfreq(side, 1 / side).round() for side in (height, width))
    return rows[:, None], columns[None]


def radii(height: int, width: int, mask: Mask = Mask.CENTRED) -> Tensor:
    """Give the distance of each frequency ``(H, W)`` from the disc's centre, in cycles per side."""
    rows, columns = frequencies(height, width)
    beside = 1 if mask is Mask.PUBLISHED and height % 2 == 0 else 0
    return (rows + beside).square().add(columns.square()).sqrt()


def rings(radius: Tensor) -> Tensor:
    """Number the rings from the inside: 0 up to a distance of 1, i up to a distance of i + 1; int64 of the same shape."""
    return radius.ceil().long().sub(1).clamp(min=0)

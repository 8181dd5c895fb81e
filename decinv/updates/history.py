"""What Anderson acceleration remembers of a chunk: rows on the device, and the numbers that it computes with on the host."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]


class History(NamedTuple):
    """The rows of the active samples: m slots, N latent and K error values.

    Attributes:
        ratio: What the latent residual is multiplied by beside a pixel residual of its own size, ``(B, 1)``.
        point: The best iterate z_b, ``(B, N)``.
        steps: 0, and then the differences z - z_b of iterates to the best one of their time, ``(B, 1 + m, N)``.
        drops: T(z_b), and then the same differences of T, ``(B, 1 + m, N)``.
        errors: r_b, the last difference to it, and then the same differences of r, ``(B, 2 + m, K)``, as sketches.
    """

    ratio: Tensor
    point: Tensor
    steps: Tensor
    drops: Tensor
    errors: Tensor


class Books(NamedTuple):
    """The numbers of the active samples, float64, in which products of ``History.errors`` are in units of r.

    Attributes:
        distance: The squared length ``||T(z_0)||^2``, or 1 where that is 0, ``(B,)``.
        pixel_unit: What the squared length of the pixel residual is multiplied by in ``||r||^2``, ``(B,)``.
        latent_unit: What that of the latent residual is multiplied by, ``(B,)``.
        unit: What products of ``History.errors`` are multiplied by, ``(B,)``.
        size: ``||r_b||^2``, ``(B,)``.
        first: The first of these, ``(B,)``.
        rate: The part of the step size that is taken, in (0, 1], ``(B,)``.
        gram: Inner products of the differences of r, ``(B, m, m)``.
        slopes: Inner products of these with r_b, ``(B, m)``.
        weights: The last coefficients g, ``(B, m)``.
        doubt: The squared error e of the last prediction, ``(B,)``.
    """

    distance: Numbers
    pixel_unit: Numbers
    latent_unit: Numbers
    unit: Numbers
    size: Numbers
    first: Numbers
    rate: Numbers
    gram: Numbers
    slopes: Numbers
    weights: Numbers
    doubt: Numbers

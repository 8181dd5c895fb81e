"""The rows that Anderson acceleration remembers of a chunk, on the device."""

from typing import NamedTuple

from torch import Tensor


class History(NamedTuple):
    """The rows of the active samples: m slots, N latent and K error values.

    Attributes:
        ratio: What the latent residual is multiplied by beside a pixel residual of its own size, ``(B, 1)``.
        point: The best iterate z_b, ``(B, N)``.
        steps: 0, and then the differences z - z_b of iterates to the best one of their time, ``(B, 1 + m, N)``.
        drops: T(z_b), and then the same differences of T, ``(B, 1 + m, N)``.
        errors: r_b, the last difference to it, and then the same differences of r, ``(B, 2 + m, K)``, whole or as sketches.
    """

    ratio: Tensor
    point: Tensor
    steps: Tensor
    drops: Tensor
    errors: Tensor

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
        error: r_b, ``(B, K)``.
        changes: The same differences of r, ``(B, m, K)``, each over its ``scales``; they may be in a shorter number format.
        scales: What they are multiplied by, ``(B, m)``.
    """

    ratio: Tensor
    point: Tensor
    steps: Tensor
    drops: Tensor
    error: Tensor
    changes: Tensor
    scales: Tensor

"""The rows that Anderson acceleration remembers of a chunk, on the device."""

from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """The rows of the active samples: m slots, N latent and K error values.

    Attributes:
        ratio: What the latent residual is multiplied by beside a pixel residual of its own size, ``(B, 1)``.
        start: The first iterate z_0, ``(B, N)``, or ``(B, 0)`` where nobody asks for it.
        point: The best iterate z_b, ``(B, N)``.
        steps: 0, and then the differences z - z_b of iterates to the best one of their time, ``(B, 1 + m, N)``.
        drops: T(z_b), and then the same differences of T, ``(B, 1 + m, N)``.
        error: r_b, ``(B, K)``.
        changes: The same differences of r, ``(B, m, K)``.
    """

    ratio: Tensor
    start: Tensor
    point: Tensor
    steps: Tensor
    drops: Tensor
    error: Tensor
    changes: Tensor

    def products(self, change: Tensor, used: int) -> Tensor:
        """Give the inner products ``(B, 2, 2 + used)`` of r_b and a difference with these two and the first ``used`` slots."""
        both = torch.stack([self.error, change], dim=1)
        others = torch.bmm(self.changes[:, :used], both.mT)
        return torch.cat([torch.bmm(both, both.mT), others], dim=1).mT

    def drop_latents(self, rows: Tensor, pixels: int) -> None:
        """Let the errors of some samples be those of their pixels alone, from now on and in what is remembered.

        Args:
            rows: Indices of the samples.
            pixels: Number of error values that come from pixels; they are the first ones.
        """
        self.ratio[rows] = 0.0
        self.error[rows, pixels:] = 0.0
        self.changes[rows, :, pixels:] = 0.0

"""The rows that Anderson acceleration remembers of a chunk, on the device."""

from typing import NamedTuple

import torch
from torch import Tensor

WHOLE = 4
"""Differences that are made whole at once, where they are remembered in a shorter number format."""


class History(NamedTuple):
    """The rows of the active samples: m slots, N latent and K error values.

    Attributes:
        ratio: What the latent residual is multiplied by beside a pixel residual of its own size, ``(B, 1)``.
        start: The first iterate z_0, ``(B, N)``, or ``(B, 0)`` where nobody asks for it.
        point: The best iterate z_b, ``(B, N)``.
        steps: 0, and then the differences z - z_b of iterates to the best one of their time, ``(B, 1 + m, N)``.
        drops: T(z_b), and then the same differences of T, ``(B, 1 + m, N)``.
        error: r_b, ``(B, K)``.
        changes: The same differences of r, ``(B, m, K)``, each over its ``scales``; they may be in a shorter number format.
        scales: What they are multiplied by, ``(B, m)``.
    """

    ratio: Tensor
    start: Tensor
    point: Tensor
    steps: Tensor
    drops: Tensor
    error: Tensor
    changes: Tensor
    scales: Tensor

    @property
    def is_whole(self) -> bool:
        """Whether the differences of r are remembered in the number format of r, so that all ``scales`` are 1."""
        return self.changes.dtype == self.error.dtype

    def pack(self, change: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give a difference of r, ``(B, K)``, as it is to be remembered, and its scale ``(B, 1)``, ``None`` for 1."""
        if self.is_whole:
            return change, None
        scale = change.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(change.dtype).tiny)
        return (change / scale).to(self.changes.dtype), scale

    def products(self, change: Tensor, used: int) -> Tensor:
        """Give the inner products ``(B, 2, 2 + used)`` of r_b and a difference with these two and the first ``used`` slots."""
        both = torch.stack([self.error, change], dim=1)
        changes = self.changes[:, :used]
        if self.is_whole:
            others = torch.bmm(changes, both.mT)
        else:
            few = [torch.bmm(part.to(both.dtype), both.mT) for part in torch.split(changes, WHOLE, dim=1)]
            others = torch.cat(few, dim=1) * self.scales[:, :used, None]
        return torch.cat([torch.bmm(both, both.mT), others], dim=1).mT

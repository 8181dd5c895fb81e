"""A sketch: long rows made short so that inner products stay nearly what they were."""

import torch
from torch import Tensor

SEED = 0
"""Seed of the signs; any would do, and the same one makes runs repeatable."""


class Sketch:
    """Add up groups of a row's values, each with a random sign that is the same for all rows.

    Of rows x and y with M values and K groups, the inner product of the sketches has the mean ``<x, y>`` over the signs, and a
    variance of at most ``2 |x|^2 |y|^2 / K`` if no few values have most of the length (Charikar, Chen and Farach-Colton,
    "Finding frequent items in data streams", ICALP 2002; Weinberger et al., "Feature hashing", ICML 2009).
    """

    def __init__(self, length: int, longest: int, like: Tensor) -> None:
        """Draw the signs.

        Args:
            length: Values M of a row.
            longest: Largest length of a sketch; rows of up to so many values stay as they are. Where M has no power of two as
                a divisor that makes it so short, the sketch is longer.
            like: A tensor of the device and the number format of the rows.
        """
        self.groups = 1
        while length > longest * self.groups and length % (2 * self.groups) == 0:
            self.groups *= 2
        self.length = length // self.groups
        if self.groups > 1:
            coins = torch.randint(2, (length,), generator=torch.Generator().manual_seed(SEED))
            self._signs = (2 * coins - 1).to(like)

    def __call__(self, rows: Tensor) -> Tensor:
        """Shorten rows ``(B, M)`` to ``(B, length)``."""
        if self.groups == 1:
            return rows
        return (rows * self._signs).view(len(rows), self.groups, self.length).sum(1)

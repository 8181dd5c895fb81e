"""The three keys whose classification two papers report (arXiv 2311.18387 and 2409.18442)."""

import torch

from decinv.watermark.disc import Mask, radii, rings
from decinv.watermark.key_file import refuse_impossible_shape
from decinv.watermark.tree_ring_key import TreeRingKey

RINGS = (
    (1.1, 0.8, 1.2, 0.9, 0.6, 1.4),
    (1.1, 0.6, 1.1, 1.2, 0.8, 1.2),
    (0.7, 1.2, 1.3, 0.8, 0.9, 1.1),
)
"""Relative values of the six rings of each key, from the inner to the outer one."""

STRENGTH = 80 / 64
"""The papers' 80 for sums over 64 x 64 values, as a coefficient of the orthonormal transform."""


def three_keys(
    shape: tuple[int, int, int], channel: int = 0, stretched: bool = True, mask: Mask = Mask.CENTRED
) -> tuple[TreeRingKey, ...]:
    """Give the three keys: real, constant on six rings.

    Args:
        shape: Shape (C, H, W) of the latents; 4 x 64 x 64 in the papers.
        channel: The channel to mark; 0 in the papers.
        stretched: Whether the values k are stretched to 2 (k - 1) + 1, as in arXiv 2409.18442.
        mask: Where the disc lies; the papers have the published one, with which noise recovered exactly is told right in 200 of
            300 cases.

    Raises:
        ValueError: If ``shape`` or ``channel`` is out of range.
    """
    refuse_impossible_shape(shape)
    radius = len(RINGS[0])
    distance = radii(*shape[1:], mask)
    ring = rings(distance[distance <= radius])
    values = torch.tensor(RINGS)
    values = 2 * values - 1 if stretched else values
    coefficients = (STRENGTH * values)[:, ring].to(torch.complex64)
    return tuple(TreeRingKey(shape, channel, radius, one, mask=mask) for one in coefficients)

"""What Anderson acceleration remembers of a chunk."""

from typing import NamedTuple

from torch import Tensor


class History(NamedTuple):
    """The history of the active samples, one row each: m slots, N latent and M error values.

    Attributes:
        distance: The squared length ``||T(z_0)||^2``, or 1 where that is 0, ``(B,)``, float64.
        pixel_scale: What the pixel residual is multiplied by in r, ``(B, 1)``.
        latent_scale: What the latent residual is multiplied by in r, ``(B, 1)``.
        point: The best iterate z_b, ``(B, N)``.
        residual: Its T(z_b), ``(B, N)``.
        error: Its r_b, ``(B, M)``.
        both: The last difference to r_b and the last r, ``(B, 2, M)``.
        size: Its ``||r_b||^2``, ``(B,)``, float64.
        first: The first of these, ``(B,)``, float64.
        rate: The part of the step size that is taken, in (0, 1], ``(B,)``.
        steps: Differences z - z_b of iterates to the best one of their time, ``(B, m, N)``.
        drops: The same differences of T, ``(B, m, N)``.
        changes: The same differences of r, ``(B, m, M)``.
        gram: Inner products of ``changes``, ``(B, m, m)``, float64.
        slopes: Inner products of ``changes`` with r_b, ``(B, m)``, float64.
        weights: The last coefficients g, ``(B, m)``, float64.
        doubt: The squared error e of the last prediction, ``(B,)``, float64.
    """

    distance: Tensor
    pixel_scale: Tensor
    latent_scale: Tensor
    point: Tensor
    residual: Tensor
    error: Tensor
    both: Tensor
    size: Tensor
    first: Tensor
    rate: Tensor
    steps: Tensor
    drops: Tensor
    changes: Tensor
    gram: Tensor
    slopes: Tensor
    weights: Tensor
    doubt: Tensor

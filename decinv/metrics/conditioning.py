"""How well a decoder can be inverted at a latent: its linearisation there, and what rounding the image leaves to be found."""

from collections.abc import Callable

import torch
from torch import Tensor

from decinv.forward_mode import tangent_of

ROUNDING = 2 / 255 / 12**0.5
"""Standard deviation of the error of rounding images in [-1, 1] to 8 bits."""


@torch.no_grad()
def singular_values(decode: Callable[[Tensor], Tensor], latent: Tensor, at_once: int = 16) -> Tensor:
    """Give the singular values of a decoder's Jacobian at each latent, by forward-mode differentiation.

    Each of the N directions of a latent takes one pass through the decoder, and the Jacobian of one latent is in memory, so
    this is for small images.

    Args:
        decode: Maps latents ``(1, ...)`` to images ``(1, ...)``, by operations that ``torch.func`` can differentiate.
        latent: Latents ``(B, ...)`` of N values each.
        at_once: Directions that are differentiated together, at least 1.

    Returns:
        Values ``(B, N)``, the largest first, float64; zeros where an image has fewer than N values.
    """
    jacobians = (_jacobian(decode, one[None], at_once).double() for one in latent)
    squares = [torch.linalg.eigvalsh(jacobian @ jacobian.T) for jacobian in jacobians]
    values = torch.stack(squares) if squares else latent.new_zeros(latent.flatten(1).shape, dtype=torch.float64)
    return values.clamp_min(0).sqrt().flip(1)


def _jacobian(decode: Callable[[Tensor], Tensor], latent: Tensor, at_once: int) -> Tensor:
    """Give the transposed Jacobian ``(N, P)`` at one latent ``(1, ...)``."""
    directions = torch.eye(latent.numel(), dtype=latent.dtype, device=latent.device).view(-1, *latent.shape)

    def image_of(direction: Tensor) -> Tensor:
        return tangent_of(decode, latent, direction).flatten()

    return torch.cat([torch.func.vmap(image_of)(some) for some in torch.split(directions, at_once)])


def attainable_nmse_db(singular: Tensor, latent: Tensor, noise: float = ROUNDING, spread: Tensor | None = None) -> Tensor:
    """Give the NMSE in dB that is left in the mean when a latent is estimated from a noisy image, as far as D is linear.

    For x = D(z*) + n with white noise of deviation s and a prior z* ~ N(., t^2) around some known point, the posterior mean is
    the best estimate there is, and its squared error is the trace of the posterior's covariance, in dB::

        10 log10(sum_i 1 / (s_i^2 / s^2 + 1 / t^2) / ||z*||^2)

    over the singular values s_i of D's Jacobian at z*. Without a prior, t = inf, it is that of the maximum likelihood. Who
    knows more of z* than the prior says can do better.

    Args:
        singular: Singular values s_i ``(B, N)``.
        latent: True latents z* ``(B, ...)`` of N values each.
        noise: Deviation s of the image's noise, above 0; by default that of rounding to 8 bits.
        spread: Deviations t of the priors ``(B,)``, above 0; ``None`` for no prior.

    Returns:
        Values ``(B,)``, float64; ``inf`` where a direction shows in nothing.

    Raises:
        ValueError: If ``noise`` is not above 0, or there is not one singular value for each value of a latent.
    """
    if not noise > 0 or singular.shape != latent.flatten(1).shape:
        raise ValueError(
            f"Expected `noise` above 0 and singular values {tuple(latent.flatten(1).shape)}, "
            f"but got {noise} and {tuple(singular.shape)}."
        )
    known = singular.square() / noise**2
    if spread is not None:
        known = known + 1 / spread.double().square()[:, None]
    return 10 * torch.log10((1 / known).sum(1) / latent.flatten(1).double().square().sum(1))

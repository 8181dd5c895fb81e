"""A linear codec: the test bench of every solver, since its fixed point and its rates are known in closed form."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from decinv.codecs.base import Codec
from decinv.codecs.scaling import Scaling


class LinearCodec(Codec):
    """Code each ``stride x stride`` patch p by ``E(p) = A Q^T p`` and ``D(z) = Q z``.

    Q has orthonormal columns and A is symmetric with the given eigenvalues, so ``E(D(z)) = A z``. For ``x = D(z*)`` the
    problem ``E(D(z)) = E(x)`` has the solution z*, the forward step's error is ``e_k = (I - rho A)^k e_0`` with the rate
    ``max |1 - rho a|`` over the eigenvalues a, and T is cocoercive with ``beta = 1 / max a``.
    """

    matrix: Tensor
    basis: Tensor

    def __init__(
        self,
        eigenvalues: Sequence[float] = (0.4, 0.6, 0.8, 1.0),
        stride: int = 4,
        seed: int = 0,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        """Draw Q and the eigenvectors of A.

        Args:
            eigenvalues: Eigenvalues of A, one for each latent channel, each above 0.
            stride: Side of a patch in pixels; ``3 stride^2`` is at least the number of eigenvalues.
            seed: Seed of the random orthonormal bases.
            scaling_factor: Factor of the map to the diffusion model's space, not 0.
            shift_factor: Shift of that map.

        Raises:
            ValueError: If the eigenvalues are not above 0, or more than a patch has values, or the scaling cannot be undone.
        """
        super().__init__()
        channels, values = len(eigenvalues), 3 * stride * stride
        if not channels or min(eigenvalues) <= 0:
            raise ValueError(f"Expected `eigenvalues` above 0, but got {tuple(eigenvalues)}.")
        if channels > values:
            raise ValueError(f"Expected at most 3 * stride^2 = {values} `eigenvalues`, but got {channels}.")
        if scaling_factor == 0 or not math.isfinite(scaling_factor) or not math.isfinite(shift_factor):
            found = f"{scaling_factor} and {shift_factor}"
            raise ValueError(f"Expected `scaling_factor` other than 0 and `shift_factor` to be finite, but got {found}.")
        generator = torch.Generator().manual_seed(seed)
        basis, _ = torch.linalg.qr(torch.randn(values, channels, generator=generator, dtype=torch.float64))
        vectors, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator, dtype=torch.float64))
        matrix = vectors @ torch.diag(torch.tensor(list(eigenvalues), dtype=torch.float64)) @ vectors.T
        self.eigenvalues = tuple(eigenvalues)
        self.stride = stride
        self.latent_channels = channels
        self.scaling = Scaling(scaling_factor, shift_factor)
        self.register_buffer("basis", basis.float())
        self.register_buffer("matrix", matrix.float())
        self.freeze()

    def _encode(self, image: Tensor) -> Tensor:
        return torch.einsum("cd,vd,bvhw->bchw", self.matrix, self.basis, self._patches(image))

    def _decode(self, latent: Tensor) -> Tensor:
        latent = latent.to(self.basis.dtype)
        return functional.pixel_shuffle(torch.einsum("vc,bchw->bvhw", self.basis, latent), self.stride)

    def fixed_point(self, image: Tensor) -> Tensor:
        """Give the solution ``Q^T x`` of ``E(D(z)) = E(x)`` as raw latents ``(B, C, h, w)``."""
        return torch.einsum("vc,bvhw->bchw", self.basis, self._patches(image))

    def _patches(self, image: Tensor) -> Tensor:
        return functional.pixel_unshuffle(image.to(self.basis.dtype), self.stride)

    def rate(self, step_size: float) -> float:
        """Give the forward step's factor of contraction ``max |1 - rho a|`` for the step size rho."""
        return max(abs(1 - step_size * a) for a in self.eigenvalues)

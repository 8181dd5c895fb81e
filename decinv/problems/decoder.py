"""Decoder inversion as a fixed-point problem: find z with E(D(z)) = E(x)."""

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.problems.base import Evaluation, Problem, norms


class DecoderProblem(Problem):
    """``T(z) = E(D(z)) - E(x)``, started at ``z = E(x)`` (Hong et al., NeurIPS 2024, arXiv 2409.18442).

    E(x) is computed once. Any z with D(z) = x is a zero of T. The merit is the relative residual
    ``||E(D(z)) - E(x)|| / ||E(x)||`` of raw latents; the residual is in scaled latents. Where the codec ``clamps``, D(z) stands
    for the clamped image: x was clamped too, so that is what makes the true latent of an image with saturated pixels a zero.
    """

    def __init__(self, codec: Codec, image: Tensor) -> None:
        """Encode the images.

        Args:
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].
        """
        self.codec = codec
        self.image = image
        self._images = image
        with torch.no_grad():
            self.target = codec.encode(image)
        self.size = norms(self.target).clamp_min(torch.finfo(torch.float32).tiny)

    def start(self) -> Tensor:
        """Give E(x), scaled."""
        return self.codec.scaling.apply(self.target)

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Run one decode and one encode."""
        decoded = self.codec.picture(self.latent(point))
        residual = self.codec.encode(decoded) - self.target
        mismatch = (decoded - self.image).contiguous()  # once, where a codec decodes to another memory format
        return Evaluation(self.codec.scaling.scale(residual), norms(residual) / self.size, mismatch)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.image, self.target, self.size = self.image[keep], self.target[keep], self.size[keep]

    def descent(self, rows: Tensor) -> Problem:
        """Take steps down the squared pixel error; see ``DescentProblem``."""
        from decinv.problems.descent import DescentProblem  # late: it is a problem of this kind

        return DescentProblem(self.codec, self._images[rows])

    def latent(self, point: Tensor) -> Tensor:
        """Undo the scaling."""
        return self.codec.scaling.invert(point)

"""Decoder inversion by gradients: minimise the squared pixel error, the baseline of the field."""

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.codecs.blocks import recomputing, repeated_blocks
from decinv.problems.base import Evaluation, Problem, norms, sizes


class GradientProblem(Problem):
    """``min_z ||D(z) - x||^2``, started at ``z = E(x)``; the residual is the gradient of the sum of squares.

    The merit is the relative pixel error ``||D(z) - x|| / ||x||``, absolute where x is 0, and infinite where z is not finite,
    which some decoders map to an image all the same. Only the latent gets a gradient: the codec is frozen. Where the codec
    ``clamps``, D(z) beyond a saturated pixel of x is no error.
    """

    def __init__(self, codec: Codec, image: Tensor, checkpointing: bool = False) -> None:
        """Encode the images, for the start.

        Args:
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].
            checkpointing: Whether the backward pass computes the activations within each block of the decoder anew, for less
                memory.

        Raises:
            ValueError: With ``checkpointing``, if the codec has no block that is known.
        """
        self.codec = codec
        self.image = image
        self._blocks = repeated_blocks(codec, "checkpointing") if checkpointing else []
        self.size = sizes(image)

    @torch.no_grad()
    def start(self) -> Tensor:
        """Give E(x), scaled."""
        return self.codec.scaling.apply(self.codec.encode(self.image))

    @torch.enable_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Run one decode and its backward pass."""
        point = point.detach().requires_grad_()
        latent = self.latent(point)
        with recomputing(self._blocks):
            decoded = self.codec.decode(latent)
        if self.codec.clamps:
            decoded = decoded.clamp(*self._saturated())
        error = decoded - self.image
        with self.codec.arithmetic():
            (gradient,) = torch.autograd.grad(error.square().sum(), point)
        error = error.detach()
        merit = torch.where(point.detach().flatten(1).isfinite().all(1), norms(error) / self.size, torch.inf)
        return Evaluation(gradient.float(), merit, error)

    def _saturated(self) -> tuple[Tensor, Tensor]:
        """Give the bounds that D(z) may exceed without an error: those at which x is saturated."""
        low, high = self.image <= -1, self.image >= 1
        return torch.where(low, -1.0, -torch.inf), torch.where(high, 1.0, torch.inf)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.image, self.size = self.image[keep], self.size[keep]

    def latent(self, point: Tensor) -> Tensor:
        """Undo the scaling."""
        return self.codec.scaling.invert(point)

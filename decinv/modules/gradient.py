"""Gradient-based decoder inversion: the baseline of the field, made as strong as it can be."""

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.codecs.blocks import repeated_blocks
from decinv.modules.base import Inversion
from decinv.problems.gradient import GradientProblem
from decinv.stopping import Stopping


class GradientInversion(Inversion):
    """Minimise ``||D(z) - x||^2`` (sum over pixels) by backpropagation through the frozen decoder, started at z = E(x).

    Batches, autocast (``trainer.precision``) and per-sample stopping work as in the gradient-free method. Residuals are
    relative pixel errors ``||D(z) - x|| / ||x||``; see ``decinv.problems.GradientProblem``.
    """

    def __init__(
        self,
        codec: Codec,
        update: OptimizerCallable = torch.optim.Adam,
        max_iters: int = 100,
        rtol: float = 0.0,
        patience: int | None = None,
        last_iterate: bool = False,
        checkpointing: bool = False,
    ) -> None:
        """Combine codec, update rule and stopping.

        Args:
            codec: The codec whose decoder is inverted.
            update: The optimizer, in practice Adam; ``configs/update`` has the paper's two settings.
            max_iters: Largest number of iterations of a sample, each one decode with its backward pass, at least 1.
            rtol: Relative pixel error below which a sample has converged, at least 0.
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            last_iterate: Whether to report the iterate after the last update instead of the best one evaluated.
            checkpointing: Whether the backward pass computes the activations within each block of the decoder anew, for less
                memory.

        Raises:
            ValueError: If an argument is out of range, or the codec has no blocks for ``checkpointing``.
        """
        if checkpointing:
            repeated_blocks(codec, "checkpointing")
        super().__init__(codec, update, Stopping(max_iters, rtol, patience, last_iterate))
        self.checkpointing = checkpointing

    def problem(self, image: Tensor) -> GradientProblem:
        """State ``min ||D(z) - x||^2``."""
        return GradientProblem(self.codec, image, self.checkpointing)

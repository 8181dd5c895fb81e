"""A whole sampler as one map: find the noise from which it leads to a given latent."""

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.problems.base import Evaluation, lengths, norms, spread
from decinv.problems.process import ProcessProblem


class SamplingProblem(ProcessProblem):
    """``r(n) = sample(n) - x_0``, with the merit ``||r(n)|| / ||x_0||``.

    An evaluation samples anew, which tells how good noise is that was found otherwise. Iteration on it leads nowhere: noise of
    most directions hardly changes the latent.
    """

    def __init__(self, process: Process, target: Tensor, start: Tensor) -> None:
        """State the problem.

        Args:
            process: The forward process.
            target: Scaled latents ``(B, C, h, w)``.
            start: Standard normal noise of the same shape to start from.
        """
        self.process = process
        self.target = target
        self.first = start.float()
        self.rows = torch.arange(len(target), device=target.device)

    def start(self) -> Tensor:
        """Give the start."""
        return self.first

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Sample and compare."""
        residual = self.process.generate_pair(point, self.rows)[0] - self.target
        size = lengths(self.target)
        unit = spread(size, residual) / residual[:1].numel() ** 0.5
        return Evaluation(residual, norms(residual) / size, residual / unit)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.rows, self.target = self.rows[keep], self.target[keep]

    def latent(self, point: Tensor) -> Tensor:
        """Give the noise itself."""
        return point

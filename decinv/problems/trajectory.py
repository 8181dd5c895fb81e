"""A whole trajectory of a sampler, inverted at once: find all points that lead to a given latent."""

from copy import copy

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.problems.base import Evaluation, lengths, norms, spread
from decinv.problems.process import ProcessProblem

PERTURBATION = 0.01
"""Noise in the start of a second attempt, over the standard deviation of each of its points; it doubles in each later one."""


class TrajectoryProblem(ProcessProblem):
    """All points ``x_1, ..., x_N`` of a trajectory in one, ``(B, N, C, h, w)``, the noisiest first, and x_{N+1} is given.

    The network is evaluated at all of them in one batch. Then, from the last point to the first::

        y_i = x_i + (y_{i+1} - step_i(x_i)) / slope_i,    y_{N+1} = x_{N+1}

    and the residual is ``x - y``: a trajectory of the sampler is a fixed point, with the history of multistep methods in it.
    With the steps' own coefficients for slopes a forward step of size 1 is Picard iteration (Shih et al., arXiv 2305.16317, in
    the other direction). The merit is the largest ``||step_i(x_i) - x_{i+1}|| / ||x_{i+1}||``.
    """

    def __init__(self, process: Process, target: Tensor, start: Tensor, slopes: tuple[float, ...]) -> None:
        """State the problem.

        Args:
            process: The forward process.
            target: Scaled latents ``(B, C, h, w)``.
            start: First guess of the points ``(B, N, C, h, w)``.
            slopes: How much each step's end changes with its start, N numbers that are not 0.
        """
        self.process = process
        self.target = target
        self.first = start.float()
        self.slopes = slopes
        self.rows = torch.arange(len(target), device=target.device)
        self._all = self.target, self.first

    def start(self) -> Tensor:
        """Give the start."""
        return self.first

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate the network at all points in one batch, and compare each step's end with the next point."""
        goals = [*point.unbind(1)[1:], self.target]
        gaps = [goal - end for goal, end in zip(goals, self.process.step_all(point, self.rows), strict=True)]
        merit = torch.stack([norms(gap) / lengths(goal) for gap, goal in zip(gaps, goals, strict=True)]).amax(0)
        corrections = []
        correction = torch.zeros_like(self.target)  # y_{i+1} - x_{i+1}
        for gap, slope in zip(reversed(gaps), reversed(self.slopes), strict=True):
            correction = (gap + correction) / slope
            corrections.append(correction)
        residual = -torch.stack(corrections[::-1], dim=1)
        gap = torch.stack(gaps, dim=1)
        length = spread(lengths(gap), gap)
        mismatch = gap / length * merit.view_as(length) * gap[:1].numel() ** 0.5
        return Evaluation(residual, merit, mismatch)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.rows, self.target = self.rows[keep], self.target[keep]

    def restart(self, rows: Tensor, attempt: int) -> "TrajectoryProblem":
        """Start from the first guess with noise added to it, the same for each sample, and more from attempt to attempt.

        Where the way from the first guess ends at a smallest residual that is not 0, others lead past it.
        """
        target, first = (part[rows] for part in self._all)
        noise = torch.randn(first.shape[1:], generator=torch.Generator().manual_seed(attempt)).to(first.device)
        size = PERTURBATION * 2 ** (attempt - 1) * first.flatten(2).std(dim=2)
        other = copy(self)
        other.rows, other.target = rows, target
        other.first = first + size.view(*size.shape, *[1] * (first.ndim - 2)) * noise
        return other

    def latent(self, point: Tensor) -> Tensor:
        """Give the points themselves."""
        return point

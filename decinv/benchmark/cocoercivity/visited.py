"""The points that a method visits, one after the other, with their residuals."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.measuring.measure import advance, begin
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs.base import Codec
from decinv.problems.base import Evaluation, Problem


class Visited(NamedTuple):
    """What a method did on ``B`` images, on the CPU; nan where a sample had ended, as it does once its residual blows up.

    Attributes:
        points: z_0 to z_K in scaled latents, ``(K + 1, B, ...)``.
        residuals: T(z_0) to T(z_K) of the same shape.
        last: The last point of the run, which may be much longer than K, ``(B, ...)``.
        last_residual: T there.
        closest: The evaluated point with the smallest relative residual of the run, ``(B, ...)``.
        closest_residual: T there.
    """

    points: Tensor
    residuals: Tensor
    last: Tensor
    last_residual: Tensor
    closest: Tensor
    closest_residual: Tensor


class VisitedProblem(Problem):
    """Another problem, whose evaluations are noted."""

    def __init__(self, inner: Problem, window: int, steps: int) -> None:
        """Make room.

        Args:
            inner: The problem that does the work.
            window: Number K of the last point that is kept.
            steps: Number of the run's last point.
        """
        self.inner = inner
        self.steps = steps
        self.count = 0
        start = inner.start().cpu()
        self.rows = torch.arange(len(start))
        self.merit = start.new_full((len(start),), torch.inf)
        kept, one = start.new_full((window + 1, *start.shape), torch.nan), torch.full_like(start, torch.nan)
        self.path = Visited(kept, kept.clone(), one, one.clone(), one.clone(), one.clone())

    def start(self) -> Tensor:
        """Give the inner problem's start."""
        return self.inner.start()

    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate the inner problem, and note what came out."""
        evaluation = self.inner.evaluate(point)
        at, residual, merit = point.cpu(), evaluation.residual.cpu(), evaluation.merit.cpu()
        path, rows = self.path, self.rows
        if self.count < len(path.points):
            path.points[self.count, rows], path.residuals[self.count, rows] = at, residual
        if self.count == self.steps:
            path.last[rows], path.last_residual[rows] = at, residual
        closer = merit < self.merit[rows]
        chosen = rows[closer]
        path.closest[chosen], path.closest_residual[chosen] = at[closer], residual[closer]
        self.merit[chosen] = merit[closer]
        self.count += 1
        return evaluation

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.rows = self.rows[keep.cpu()]
        self.inner.select(keep)

    def latent(self, point: Tensor) -> Tensor:
        """Map points as the inner problem does."""
        return self.inner.latent(point)


def visit(method: DecoderMethod, codec: Codec, image: Tensor, window: int, steps: int) -> Visited:
    """Run a method and note its path; it evaluates ``steps + 1`` points.

    Args:
        method: The method. Of the inertial one, the points are the y_k at which Theorem 2 looks.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        window: Number K of the last point that is kept, at most ``steps``.
        steps: Number of the run's last point.

    Returns:
        The path.
    """
    problem = VisitedProblem(method.problem(codec, image), window, steps)
    solver = begin(replace(method, problem=lambda codec, image: problem), codec, image, steps + 1)
    advance(solver, steps + 1)
    return problem.path

"""One step of a sampler, inverted by gradient descent."""

import torch
from torch import Tensor

from decinv.problems.base import Evaluation
from decinv.problems.step import StepProblem


class GradientStepProblem(StepProblem):
    """``min ||step(x_s) - x_t||^2 / 2`` by backpropagation through the network (Hong et al., arXiv 2311.18387, Algorithm 1).

    The residual is the gradient, divided by ``slope``; the merit is that of ``StepProblem``.
    """

    @torch.enable_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Take the step and its backward pass."""
        point = point.detach().requires_grad_()
        residual = self.reached(point) - self.target
        with self.process.guidance.denoiser.arithmetic():
            (gradient,) = torch.autograd.grad(residual.square().sum() / 2, point)
        return self.judged(residual.detach(), gradient.float() / self.slope)

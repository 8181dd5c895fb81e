"""One step of a sampler, inverted by gradient descent on how far a point is from being its own fixed point."""

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.problems.step_gradient import GradientStepProblem


class FixedPointProblem(GradientStepProblem):
    """``min mean (x_s - f(x_s))^2`` by backpropagation through the network (SPDInv, Li et al., arXiv 2403.11105).

    f(x_s) is the point from which a step of first order with the noise predicted at x_s leads to x_t, so that ``x_s - f(x_s)``
    is ``(step(x_s) - x_t) alpha_s / alpha_t``. The merit is its root mean square.
    """

    def __init__(self, process: Process, step: Step, target: Tensor, start: Tensor) -> None:
        """State the problem; see ``StepProblem``."""
        values, ratio = target[:1].numel(), step.end.alpha / step.start.alpha
        super().__init__(process, step, target, start, slope=values * ratio**2 / 2)
        self.size = torch.full_like(self.size, ratio * values**0.5)

"""One step of a sampler, inverted towards a point that is its own fixed point under predictions drawn to the image."""

from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.problems.base import lengths, spread
from decinv.problems.fixed_point import FixedPointProblem


class DualConditionProblem(FixedPointProblem):
    """``FixedPointProblem`` with ``eps + rate (z - eps) / ||z - eps||`` for eps (DCI, Li et al., arXiv 2506.02560).

    z is the image's latent. What is added to eps counts as constant in the gradient.
    """

    def __init__(self, process: Process, step: Step, target: Tensor, start: Tensor, reference: Tensor, rate: float) -> None:
        """State the problem; see ``StepProblem``.

        Args:
            process: The forward process.
            step: One of its steps, of first order.
            target: x_t, the points ``(B, C, h, w)`` to which the step shall lead.
            start: Where to start, of the same shape.
            reference: The latents z, of the same shape.
            rate: Length of what is added to the prediction, at least 0.
        """
        super().__init__(process, step, target, start)
        self.reference = reference
        # How much x_s - f(x_s) falls with the noise that f goes back with, in units of step(x_s) - x_t.
        self.reach = rate * (step.start.sigma * step.end.alpha / step.start.alpha - step.end.sigma)

    def reached(self, point: Tensor) -> Tensor:
        """Take the step, from a point further back by what is added to the prediction."""
        reached = super().reached(point)
        towards = self.reference[self.rows] - self.step.eps(point.detach(), self.output[self.rows])
        return reached - self.reach * towards / spread(lengths(towards), towards)

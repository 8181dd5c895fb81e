"""Guided Newton-Raphson inversion (Samuel et al., ICLR 2025, arXiv 2312.12540): as published, and as its code does it."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.methods.base import SinglestepMethod
from decinv.problems.guided_newton import GuidedNewtonProblem, SignStepProblem
from decinv.ranges import refuse_below
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep


class GuidedNewton(SinglestepMethod):
    """GNRI as published: one or two Newton steps on a scalar objective, from x_t, with the gradient through the network."""

    def __init__(self, iters: int = 2, weight: float = 0.1, eta: float = 1e-6) -> None:
        """Set the objective.

        Args:
            iters: Newton steps for each step of the sampler, at least 1.
            weight: Weight lambda of the guidance term, at least 0.
            eta: What is added to each value of the gradient, at least 0; the paper does not give it.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(1, iters=iters)
        super().__init__(ForwardStep, Stopping(iters, 0.0, None, last_iterate=True))
        refuse_below(0, weight=weight, eta=eta)
        self.weight = weight
        self.eta = eta

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Take Newton steps from x_t."""
        return (yield GuidedNewtonProblem(process, step.plain, target, point, self.weight, self.eta)).latent


class GuidedNewtonReleased(SinglestepMethod):
    """GNRI as its released code computes it: sign steps, and of the fixed-point map's images the one that scores best.

    The code inverts only some of the time steps, takes one score for a whole batch, and divides sums by the 4 x 64 x 64 values
    of its latents, whatever their size; here all steps are inverted, each sample on its own, by the values that it has. Images
    of the map are not evaluated themselves: residuals are those of the best points, whose images are mostly nearer.
    """

    def __init__(self, iters: int = 2, weight: float = 0.1) -> None:
        """Set the number of steps, and the score.

        Args:
            iters: Sign steps for each step of the sampler, at least 1.
            weight: Weight alpha of the improbability of an image in its score, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(1, iters=iters)
        super().__init__(ForwardStep, Stopping(iters, 0.0, None))
        refuse_below(0, weight=weight)
        self.weight = weight

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Take sign steps from x_t."""
        problem = SignStepProblem(process, step.plain, target, point, latent, self.weight)
        yield problem
        return problem.image

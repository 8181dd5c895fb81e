"""Guided Newton-Raphson inversion (Samuel et al., ICLR 2025, arXiv 2312.12540): as published, and as its code does it."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.methods.base import Method, refuse_history
from decinv.problems.guided_newton import GuidedNewtonProblem, SignStepProblem
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep


class GuidedNewton(Method):
    """GNRI as published: one or two Newton steps on a scalar objective, from x_t, with the gradient through the network."""

    def __init__(self, iters: int = 2, weight: float = 0.1, eta: float = 1e-6) -> None:
        """Set the objective.

        Args:
            iters: Newton steps for each step of the sampler, at least 1.
            weight: Weight lambda of the guidance term, at least 0.
            eta: What is added to each value of the gradient; the paper does not give it.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(ForwardStep, Stopping(iters, 0.0, None, last_iterate=True))
        if not weight >= 0:
            raise ValueError(f"Expected `weight` to be at least 0, but got {weight}.")
        self.weight = weight
        self.eta = eta

    def course(self, process: Process, latent: Tensor) -> Course:
        """Invert the last step, the one before it, and so on.

        Raises:
            ValueError: If a step has a history.
        """
        refuse_history(process, type(self).__name__)
        point = latent
        for index in reversed(range(len(process.steps))):
            step, noise = process.steps[index], process.noise(index)
            target = point if noise is None else point - step.noise * noise
            problem = GuidedNewtonProblem(process, step.plain, target, target)
            problem.weight, problem.eta = self.weight, self.eta
            point = (yield problem).latent
        return point / process.trajectory.start


class GuidedNewtonReleased(Method):
    """GNRI as its released code computes it: sign steps, and the fixed-point map's image of the last point for the result.

    The code inverts only some of the time steps; here all are.
    """

    def __init__(self, iters: int = 2) -> None:
        """Set the number of steps.

        Args:
            iters: Sign steps for each step of the sampler, at least 1.
        """
        super().__init__(ForwardStep, Stopping(iters, 0.0, None, last_iterate=True))

    def course(self, process: Process, latent: Tensor) -> Course:
        """Invert the last step, the one before it, and so on.

        Raises:
            ValueError: If a step has a history.
        """
        refuse_history(process, type(self).__name__)
        point = latent
        for index in reversed(range(len(process.steps))):
            step, noise = process.steps[index], process.noise(index)
            target = point if noise is None else point - step.noise * noise
            problem = SignStepProblem(process, step.plain, target, target)
            yield problem
            point = problem.image
        return point / process.trajectory.start

"""Newton's method in each step, by Jacobian-vector products."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.methods.base import SinglestepMethod, naive_step
from decinv.problems.newton_krylov import NewtonKrylovProblem
from decinv.ranges import refuse_below
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep


class NewtonKrylov(SinglestepMethod):
    """Invert the steps of a first-order sampler one after another by Newton's method with GMRES, from the naive inversion."""

    def __init__(self, max_iters: int = 10, products: int = 5, rtol: float = 2e-6, patience: int | None = 4) -> None:
        """Set the stopping.

        Args:
            max_iters: Largest number of Newton steps for each step of the sampler, at least 1.
            products: Jacobian-vector products of each, at least 1; each counts as two predictions.
            rtol: ``||step(x_s) - x_t|| / ||x_t||`` below which a step is inverted, at least 0.
            patience: Newton steps without progress after which a sample has stalled, at least 1; null for never.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(1, products=products)
        super().__init__(ForwardStep, Stopping(max_iters, rtol, patience))
        self.products = products

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Take Newton steps from the naive inversion."""
        start = naive_step(process, step, target)
        problem = NewtonKrylovProblem(process, step.plain, target, start, self.products, self.stopping.rtol)
        return (yield problem).latent

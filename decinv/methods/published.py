"""The two algorithms of "On exact inversion of DPM-solvers" (Hong et al., CVPR 2024, arXiv 2311.18387), as released.

The released code takes every step for one of ``1000 // N`` training times. Among the published 10 and 50 steps one is shorter
by 1, so there it inverts another step than the sampler took: its noise after 10 steps differs by 1e-3 of its length. And where
times are not multiples of 10 apart, the finer grid of Algorithm 2 runs past them. Here steps end where the sampler's do, and so
does the grid; on evenly spaced times both come to the same noise.
"""

from functools import partial

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import DDIM, Trajectory
from decinv.diffusion.step import Step, first_order
from decinv.methods.base import Method, SinglestepMethod, finer, naive_step, refuse_noise
from decinv.problems.step import StepProblem
from decinv.problems.step_gradient import GradientStepProblem
from decinv.ranges import refuse_below
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory
from decinv.updates.plateau import PlateauForwardStep

THRESHOLD = 1e-3**0.5
"""Norm of ``step(x_s) - x_t`` below which the released code ends a step."""

STRIDE = 10
"""Training time steps between the points of the fine-grained naive inversion."""


class Algorithm1(SinglestepMethod):
    """Backward Euler, step after step: forward steps on ``step(x_s) - x_t``, started at the naive inversion."""

    def __init__(
        self,
        update: UpdateFactory = PlateauForwardStep,
        max_iters: int = 500,
        tolerance: float = THRESHOLD,
        gradient: bool = False,
        last_iterate: bool = True,
    ) -> None:
        """Set rule and stopping; the defaults are the released code's.

        Args:
            update: The update rule.
            max_iters: Largest number of predictions of a sample for one step, at least 1.
            tolerance: ``||step(x_s) - x_t||`` below which a step is inverted, at least 0.
            gradient: Whether to descend along the gradient of half the squared residual instead of the residual.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated, where
                ``max_iters`` are spent.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, tolerance=tolerance)
        super().__init__(update, Stopping(max_iters, tolerance, None, last_iterate))
        self.gradient = gradient

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Take forward steps from the naive inversion."""
        make = GradientStepProblem if self.gradient else StepProblem
        start = naive_step(process, step, target)
        return (yield make(process, step.plain, target, start, absolute=True)).latent


class Algorithm2(Method):
    """For DPM-Solver++(2M): past states by fine-grained naive inversion, the high-order term frozen, then forward steps.

    The released code does not let step sizes fall on a plateau but in the first and the last step; here they may in all. It
    also takes the last step to the image for one of first order, which samplers of 15 steps and more make of second order.
    """

    def __init__(
        self,
        update: UpdateFactory | None = None,
        max_iters: int = 500,
        tolerance: float = THRESHOLD,
        last_iterate: bool = True,
    ) -> None:
        """Set rule and stopping; the defaults are the released code's.

        Args:
            update: The update rule, for residuals multiplied by the released code's step size; by default its own.
            max_iters: Largest number of predictions of a sample for one step, at least 1.
            tolerance: ``||step(x_s) - x_t||`` below which a step is inverted, at least 0.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated, where
                ``max_iters`` are spent.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, tolerance=tolerance)
        super().__init__(update or partial(PlateauForwardStep, lr=1.0), Stopping(max_iters, tolerance, None, last_iterate))

    def check(self, trajectory: Trajectory) -> None:
        """Refuse what it does not know: noise of the steps' own, flows, and pairs."""
        super().check(trajectory)
        refuse_noise(trajectory, type(self).__name__)
        _every_time(trajectory)

    def course(self, process: Process, latent: Tensor) -> Course:
        """Invert the last step, the one before it, and so on."""
        fine = {step.time: step for step in _every_time(process.trajectory).steps}
        point, last = latent, len(process.steps) - 1
        for index in reversed(range(len(process.steps))):
            step = process.steps[index]
            # The released code's step sizes: 1 at the image's end, elsewhere 10 / t at x_t, never below 10 on its grid.
            size = 1.0 if index == last else 10 / max(process.steps[index + 1].time, 10.0)
            if not step.history:
                start, target = naive_step(process, step, point), point
            else:
                start, target = self._frozen(process, fine, index, point)
            point = (yield StepProblem(process, step.plain, target, start, 1 / size, absolute=True)).latent
        return point / process.trajectory.start

    def _frozen(self, process: Process, fine: dict[float, Step], index: int, point: Tensor) -> tuple[Tensor, Tensor]:
        """Give an estimate of x_s, and x_t without the high-order term estimated there and one step further back."""
        older, step = process.steps[index - 1], process.steps[index]
        cleaner = process.steps[index + 1].time if index + 1 < len(process.steps) else 0.0
        here = _back_finely(process, fine, point, cleaner, step)
        past = _back_finely(process, fine, here, step.time, older)
        data = step.data(here, process.predict(step, here))
        older_data = older.data(past, process.predict(older, past))
        return here, point + step.history * (data - older_data)


def _every_time(trajectory: Trajectory) -> Trajectory:
    """Give DDIM's steps from every time of the training up to that at which the trajectory begins."""
    return finer(trajectory, DDIM(trajectory.config.get("num_train_timesteps", 1000), "leading"))


def _back_finely(process: Process, fine: dict[float, Step], point: Tensor, time: float, step: Step) -> Tensor:
    """Invert naively from a time to the start of a step, ``STRIDE`` training time steps at once."""
    while time < step.time:
        following = min(time + STRIDE, step.time)
        start = step.start if following == step.time else fine[following].start
        known = fine[following].parts if following != step.time else step.parts
        small = first_order(following, 1.0, start, fine[time].start, known, fine[time].parts)
        point = naive_step(process, small, point)
        time = following
    return point

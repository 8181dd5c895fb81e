"""All steps of a sampler at once."""

import torch
from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import Trajectory
from decinv.diffusion.step import Step
from decinv.methods.base import Method, naive_step, run_backward
from decinv.methods.stepwise import Stepwise
from decinv.problems.trajectory import TrajectoryProblem
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory
from decinv.updates.residual_anderson import ResidualAnderson


class WholeTrajectory(Method):
    """Solve for all points of a trajectory together, evaluated in one batch, from a guess that is made backwards.

    The history of multistep samplers is part of the unknown, so they are inverted exactly. With ``ForwardStep`` it is Picard
    iteration. An iteration takes as many predictions as there are steps.
    """

    def __init__(
        self,
        update: UpdateFactory = ResidualAnderson,
        max_iters: int = 150,
        rtol: float = 2e-6,
        patience: int | None = 25,
        last_iterate: bool = False,
        restarts: int = 0,
    ) -> None:
        """Set rule and stopping.

        Args:
            update: The update rule.
            max_iters: Largest number of evaluations of a sample's trajectory, at least 1.
            rtol: ``||step(x_s) - x_t|| / ||x_t||`` of the worst step, below which a trajectory is inverted, at least 0.
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated.
            restarts: How often a trajectory that stalled at a residual below 0.03 is begun anew from another guess, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(update, Stopping(max_iters, rtol, patience, last_iterate, restarts=restarts))

    def problems(self, trajectory: Trajectory) -> int:
        """There is one."""
        return 1

    def course(self, process: Process, latent: Tensor) -> Course:
        """Guess, then solve."""
        slopes = tuple(step.slope for step in process.steps)
        guess = run_backward if process.trajectory.backward else _guess
        result = yield TrajectoryProblem(process, latent, guess(process, latent), slopes)
        return result.latent[:, 0] / process.trajectory.start


@torch.no_grad()
def _guess(process: Process, latent: Tensor) -> Tensor:
    """Guess the points from which the steps begin, ``(B, N, C, h, w)``, one after another."""
    points, point = [], latent
    for index in reversed(range(len(process.steps))):
        point = _guess_step(process, process.steps[index], process.before_noise(index, point))
        points.append(point)
    return torch.stack(points[::-1], dim=1)


def _guess_step(process: Process, step: Step, point: Tensor) -> Tensor:
    """Take one fixed-point iteration from x_t; where x_s is noise alone, that would not move, and naive inversion does.

    Of networks that predict noise it is naive inversion. Of others it is the better guess, for x_s is the fixed point.
    """
    if step.start.alpha == 0:
        return naive_step(process, step, point)
    return step.back(point, step.eps(point, process.predict(step, point)))


class ExactInversion(Method):
    """The default: step after step where steps do not depend on those before, and the whole trajectory where they do."""

    def __init__(self, max_iters: int = 150, rtol: float = 2e-6, patience: int | None = 25, restarts: int = 5) -> None:
        """Set the stopping.

        Args:
            max_iters: Largest number of evaluations of a sample for a step, or for a trajectory, at least 1.
            rtol: ``||step(x_s) - x_t|| / ||x_t||`` below which a step is inverted, at least 0.
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            restarts: How often a whole trajectory that stalled at a residual below 0.03 is begun anew from another guess, at
                least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        self.stepwise = Stepwise(ResidualAnderson, max_iters, rtol, patience)
        self.whole = WholeTrajectory(ResidualAnderson, max_iters, rtol, patience, restarts=restarts)
        super().__init__(self.whole.update, self.whole.stopping)

    def _chosen(self, trajectory: Trajectory) -> Method:
        return self.whole if trajectory.multistep else self.stepwise

    def problems(self, trajectory: Trajectory) -> int:
        """Give the number of problems of the method that is chosen."""
        return self._chosen(trajectory).problems(trajectory)

    def course(self, process: Process, latent: Tensor) -> Course:
        """Follow the method that is chosen."""
        return self._chosen(process.trajectory).course(process, latent)

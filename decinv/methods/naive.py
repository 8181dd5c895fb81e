"""DDIM inversion without iteration, the baseline of the field."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import DDIM, Trajectory
from decinv.methods.base import Method, finer, naive_step, refuse_noise, run_backward
from decinv.problems.step import StepProblem
from decinv.problems.trajectory import TrajectoryProblem
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep


class NaiveInversion(Method):
    """Take the noise predicted at x_t for that at x_s (Song et al., arXiv 2010.02502), as a step of first order.

    The network is told the time of x_s, as by ``DDIMInverseScheduler`` and the code of tree-ring watermarks. Steps of second
    order are taken back as those of first order between the same levels; ``DPMSolverMultistepInverseScheduler`` runs the
    solver from data to noise.

    Samplers of second order that ask the network halfway are run from data to noise instead (RF-Solver, FireFlow). Of Euler's
    method for flows their code has the same, where the network is told the time of x_t; with that of x_s, as here, the noise of
    images from as many steps is found with about two thirds of the error on normal data.

    Residuals are those of the steps that are inverted so; measuring them is not counted as evaluations.
    """

    def __init__(self, steps: int | None = None) -> None:
        """Choose the grid.

        Args:
            steps: Steps of a finer DDIM grid on which to go back, at least 1, ``trailing``, so that they reach the last time;
                null for the sampler's own.

        Raises:
            ValueError: If ``steps`` is below 1.
        """
        super().__init__(ForwardStep, Stopping(max_iters=1, rtol=0.0, patience=None))
        self.sampler = None if steps is None else DDIM(steps, "trailing")

    def check(self, trajectory: Trajectory) -> None:
        """Refuse what a finer grid of DDIM does not follow: flows, noise of the steps' own, and pairs."""
        super().check(trajectory)
        if self.sampler is not None:
            refuse_noise(trajectory, f"{type(self).__name__} on a finer grid")
            finer(trajectory, self.sampler)

    def problems(self, trajectory: Trajectory) -> int:
        """Give the number of steps of the grid; there is one problem where the sampler is run from data to noise."""
        if trajectory.backward:
            return 1
        return len(trajectory.steps) if self.sampler is None else self.sampler.steps

    def course(self, process: Process, latent: Tensor) -> Course:
        """Go back step by step."""
        if process.trajectory.backward:
            points = run_backward(process, latent)
            with process.uncounted():
                yield TrajectoryProblem(process, latent, points, tuple(step.slope for step in process.steps))
            return points[:, 0] / process.trajectory.start
        if self.sampler is not None:
            process = process.along(finer(process.trajectory, self.sampler))
        point = latent
        for index in reversed(range(len(process.steps))):
            step, target = process.steps[index], process.before_noise(index, point)
            found = naive_step(process, step, target)
            with process.uncounted():
                yield StepProblem(process, step.plain, target, found)
            point = found
        return point / process.trajectory.start

"""The method: how the steps of a sampler are inverted, as a course of problems and a rule."""

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from decinv.course import Course, CourseSolver
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import DDIM, Trajectory
from decinv.diffusion.step import Step, joined
from decinv.result import Result
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory
from decinv.updates.stock import as_rule


class Method(ABC):
    """How a sampler is inverted: problems, one after another, and the update rule and stopping of each.

    Attributes:
        update: The update rule.
        stopping: When a sample is done with one problem.
    """

    def __init__(self, update: UpdateFactory, stopping: Stopping) -> None:
        """Combine rule and stopping."""
        self.update = update
        self.stopping = stopping

    @abstractmethod
    def course(self, process: Process, latent: Tensor) -> Course:
        """Go from scaled latents ``(B, C, h, w)`` to standard normal noise of the same shape."""

    def check(self, trajectory: Trajectory) -> None:
        """Refuse samplers that the method cannot invert.

        Raises:
            ValueError: If it cannot.
        """
        trajectory.refuse_pairs()

    def problems(self, trajectory: Trajectory) -> int:
        """Give the largest number of problems of a course."""
        return len(trajectory.steps)

    def solver(self, point: nn.Parameter) -> CourseSolver:
        """Make what runs a course on a parameter."""
        return CourseSolver(Solver(point, as_rule(self.update([point])), self.stopping))

    def invert(self, process: Process, latent: Tensor) -> Result:
        """Run the course to its end.

        Args:
            process: The forward process, whose ``spent`` counts on.
            latent: Scaled latents ``(B, C, h, w)``.

        Returns:
            The noise in ``latent``, with residuals, counts and statuses over all problems; ``evaluations`` counts guided
            predictions.

        Raises:
            ValueError: If the method cannot invert the sampler.
        """
        self.check(process.trajectory)
        solver = self.solver(nn.Parameter(torch.empty(0, device=latent.device)))
        before = process.spent.clone()
        solver.begin(self.course(process, latent))
        while not solver.done:
            solver.step()
        return replace(solver.result(), evaluations=process.spent - before)


class FirstOrderMethod(Method):
    """Invert samplers whose steps do not depend on those before."""

    def check(self, trajectory: Trajectory) -> None:
        """Refuse multistep samplers, and those of pairs."""
        super().check(trajectory)
        if trajectory.multistep:
            raise ValueError(
                f"Expected a sampler of first order for {type(self).__name__}, but its steps depend on those before; use "
                "`WholeTrajectory`."
            )


class SinglestepMethod(FirstOrderMethod):
    """Invert the steps of a first-order sampler one after another, the last one first, each from its own result alone."""

    @abstractmethod
    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Go from x_t to x_s; ``target`` is x_t without the noise that the step added, ``latent`` where the trajectory ends."""

    def course(self, process: Process, latent: Tensor) -> Course:
        """Invert the last step, the one before it, and so on."""
        point = latent
        for index in reversed(range(len(process.steps))):
            target = process.before_noise(index, point)
            point = yield from self.back(process, process.steps[index], point, target, latent)
        return point / process.trajectory.start


def refuse_pure_noise(trajectory: Trajectory, method: str) -> None:
    """Refuse samplers that begin with noise alone.

    Raises:
        ValueError: If there is no data in the first point.
    """
    if trajectory.steps[0].start.alpha == 0:
        raise ValueError(f"Expected some data in the first point for {method}, but it is noise alone; use `ExactInversion`.")


def refuse_noise(trajectory: Trajectory, method: str) -> None:
    """Refuse samplers that add noise.

    Raises:
        ValueError: If a step does.
    """
    if any(step.noise for step in trajectory.steps):
        raise ValueError(f"Expected a sampler whose steps add no noise for {method}, but they do; use `ExactInversion`.")


def finer(trajectory: Trajectory, sampler: DDIM) -> Trajectory:
    """Give the steps of a finer sampler of the same scheduler, up to the time at which the trajectory begins.

    Each ends where the next one begins. The sampler has no offset, with which all times would be one too many.

    Raises:
        ValueError: If the trajectory is that of a flow, on whose scheduler there is no DDIM.
    """
    if str(trajectory.config.get("_class_name")).startswith("FlowMatch") or trajectory.config.get("use_flow_sigmas"):
        raise ValueError("Expected a sampler whose noise levels come from betas, but got that of a flow; take its own steps.")
    fine = sampler.trajectory({**trajectory.config, "steps_offset": 0})
    first = trajectory.steps[0].time
    return replace(fine, steps=joined([step for step in fine.steps if step.time <= first] or fine.steps[-1:]))


def naive_step(process: Process, step: Step, point: Tensor) -> Tensor:
    """Give the x_s from which ``step`` would lead to ``point`` if the noise predicted at ``point`` were that at x_s.

    The network is told the time of x_s, and what it says is about ``point``, at the level of that.
    """
    landed = step.landed
    return step.back(point, landed.eps(point, process.predict(landed, point)))


def run_backward(process: Process, latent: Tensor) -> Tensor:
    """Run a sampler that has steps from data to noise along these.

    Args:
        process: The forward process.
        latent: Where it shall end, scaled latents ``(B, C, h, w)``.

    Returns:
        A guess of the points from which its steps begin, ``(B, N, C, h, w)``, the noisiest first.
    """
    visited = process.along(process.trajectory.reversed()).walk(latent)
    return torch.stack([point.following for point in visited][::-1], dim=1)

"""Invert a sampler on a chunk by one method: the noise, what it took, and how well each step was inverted."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from decinv.benchmark.measuring.measure import now
from decinv.course import Course
from decinv.diffusion import Process
from decinv.methods import Method, NaiveInversion
from decinv.problems.base import norms
from decinv.problems.step import StepProblem
from decinv.status import Status


class Inverted(NamedTuple):
    """What a method found for ``B`` latents.

    Attributes:
        noise: The noise ``(B, C, h, w)``.
        points: The points from which the steps begin, ``(B, N, C, h, w)``, the noisiest first; ``None`` where a method has none
            for each step of the sampler.
        evaluations: Guided predictions of each, ``(B,)``.
        seconds: Seconds for all of them.
        status: How it ended for each.
    """

    noise: Tensor
    points: Tensor | None
    evaluations: Tensor
    seconds: float
    status: tuple[Status, ...]


class _Watch:
    """Looks on while a course is followed: its points, and the seconds that the course itself takes, without solving."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self.targets: list[Tensor] = []
        self.latents: list[Tensor] = []

    def course(self, course: Course) -> Course:
        """Follow a course."""
        began = now(self.device)
        try:
            problem = next(course)
            while True:
                self.seconds += now(self.device) - began
                if isinstance(problem, StepProblem):
                    self.targets.append(problem.target)
                result = yield problem
                self.latents.append(result.latent)
                began = now(self.device)
                problem = course.send(result)
        except StopIteration as end:
            self.seconds += now(self.device) - began
            outcome: Tensor = end.value
            return outcome

    def points(self, process: Process, noise: Tensor) -> Tensor | None:
        """Give the points of a trajectory that was followed to its end.

        They are the next step's targets, or for multistep samplers, whose targets contain an estimate of the history, what
        was found.
        """
        if len(self.latents) == 1 and self.latents[0].ndim > noise.ndim:
            return self.latents[0]
        if len(self.latents) != len(process.steps):
            return None
        later = self.latents[:-1] if process.trajectory.multistep else self.targets[1:]
        return torch.stack([noise * process.trajectory.start, *reversed(later)], dim=1)


@torch.no_grad()
def invert(method: Method, process: Process, latent: Tensor) -> Inverted:
    """Run a method on scaled latents ``(B, C, h, w)``; naive inversion's measuring of its own steps is off the clock."""
    watch = _Watch(latent.device)
    solver = method.solver(nn.Parameter(torch.empty(0, device=latent.device)))
    before, began = process.spent.clone(), now(latent.device)
    solver.begin(watch.course(method.course(process, latent)))
    while not solver.done:
        solver.step()
    seconds = now(latent.device) - began
    result = solver.result()
    own_grid = isinstance(method, NaiveInversion) and method.sampler is not None  # though it may have as many steps
    return Inverted(
        noise=result.latent,
        points=None if own_grid else watch.points(process, result.latent),
        evaluations=process.spent - before,
        seconds=watch.seconds if isinstance(method, NaiveInversion) else seconds,
        status=result.status,
    )


@torch.no_grad()
def step_residuals(process: Process, points: Tensor, latent: Tensor) -> Tensor:
    """Give ``||step(x_s) - x_t|| / ||x_t||`` of each step, with the history that the points themselves have.

    Args:
        process: The forward process.
        points: The points from which the steps begin, ``(B, N, C, h, w)``, the noisiest first.
        latent: The scaled latents ``(B, C, h, w)`` at which the last step shall end.

    Returns:
        The residuals ``(B, N)``.
    """
    with process.uncounted():
        ends = process.step_all(points, torch.arange(len(points), device=points.device))
    goals = [*points.unbind(1)[1:], latent]
    return torch.stack([norms(end - goal) / norms(goal) for end, goal in zip(ends, goals, strict=True)], dim=1)

"""One step of a sampler, inverted: find the point from which it leads to a given one."""

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.problems.base import Evaluation, lengths, norms, spread
from decinv.problems.process import ProcessProblem


class StepProblem(ProcessProblem):
    """``r(x_s) = (step(x_s) - x_t) / slope`` (Hong et al., CVPR 2024, arXiv 2311.18387).

    A forward step of size 1 on it is fixed-point iteration where ``slope`` is the coefficient of x_s in the step. The merit is
    ``||step(x_s) - x_t|| / ||x_t||``, or the numerator alone. The mismatch is the residual in units in which its mean square is
    the squared merit, for there is no image.

    Attributes:
        output: The network's output ``(B, C, h, w)`` at the point of each sample that was evaluated last.
    """

    def __init__(
        self,
        process: Process,
        step: Step,
        target: Tensor,
        start: Tensor,
        slope: float = 1.0,
        history: Tensor | None = None,
        noise: Tensor | None = None,
        absolute: bool = False,
    ) -> None:
        """State the problem.

        Args:
            process: The forward process.
            step: One of its steps.
            target: x_t, the points ``(B, C, h, w)`` to which the step shall lead.
            start: Where to start, of the same shape.
            slope: What the residual is divided by, not 0.
            history: Data prediction of the step before, for steps that have a history.
            noise: Noise that an ancestral step adds.
            absolute: Whether the merit is absolute.
        """
        self.process = process
        self.step = step
        self.first = start.float()
        self.target = target
        self.slope = slope
        self.history = history
        self.noise = noise
        self.rows = torch.arange(len(target), device=target.device)
        size = lengths(target)
        self.size = torch.ones_like(size) if absolute else size
        self.output = torch.zeros_like(target)

    def start(self) -> Tensor:
        """Give the start."""
        return self.first

    def reached(self, point: Tensor) -> Tensor:
        """Take the step from points of the active samples."""
        output = self.process.predict(self.step, point, self.rows)
        self.output[self.rows] = output.detach()
        return self.step(point, output, self.history, self.noise)

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Take the step and compare."""
        residual = self.reached(point) - self.target
        return self.judged(residual, residual / self.slope)

    def judged(self, residual: Tensor, direction: Tensor) -> Evaluation:
        """Put an evaluation together from ``step(x_s) - x_t`` and the direction for the update rule."""
        unit = spread(self.size, residual) / residual[:1].numel() ** 0.5
        return Evaluation(direction, norms(residual) / self.size, residual / unit)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        self.rows, self.target, self.size = self.rows[keep], self.target[keep], self.size[keep]
        self.history = None if self.history is None else self.history[keep]
        self.noise = None if self.noise is None else self.noise[keep]

    def latent(self, point: Tensor) -> Tensor:
        """Give the points themselves: they are where the network lives."""
        return point

    def state_dict(self) -> dict[str, Tensor]:
        """Give the network's outputs, too."""
        return super().state_dict() | {"output": self.output}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take them over."""
        super().load_state_dict(state)
        self.output = state["output"].to(self.output.device)
